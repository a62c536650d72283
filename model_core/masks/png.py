"""Read and write masks as PNG files: 8-bit 0 and 255 as ISIC ground truth is, or one bit a pixel.

Read is every file of one channel with two levels, whatever they are: the higher one is lesion. A
palette has levels twice, as indices and as colours; where these disagree, the mask is refused.
"""

import struct
from collections.abc import Sequence

import numpy as np
from isal import isal_zlib

from model_core.arrays import Mask
from model_core.errors import InvalidMaskError, UnreadableImageError, UnsupportedImageError
from model_core.images.decode import MAX_PIXELS
from model_core.images.file_types import describe, sniff
from model_core.images.formats.loader import decoding, load_image, open_image
from model_core.images.formats.png import SIGNATURE, chunk_parts

_GREY, _DEFLATE, _ADAPTIVE, _NOT_INTERLACED = 0, 0, 0, 0
_ALL_LESION = (1, 255, 65535)
_LEVEL = 1
"""Of 0 to 3: on masks as fast as 0, in a quarter of its bytes."""


def encode_mask(mask: Mask, *, bits: int = 8) -> bytes:
    """Encode a mask as PNG, with 8 `bits` as grey values 0 and 255, or with 1 as bilevel.

    Written out here because a mask is all runs: without trying filters, and with ISA-L's deflate,
    it takes a twentieth of the time of Pillow with its own settings, and the file is smaller.

    Example:
        >>> decode_mask(encode_mask(np.array([[True, False]]), bits=1))
        array([[ True, False]])
    """
    height, width = mask.shape
    pixels = np.packbits(mask, axis=1) if bits == 1 else mask.view(np.uint8) * np.uint8(255)
    rows = np.zeros((height, 1 + pixels.shape[1]), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = pixels
    header = struct.pack(
        ">IIBBBBB", width, height, bits, _GREY, _DEFLATE, _ADAPTIVE, _NOT_INTERLACED
    )
    body = isal_zlib.compress(rows.data, _LEVEL)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return b"".join((SIGNATURE, *(part for chunk in chunks for part in chunk_parts(*chunk))))


def decode_mask(
    data: bytes, *, max_pixels: int = MAX_PIXELS, formats: Sequence[str] = ("PNG",)
) -> Mask:
    """Decode a mask of two levels, such as 0 and 255, 0 and 1, or 0 and 65535.

    A colour PNG is read too where all its channels agree, an alpha channel where it is opaque, and
    a palette where its colours do not contradict its indices: editors save masks so.

    Args:
        data: The file's bytes.
        max_pixels: Limit on height times width, read from the header before decoding.
        formats: File types to take, by Pillow's names; only lossless ones make sense.

    Raises:
        UnsupportedImageError: of none of the formats.
        MultiFrameImageError: an animation.
        ImageTooLargeError: more than `max_pixels`.
        UnreadableImageError: truncated or damaged.
        InvalidMaskError: more than two levels, a single one that does not tell whether it is
            lesion, several channels, or a palette that contradicts itself.
    """
    kind = sniff(data)
    if kind is None or kind not in formats:
        name, advice = describe(data)
        raise UnsupportedImageError(
            f"the mask is {name}, expected {' or '.join(formats)}{f'; {advice}' if advice else ''}"
        )
    values = _values(data, kind, max_pixels)
    levels = np.unique(values)
    if len(levels) > 2 or not np.isfinite(levels).all():
        raise _not_two(levels, "values")
    if len(levels) == 1 and levels[0] not in (0, *_ALL_LESION):
        raise InvalidMaskError(
            f"the mask holds only the value {levels[0]}, expected 0 where nothing is lesion, or "
            "255 (or 1) where all is"
        )
    mask: Mask = values > (levels[0] if len(levels) == 2 else 0)
    return mask


def _not_two(levels: np.ndarray, what: str) -> InvalidMaskError:
    shown = ", ".join(str(level) for level in levels[:6].tolist())
    return InvalidMaskError(
        f"the mask holds {len(levels)} {what} ({shown}{', …' if len(levels) > 6 else ''}), "
        "expected two, such as 0 and 255"
    )


def _values(data: bytes, kind: str, max_pixels: int) -> np.ndarray:
    try:
        with decoding(f"{kind} file", max_pixels):
            file = open_image(data, kind, what="mask", max_pixels=max_pixels)
            load_image(file)
            values = np.asarray(file)
            palette = file.getpalette("RGB") if file.mode in ("P", "PA") else None
    except UnreadableImageError as exc:
        raise UnreadableImageError(f"the mask: {exc}") from exc
    if palette is not None:
        indices = values if values.ndim == 2 else values[..., 0]
        return _through_palette(indices, palette, kind)
    return _one_channel(values, file.mode)


def _through_palette(indices: np.ndarray, palette: list[int], kind: str) -> np.ndarray:
    """Give 0 or 1 for each palette index, where indices and colours do not contradict each other.

    Black is skin, of two greys the darker; other colours, which label tools choose as they like,
    say nothing, and the higher index is lesion. A bilevel BMP always has a palette, in either
    order: there only its colours count.
    """
    colours = np.zeros((256, 3), np.uint8)
    colours.reshape(-1)[: len(palette)] = palette
    used = np.unique(indices)
    shown, group = np.unique(colours[used], axis=0, return_inverse=True)  # black comes first
    first, second = used[group.ravel() == 0], used[group.ravel() == 1]
    if len(shown) > 2:
        raise _not_two(used, "palette indices")
    if len(used) == 1:
        first, second = (first[:0], first) if shown.any() else (first, second)
        agree = bool(shown.any()) == bool(used[0] > 0)
    elif len(shown) == 1:
        raise _contradiction()
    elif not shown[0].any() or (shown == shown[:, :1]).all():
        agree = first.min() < second.max()
    elif second.max() < first.min():
        first, second, agree = second, first, True
    else:
        agree = first.max() < second.min()
    if not agree and kind != "BMP":
        raise _contradiction()
    return np.isin(indices, second).astype(np.uint8)


def _contradiction() -> InvalidMaskError:
    return InvalidMaskError(
        "the mask's palette contradicts itself: its colours tell lesion from skin otherwise than "
        "its indices; save it as grey, 0 and 255"
    )


def _one_channel(values: np.ndarray, mode: str) -> np.ndarray:
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.ndim == 2:
        return values
    if mode in ("LA", "RGBA"):
        if values[..., -1].min() < 255:
            raise InvalidMaskError("the mask has a transparent alpha channel, expected one channel")
        values = values[..., :-1]
    if (values != values[..., :1]).any():
        raise InvalidMaskError("the mask's colour channels differ, expected one channel")
    first: np.ndarray = values[..., 0]
    return first
