"""Read and write the orientation in EXIF, whose block is a TIFF file of one directory."""

import struct
from contextlib import suppress

from model_core.images.formats.tiff_pages import FORMS, entries

_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4


def stored_orientation(block: bytes) -> int | None:
    """Read the orientation, 1 to 8, in the first directory of a block of EXIF; None without.

    The block, with the name that JPEG puts before it or without, may be odd or cut anywhere.

    Example:
        >>> stored_orientation(orientation_block(6))
        6
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    with suppress(struct.error):  # the block is cut
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        for tag, kind, _, at in entries(block, order, directory):
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                (value,) = struct.unpack_from(order + FORMS[kind], block, at)
                return value if 1 <= value <= 8 else None
    return None


def orientation_block(orientation: int) -> bytes:
    """Write the smallest block of EXIF that names an orientation."""
    entry = struct.pack(">HHIHH", _ORIENTATION, _SHORT, 1, orientation, 0)
    return b"MM\0\x2a\0\0\0\x08" + struct.pack(">H", 1) + entry + bytes(4)
