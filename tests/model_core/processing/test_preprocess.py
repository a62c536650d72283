from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from model_core.arrays import Mask
from model_core.errors import ConfigError, ImageTooLargeError, ShapeMismatchError
from model_core.images.decode import decode_image
from model_core.images.formats.loader import DecodedImage
from model_core.network.normalise import normalise
from model_core.processing.preprocess import (
    Fit,
    Geometry,
    PreprocessConfig,
    fit_image,
    fit_mask,
    preprocess,
)
from tests.fixtures.drawing import draw
from tests.fixtures.pictures import SKIN, encode, lesion, quarters, turned

fits = pytest.mark.parametrize("fit", get_args(Fit))
sizes = st.tuples(st.integers(8, 250), st.integers(8, 250))


def config_of(fit: str, size: int = 64) -> PreprocessConfig:
    assert fit in ("squash", "letterbox")
    return PreprocessConfig(size=size, fit="squash" if fit == "squash" else "letterbox")


def decoded(picture: Image.Image) -> DecodedImage:
    return DecodedImage(picture, picture.height, picture.width)


def there_and_back(mask: Mask, config: PreprocessConfig) -> Mask:
    """The mask of a perfect network: fitted into its square, answered, and restored."""
    logits = np.where(fit_mask(mask, config), 4.0, -4.0).astype(np.float32)
    height, width = mask.shape
    return Geometry.of(height, width, config).restore(logits) > 0


def overlap(truth: Mask, pred: Mask) -> float:
    return float((truth & pred).sum() / max(1, (truth | pred).sum()))


# --- geometry --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "top", "left", "rows", "columns"),
    [
        pytest.param(768, 1024, 8, 0, 48, 64, id="wide"),
        pytest.param(1024, 768, 0, 8, 64, 48, id="high"),
        pytest.param(500, 500, 0, 0, 64, 64, id="square"),
        pytest.param(1, 1, 0, 0, 64, 64, id="one pixel"),
        pytest.param(32, 16, 0, 16, 64, 32, id="enlarged"),
        pytest.param(1, 1000, 31, 0, 1, 64, id="one row"),
        pytest.param(1000, 1, 0, 31, 64, 1, id="one column"),
        pytest.param(99, 100, 0, 0, 63, 64, id="odd bar: the lower one is thicker"),
    ],
)
def test_a_letterbox_keeps_the_aspect_ratio_and_centres(
    height: int, width: int, top: int, left: int, rows: int, columns: int
) -> None:
    geometry = Geometry.of(height, width, config_of("letterbox"))
    assert geometry == Geometry(height, width, 64, top, left, rows, columns)
    assert geometry.inside == (slice(top, top + rows), slice(left, left + columns))


@pytest.mark.parametrize("size", [(768, 1024), (1, 1), (1, 1000), (99, 100)])
def test_a_squash_fills_the_square(size: tuple[int, int]) -> None:
    assert Geometry.of(*size, config_of("squash")) == Geometry(*size, 64, 0, 0, 64, 64)


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(16, 2048))
def test_a_letterbox_always_lies_inside_the_square_and_touches_two_sides(
    height: int, width: int, size: int
) -> None:
    geometry = Geometry.of(height, width, config_of("letterbox", size))
    assert 0 <= geometry.top <= geometry.top + geometry.rows <= size
    assert 0 <= geometry.left <= geometry.left + geometry.columns <= size
    assert max(geometry.rows, geometry.columns) == size


@fits
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 3), (64, 64), (301, 200)])
def test_a_constant_answer_stays_that_constant(size: tuple[int, int], fit: str) -> None:
    geometry = Geometry.of(*size, config_of(fit))
    restored = geometry.restore(np.full((64, 64), 1.25, np.float32))
    assert restored.shape == size
    assert restored.dtype == np.float32
    assert np.allclose(restored, 1.25, rtol=1e-6)


def test_an_answer_of_the_network_s_own_size_comes_back_unchanged() -> None:
    logits = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    restored = Geometry.of(64, 64, config_of("letterbox")).restore(logits)
    assert np.array_equal(restored, logits)


def test_the_bars_of_a_letterbox_do_not_leak_into_the_answer() -> None:
    geometry = Geometry.of(32, 64, config_of("letterbox"))
    logits = np.full((64, 64), 99.0, np.float32)
    logits[16:48] = -1.0
    assert np.array_equal(geometry.restore(logits), np.full((32, 64), np.float32(-1)))


