"""A TIFF is all of its strips or tiles, or an error."""

import struct
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from model_core.errors import UnreadableImageError, UnsupportedImageError
from model_core.images.decode import decode_image
from tests.fixtures.pictures import encode, tiff_file

HEIGHT, WIDTH = 48, 80
VALUES = np.random.default_rng(5).integers(60, 200, (HEIGHT, WIDTH, 3), np.uint8)
PHOTO = Image.fromarray(VALUES)
FAX = Image.fromarray(np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % 9 < 4).convert("1")
STARTS, LENGTHS = 273, 279
PACKINGS = ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"]
FAXES = ["tiff_ccitt", "group3", "group4"]


def strips(packing: str) -> bytes:
    """Six strips, or one of a fax."""
    if packing in FAXES:
        return encode(FAX, "TIFF", compression=packing)
    return encode(PHOTO, "TIFF", compression=packing, tiffinfo={278: 8})


def entries(data: bytes) -> dict[int, tuple[int, str, int]]:
    """Where the values of each tag are, their form and their number."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    found = {}
    for place in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from("<HHI", data, place)
        form = {3: "H", 4: "I"}.get(kind)
        if form:
            small = struct.calcsize(form) * number <= 4
            found[tag] = (
                place + 8 if small else struct.unpack_from("<I", data, place + 8)[0],
                form,
                number,
            )
    return found


def values(data: bytes, tag: int) -> list[int]:
    place, form, number = entries(data)[tag]
    return list(struct.unpack_from(f"<{number}{form}", data, place))


def changed(data: bytes, tag: int, change: Callable[[int], int]) -> bytes:
    """The same with other values in the second half of a tag."""
    place, form, number = entries(data)[tag]
    old = values(data, tag)
    new = [*old[: number // 2], *map(change, old[number // 2 :])]
    patched = bytearray(data)
    struct.pack_into(f"<{number}{form}", patched, place, *new)
    return bytes(patched)


def zeroed(data: bytes) -> bytes:
    starts, lengths = values(data, STARTS), values(data, LENGTHS)
    middle = len(starts) // 2
    at, count = starts[middle] + lengths[middle] // 3, min(256, lengths[middle] // 2)
    return data[:at] + bytes(count) + data[at + count :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "strips at 0": lambda data: changed(data, STARTS, lambda _: 0),
    "strips of no bytes": lambda data: changed(data, LENGTHS, lambda _: 0),
    "strips of no bytes at 0": lambda data: changed(
        changed(data, STARTS, lambda _: 0), LENGTHS, lambda _: 0
    ),
    "strips behind the end": lambda data: changed(data, STARTS, lambda _: len(data) + 10),
    "half strips": lambda data: changed(data, LENGTHS, lambda length: length // 2),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("packing", [*PACKINGS, *FAXES[1:]])
def test_a_tiff_without_all_its_strips_is_refused(packing: str, damage: str) -> None:
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(DAMAGE[damage](strips(packing)))


@pytest.mark.parametrize("packing", [*PACKINGS[1:], *FAXES])
def test_a_lost_sector_shows_in_what_is_packed(packing: str) -> None:
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(zeroed(strips(packing)))


@pytest.mark.parametrize("packing", [*PACKINGS, *FAXES])
def test_a_whole_tiff_is_read(packing: str) -> None:
    picture = np.asarray(decode_image(strips(packing)).picture).astype(int)
    expected = np.asarray((FAX if packing in FAXES else PHOTO).convert("RGB"))
    assert abs(picture - expected).mean() < (20 if packing == "jpeg" else 1e-9)


def test_a_list_of_too_few_strips_is_refused() -> None:
    data = strips("raw")
    place, _, number = entries(data)[278]
    fewer = data[:place] + struct.pack("<H", 7) + data[place + 2 :]
    with pytest.raises(UnreadableImageError, match=f"lists {number * 6} of 7 strips"):
        decode_image(fewer)


def test_a_file_that_does_not_say_how_long_its_strip_is_is_read_whole_or_refused() -> None:
    data = tiff_file((HEIGHT, WIDTH), VALUES.tobytes(), bits=8, channels=3)
    unsaid = data.replace(struct.pack("<HH", LENGTHS, 4), struct.pack("<HH", 281, 4))
    assert np.array_equal(np.asarray(decode_image(unsaid).picture), VALUES)
    with pytest.raises(UnreadableImageError, match="ends behind"):
        decode_image(unsaid[:-1])


def test_the_jpeg_of_tiff_6_is_refused_by_name() -> None:
    data = tiff_file((HEIGHT, WIDTH), VALUES.tobytes(), bits=8, channels=3)
    old = struct.pack("<HHII", 259, 3, 1, 1)
    with pytest.raises(UnsupportedImageError, match=r"the JPEG of TIFF 6\.0"):
        decode_image(data.replace(old, struct.pack("<HHII", 259, 3, 1, 6)))
