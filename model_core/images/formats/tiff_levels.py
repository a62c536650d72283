"""Open TIFF files so that Pillow reads their levels right, or refuse them by what they are.

Pillow knows most combinations of bits, colours, byte order and planes by a table. What that table
takes for another (16 or 12 bits of which zero is white, one channel in a plane of its own) is
rewritten before, and put right after decoding.
"""

import io
import struct

import numpy as np
from PIL import Image as Pillow
from PIL import ImagePalette, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from model_core.errors import UnsupportedImageError
from model_core.images.formats import tiff_pages as tiff

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _YCBCR, _CIELAB = 0, 1, 6, 8
_COLOURS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELAB"}
_READ_COLOURS = (0, 1, 2, 3, 5, 6)
_READ_BITS = {(1,), (2,), (4,), (8,), (16,)}
_UNSIGNED = 1
_PALETTE = 320
_FORMATS = {2: "signed ", 3: "floating point ", 5: "complex ", 6: "complex "}
_RAW = 1
_INVERTED, _BITS = "inverted", "bits"
"""What `open_tiff` leaves in an image's `info` for `restore_levels`."""


def open_tiff(data: bytes) -> ImageFile:
    """Open the one image of a TIFF file: its header is read, its pixels are not.

    Raises:
        UnsupportedImageError: camera raw, or of levels that are not read.
        MultiFrameImageError: several pages.
        Exception: whatever Pillow raises on a damaged header.
    """
    directory = tiff.main_directory(data)
    if directory is None:
        return Pillow.open(io.BytesIO(data), formats=("TIFF",))
    if _misread(directory):
        raise _unsupported(directory)
    bits = directory.first(tiff.BITS, 1)
    inverted = bits > 8 and directory.first(tiff.COLOURS, 0) == _WHITE_IS_ZERO
    try:
        image = Pillow.open(io.BytesIO(_rewritten(data, directory, inverted)), formats=("TIFF",))
    except UnidentifiedImageError:
        if _is_unusual(directory):
            raise _unsupported(directory) from None
        raise
    _restore_palette(image)
    image.info |= {_INVERTED: inverted, _BITS: bits}
    return image


def restore_levels(image: ImageFile) -> None:
    """Put right the levels of an image that `open_tiff` opened and that is decoded by now."""
    if not image.mode.startswith("I;16"):
        return
    form = ">u2" if image.mode == "I;16B" else "<u2"
    if image.info.get(_BITS) == 12:
        values = np.frombuffer(image.tobytes(), form)
        image.frombytes((values << 4 | values >> 8).astype(form).tobytes())
    if image.info.get(_INVERTED):
        image.frombytes((~np.frombuffer(image.tobytes(), np.uint8)).tobytes())


def _restore_palette(image: ImageFile) -> None:
    """Take a palette's values for bytes where none is larger, as libtiff does."""
    if image.mode in ("P", "PA") and isinstance(image, TiffImageFile):
        values = image.tag_v2[_PALETTE]
        if max(values) < 256:
            image.palette = ImagePalette.raw("RGB;L", bytes(values))


def _rewritten(data: bytes, directory: tiff.Directory, inverted: bool) -> bytes:
    """Change the file so that its image is alone in it, in a form that Pillow reads right."""
    order = tiff.byte_order(data)
    changes = {(4, order + "I"): directory.start, (directory.next_at, order + "I"): 0}
    if inverted:
        changes[directory.places[tiff.COLOURS]] = _BLACK_IS_ZERO
    if directory.first(tiff.SAMPLES, 1) == 1 and tiff.PLANES in directory.places:
        changes[directory.places[tiff.PLANES]] = 1  # one channel is one plane, whatever it says
    patched: bytearray | None = None
    for (at, form), value in changes.items():
        as_bytes = struct.pack(form, value)
        if at + len(as_bytes) <= len(data) and not data.startswith(as_bytes, at):
            patched = bytearray(data) if patched is None else patched
            patched[at : at + len(as_bytes)] = as_bytes
    return data if patched is None else bytes(patched)


def _misread(directory: tiff.Directory) -> bool:
    """Tell whether Pillow would show other levels than the file has, and say nothing."""
    bits = set(directory.tags.get(tiff.BITS, (1,)))
    colours = directory.first(tiff.COLOURS, -1)
    raw = directory.first(tiff.COMPRESSION, _RAW) == _RAW
    return (
        (colours == -1 and bits != {1})
        or colours == _CIELAB
        or (bits == {8} and directory.first(tiff.SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED)
        or (raw and colours == _YCBCR and _is_subsampled(directory))
        or (_has_planes(directory) and (bits != {8} or colours in (0, 1)))
        or (_has_planes(directory) and raw and directory.first(tiff.FILL_ORDER, 1) != 1)
    )


def _has_planes(directory: tiff.Directory) -> bool:
    return directory.first(tiff.SAMPLES, 1) > 1 and directory.first(tiff.PLANES, 1) == 2


def _is_subsampled(directory: tiff.Directory) -> bool:
    return directory.tags.get(tiff.SUBSAMPLING, (2, 2)) != (1, 1)  # (2, 2) where it does not say


def _is_unusual(directory: tiff.Directory) -> bool:
    bits = directory.tags.get(tiff.BITS, (1,))
    return (
        tuple(sorted(set(bits))) not in _READ_BITS
        or directory.first(tiff.COLOURS, -1) not in _READ_COLOURS
        or directory.first(tiff.SAMPLE_FORMAT, _UNSIGNED) != _UNSIGNED
        or directory.first(tiff.SAMPLES, 1) > 1
        or directory.first(tiff.FILL_ORDER, 1) != 1
    )


def _unsupported(directory: tiff.Directory) -> UnsupportedImageError:
    bits = directory.tags.get(tiff.BITS, (1,))
    samples = directory.first(tiff.SAMPLES, 1)
    colours = directory.first(tiff.COLOURS, -1)
    name = _COLOURS.get(colours, "unnamed colours" if colours < 0 else f"colours {colours}")
    form = _FORMATS.get(directory.first(tiff.SAMPLE_FORMAT, _UNSIGNED), "")
    planes = ", in separate planes" if _has_planes(directory) else ""
    subsampled = ", subsampled" if colours == _YCBCR and _is_subsampled(directory) else ""
    reverse = ", bits in reverse order" if directory.first(tiff.FILL_ORDER, 1) == 2 else ""
    depth = " and ".join(map(str, sorted(set(bits))))
    return UnsupportedImageError(
        f"the TIFF file has {samples} channel{'s' * (samples != 1)} ({name}) of {depth} "
        f"{form}bits{planes}{subsampled}{reverse}, which is not read; save it as grey or RGB with "
        "8 or 16 bits a channel, or as PNG"
    )
