"""TIFF levels are read right in every depth, order and packing, or refused by what they are."""

import zlib

import numpy as np
import pytest
from PIL import Image

from model_core.errors import UnsupportedImageError
from model_core.images.decode import decode_image
from model_core.images.formats.loader import load_image, open_image
from tests.fixtures.tiffs import BLACK_IS_ZERO, RGB, WHITE_IS_ZERO, Page, Values, grey_levels, tiff

HEIGHT, WIDTH = 5, 14
RAW, DEFLATE = 1, 8
SIGNED, FLOAT = 2, 3
BITS, PACKING, COLOURS, SAMPLES, PLANES, FORMAT = 258, 259, 262, 277, 284, 339


def levels(bits: int) -> np.ndarray:
    return np.random.default_rng(bits).integers(0, 1 << bits, (HEIGHT, WIDTH)).astype(np.uint16)


def packed(page: Page, packing: int) -> Page:
    page.tags[PACKING] = packing
    if packing == DEFLATE:
        page.pixels = [zlib.compress(strip) for strip in page.pixels]
    return page


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("packing", [RAW, DEFLATE], ids=["raw", "deflate"])
@pytest.mark.parametrize("colours", [WHITE_IS_ZERO, BLACK_IS_ZERO], ids=["white is 0", "black"])
@pytest.mark.parametrize(
    ("bits", "order"),
    [(bits, order) for bits in (1, 2, 4, 8, 16) for order in "<>"] + [(12, "<")],
)
def test_grey_levels_are_read_right(
    bits: int, order: str, colours: int, packing: int, planes: int
) -> None:
    values = levels(bits)
    page = packed(grey_levels(values, bits, order, colours=colours), packing)
    page.tags[PLANES] = planes
    picture = np.asarray(decode_image(tiff([page], order)).picture).astype(int)
    expected = values[..., None].astype(int) * 255 / ((1 << bits) - 1)
    assert abs(picture - expected).max() <= 0.51


def test_a_mask_keeps_its_16_bit_levels_where_white_is_zero() -> None:
    values = levels(16)
    data = tiff([grey_levels(values, 16, ">", colours=WHITE_IS_ZERO)], ">")
    image = open_image(data, "TIFF", what="image", max_pixels=100)
    load_image(image)
    assert np.array_equal(np.asarray(image), values)


def test_planes_of_8_bits_are_read() -> None:
    colours = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    planes = [colours[..., channel].tobytes() for channel in range(3)]
    tags: dict[int, Values] = {BITS: [8, 8, 8], PACKING: RAW, COLOURS: RGB, SAMPLES: 3, PLANES: 2}
    picture = decode_image(tiff([Page((HEIGHT, WIDTH), planes, tags)])).picture
    assert np.array_equal(np.asarray(picture), colours)


def several(bits: int, colours: int, samples: int, **more: int) -> Page:
    size = HEIGHT * WIDTH * samples * 2
    planes = samples if more.get("t284") == 2 else 1
    tags: dict[int, Values] = {
        BITS: [bits] * samples,
        PACKING: RAW,
        COLOURS: colours,
        SAMPLES: samples,
    }
    tags |= {int(tag[1:]): value for tag, value in more.items()}
    return Page((HEIGHT, WIDTH), [bytes(size)] * planes, tags)


@pytest.mark.parametrize(
    ("page", "order", "found"),
    [
        pytest.param(grey_levels(levels(12), 12), ">", "grey.* of 12 bits", id="12, big-endian"),
        pytest.param(grey_levels(levels(10), 10), "<", "grey.* of 10 bits", id="10 bits"),
        pytest.param(grey_levels(levels(14), 14), "<", "grey.* of 14 bits", id="14 bits"),
        pytest.param(several(12, RGB, 3), "<", r"3 channels \(RGB\) of 12 bits", id="RGB of 12"),
        pytest.param(several(16, RGB, 3, t284=2), "<", "16 bits, in separate planes",
                     id="16-bit planes"),
        pytest.param(several(16, 1, 2, t338=2), "<", "2 channels", id="16-bit grey with alpha"),
        pytest.param(several(8, 1, 1, t339=SIGNED), "<", "8 signed bits", id="signed"),
        pytest.param(several(8, 8, 3), "<", "CIELAB", id="CIELAB"),
        pytest.param(several(8, 6, 3), "<", "YCbCr.*subsampled", id="subsampled"),
        pytest.param(several(16, RGB, 3, t339=FLOAT), "<", "16 floating point bits", id="half"),
        pytest.param(several(8, 32844, 1), "<", "colours 32844", id="LogL"),
    ],
)  # fmt: skip
def test_levels_that_are_not_read_are_refused_by_what_they_are(
    page: Page, order: str, found: str
) -> None:
    with pytest.raises(UnsupportedImageError, match=found):
        decode_image(tiff([page], order))


def test_colours_that_nobody_names_are_not_guessed() -> None:
    page = grey_levels(levels(8), 8)
    del page.tags[COLOURS]
    with pytest.raises(UnsupportedImageError, match="unnamed colours"):
        decode_image(tiff([page]))


def test_a_page_of_8_bits_is_as_pillow_reads_it() -> None:
    page = several(8, RGB, 3)
    page.pixels = [bytes(range(210))]
    picture = Image.frombytes("RGB", (WIDTH, HEIGHT), bytes(range(210)))
    assert decode_image(tiff([page])).picture.tobytes() == picture.tobytes()


@pytest.mark.parametrize("most", [255, 65535])
def test_a_palette_of_bytes_is_read_as_one_of_16_bits(most: int) -> None:
    indices = levels(4).astype(np.uint8)
    page = Page((HEIGHT, WIDTH), [indices.tobytes()], {BITS: 8, PACKING: RAW, COLOURS: 3})
    red = [most * (index % 16) // 15 for index in range(256)]
    page.tags[320] = red + [0] * 256 + [most] * 256
    picture = np.asarray(decode_image(tiff([page])).picture).astype(int)
    assert abs(picture[..., 0] - indices * 17.0).max() <= 1
    assert (picture[..., 1:] == (0, 255)).all()
