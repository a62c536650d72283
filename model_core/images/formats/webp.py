"""Reduce a WebP to its pixels, without what else the file carries (RFC 9649)."""

import struct

from model_core.errors import damaged_file
from model_core.images.formats.exif import orientation_block, stored_orientation

_HEADER_BYTES = 12
_EXTENDED = b"VP8X"
_PIXELS = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_EXIF_FLAG, _XMP_FLAG, _PROFILE_FLAG = 0x08, 0x04, 0x20


def only_pixels(data: bytes) -> bytes:
    """Reduce a WebP to its pixels, its colour profile and its orientation.

    Raises:
        UnreadableImageError: a chunk of pixels is cut.
    """
    extended, profile, turn = b"", b"", None
    pixels: list[tuple[bytes, bytes]] = []
    (announced,) = struct.unpack_from("<I", data, 4)
    at, last = _HEADER_BYTES, min(len(data), 8 + announced)
    while at + 8 <= last:
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 8 + length]
        whole = len(body) == length
        if kind in _PIXELS:
            if not whole:
                raise damaged_file("WebP", f"it holds {len(body)} of {length} bytes of pixels")
            pixels.append((kind, body))
        elif kind == _EXTENDED:
            extended = body
        elif whole and kind == b"ICCP":
            profile = body
        elif whole and kind == b"EXIF":
            turn = stored_orientation(body)
        at += 8 + length + length % 2
    if not extended:
        return data
    flags = extended[0] & ~(_EXIF_FLAG | _XMP_FLAG | _PROFILE_FLAG)
    chunks = [*pixels]
    if profile:
        flags |= _PROFILE_FLAG
        chunks.insert(0, (b"ICCP", profile))
    if turn:
        flags |= _EXIF_FLAG
        chunks.append((b"EXIF", orientation_block(turn)))
    chunks.insert(0, (_EXTENDED, bytes([flags]) + extended[1:]))
    written = b"".join(
        struct.pack("<4sI", kind, len(body)) + body + bytes(len(body) % 2) for kind, body in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(written)) + b"WEBP" + written
