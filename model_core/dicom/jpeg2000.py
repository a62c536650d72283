"""Read what a JPEG 2000 frame says of itself, and refuse one that is expensive to decode.

A decoder keeps a record of every tile, precinct and block of coefficients, and a header of 100
bytes can ask for millions of them: many times the memory of the pixels. Encoders cut blocks of 32
or 64 px and precincts of 128 or more, so anything much smaller is refused.
"""

import struct
from collections.abc import Iterator
from dataclasses import replace

from model_core.errors import UnreadableImageError, undecodable
from model_core.images.formats.decoder_process import Frame

MAX_TILES = 4_096
"""128 px tiles over 50 Mpx are 3,052."""
MIN_BLOCK = 16
"""Least side of a block of coefficients, px."""
MIN_PRECINCT = 64
"""Least side of a precinct, px."""
MAX_LAYERS = 64
"""Of quality; encoders write 1 to 20."""

_FRAME = "JPEG 2000 frame of the DICOM file"
_MAX_SEGMENTS = 500
_START, _SIZE = b"\xff\x4f", 0xFF51
_CODING, _COMPONENT_CODING, _ORDER_CHANGE = 0xFF52, 0xFF53, 0xFF5F
_TILE, _TILE_DATA, _END = 0xFF90, 0xFF93, 0xFFD9


def read_frame(data: bytes) -> Frame:
    """Read the size of a JPEG 2000 codestream that is whole and cheap to decode.

    Raises:
        UnreadableImageError: truncated, damaged, or built to be expensive.
    """
    try:
        return _read_frame(data)
    except (struct.error, IndexError, ValueError) as exc:
        raise undecodable(_FRAME) from exc


def _read_frame(data: bytes) -> Frame:
    frame: Frame | None = None
    if data[:2] != _START:
        what = "a JP2 file" if data[4:8] == b"jP  " else "no JPEG 2000"
        raise UnreadableImageError(f"the frame of the DICOM file is {what}, expected a codestream")
    rgb = False
    for marker, payload, at in _segments(data, 2, len(data)):
        if marker == _TILE:
            _check_tiles(data, at)
            break
        if marker == _SIZE:
            frame = _size(payload)
        elif marker == _CODING:
            rgb = bool(payload[4])
        _check_coding(marker, payload)
    if frame is None:
        raise undecodable(_FRAME)
    return replace(frame, rgb=rgb)


def _segments(data: bytes, at: int, limit: int) -> Iterator[tuple[int, bytes, int]]:
    """Yield markers of a header, their payloads and places; a tile's data ends it."""
    for _ in range(_MAX_SEGMENTS):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == _TILE_DATA:
            return
        end = at + 2 + length
        if marker < 0xFF00 or length < 2 or end > limit:
            raise undecodable(_FRAME)
        yield marker, data[at + 4 : end], at
        at = end
    raise _expensive(f"has more than {_MAX_SEGMENTS} segments in its header")


def _size(payload: bytes) -> Frame:
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(
        ">8I", payload, 2
    )
    samples = struct.unpack_from(">H", payload, 34)[0]
    kinds = {payload[36 + 3 * i : 39 + 3 * i] for i in range(min(samples, 4))}
    if not tile_width or not tile_height or not 1 <= samples <= 3 or len(kinds) != 1:
        raise undecodable(_FRAME)
    depth, across, down = kinds.pop()
    if (left, top, tile_left, tile_top, across, down) != (0, 0, 0, 0, 1, 1):
        raise UnreadableImageError(f"the {_FRAME} is shifted or subsampled")
    tiles = -(-right // tile_width) * -(-bottom // tile_height)
    if tiles > MAX_TILES:
        raise _expensive(f"has {tiles} tiles, the limit is {MAX_TILES}")
    return Frame(bottom, right, samples, (depth & 0x7F) + 1)


def _check_coding(marker: int, payload: bytes) -> None:
    """Hold the limits on how a frame, a tile or a component is coded; other segments pass."""
    if marker == _ORDER_CHANGE:
        raise _expensive("changes the order of its parts")
    if marker == _CODING:
        layers = struct.unpack_from(">H", payload, 2)[0]
        if layers > MAX_LAYERS:
            raise _expensive(f"has {layers} layers, the limit is {MAX_LAYERS}")
        style, block = payload[0], payload[5:]
    elif marker == _COMPONENT_CODING:
        style, block = payload[1], payload[2:]
    else:
        return
    levels, width, height, _, _, *precincts = block
    if min(width, height) + 2 < MIN_BLOCK.bit_length() - 1:
        raise _expensive(f"has blocks of less than {MIN_BLOCK} px")
    # The first is of the smallest resolution: harmless where that is small.
    checked = precincts[1 if levels > 2 else 0 :] if style & 1 else []
    if any(min(sides & 15, sides >> 4) < MIN_PRECINCT.bit_length() - 1 for sides in checked):
        raise _expensive(f"has precincts of less than {MIN_PRECINCT} px")


def _check_tiles(data: bytes, at: int) -> None:
    """Follow the parts of the tiles to the end: all there, and none coded in a way of its own."""
    for _ in range(4 * MAX_TILES):
        marker, length, _, size, _, _ = struct.unpack_from(">HHHIBB", data, at)
        if marker != _TILE or length != 10:
            raise undecodable(_FRAME)
        end = at + size if size else len(data.rstrip(b"\0")) - 2
        if not at + 12 < end <= len(data) - 2:
            raise undecodable(_FRAME)
        for inner, payload, _ in _segments(data, at + 12, end):
            _check_coding(inner, payload)
        if struct.unpack_from(">H", data, end)[0] == _END:
            return
        at = end
    raise _expensive("has too many parts of tiles")


def _expensive(what: str) -> UnreadableImageError:
    return UnreadableImageError(f"the {_FRAME} {what}; encode it again")