@given(sizes, st.sampled_from(get_args(Fit)))
@settings(max_examples=60)
def test_no_pixel_is_moved_by_more_than_half_a_pixel(size: tuple[int, int], fit: str) -> None:
    # Red holds each pixel's row, green its column: after a return trip they must say the same.
    height, width = size
    assume(max(size) <= 8 * min(size))
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    picture = Image.fromarray(np.stack([rows, columns, rows], axis=-1))
    pixels, geometry = fit_image(decoded(picture), config_of(fit))
    for channel, expected in ((0, rows), (1, columns)):
        back = geometry.restore(pixels[..., channel].astype(np.float32))
        # Near the border a resampled ramp flattens, for want of neighbours.
        above, beside = 2 * -(-height // geometry.rows), 2 * -(-width // geometry.columns)
        inner = slice(above, height - above), slice(beside, width - beside)
        assert np.abs(back - expected)[inner].max(initial=0) <= 0.51


# --- masks -----------------------------------------------------------------------------------


@given(sizes, st.sampled_from(get_args(Fit)))
@settings(max_examples=60)
def test_a_fitted_mask_comes_back_nearly_as_it_was(size: tuple[int, int], fit: str) -> None:
    assume(max(size) <= 3 * min(size))
    height, width = size
    rows, columns = np.ogrid[:height, :width]
    truth = np.hypot((rows + 0.5) / height - 0.5, (columns + 0.5) / width - 0.5) < 0.4
    pred = there_and_back(truth, config_of(fit))
    assert pred.shape == size
    assert overlap(truth, pred) > 0.93


@fits
@pytest.mark.parametrize("size", [(1, 100), (100, 1), (1, 101), (33, 1)])
def test_a_mask_one_pixel_wide_comes_back(size: tuple[int, int], fit: str) -> None:
    truth = np.zeros(size, bool)
    truth.ravel()[: truth.size // 2] = True
    assert overlap(truth, there_and_back(truth, config_of(fit))) > 0.93


@fits
@pytest.mark.parametrize("rows", ["#", ".", "#. ..", "### ### ###", "... ...", "#..# #..#"])
def test_a_mask_smaller_than_the_network_comes_back_exactly(rows: str, fit: str) -> None:
    assert np.array_equal(there_and_back(draw(rows), config_of(fit)), draw(rows))


@fits
def test_the_middle_of_a_rectangle_stays_within_half_a_pixel(fit: str) -> None:
    truth = np.zeros((480, 640), bool)
    truth[120:300, 160:400] = True
    pred = there_and_back(truth, config_of(fit))
    assert np.argwhere(pred).mean(axis=0) == pytest.approx(np.argwhere(truth).mean(axis=0), abs=0.5)


def test_a_pixel_of_a_fitted_mask_is_lesion_where_at_least_half_of_it_is() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, :31] = True
    fitted = fit_mask(mask, PreprocessConfig(size=16))  # four columns become one
    assert fitted.sum(axis=1).tolist() == [8] * 16  # 31 / 4 = 7.75
    mask[:, 29:31] = False
    assert fit_mask(mask, PreprocessConfig(size=16)).sum(axis=1).tolist() == [7] * 16  # 7.25


def test_a_fitted_mask_lies_where_its_photograph_does() -> None:
    config = config_of("letterbox")
    truth = np.asarray(lesion(90, 120))[..., 0] != SKIN[0]
    pixels, _ = fit_image(decoded(lesion(90, 120)), config)
    fitted = fit_mask(truth, config)
    bars = np.ones((64, 64), bool)
    bars[8:56] = False
    assert not fitted[bars].any()
    assert not pixels[bars].any()
    dark = pixels[..., 0] < 155  # half way from lesion (80) to skin (230)
    assert overlap(fitted, dark & ~bars) > 0.95


# --- pixels ----------------------------------------------------------------------------------


@fits
def test_preprocessing_gives_writable_bytes_of_the_network_s_size(fit: str) -> None:
    pixels, geometry = preprocess(encode(quarters(40, 60)), config_of(fit))
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable  # PyTorch warns of memory that is not
    assert (geometry.height, geometry.width) == (40, 60)


@fits
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 5)])
def test_tiny_photographs_fill_their_part_of_the_square(size: tuple[int, int], fit: str) -> None:
    pixels, geometry = preprocess(encode(Image.new("RGB", size[::-1], (9, 8, 7))), config_of(fit))
    assert (pixels[geometry.inside] == (9, 8, 7)).all()


