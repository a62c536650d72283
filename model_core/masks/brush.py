"""Read and write masks as Label Studio's brush has them: the run lengths of @thi.ng/rle-pack.

What is packed is the picture of the brush, four bytes a pixel (red, green, blue, alpha), row by
row; the alpha channel says where the brush was. The stream is of bits, the highest first: 32 for
the number of values, 5 for a value's width less one, four times 4 for the widths of counts less
one. Then come groups: one bit says run or list, two choose the width of the count, then the count
less one, and one value for all of a run, or each value of a list.
"""

import numpy as np
import numpy.typing as npt

from model_core.arrays import Mask
from model_core.errors import InvalidRleError, check_pixels

_CHANNELS, _ALPHA = 4, 3
_HEADER_BITS = 32 + 5 + 4 * 4
_VALUE_BITS = 8
_COUNT_BITS = (3, 4, 8, 16)
"""Widths of a run's count that Label Studio's own encoder writes."""
HALF_COVERED = 128
"""Alpha from which on a pixel is lesion: the edge of a stroke may be half covered."""


def encode_brush(mask: Mask) -> list[int]:
    """Encode a mask as the `rle` of a brush region.

    Returns:
        Bytes, 0 to 255. All four channels of a pixel are 255 in the lesion and 0 elsewhere, as
        Label Studio's own converter writes them.

    Example:
        >>> encode_brush(np.array([[True, False]]))
        [0, 0, 0, 8, 57, 27, 252, 127, 241, 128, 0]
    """
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    lengths = np.diff(starts) * _CHANNELS
    longest = 1 << _COUNT_BITS[-1]
    bits = [f"{flat.size * _CHANNELS:032b}{_VALUE_BITS - 1:05b}"]
    bits += [f"{width - 1:04b}" for width in _COUNT_BITS]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=False):
        value = f"{255 if flat[start] else 0:0{_VALUE_BITS}b}"
        for count in (*[longest] * (length // longest), length % longest):
            if count:
                size = next(i for i, width in enumerate(_COUNT_BITS) if count <= 1 << width)
                bits.append(f"1{size:02b}{count - 1:0{_COUNT_BITS[size]}b}{value}")
    text = "".join(bits)
    count = len(text) // 8 + 1  # padded as the converter does: whole bytes get one more
    return list(int(text.ljust(count * 8, "0"), 2).to_bytes(count, "big"))


def decode_brush(rle: object, *, height: int, width: int, max_pixels: int) -> Mask:
    """Decode the `rle` of a brush region.

    Args:
        rle: Parsed JSON: a list of bytes, 0 to 255.
        height: Of the photograph, px.
        width: Of the photograph, px.
        max_pixels: Limit on height times width, checked before anything is allocated.

    Raises:
        InvalidRleError: no such list, or not as many values as the photograph has.
        ImageTooLargeError: more than `max_pixels`.

    Example:
        >>> decode_brush(encode_brush(np.eye(2, dtype=bool)), height=2, width=2, max_pixels=9)
        array([[ True, False],
               [False,  True]])
    """
    check_pixels("brush's image", height, width, max_pixels)
    if not isinstance(rle, list) or not all(type(n) is int and 0 <= n <= 255 for n in rle):
        raise InvalidRleError("the brush's rle is no list of bytes, expected integers 0 to 255")
    values = _unpack(_Bits(np.array(rle, np.uint8)), height * width * _CHANNELS)
    mask: Mask = values.reshape(height, width, _CHANNELS)[..., _ALPHA] >= HALF_COVERED
    return mask


class _Bits:
    """Read numbers of a few bits, one after the other."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.bits = np.unpackbits(data)
        self.place = 0

    def take(self, count: int) -> npt.NDArray[np.uint8]:
        """Take the next bits as they are.

        Raises:
            InvalidRleError: there are fewer.
        """
        start, self.place = self.place, self.place + count
        if self.place > len(self.bits):
            raise InvalidRleError("the brush's rle ends in the middle of a run")
        return self.bits[start : self.place]

    def number(self, width: int) -> int:
        """Take the next bits as a number, the highest first."""
        return int.from_bytes(np.packbits(self.take(width)).tobytes(), "big") >> (-width % 8)


def _unpack(bits: _Bits, expected: int) -> npt.NDArray[np.uint8]:
    if len(bits.bits) < _HEADER_BITS:
        raise InvalidRleError(f"the brush's rle has {len(bits.bits) // 8} bytes, expected a header")
    count, width = bits.number(32), bits.number(5) + 1
    if count != expected or width != _VALUE_BITS:
        raise InvalidRleError(
            f"the brush's rle holds {count} values of {width} bits, expected {expected} of "
            f"{_VALUE_BITS}: four for each pixel of the photograph"
        )
    widths = [bits.number(4) + 1 for _ in range(4)]
    values = np.empty(count, np.uint8)
    place = 0
    while place < count:
        is_run, size = bits.number(1), bits.number(2)
        length = bits.number(widths[size]) + 1
        if place + length > count:
            raise InvalidRleError(f"the brush's rle holds more than the {count} values it says")
        taken = bits.take(_VALUE_BITS if is_run else length * _VALUE_BITS)
        values[place : place + length] = np.packbits(taken)
        place += length
    return values
