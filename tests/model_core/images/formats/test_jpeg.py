"""A JPEG is all of its pixels or an error, whatever stands beside them."""

import io
import itertools
import re
import struct
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model_core.errors import UnreadableImageError, UnsupportedImageError
from model_core.images.decode import decode_image
from tests.fixtures.pictures import encode

END = b"\xff\xd9"


def textured(height: int = 96, width: int = 128) -> Image.Image:
    """A smooth picture with fine noise: no two rows of its coded data are alike."""
    rows, columns = np.mgrid[:height, :width]
    noise = np.random.default_rng(3).normal(0, 12, (height, width, 3))
    values = np.stack([rows + columns, 220 - rows, 90 + columns / 2], -1) + noise
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


PHOTO = textured()
KINDS = {
    "4:4:4": encode(PHOTO, "JPEG", quality=92, subsampling=0),
    "4:2:0": encode(PHOTO, "JPEG", quality=85),
    "own tables": encode(PHOTO, "JPEG", quality=85, optimize=True),
    "grey": encode(PHOTO.convert("L"), "JPEG", quality=95),
    "CMYK": encode(PHOTO.convert("CMYK"), "JPEG"),
    "RGB": encode(PHOTO, "JPEG", keep_rgb=True),
    "progressive": encode(PHOTO, "JPEG", quality=95, progressive=True),
    "restarts": encode(PHOTO, "JPEG", subsampling=0, restart_marker_rows=1),
}


