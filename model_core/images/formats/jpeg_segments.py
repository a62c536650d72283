"""Reduce a JPEG to what concerns its pixels, so that odd metadata cannot fail it.

Also what the segments alone show to be missing, which no decoder notices.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from model_core.errors import UnsupportedImageError, damaged_file
from model_core.images.formats.exif import orientation_block, stored_orientation

_START, END = b"\xff\xd8", b"\xff\xd9"
_APP0, _EXIF, _APP2, _ADOBE, _APP15, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE
_HUFFMAN_TABLES, _SCAN, _QUANTISATION, _RESTARTS = 0xC4, 0xDA, 0xDB, 0xDD
_PROGRESSIVE, _LOSSLESS = 0xC2, 0xC3
_FRAMES = {0xC0, 0xC1, _PROGRESSIVE, _LOSSLESS}
_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_ALONE = {0x01, *range(0xD0, 0xD8)}
_PIXEL_MARKERS = {*_FRAMES, _HUFFMAN_TABLES, _QUANTISATION, _RESTARTS}
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_BETWEEN_SCANS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker in coded data: not a stuffed byte, a restart or a fill byte."""
_MAX_SEGMENTS = 2_000
"""Before the first scan, where a camera writes some 20; and from there on, where it writes 10."""
_ALL_COEFFICIENTS = b"\0\x3f\0"
"""Parameters of a scan that is not progressive."""
_JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_ZEROS = bytes(64)
"""More than a few blocks of pixels have."""


@dataclass
class _Header:
    """Facts of a JPEG's header, from the segments before its first scan."""

    scan: int = 0
    kept: list[bytes] = field(default_factory=list)
    frame: int = 0
    components: bytes = b""
    jfif: bool = False
    adobe: int | None = None
    orientation: int | None = None
    profile: list[bytes] = field(default_factory=list)


def only_pixels(data: bytes) -> tuple[bytes, bytes | None]:
    """Reduce a JPEG to what its pixels and its orientation need; give it and its colour profile.

    Comments, previews, XMP and odd EXIF are left out; a missing end marker is supplied.

    Raises:
        UnreadableImageError: its segments contradict themselves, or a scan is missing.
        UnsupportedImageError: arithmetic coding, in which damage cannot be seen.
    """
    header = _read_header(data)
    data, scan = _check_scans(data, header), header.scan
    parts: list[bytes | memoryview] = [_START]
    if header.jfif:
        parts.append(_JFIF)
    if header.orientation:
        parts.append(_segment(_EXIF, b"Exif\0\0" + orientation_block(header.orientation)))
    if header.adobe is not None:
        # An unknown number means YCbCr (or YCCK) to decoders.
        ycc = 1 if len(header.components) == 9 else 2
        transform = header.adobe if header.adobe <= 2 else ycc
        parts.append(_segment(_ADOBE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])))
    parts += header.kept
    parts.append(memoryview(data)[scan:])
    if data.rfind(END, scan) < 0:
        parts.append(END)
    return b"".join(parts), _profile(header.profile)


