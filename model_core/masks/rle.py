"""Read and write masks as COCO run lengths, column by column, exactly as pycocotools does.

pycocotools encodes our own masks. What a caller sends is read here instead, number by number:
pycocotools' C code trusts its input, and would write past its buffers for hostile run lengths.
"""

import reprlib
from typing import NoReturn, TypedDict

import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco

from model_core.arrays import Mask
from model_core.errors import ImageTooLargeError, InvalidRleError

# Each character holds 5 bits, so 6 hold any run up to 2**29 px; pycocotools itself misreads
# negative numbers of 7.
_MAX_CHARACTERS = 6
_FEW = 32
"""Pixels for each change down a column from which on looking for changes pays."""


class Rle(TypedDict):
    """A compressed COCO mask: `size` is [height, width], `counts` the run lengths as text."""

    size: list[int]
    counts: str


def encode_rle(mask: Mask) -> Rle:
    """Encode a mask as compressed run lengths.

    A lesion's mask has few runs: they are found by looking where rows differ, which takes a sixth
    of the time that pycocotools takes to copy the mask into columns and walk through it.

    Example:
        >>> encode_rle(np.array([[False, True], [False, True]]))
        {'size': [2, 2], 'counts': '22'}
    """
    height, width = mask.shape
    down = mask[1:] != mask[:-1]
    if mask.size == 0 or np.count_nonzero(down) > mask.size // _FEW:
        encoded = coco.encode(np.asfortranarray(mask.view(np.uint8)))
    else:
        runs = _column_runs(mask, down).tolist()
        encoded = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    return {"size": [height, width], "counts": encoded["counts"].decode("ascii")}


def decode_rle(value: object, *, max_pixels: int) -> Mask:
    """Decode a COCO RLE object that a caller sent.

    Args:
        value: Parsed JSON: `{"size": [height, width], "counts": ...}`, where counts is text
            (compressed) or a list of numbers (uncompressed), starting with background.
        max_pixels: Limit on height times width, checked before anything is allocated.

    Raises:
        InvalidRleError: not such an object, or run lengths that do not fill its size exactly.
        ImageTooLargeError: more than `max_pixels`.

    Example:
        >>> decode_rle({"size": [2, 2], "counts": [2, 2]}, max_pixels=100)
        array([[False,  True],
               [False,  True]])
    """
    if not isinstance(value, dict) or not {"size", "counts"} <= value.keys():
        raise InvalidRleError('expected a JSON object {"size": [height, width], "counts": ...}')
    height, width = _size(value["size"])
    if height * width > max_pixels:
        raise ImageTooLargeError(
            f"the RLE mask has {_shown(height)}x{_shown(width)} = {_shown(height * width)} pixels, "
            f"the limit is {max_pixels}"
        )
    runs = _runs(value["counts"], height * width)
    # Expanding checked runs is one numpy call, so a caller's text never reaches C code at all.
    lesion = np.zeros(len(runs), np.bool_)
    lesion[1::2] = True
    return np.repeat(lesion, runs).reshape(width, height).T


def area_and_bbox(rle: Rle) -> tuple[int, list[int]]:
    """Measure an encoded mask: area in px and bounding box [x, y, width, height] in px.

    Example:
        >>> area_and_bbox(encode_rle(np.array([[False, True], [False, True]])))
        (2, [1, 0, 1, 2])
    """
    x, y, width, height = (int(side) for side in coco.toBbox(rle))
    return int(coco.area(rle)), [x, y, width, height]


def _column_runs(mask: Mask, down: Mask) -> npt.NDArray[np.int64]:
    """Find a mask's runs by column, background first; `down` is where its rows differ."""
    height, width = mask.shape
    row, column = np.divmod(np.flatnonzero(down), width)
    within = column * height + row + 1
    # From the foot of a column to the head of the next.
    between = (np.flatnonzero(mask[0, 1:] != mask[-1, :-1]) + 1) * height
    starts = np.sort(np.concatenate([within, between]))
    first = [0, 0] if mask[0, 0] else [0]  # no background before a lesion in the corner
    runs: npt.NDArray[np.int64] = np.diff(np.concatenate([first, starts, [mask.size]]))
    return runs


