"""Find the outermost elements of a DICOM file, without building what a file could inflate.

A general reader makes an object of every element and item, so that 20 MB of empty items become
gigabytes. Here only offsets are followed, a bounded number of them, and nothing but the elements
that are wanted is kept; their text is never part of an error.
"""

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from model_core.errors import UnreadableImageError, UnsupportedImageError, undecodable

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
NATIVE = (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)

MAX_ELEMENTS = 5_000
"""Elements and items looked at; an image's file has some hundred."""
MAX_DEPTH = 16
"""Sequences within sequences; an image's file has three or four."""
MAX_VALUE_BYTES = 16_384
"""Longest wanted value, unless it has a limit of its own: the longest text is 10,240 characters."""

_SUPPORTED = {*NATIVE, RLE, JPEG_BASELINE, JPEG_EXTENDED, *JPEG_LS, *JPEG_2000}
_OTHERS = {  # named in the error; whatever else a file says there is not repeated
    "1.2.840.10008.1.2.1.99": "deflated",
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
    "1.2.840.10008.1.2.4.201": "high-throughput JPEG 2000",
    "1.2.840.10008.1.2.4.202": "high-throughput JPEG 2000",
    "1.2.840.10008.1.2.4.203": "high-throughput JPEG 2000",
}
_SHORT = {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
          b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"}  # fmt: skip
_NO_TYPE = b"??"
"""Value representation that some writers use for unknown; encoded with a long length, as UN."""
_TRANSFER_SYNTAX = 0x0002_0010
_PIXEL_DATA = 0x7FE0_0010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE_E000, 0xFFFE_E00D, 0xFFFE_E0DD
_UNDEFINED = 0xFFFF_FFFF
_MARK = b"DICM"
_FIRST = {0x0000, 0x0001, 0x0005, 0x0006, 0x0008, 0x0012, 0x0013, 0x0014, 0x0016, 0x0018}
"""Elements of group 0008 that a data set may begin with."""
_FIRST_BYTES = 1_024
"""Longest value of such an element: a longer one is no DICOM file, or two letters of a type."""


@dataclass(frozen=True)
class DicomFile:
    """The wanted elements of a DICOM file, still as bytes.

    Attributes:
        transfer_syntax: UID of the encoding, one of those named above.
        values: Value by tag, of the wanted elements that are there.
        tags: Of all elements that are there.
        pixels: Pixel data: uncompressed, or the joined fragments of its one frame.
        in_words: Whether pixels are numbers of 16 bits, which in big endian swaps bytes.
    """

    transfer_syntax: str
    values: Mapping[int, bytes]
    tags: frozenset[int]
    pixels: memoryview
    in_words: bool

    @property
    def order(self) -> str:
        """Byte order of numbers, as `struct` and NumPy write it."""
        return ">" if self.transfer_syntax == EXPLICIT_BIG else "<"


def start_of(data: bytes) -> int | None:
    """Find where the first element of a DICOM file stands; None where it is no such file.

    That is behind a preamble of 128 bytes and `DICM`. Old archives leave the preamble out, and some
    the whole file meta information: then a file is known by its first element.

    Example:
        >>> start_of(bytes(128) + b"DICM"), start_of(b"DICM"), start_of(b"GIF89a")
        (132, 4, None)
    """
    for offset in (128, 0):
        if data[offset : offset + 4] == _MARK:
            return offset + 4
    meta = data[:2] == b"\2\0" and data[3:6] in (b"\0UL", b"\0OB", b"\0UI")
    return 0 if meta or _encoding_at(data, 0) else None


def _encoding_at(data: bytes, at: int) -> str:
    """Tell by its first element how an uncompressed data set is encoded; empty where it cannot."""
    head = data[at : at + 8]
    for order, syntax in (("<", EXPLICIT_LITTLE), (">", EXPLICIT_BIG)):
        group, element = struct.unpack(order + "HH", head[:4].ljust(4, b"\0"))
        if group == 0x0008 and element in _FIRST and len(head) == 8:
            if head[4:6] in _SHORT:
                return syntax
            length: int = struct.unpack("<I", head[4:])[0]
            if order == "<" and length <= _FIRST_BYTES:
                return IMPLICIT_LITTLE
    return ""


def read_elements(
    data: bytes, wanted: Collection[int], *, limits: Mapping[int, int] | None = None
) -> DicomFile:
    """Find the wanted elements and the pixel data.

    Args:
        data: The file's bytes.
        wanted: Tags, as `0x0028_0010`, of elements that are no sequences.
        limits: Longest value by tag, bytes, where `MAX_VALUE_BYTES` is not it.

    Raises:
        UnsupportedImageError: an encoding that is not read here.
        UnreadableImageError: truncated, damaged, or built to be expensive.
    """
    walk = _Walk(data, wanted, limits or {})
    meta = walk.values_until_dataset()
    syntax = meta.get(_TRANSFER_SYNTAX, b"").rstrip(b"\0 ").decode("ascii", "replace")
    if not meta:
        syntax = walk.encoding()
    if not syntax:
        raise UnreadableImageError("the DICOM file does not say how it is encoded (0002,0010)")
    if syntax not in _SUPPORTED:
        raise UnsupportedImageError(
            f"the DICOM file is encoded as {_OTHERS.get(syntax, 'something else')}, expected "
            "uncompressed, JPEG, JPEG 2000, JPEG-LS or RLE"
        )
    return walk.file_until_pixels(syntax)


class _Walk:
    """A position in a file, and how many steps it took to get there."""

    def __init__(self, data: bytes, wanted: Collection[int], limits: Mapping[int, int]) -> None:
        self._data, self._wanted, self._limits = data, wanted, limits
        self._at, self._steps, self._order = start_of(data) or 0, 0, "<"

    def encoding(self) -> str:
        """Tell how the element here is encoded; empty where that cannot be told."""
        return _encoding_at(self._data, self._at)

    def values_until_dataset(self) -> dict[int, bytes]:
        """Read the file meta information; it ends where another group begins (PS3.10, 7.1)."""
        values: dict[int, bytes] = {}
        while self._data[self._at : self._at + 2] == b"\x02\0":
            tag, _, length = self._head(implicit=False)
            values[tag] = self._value(tag, length)
        return values

    def file_until_pixels(self, syntax: str) -> DicomFile:
        """Read what is wanted of the data set, which ends for us with the pixel data."""
        self._order = ">" if syntax == EXPLICIT_BIG else "<"
        # Some writers leave the types out, or write them, and say the contrary.
        found = self.encoding() if syntax != EXPLICIT_BIG else syntax
        implicit = (found or syntax) == IMPLICIT_LITTLE
        values: dict[int, bytes] = {}
        tags: set[int] = set()
        while self._at < len(self._data):
            tag, vr, length = self._head(implicit=implicit)
            if tag == _PIXEL_DATA:
                pixels = self._pixels(length, native=syntax in NATIVE)
                return DicomFile(syntax, values, frozenset(tags), pixels, in_words=vr == b"OW")
            if tag in tags:
                raise UnreadableImageError("the DICOM file has an element twice")
            tags.add(tag)
            if length == _UNDEFINED:
                self._skip_sequence(implicit or vr == b"UN")
            elif tag in self._wanted:
                values[tag] = self._value(tag, length)
            else:
                self._take(length)
        raise UnreadableImageError("the DICOM file has no pixel data (7FE0,0010)")

    def _head(self, *, implicit: bool) -> tuple[int, bytes, int]:
        """Read tag, VR and length of the element or item here, and go on to its value."""
        self._steps += 1
        if self._steps > MAX_ELEMENTS:
            raise UnreadableImageError(f"the DICOM file has more than {MAX_ELEMENTS} elements")
        data, at, order = self._data, self._at, self._order
        try:
            group, element = struct.unpack_from(order + "HH", data, at)
            tag = group << 16 | element
            if implicit or group == 0xFFFE:
                self._at = at + 8
                return tag, b"", struct.unpack_from(order + "I", data, at + 4)[0]
            vr = bytes(data[at + 4 : at + 6])
            if vr in _SHORT:
                self._at = at + 8
                return tag, vr, struct.unpack_from(order + "H", data, at + 6)[0]
            # Every other type has the long form, those of later editions too (PS3.5, 7.1.2).
            if (vr.isalpha() and vr.isupper()) or vr == _NO_TYPE:
                self._at = at + 12
                return tag, vr, struct.unpack_from(order + "I", data, at + 8)[0]
            if group % 2:  # some makers copy private elements as they were, without a type
                self._at = at + 8
                return tag, b"UN", struct.unpack_from(order + "I", data, at + 4)[0]
        except struct.error as exc:
            raise undecodable("DICOM file") from exc
        raise UnreadableImageError("the DICOM file is damaged: an element has no type known (VR)")

    def _take(self, length: int) -> memoryview:
        """Give the bytes that come next, and go behind them; nothing is copied."""
        start = self._at
        if length > len(self._data) - start:
            raise undecodable("DICOM file")
        self._at += length
        return memoryview(self._data)[start : self._at]

    def _value(self, tag: int, length: int) -> bytes:
        limit = self._limits.get(tag, MAX_VALUE_BYTES)
        if length > limit:
            raise UnreadableImageError(
                f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) of the DICOM file has {length} "
                f"bytes, the limit is {limit}"
            )
        return bytes(self._take(length))

    def _skip_sequence(self, implicit: bool) -> None:
        """Go behind a sequence of undefined length, whatever lies in it."""
        within = [(True, implicit)]  # from the outermost: is it a sequence (or an item)? how read?
        while within:
            if len(within) > 2 * MAX_DEPTH:
                raise UnreadableImageError(
                    f"the DICOM file has sequences more than {MAX_DEPTH} deep"
                )
            is_sequence, implicit = within[-1]
            tag, vr, length = self._head(implicit=implicit)
            if tag == (_SEQUENCE_END if is_sequence else _ITEM_END):
                within.pop()
            elif is_sequence and tag != _ITEM:
                raise UnreadableImageError("the DICOM file is damaged: a sequence has no end")
            elif length != _UNDEFINED:
                self._take(length)
            elif is_sequence:
                within.append((False, implicit))
            else:
                within.append((True, implicit or vr == b"UN"))

    def _pixels(self, length: int, *, native: bool) -> memoryview:
        if native:
            if length == _UNDEFINED:
                raise UnreadableImageError("the DICOM file says uncompressed, and is compressed")
            return self._take(length)
        if length != _UNDEFINED:
            raise UnreadableImageError("the DICOM file says compressed, and is not")
        fragments: list[memoryview] = []
        while True:
            tag, _, length = self._head(implicit=True)
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM or length == _UNDEFINED:
                raise UnreadableImageError("the DICOM file is damaged: its frame has no end")
            fragments.append(self._take(length))
        frame = fragments[1:]  # the first item is the table of offsets, of no use for one frame
        return frame[0] if len(frame) == 1 else memoryview(b"".join(frame))