def pixels(data: bytes, at_least: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    return np.asarray(decode_image(data, at_least=at_least).picture)


def coded(data: bytes) -> int:
    """Where the last scan's coded data begins."""
    at = data.rindex(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def half(data: bytes) -> bytes:
    return data[: (coded(data) + len(data)) // 2]


def zeroed(data: bytes, count: int = 128) -> bytes:
    at = (2 * coded(data) + len(data)) // 3
    count = min(count, (len(data) - at) // 2)
    return data[:at] + bytes(count) + data[at + count :]


def taller(data: bytes) -> bytes:
    found = re.search(rb"\xff[\xc0\xc2]..\x08", data, re.DOTALL)
    assert found
    at = found.end()
    (rows,) = struct.unpack_from(">H", data, at)
    return data[:at] + struct.pack(">H", rows + 32) + data[at + 2 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "half, with an end": lambda data: half(data) + END,
    "half": half,
    "half, then zeros": lambda data: half(data) + bytes(len(data)),
    "half, then zeros and an end": lambda data: half(data) + bytes(len(data)) + END,
    "half, then other bytes": lambda data: half(data) + np.random.default_rng(1).bytes(len(data)),
    "a lost sector": zeroed,
    "newlines converted": lambda data: data.replace(b"\n", b"\r\n"),
    "a header taller than its data": taller,
    "a few bytes short": lambda data: data[:-12] + END,
}


@pytest.mark.parametrize("at_least", [None, (20, 20)], ids=["whole size", "reduced"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_without_all_its_pixels_is_refused(
    kind: str, damage: str, at_least: tuple[int, int] | None
) -> None:
    data = DAMAGE[damage](KINDS[kind])
    with pytest.raises(UnreadableImageError, match="the JPEG file is truncated or damaged"):
        decode_image(data, at_least=at_least)


@pytest.mark.parametrize("rows", [3, 8], ids=["numbers jump", "numbers go on"])
def test_a_jpeg_that_lost_restart_rows_is_refused(rows: int) -> None:
    data = KINDS["restarts"]
    places = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(data[: places[1]] + data[places[1 + rows] :])


@pytest.mark.parametrize("end", [b"", END], ids=["without an end", "with an end"])
def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused(end: bytes) -> None:
    data = KINDS["progressive"]
    scans = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    tables = [found.start() for found in re.finditer(rb"\xff\xc4", data)]
    for before, scan in itertools.pairwise(scans):
        cut = max([at for at in tables if before < at < scan], default=scan)
        with pytest.raises(UnreadableImageError, match="ends before its last scan"):
            decode_image(data[:cut] + end)


def with_segment(
    marker: int, content: bytes, length: int | None = None
) -> Callable[[bytes], bytes]:
    """Puts a segment behind the first marker; `length` is what it claims."""
    head = struct.pack(">BBH", 0xFF, marker, 2 + len(content) if length is None else length)
    return lambda data: data[:2] + head + content + data[2:]


WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "no end marker": lambda data: data[:-2],
    "half an end marker": lambda data: data[:-1],
    "no end marker, zeros behind": lambda data: data[:-2] + bytes(4096),
    "zeros before the end marker": lambda data: data[:-2] + bytes(100) + END,
    "other bytes behind the end": lambda data: data + b"made by a camera\xff\xda\xff",
    "text of the longest segment": with_segment(0xFE, b"x" * 65533),
    "EXIF that is none": with_segment(0xE1, b"Exif\0\0III*\0\0"),
    "a profile that is none": with_segment(0xE2, b"ICC_PROFILE\0\1\2zz zz"),
    "an odd Adobe segment": with_segment(0xEE, b"Ad"),
    "a preview that is cut": with_segment(0xE1, b"\xff\xd8\xff\xda\0\0\0\0\0\0"),
    "a comment of a wrong length": with_segment(0xFE, b"abcdefgh", 4),
    "fill bytes before a marker": lambda data: data[:2] + b"\xff\xff\xff" + data[2:],
}


@pytest.mark.parametrize("change", WHOLE)
@pytest.mark.parametrize("kind", ["4:4:4", "own tables", "grey", "progressive", "restarts"])
def test_what_stands_beside_the_pixels_of_a_jpeg_is_passed_over(kind: str, change: str) -> None:
    expected = pixels(KINDS[kind])
    assert np.array_equal(pixels(WHOLE[change](KINDS[kind])), expected)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", [*KINDS, "odd size"])
def test_the_pixels_are_those_of_pillow(kind: str, scale: int) -> None:
    photo = textured(97 * 8 - 3, 83 * 8 - 5)
    data = KINDS.get(kind) or encode(photo, "JPEG")
    if kind in KINDS:
        scale = min(scale, 1)  # too small to be reduced
    with Image.open(io.BytesIO(data)) as image:
        height, width = image.height // scale, image.width // scale
        image.draft(None, (width, height))
        expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(pixels(data, (height, width)), expected)


def test_flat_colour_of_many_zeros_is_no_lost_sector() -> None:
    data = encode(Image.new("L", (2048, 2048), 128), "JPEG", optimize=True)
    assert bytes(512) in data
    assert np.ptp(pixels(data)) == 0


def test_a_grey_jpeg_whose_scan_names_odd_parameters_is_read() -> None:
    data = KINDS["grey"]
    at = coded(data) - 3
    assert data[at : at + 3] == b"\0\x3f\0"
    odd = data[:at] + b"\0\0\0" + data[at + 3 :]
    assert np.array_equal(pixels(odd), pixels(data))


def test_arithmetic_coding_is_refused_because_damage_does_not_show_in_it() -> None:
    with pytest.raises(UnsupportedImageError, match="arithmetically"):
        decode_image(KINDS["grey"].replace(b"\xff\xc0", b"\xff\xc9"))


def test_sampling_that_is_not_checked_is_refused_by_name() -> None:
    data = KINDS["4:4:4"]
    at = data.index(b"\xff\xc0") + 11
    unusual = data[:at] + b"\x31" + data[at + 1 :]
    with pytest.raises(UnsupportedImageError, match="unusual sampling factors"):
        decode_image(unusual)


def test_a_header_without_its_tables_is_refused() -> None:
    data = KINDS["grey"]
    at = data.index(b"\xff\xdb")
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(data[:at] + b"\xff\xdb\0\x20" + data[at + 4 :])


@pytest.mark.parametrize(
    "segment",
    [
        pytest.param(b"\xff\xe0\0\2", id="metadata"),
        pytest.param(b"\xff\xda\0\x08\1\1\0\1\x3f\0", id="scans"),
    ],
)
def test_segments_by_the_hundred_thousand_are_refused_at_once(segment: bytes) -> None:
    data = encode(PHOTO.convert("L"), "JPEG", progressive=True)
    at = data.index(b"\xff\xda" if segment.startswith(b"\xff\xda") else b"\xff\xdb")
    started = time.process_time()
    with pytest.raises(UnreadableImageError, match="more than 2000"):
        decode_image(data[:at] + segment * 200_000 + data[at:])
    assert time.process_time() - started < 1
