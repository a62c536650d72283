"""Decode JPEG pixels, all of them or an error.

libjpeg fills what a damaged file lacks with grey, and only counts warnings; Pillow does not show
them. So libjpeg-turbo decodes here with each warning as an error (simplejpeg), to the same values
as Pillow's. `jpeg_segments` has reduced the file before, so a warning can only be about pixels.
"""

import io
import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image as Pillow
from PIL.ImageFile import ImageFile

from model_core.errors import UnreadableImageError, UnsupportedImageError
from model_core.images.formats.jpeg_segments import END, only_pixels

_LAYOUTS = {"RGB": ("RGBX", "RGBX", 4), "L": ("GRAY", "L", 1), "CMYK": ("CMYK", "CMYK;I", 4)}
"""By Pillow's mode: the decoder's name, Pillow's name, bytes a pixel; CMYK is stored inverted."""
_DAMAGE = ("Corrupt JPEG data", "Inconsistent progression")
_KEPT_BYTES = 24_000_000
"""Bytes of the largest buffer that a thread keeps for its next image: 6 Mpx of 4 bytes."""
_thread = threading.local()
_LEAST_REDUCED_PX = 64
"""Side below which an eighth more or less may be no pixel more or less."""


def load_jpeg(image: ImageFile, data: bytes) -> None:
    """Decode a JPEG, the result of `only_pixels`, at the size that it was opened or drafted for.

    Raises:
        UnreadableImageError: the file does not hold all pixels.
        UnsupportedImageError: subsampled in a way that is not read.
    """
    try:
        _decode(data, image)
    except ValueError as exc:
        reason = str(exc)
        if "subsampling" in reason:
            raise UnsupportedImageError(
                "the JPEG file has unusual sampling factors, expected 4:4:4, 4:2:2, 4:2:0, 4:4:0 "
                "or 4:1:1; save it again"
            ) from exc
        for padded in _without_padding(data):
            try:
                _decode(padded, image)
                break
            except ValueError:
                continue
        else:
            known = reason if reason.startswith(_DAMAGE) else "its coded data cannot be decoded"
            raise UnreadableImageError(
                f"the JPEG file is truncated or damaged ({known}): some of its pixels are missing, "
                "expected a whole file"
            ) from exc
    image.tile = []


def check_jpeg(data: bytes) -> tuple[int, int]:
    """Read width and height of a JPEG, and refuse it unless all of its pixels are there.

    Raises:
        UnreadableImageError, UnsupportedImageError: as `only_pixels` and `load_jpeg`.
    """
    data, _ = only_pixels(data)
    image = Pillow.open(io.BytesIO(data), formats=("JPEG",))
    load_jpeg(image, data)
    return image.size


def _decode(data: bytes, image: ImageFile) -> None:
    width, height = image.size
    layout, raw, pixel_bytes = _LAYOUTS[image.mode]
    pixels = simplejpeg.decode_jpeg(
        data,
        layout,
        min_height=height,
        min_width=width,
        buffer=_buffer(height * width * pixel_bytes),
        strict=True,
    )
    if pixels.shape[:2] != (height, width):
        raise UnreadableImageError(
            f"the JPEG file decodes to {pixels.shape[1]}x{pixels.shape[0]} pixels, "
            f"its header announces {width}x{height}"
        )
    image.load_prepare()
    image.frombytes(pixels.data, "raw", raw)


def _buffer(size: int) -> npt.NDArray[np.uint8]:
    """Lend memory for pixels on their way to Pillow: each thread's own, because new one is slow."""
    if size > _KEPT_BYTES:
        return np.empty(size, np.uint8)
    kept: npt.NDArray[np.uint8] | None = getattr(_thread, "kept", None)
    if kept is None or len(kept) < size:
        kept = _thread.kept = np.empty(size, np.uint8)
    return kept


def reduced_for(image: ImageFile, at_least: tuple[int, int]) -> None:
    """Let a JPEG be decoded at a half, a quarter or an eighth, never below (height, width)."""
    if min(image.size) >= _LEAST_REDUCED_PX:
        image.draft(None, at_least[::-1])


def _without_padding(data: bytes) -> Iterator[bytes]:
    """Yield the file without the zeros before its end marker, where an encoder filled up.

    Whether the pixels are whole then shows in the coded data alone: zeros are codes, too.
    """
    end = data.rfind(END)
    body = data[:end].rstrip(b"\0")
    for zeros in range(min(end - len(body), 2)):  # the last code may end in a byte of zeros
        yield body + bytes(zeros) + END
