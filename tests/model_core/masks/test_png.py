import io
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from model_core.arrays import Mask
from model_core.errors import (
    ImageTooLargeError,
    InputError,
    InvalidMaskError,
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from model_core.masks.png import decode_mask, encode_mask
from tests.fixtures.drawing import draw
from tests.fixtures.pictures import encode, png_file

DRAWN = draw("##.. #... ....")
GREY = DRAWN.astype(np.uint8) * 255


def stacked(*channels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.stack(channels, axis=-1))


def palette(*colours: int) -> Image.Image:
    """The drawn mask as palette indices: 0 is the first colour, 1 the second."""
    return labels(DRAWN.astype(np.uint8), [colours[:3], colours[3:]])


def labels(indices: np.ndarray, colours: Sequence[Sequence[int]]) -> Image.Image:
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([value for colour in colours for value in colour])
    return picture


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40)), st.sampled_from([1, 8]))
def test_every_mask_comes_back_as_it_was(mask: Mask, bits: int) -> None:
    assert np.array_equal(decode_mask(encode_mask(mask, bits=bits)), mask)


@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("rows", ["#", ".", "#.#.#.#.#", "# . #", "### ###", "... ..."])
def test_small_empty_and_full_masks_come_back_as_they_were(rows: str, bits: int) -> None:
    mask = decode_mask(encode_mask(draw(rows), bits=bits))
    assert np.array_equal(mask, draw(rows))
    assert mask.dtype == np.bool_


def test_8_bits_are_one_channel_of_0_and_255() -> None:
    picture = Image.open(io.BytesIO(encode_mask(DRAWN)))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (4, 3))
    assert np.array_equal(np.asarray(picture), GREY)


def test_1_bit_is_a_bilevel_png() -> None:
    data = encode_mask(DRAWN, bits=1)
    depth, colour = data[24], data[25]
    assert (depth, colour) == (1, 0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), DRAWN)