def test_a_photograph_of_the_network_s_size_is_not_resampled() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    pixels, _ = preprocess(encode(picture), config_of("squash"))
    assert np.array_equal(pixels, np.asarray(picture))


def test_shrinking_averages_instead_of_skipping_pixels() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[::2] = 255
    pixels, _ = preprocess(encode(Image.fromarray(stripes)), config_of("squash"))
    assert abs(pixels[2:-2].astype(int) - 127).max() <= 2


@fits
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_gives_the_pixels_of_the_upright_one(
    orientation: int, fit: str
) -> None:
    upright, _ = preprocess(encode(quarters(50, 80)), config_of(fit))
    pixels, geometry = preprocess(turned(quarters(50, 80), orientation), config_of(fit))
    assert np.array_equal(pixels, upright)
    assert (geometry.height, geometry.width) == (50, 80)


@fits
@pytest.mark.parametrize("size", [(768, 1024), (1023, 767), (300, 1000)])
def test_decoding_a_jpeg_at_reduced_scale_shows_the_same(size: tuple[int, int], fit: str) -> None:
    data = encode(lesion(*size), "JPEG", quality=90)
    fast, geometry = preprocess(data, config_of(fit))
    full, expected = fit_image(decode_image(data), config_of(fit))
    assert geometry == expected
    assert decode_image(data, at_least=(64, 64)).picture.height < size[0]
    assert np.abs(fast.astype(int) - full).mean() < 1.0


def test_the_pixel_limit_is_passed_on() -> None:
    with pytest.raises(ImageTooLargeError):
        preprocess(encode(quarters(40, 60)), PreprocessConfig(), max_pixels=2399)


# --- normalising -----------------------------------------------------------------------------


def test_normalising_takes_the_mean_and_divides_by_the_deviation() -> None:
    config = PreprocessConfig(mean=(0.5, 0.4, 0.2), std=(0.25, 0.2, 0.1))
    images = torch.tensor([[[[0, 102, 255]]]], dtype=torch.uint8)
    expected = [(0 - 0.5) / 0.25, (0.4 - 0.4) / 0.2, (1 - 0.2) / 0.1]
    assert normalise(images, config)[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1e-6)


def test_normalising_all_values_equals_its_formula() -> None:
    config = PreprocessConfig(mean=(0.7, 0.6, 0.5), std=(0.1, 0.2, 0.3))
    images = torch.arange(256, dtype=torch.uint8).repeat(3, 1).T.reshape(1, 16, 16, 3)
    expected = (images / 255 - torch.tensor(config.mean)) / torch.tensor(config.std)
    result = normalise(images, config)
    assert result.dtype == torch.float32
    assert torch.allclose(result, expected.permute(0, 3, 1, 2), atol=1e-5)
    assert torch.equal(normalise(images.float(), config), result)


def test_normalised_images_are_in_channels_last_memory() -> None:
    result = normalise(torch.zeros(2, 16, 24, 3, dtype=torch.uint8), PreprocessConfig())
    assert result.shape == (2, 3, 16, 24)
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(16, 16, 3), (1, 3, 16, 16), (1, 16, 16, 4), (1, 16, 16)])
def test_normalising_other_shapes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeMismatchError, match=r"expected \(N, S, S, 3\)"):
        normalise(torch.zeros(shape, dtype=torch.uint8), PreprocessConfig())


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("size", 15, "input size is 15 px, expected 16 to 2048"),
        ("size", 2049, "input size is 2049 px"),
        ("fit", "crop", "fit is 'crop'"),
        ("std", (0.2, 0.0, 0.2), "expected three positive numbers"),
        ("std", (float("nan"), 1.0, 1.0), "expected finite numbers"),
        ("mean", (float("inf"), 0.0, 0.0), "expected finite numbers"),
    ],
)
def test_an_impossible_setting_is_refused(setting: str, value: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        PreprocessConfig(**{setting: value})


def test_real_photographs_look_the_same_decoded_at_reduced_scale(real_data: Path) -> None:
    for folder in ("isic", "ph2"):
        data = min((real_data / folder / "images").glob("*.jpg")).read_bytes()
        fast, _ = preprocess(data, config_of("squash", 128))
        full, _ = fit_image(decode_image(data), config_of("squash", 128))
        assert np.abs(fast.astype(int) - full).mean() < 2.0
