"""Colour profiles written by hand: nobody's property, and small enough to foresee what they do."""

import struct

_D50 = (0.9642, 1.0, 0.8249)
# sRGB's primaries, adapted to D50 as profiles hold them (X, Y, Z).
_RED = (0.4361, 0.2225, 0.0139)
_GREEN = (0.3851, 0.7169, 0.0971)
_BLUE = (0.1431, 0.0606, 0.7142)


def red_and_green_swapped(description: str = "Swapped") -> bytes:
    """An RGB profile whose first channel shines in sRGB's green, and whose second in its red."""
    curve = _curve(2.2)
    tags = {
        "rXYZ": _xyz(_GREEN),
        "gXYZ": _xyz(_RED),
        "bXYZ": _xyz(_BLUE),
        "rTRC": curve,
        "gTRC": curve,
        "bTRC": curve,
    }
    return _profile("mntr", "RGB ", "XYZ ", tags, description)


def gamma_with_srgb_primaries(gamma: float, description: str) -> bytes:
    """An RGB profile of sRGB's primaries whose light is the values to a power."""
    curve = _curve(gamma)
    tags = {
        "rXYZ": _xyz(_RED),
        "gXYZ": _xyz(_GREEN),
        "bXYZ": _xyz(_BLUE),
        "rTRC": curve,
        "gTRC": curve,
        "bTRC": curve,
    }
    return _profile("mntr", "RGB ", "XYZ ", tags, description)


def linear_grey() -> bytes:
    """A grey profile whose values are proportional to light: 55 of 255 is sRGB's 128."""
    return _profile("mntr", "GRAY", "XYZ ", {"kTRC": _curve(1.0)}, "Linear grey")


def cyan_is_black() -> bytes:
    """A CMYK profile of a press whose cyan ink is black, and whose other inks are invisible."""
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 if place % 4 == 0 else 0 for place in range(9)))
    white, black = (255, 128, 128), (0, 128, 128)
    corners = bytes(value for cyan in (white, black) for _ in range(8) for value in cyan)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix
    table += identity * 4 + corners + identity * 3
    return _profile("prtr", "CMYK", "Lab ", {"A2B0": table}, "Cyan is black")


def _profile(
    kind: str, colours: str, space: str, tags: dict[str, bytes], description: str
) -> bytes:
    text = description.encode() + b"\0"
    tags = tags | {
        "desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78),
        "cprt": b"text" + bytes(4) + b"none\0",
        "wtpt": _xyz(_D50),
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        table += name.encode() + struct.pack(">II", start + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    header = struct.pack(">I4sI", start + len(body), b"none", 0x02100000)
    header += (kind + colours + space).encode() + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + table + body


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