THREE = np.arange(12, dtype=np.uint8).reshape(3, 4) % np.uint8(3)
OPAQUE = np.full_like(GREY, 255)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(encode(Image.fromarray(GREY)), id="0 and 255"),
        pytest.param(encode(Image.fromarray(GREY // 255)), id="0 and 1"),
        pytest.param(encode(Image.fromarray(DRAWN)), id="bilevel"),
        pytest.param(png_file((3, 4), 2, 0, b"\0\xf0\0\xc0\0\0"), id="2 bits"),
        pytest.param(encode(palette(0, 0, 0, 255, 255, 255)), id="palette"),
        pytest.param(encode(palette(0, 0, 0, 1, 1, 1)), id="palette of 0 and 1"),
        pytest.param(encode(palette(0, 0, 0, 128, 0, 0)), id="label colours"),
        pytest.param(encode(palette(0, 128, 0, 128, 0, 0)), id="label colours without black"),
        pytest.param(encode(palette(128, 0, 0, 0, 128, 0)), id="the same, the other way round"),
        pytest.param(encode(palette(255, 255, 255, 255, 0, 0)), id="red on white"),
        pytest.param(encode(Image.fromarray(GREY // 2)), id="0 and 127"),
        pytest.param(
            encode(Image.fromarray(np.where(DRAWN, 255, 1).astype(np.uint8))), id="1, 255"
        ),
        pytest.param(
            encode(Image.fromarray(np.where(DRAWN, 65535, 0).astype(np.uint16))), id="16 bits"
        ),
        pytest.param(
            encode(Image.fromarray(np.where(DRAWN, 300, 2).astype(np.uint16))), id="2 and 300"
        ),
        pytest.param(encode(stacked(GREY, GREY, GREY)), id="RGB"),
        pytest.param(encode(stacked(GREY, GREY, GREY, OPAQUE)), id="RGBA, opaque"),
        pytest.param(encode(stacked(GREY, OPAQUE)), id="grey with alpha, opaque"),
    ],
)
def test_the_ways_in_which_editors_save_a_mask_are_read(data: bytes) -> None:
    assert np.array_equal(decode_mask(data), DRAWN)


def test_a_palette_may_show_one_level_alone_or_by_several_indices() -> None:
    black, white = (0, 0, 0), (255, 255, 255)
    assert not decode_mask(encode(labels(GREY * 0, [black]))).any()
    assert decode_mask(encode(labels(GREY * 0 + 1, [black, white]))).all()
    several = np.where(DRAWN, 2, np.arange(12).reshape(3, 4) % 2).astype(np.uint8)
    assert np.array_equal(decode_mask(encode(labels(several, [black, black, white]))), DRAWN)


@pytest.mark.parametrize("first", [0, 255])
def test_of_a_bilevel_bmp_only_the_colours_count(first: int) -> None:
    data = bytearray(encode(Image.fromarray(DRAWN ^ (first > 0)), "BMP"))
    data[54:62] = bytes([first] * 3 + [0] + [255 - first] * 3 + [0])  # the two colours
    assert np.array_equal(decode_mask(bytes(data), formats=("BMP",)), DRAWN)


def test_a_bmp_of_two_greys_in_8_bits_is_read() -> None:
    data = encode(palette(0, 0, 0, 255, 255, 255), "BMP")
    assert np.array_equal(decode_mask(data, formats=("BMP",)), DRAWN)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(encode(Image.fromarray(np.array([[0, 1, 255]], np.uint8))),
                     r"3 values \(0, 1, 255\)", id="0, 1 and 255"),
        pytest.param(encode(Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))),
                     r"12 values \(0, 1, 2, 3, 4, 5, …\)", id="grey levels"),
        pytest.param(encode(Image.fromarray(GREY // 255 * 0 + 7)), "only the value 7", id="7"),
        pytest.param(encode(stacked(GREY, GREY, OPAQUE)), "channels differ", id="colours"),
        pytest.param(encode(palette(255, 255, 255, 0, 0, 0)), "contradicts", id="inverting"),
        pytest.param(encode(palette(200, 0, 0, 0, 0, 0)), "contradicts", id="red, then black"),
        pytest.param(encode(palette(90, 90, 90, 60, 60, 60)), "contradicts", id="darker greys"),
        pytest.param(encode(palette(0, 0, 0, 0, 0, 0)), "contradicts", id="all black"),
        pytest.param(encode(labels(GREY, [(255 - i,) * 3 for i in range(256)])), "contradicts",
                     id="inverting, 0 and 255"),
        pytest.param(encode(labels(GREY * 0, [(9, 9, 9)])), "contradicts", id="only index 0"),
        pytest.param(encode(labels(THREE, [(0,) * 3, (9,) * 3, (1,) * 3])),
                     r"3 palette indices \(0, 1, 2\)", id="three labels"),
        pytest.param(encode(stacked(GREY, GREY, GREY, GREY)), "transparent", id="RGBA"),
        pytest.param(encode(stacked(OPAQUE, GREY)), "transparent", id="grey with alpha"),
    ],
)  # fmt: skip
def test_what_is_not_one_binary_channel_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidMaskError, match=reason):
        decode_mask(data)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(encode(Image.fromarray(GREY), "JPEG"), "a JPEG file", id="JPEG"),
        pytest.param(encode(Image.fromarray(GREY), "TIFF"), "a TIFF file", id="TIFF"),
        pytest.param(b'{"counts": "", "size": [1, 1]}', "bytes of no image type", id="JSON"),
        pytest.param(b"", "empty .0 bytes", id="nothing"),
    ],
)
def test_only_png_is_read(data: bytes, found: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"the mask is {found}.*, expected PNG"):
        decode_mask(data)


@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("tenths", range(2, 10))
def test_a_truncated_mask_is_unreadable(tenths: int, bits: int) -> None:
    noise = np.random.default_rng(0).random((60, 60)) < 0.5
    data = encode_mask(noise, bits=bits)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_mask(data[: len(data) * tenths // 10])


def test_an_animation_is_no_mask() -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    data = encode(frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(MultiFrameImageError, match="animated"):
        decode_mask(data)


@pytest.mark.parametrize("side", [7100, 13000, 2**31 - 1], ids=lambda side: f"{side}x{side}")
def test_too_many_pixels_are_refused_by_the_header_alone(side: int) -> None:
    with pytest.raises(ImageTooLargeError, match="50000000"):
        decode_mask(png_file((side, side), 1, 0))


def test_the_limit_can_be_set() -> None:
    assert decode_mask(encode_mask(DRAWN), max_pixels=12).shape == (3, 4)
    with pytest.raises(ImageTooLargeError, match="4x3 = 12 pixels, the limit is 11"):
        decode_mask(encode_mask(DRAWN), max_pixels=11)


WHOLE = [encode_mask(DRAWN), encode_mask(DRAWN, bits=1), encode(palette(0, 0, 0, 255, 255, 255))]


@pytest.mark.filterwarnings("ignore")  # as in production
@given(
    st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), min_size=1)
)
@settings(max_examples=200)
def test_a_damaged_mask_gives_a_mask_or_an_input_error(
    data: bytes, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(data)] = value
    try:
        mask = decode_mask(bytes(damaged), max_pixels=100_000)
    except InputError:
        return
    assert mask.dtype == np.bool_
    assert mask.ndim == 2