def _size(size: object) -> tuple[int, int]:
    if isinstance(size, list) and len(size) == 2 and all(type(side) is int for side in size):
        height, width = size
        if height > 0 and width > 0:
            return height, width
    raise InvalidRleError(
        f"size is {_shown(size)}, expected [height, width], two positive integers"
    )


def _runs(counts: object, pixels: int) -> npt.NDArray[np.int64]:
    if isinstance(counts, str):
        runs = _decompress(counts, pixels)
    elif isinstance(counts, list):
        runs = _listed(counts, pixels)
    else:
        raise InvalidRleError(f"counts is {_shown(counts)}, expected text or a list of integers")
    if (runs < 0).any():
        raise InvalidRleError("counts hold a negative run length, expected 0 or more")
    # Before the sum: runs of any size could wrap around in 64 bits to the right total, and numpy
    # would then write far past the mask.
    if (runs > pixels).any():
        raise InvalidRleError(
            f"counts hold a run of {runs.max()} pixels, size says {pixels} in all"
        )
    if (total := int(runs.sum())) != pixels:
        raise InvalidRleError(f"counts add up to {total} pixels, size says {pixels}")
    return runs


def _listed(counts: list[object], pixels: int) -> npt.NDArray[np.int64]:
    if len(counts) > pixels + 1:
        _too_many(len(counts), pixels)
    for count in counts:
        if type(count) is not int or not 0 <= count <= pixels:
            raise InvalidRleError(f"counts hold {_shown(count)}, expected integers 0 to {pixels}")
    return np.array(counts, np.int64)


def _decompress(text: str, pixels: int) -> npt.NDArray[np.int64]:
    """Read run lengths from compressed counts: pycocotools' format, without its C code.

    A number is a group of characters 48 to 111, least significant first: 5 bits each, bit 6 says
    that more follow, the top bit of the last is the sign. From the fourth number on each is the
    difference to the one two before.
    """
    if not text:
        raise InvalidRleError("counts are empty, expected run lengths")
    if len(text) > _MAX_CHARACTERS * (pixels + 1):
        raise InvalidRleError(f"counts hold {len(text)} characters, too many for {pixels} pixels")
    ascii_only = text.encode("ascii") if text.isascii() else b"\0"
    codes = np.frombuffer(ascii_only, np.uint8) - np.uint8(48)  # below '0' wraps to above 63
    if codes.max() > 63:
        raise InvalidRleError("counts hold a character outside '0' to 'o', expected COCO RLE text")
    last = np.flatnonzero(codes < 0x20)
    if not len(last) or last[-1] != len(codes) - 1:
        raise InvalidRleError("counts end in the middle of a number")
    if len(last) > pixels + 1:
        _too_many(len(last), pixels)
    first = np.concatenate(([0], last[:-1] + 1))
    lengths = last - first + 1
    if lengths.max() > _MAX_CHARACTERS:
        raise InvalidRleError(f"counts hold a number of over {5 * _MAX_CHARACTERS} bits")
    place = np.arange(len(codes)) - np.repeat(first, lengths)
    numbers = np.add.reduceat((codes & 0x1F).astype(np.int64) << (5 * place), first)
    numbers -= np.where(codes[last] & 0x10, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _too_many(runs: int, pixels: int) -> NoReturn:
    raise InvalidRleError(f"counts hold {runs} runs, more than {pixels} pixels can have")


class _NoTexts(reprlib.Repr):
    def repr_str(self, x: str, level: int) -> str:
        return f"a text of {len(x)} characters"


def _shown(value: object) -> str:
    """Shorten what a caller sent, however large or deep, for an error's text.

    A text is not shown: it might be a name.
    """
    short = _NoTexts()
    short.maxlevel = 2
    try:
        text = short.repr(value)
    except ValueError:  # Python prints no integer of over 4,300 digits
        return "a number of over 4300 digits"
    return text if len(text) <= 40 else f"{text[:37]}..."