def header_segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, payload and place of each segment of a JPEG, up to its first scan's.

    Raises:
        UnreadableImageError: a segment is cut, or tables have other lengths than they announce.
    """
    at, after_metadata = 2, True
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(data, at)
        if match is None or match.end() > len(data) - 2:
            raise damaged_file("JPEG", "it ends within its header")
        start, marker = match.start(), data[match.end() - 1]
        # Cameras write wrong lengths of metadata; behind tables, left-over bytes are damage.
        if not after_metadata and data[at:start].strip(b"\xff"):
            raise damaged_file("JPEG", "the tables of its header have other lengths than announced")
        at = match.end()
        if marker in _ALONE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > len(data):
            raise damaged_file("JPEG", "a segment of its header is cut")
        yield marker, data[at + 2 : at + length], start
        if marker == _SCAN:
            return
        after_metadata = _APP0 <= marker <= _APP15 or marker == _COMMENT
        at += length
    raise damaged_file("JPEG", f"its header has more than {_MAX_SEGMENTS} segments")


def _read_header(data: bytes) -> _Header:
    header = _Header()
    for marker, payload, header.scan in header_segments(data):
        if marker != _SCAN:
            _read_segment(header, marker, payload)
    if not header.components:
        raise damaged_file("JPEG", "its header announces no size")
    return header


def _read_segment(header: _Header, marker: int, payload: bytes) -> None:
    if marker in _ARITHMETIC:
        raise UnsupportedImageError(
            "the JPEG file is coded arithmetically, expected Huffman codes; save it again"
        )
    if marker in _FRAMES:
        if header.components or len(payload) < 6 or len(payload) != 6 + 3 * payload[5]:
            raise damaged_file("JPEG", "its header is damaged")
        header.frame, header.components = marker, payload[6:]
    if marker in _PIXEL_MARKERS:
        header.kept.append(_segment(marker, payload))
    elif marker == _APP0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
        header.jfif = True
    elif marker == _ADOBE and payload.startswith(b"Adobe") and len(payload) >= 12:
        header.adobe = payload[11]
    elif marker == _APP2 and payload.startswith(b"ICC_PROFILE\0"):
        header.profile.append(payload[12:])
    elif marker == _EXIF and payload.startswith(b"Exif\0\0") and header.orientation is None:
        header.orientation = stored_orientation(payload)
    elif not (_APP0 <= marker <= _APP15 or marker == _COMMENT):
        raise damaged_file("JPEG", f"its header holds the marker {marker:02X}")


def _profile(parts: list[bytes]) -> bytes | None:
    """Join the colour profile, each part of which begins with its number and their count."""
    parts = sorted(parts)
    if not parts or [part[:2] for part in parts] != [
        bytes([number, len(parts)]) for number in range(1, min(len(parts), 255) + 1)
    ]:
        return None
    return b"".join(part[2:] for part in parts)


def _check_scans(data: bytes, header: _Header) -> bytes:
    """Refuse a file in which a scan is missing, or zeros stand in the place of its codes.

    Between two scans no decoder notices: what the rest would have added is simply not there.

    Returns:
        The file, with the parameters of its only scan as they should be.
    """
    scan, names = header.scan, header.components[::3]
    tables: dict[int, int] = {}
    for segment in header.kept:
        _read_tables(segment, tables)
    length, count = struct.unpack_from(">HB", data, scan + 2)
    at = scan + 2 + length
    if length != 6 + 2 * count:
        raise damaged_file("JPEG", "the header of a scan is damaged")
    if count == len(names) and header.frame != _PROGRESSIVE:
        _check_zeros(data, at, len(data), data[scan + 4 : at], tables, header)
        if header.frame == _LOSSLESS or data[at - 3 : at] == _ALL_COEFFICIENTS:
            return data
        # Some encoders write other parameters here, and decoders pass over them.
        return data[: at - 3] + _ALL_COEFFICIENTS + data[at:]
    missing = {name: [True] * 64 for name in names}
    for marker, payload, start, end in _segments(data, scan):
        if marker == _HUFFMAN_TABLES:
            _read_tables(data[start - len(payload) - 4 : start], tables)
        elif marker == _SCAN and payload and len(payload) == 4 + 2 * payload[0]:
            _check_zeros(data, start, end, payload, tables, header)
            _note_scan(payload, missing, progressive=header.frame == _PROGRESSIVE)
    if any(any(band) for band in missing.values()):
        raise damaged_file("JPEG", "it ends before its last scan")
    return data


def _segments(data: bytes, at: int) -> Iterator[tuple[int, bytes, int, int]]:
    """Yield markers and payloads from a scan to the end, and where the data behind them is."""
    for _ in range(_MAX_SEGMENTS):
        if at + 4 > len(data):
            return
        start = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if start < at + 4 or start > len(data):
            return
        following = _BETWEEN_SCANS.search(data, start)
        end = following.start() if following else len(data)
        yield data[at + 1], data[at + 4 : start], start, end
        if data[end : end + 2] == END:
            return
        at = end
    raise damaged_file("JPEG", f"it has more than {_MAX_SEGMENTS} scans and tables")


def _note_scan(payload: bytes, missing: dict[int, list[bool]], *, progressive: bool) -> None:
    """Mark what a scan brings: of its components a band of coefficients, up to their last bits."""
    first, last, bits = payload[-3:] if progressive else _ALL_COEFFICIENTS
    for name in payload[1:-3:2]:
        for coefficient in range(first, min(last, 63) + 1):
            if name in missing:
                missing[name][coefficient] = bits & 15 > 0


def _check_zeros(
    data: bytes, start: int, end: int, scan: bytes, tables: dict[int, int], header: _Header
) -> None:
    """Refuse zeros in the coded data that no encoder wrote, as lost sectors of a disk leave them.

    A decoder may come through them to the right number of pixels. Zeros are as many times the
    first code of each table, so they can only be flat colour, where these mean "no change" and
    "nothing more"; or the few bits of each block in a progressive scan of averages.
    """
    at = data.find(_ZEROS, start, end)
    if at < 0 or (header.frame == _PROGRESSIVE and scan[-3] == 0):
        return
    behind = data[at:end].lstrip(b"\0")
    classes = (0x10,) if header.frame == _PROGRESSIVE else (0x00, 0x10)
    used = [
        kind | (ids >> 4 if kind == 0 else ids & 15) for ids in scan[2:-3:2] for kind in classes
    ]
    if behind and not behind.startswith(END) and any(tables.get(key, 0) & 15 for key in used):
        raise damaged_file("JPEG", "zeros stand in place of some of its pixels")


def _read_tables(segment: bytes, tables: dict[int, int]) -> None:
    """Note what the first code of each Huffman table in a segment stands for."""
    at = 4
    while segment[1] == _HUFFMAN_TABLES and at + 17 < len(segment):
        tables[segment[at]] = segment[at + 17]
        at += 17 + sum(segment[at + 1 : at + 17])


def _segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
