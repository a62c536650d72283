"""The orientation of a block of EXIF, which is all that is asked of it."""

import struct

_ORIENTATION, _SHORT, _LONG = 0x0112, 3, 4
_MOST_ENTRIES = 1_000


def stored_orientation(block: bytes) -> int | None:
    """The orientation, 1 to 8, that a block of EXIF names in its first directory.

    Args:
        block: From its byte order on; may be odd or cut anywhere.

    Returns:
        None where it names none that can be read.

    Example:
        >>> stored_orientation(orientation_block(6))
        6
    """
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, directory)
        for number in range(min(count, _MOST_ENTRIES)):
            at = directory + 2 + 12 * number
            tag, kind = struct.unpack_from(f"{order}HH", block, at)
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                form = order + ("H" if kind == _SHORT else "I")
                (value,) = struct.unpack_from(form, block, at + 8)
                return value if 1 <= value <= 8 else None
    except struct.error:  # it is cut
        return None
    return None


def orientation_block(orientation: int) -> bytes:
    """The smallest block of EXIF that names an orientation."""
    entry = struct.pack(">HHIHH", _ORIENTATION, _SHORT, 1, orientation, 0)
    return b"MM\0\x2a\0\0\0\x08" + struct.pack(">H", 1) + entry + bytes(4)
