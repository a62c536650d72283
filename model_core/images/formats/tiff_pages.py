"""Find the directory of a TIFF file's image, and tell whether the file is camera raw.

A TIFF is a chain of directories, one a picture, and each may have children (SubIFDs). Those marked
as reduced or as mask of another (TIFF 6.0, NewSubfileType) are no images of their own. Camera
raw files (DNG, NEF, CR2, ARW, PEF) are TIFF too: a small preview first, the sensor's values below.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from model_core.errors import MultiFrameImageError, UnsupportedImageError

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS = 254, 255, 256, 257, 258, 259, 262
FILL_ORDER, SAMPLES, PLANES, CHILDREN, SAMPLE_FORMAT = 266, 277, 284, 330, 339
SUBSAMPLING, DNG = 530, 50706
_WANTED = frozenset(
    {SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, COLOURS, FILL_ORDER, SAMPLES,
     PLANES, CHILDREN, SAMPLE_FORMAT, SUBSAMPLING, DNG}
)  # fmt: skip
FORMS = {1: "B", 3: "H", 4: "I", 13: "I"}
"""Of the types of values that these tags have."""
_REDUCED, _MASK, _DEPTH, _SEMANTIC = 1, 4, 8, 16
"""Bits of NewSubfileType that make a picture part of another; the last two are DNG's."""
_OLD_REDUCED = 2
_MASK_COLOURS = 4
_SENSOR = (32803, 34892)
"""PhotometricInterpretation of camera raw: a mosaic of colour filters, or linear values."""
_MAKERS = (b"CR\x02\0", b"IIII")
"""Behind the header of Canon's and Phase One's raw files."""
_MOST_ENTRIES, _MOST_VALUES, _MOST_DIRECTORIES = 1_000, 32, 64
"""Looked at: of a directory, of a tag, of a file. A camera writes some 60, 3 and 6."""


@dataclass(frozen=True)
class Directory:
    """What one directory says of its picture.

    Attributes:
        start: Its place in the file.
        next_at: Where the place of the next one stands.
        tags: Values of the tags that matter here.
        places: Where an entry's first value stands, and its form.
    """

    start: int
    next_at: int
    tags: dict[int, tuple[int, ...]]
    places: dict[int, tuple[int, str]]

    def first(self, tag: int, default: int) -> int:
        """First value of a tag."""
        return (self.tags.get(tag) or (default,))[0]

    @property
    def is_beside(self) -> bool:
        """Whether it is a preview or a mask of another picture."""
        marked = self.first(SUBFILE, 0) & (_REDUCED | _MASK | _DEPTH | _SEMANTIC)
        return bool(
            marked
            or self.first(OLD_SUBFILE, 0) == _OLD_REDUCED
            or self.first(COLOURS, 0) == _MASK_COLOURS
        )


def byte_order(data: bytes) -> str:
    """Read the byte order of a TIFF, as `struct` writes it."""
    return "<" if data.startswith(b"II") else ">"


def main_directory(data: bytes) -> Directory | None:
    """Find the directory of a TIFF file's one image; None where its first cannot be read.

    Raises:
        UnsupportedImageError: the file is camera raw.
        MultiFrameImageError: it has several pages.
    """
    order = byte_order(data)
    chain = list(_chain(data, order))
    children = [child for page in chain for child in _children(data, order, page)]
    if data[8:12] in _MAKERS or any(map(_is_raw, [*chain, *children])):
        raise UnsupportedImageError(
            "found a camera raw file, whose colours are still to be developed; export it as JPEG, "
            "PNG or TIFF"
        )
    pages = [page for page in chain if not page.is_beside]
    if not pages and len(chain) == 1:  # the image may stand below its preview
        pages = [child for child in children if not child.is_beside] or chain
    if len(pages) == 1 or not chain:
        return pages[0] if pages else None
    raise MultiFrameImageError("the TIFF file has several pages, expected one image")


def _chain(data: bytes, order: str) -> Iterator[Directory]:
    seen: set[int] = set()
    at = 4
    while len(seen) < _MOST_DIRECTORIES:
        try:
            (start,) = struct.unpack_from(order + "I", data, at)
            if start == 0 or start in seen:
                return
            directory = _read(data, order, start)
        except struct.error:  # it points out of the file
            return
        if WIDTH not in directory.tags:
            return
        yield directory
        seen.add(start)
        at = directory.next_at


def _children(data: bytes, order: str, page: Directory) -> Iterator[Directory]:
    for start in page.tags.get(CHILDREN, ()):
        try:
            child = _read(data, order, start)
        except struct.error:
            continue
        if WIDTH in child.tags:
            yield child


def entries(data: bytes, order: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, type, number of values and place of the values of each entry of a directory.

    Raises:
        struct.error: the file ends within it.
    """
    (count,) = struct.unpack_from(order + "H", data, start)
    for number in range(min(count, _MOST_ENTRIES)):
        at = start + 2 + 12 * number
        tag, kind, length = struct.unpack_from(order + "HHI", data, at)
        yield tag, kind, length, at + 8


def _read(data: bytes, order: str, start: int) -> Directory:
    tags: dict[int, tuple[int, ...]] = {}
    places: dict[int, tuple[int, str]] = {}
    for tag, kind, length, place in entries(data, order, start):
        if tag not in _WANTED or kind not in FORMS or length == 0:
            continue
        form = f"{order}{min(length, _MOST_VALUES)}{FORMS[kind]}"
        if struct.calcsize(form) > 4:
            (place,) = struct.unpack_from(order + "I", data, place)
        tags[tag] = struct.unpack_from(form, data, place)
        places[tag] = place, order + FORMS[kind]
    (count,) = struct.unpack_from(order + "H", data, start)
    return Directory(start, start + 2 + 12 * count, tags, places)


def _is_raw(directory: Directory) -> bool:
    # A DNG cut before its sensor's values has its version still.
    preview = directory.is_beside and DNG in directory.tags
    return preview or directory.first(COLOURS, 0) in _SENSOR
