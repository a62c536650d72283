"""TIFF files as their specification says, also of kinds that Pillow does not write."""

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Values = int | list[int]
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, MOSAIC = 0, 1, 2, 32803
REDUCED, MASK = 1, 4
_CHILDREN = 330


@dataclass
class Page:
    """One picture of a file.

    Attributes:
        size: (height, width) px.
        pixels: One strip, or one a plane.
        tags: Values by tag, beside those of the size and the strips.
        children: Pictures below it (SubIFDs).
    """

    size: tuple[int, int]
    pixels: list[bytes]
    tags: dict[int, Values]
    children: list["Page"] = field(default_factory=list)


def tiff(pages: list[Page], order: str = "<") -> bytes:
    """The file of some pages, `order` as `struct` writes it."""
    out = bytearray((b"II*\0" if order == "<" else b"MM\0*") + bytes(4))
    at = 4
    for page in pages:
        start, next_at = _append(out, page, order)
        struct.pack_into(order + "I", out, at, start)
        at = next_at
    return bytes(out)


def grey_levels(
    values: npt.NDArray[np.uint16], bits: int, order: str = "<", *, colours: int = BLACK_IS_ZERO
) -> Page:
    """Grey values of 1 to 16 bits, packed into whole bytes a row."""
    height, width = values.shape
    stored = (1 << bits) - 1 - values if colours == WHITE_IS_ZERO else values
    if bits == 16:
        body = stored.astype(order + "u2").tobytes()
    else:
        places = np.arange(bits - 1, -1, -1)
        rows = (stored[..., None] >> places & 1).reshape(height, width * bits)
        body = np.packbits(rows.astype(np.uint8), axis=1).tobytes()
    return Page((height, width), [body], {258: bits, 259: 1, 262: colours, 277: 1})


def _append(out: bytearray, page: Page, order: str) -> tuple[int, int]:
    """Write a page; where its directory is, and where the place of the next one goes."""
    children = [_append(out, child, order)[0] for child in page.children]
    starts = []
    for strip in page.pixels:
        starts.append(len(out))
        out += strip + bytes(len(strip) % 2)
    tags: dict[int, Values] = {
        256: page.size[1],
        257: page.size[0],
        273: starts,
        278: page.size[0],
        279: [len(strip) for strip in page.pixels],
        **page.tags,
    }
    if children:
        tags[_CHILDREN] = children
    entries = []
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        short = tag not in (256, 257, 273, 278, 279, _CHILDREN)
        packed = struct.pack(f"{order}{len(values)}{'H' if short else 'I'}", *values)
        if len(packed) > 4:
            place = len(out)
            out += packed
            packed = struct.pack(order + "I", place)
        kind = 3 if short else 4
        entries.append(struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0"))
    start = len(out)
    out += struct.pack(order + "H", len(entries)) + b"".join(entries)
    out += bytes(4)
    return start, len(out) - 4
