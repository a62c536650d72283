"""BMP palettes and alpha as they are meant."""

import struct

import numpy as np
import pytest
from PIL import Image

from model_core.errors import UnsupportedImageError
from model_core.images.decode import decode_image
from tests.fixtures.pictures import encode, quarters

HEIGHT, WIDTH = 40, 60
PHOTO = np.asarray(quarters(HEIGHT, WIDTH))
BITFIELDS = 3
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
RGBA = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)


def bmp(
    header_bytes: int, alpha: int, *, masks: tuple[int, ...] = BGRA, packing: int = BITFIELDS
) -> bytes:
    """32 bits a pixel, the same alpha in all."""
    colours = PHOTO if masks == RGBA else PHOTO[..., ::-1]
    rows = np.dstack([colours, np.full((HEIGHT, WIDTH), alpha, np.uint8)])
    body = rows[::-1].tobytes()
    fields = (header_bytes, WIDTH, HEIGHT, 1, 32, packing, len(body), 2835, 2835, 0, 0)
    info = struct.pack("<IiiHHIIiiII", *fields)
    if header_bytes == 40:
        info += struct.pack("<III", *masks[:3]) if packing == BITFIELDS else b""
    else:
        info += struct.pack("<IIII", *masks).ljust(header_bytes - 40, b"\0")
    at = 14 + len(info)
    return b"BM" + struct.pack("<IHHI", at + len(body), 0, 0, at) + info + body


@pytest.mark.parametrize("masks", [BGRA, RGBA], ids=["BGRA", "RGBA"])
@pytest.mark.parametrize("header_bytes", [56, 108, 124])
def test_an_alpha_that_is_0_everywhere_was_never_written(
    header_bytes: int, masks: tuple[int, ...]
) -> None:
    picture = decode_image(bmp(header_bytes, 0, masks=masks)).picture
    assert np.array_equal(np.asarray(picture), PHOTO)


@pytest.mark.parametrize("packing", [0, BITFIELDS])
@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_the_fourth_byte_of_a_bmp_without_a_mask_for_alpha_is_none(
    packing: int, alpha: int
) -> None:
    data = bmp(40, alpha, packing=packing)
    assert np.array_equal(np.asarray(decode_image(data).picture), PHOTO)


def test_an_alpha_that_is_written_is_laid_over_white() -> None:
    half = np.asarray(decode_image(bmp(124, 128)).picture).astype(int)
    assert abs(half - (255 - (255 - PHOTO.astype(int)) * 128 / 255)).max() <= 1
    one = bytearray(bmp(124, 0))
    one[-1] = 255  # a single opaque pixel: the others are clear
    picture = np.asarray(decode_image(bytes(one)).picture)
    assert (picture == 255).all(axis=2).sum() >= HEIGHT * WIDTH - 1


def small_palette(bits: int, colours: list[int]) -> bytes:
    """Two rows of eight pixels that use the first and the last of these greys in turn."""
    indices = np.tile([0, len(colours) - 1], (2, 4)).astype(np.uint8)
    rows = indices[:, ::2] << 4 | indices[:, 1::2] if bits == 4 else indices
    body = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4))).tobytes()
    palette = b"".join(bytes([grey] * 3 + [0]) for grey in colours)
    at = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, 8, 2, 1, bits, 0, len(body), 0, 0, len(colours), 0)
    return b"BM" + struct.pack("<IHHI", at + len(body), 0, 0, at) + info + palette + body


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    "greys",
    [[0, 255], [0], [0, 1, 2], list(range(16)), [255, 0], [10, 200]],
    ids=["black and white", "black", "three", "sixteen", "inverting", "two greys"],
)
def test_a_palette_of_greys_is_read_at_the_depth_of_its_pixels(bits: int, greys: list[int]) -> None:
    picture = np.asarray(decode_image(small_palette(bits, greys)).picture)
    assert picture[..., 0].tolist() == [[greys[0], greys[-1]] * 4] * 2


def test_a_bilevel_and_a_grey_bmp_are_read_as_ever() -> None:
    grey = Image.fromarray(PHOTO).convert("L")
    for picture in (grey, grey.convert("1")):
        decoded = decode_image(encode(picture, "BMP")).picture
        assert np.array_equal(np.asarray(decoded), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(
    ("masks", "packing"),
    [
        pytest.param((0x3FF00000, 0xFFC00, 0x3FF, 0), 3, id="10 bits a channel"),
        pytest.param(BGRA, 4, id="JPEG within"),
        pytest.param(BGRA, 6, id="packing 6"),
    ],
)
def test_what_is_not_read_of_bmp_is_refused_by_name(masks: tuple[int, ...], packing: int) -> None:
    with pytest.raises(UnsupportedImageError, match="save it with 24 bits a pixel"):
        decode_image(bmp(124, 255, masks=masks, packing=packing))
