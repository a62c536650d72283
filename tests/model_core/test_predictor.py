import numpy as np
import pytest
from PIL import Image

from model_core.arrays import Mask
from model_core.errors import ConfigError, ImageTooLargeError, UnsupportedImageError
from model_core.processing.postprocess import PostprocessConfig
from model_core.processing.preprocess import PreprocessConfig
from tests.fixtures.drawing import draw
from tests.fixtures.models import dark_predictor
from tests.fixtures.pictures import SKIN, encode, lesion, turned

RAW = PostprocessConfig(largest_component=False, fill_holes=False)


def truth_of(picture: Image.Image) -> Mask:
    truth: Mask = np.asarray(picture)[..., 0] != SKIN[0]
    return truth


def overlap(truth: Mask, pred: Mask) -> float:
    return float((truth & pred).sum() / (truth | pred).sum())


def ramp() -> bytes:
    """64x64 pixels, the network's own size: column c has the grey value 4 * c."""
    grey = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    return encode(Image.fromarray(grey))


def islands(rows: str, *, scale: int = 8) -> bytes:
    """A drawn mask as a photograph: `#` is black, each character `scale` pixels."""
    mask = np.kron(draw(rows), np.ones((scale, scale), bool))
    return encode(Image.fromarray(np.where(mask, 0, 255).astype(np.uint8)))


@pytest.mark.parametrize("fit", ["squash", "letterbox"])
@pytest.mark.parametrize("size", [(96, 128), (128, 96), (65, 63), (41, 57), (300, 200)])
def test_the_mask_lies_on_the_lesion_in_the_photograph_s_own_pixels(
    size: tuple[int, int], fit: str
) -> None:
    preprocess = PreprocessConfig(size=64, fit="squash" if fit == "squash" else "letterbox")
    mask = dark_predictor(preprocess=preprocess).predict(encode(lesion(*size))).mask
    assert mask.shape == size
    assert mask.dtype == np.bool_
    assert overlap(truth_of(lesion(*size)), mask) > 0.95


@pytest.mark.parametrize(("grey", "expected"), [(0, True), (255, False)])
def test_a_photograph_of_one_pixel_has_a_mask_of_one_pixel(grey: int, expected: bool) -> None:
    mask = dark_predictor().predict(encode(Image.new("L", (1, 1), grey))).mask
    assert mask.tolist() == [[expected]]


def test_no_lesion_is_an_empty_mask() -> None:
    assert not dark_predictor().predict(encode(Image.new("RGB", (50, 40), SKIN))).mask.any()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_has_the_mask_of_the_upright_one(orientation: int) -> None:
    predictor, picture = dark_predictor(), lesion(90, 140)
    picture.paste((0, 0, 0), (100, 60, 120, 70))  # so that no turn looks like another
    expected = predictor.predict(encode(picture)).mask
    mask = predictor.predict(turned(picture, orientation)).mask
    assert mask.shape == (90, 140)
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_decoded_at_reduced_scale_has_it_too(orientation: int) -> None:
    picture = lesion(480, 640)
    picture.paste((0, 0, 0), (400, 250, 600, 300))
    mask = dark_predictor().predict(turned(picture, orientation, "JPEG", quality=95)).mask
    assert mask.shape == (480, 640)
    assert overlap(truth_of(picture), mask) > 0.95


def test_predict_is_prepare_infer_and_finish_in_a_row() -> None:
    predictor, data = dark_predictor(), encode(lesion(60, 80))
    whole = predictor.predict(data, threshold=0.3)
    prepared = predictor.prepare(data)
    logits = predictor.infer(prepared.pixels[None])
    steps = predictor.finish(logits[0], prepared.geometry, threshold=0.3)
    assert np.array_equal(whole.mask, steps.mask)
    assert np.array_equal(whole.logits, steps.logits)
    assert (whole.threshold, whole.geometry) == (steps.threshold, steps.geometry)


def test_the_same_bytes_give_the_same_mask() -> None:
    predictor, data = dark_predictor(), encode(lesion(77, 91), "JPEG")
    first, second = predictor.predict(data), predictor.predict(data)
    assert np.array_equal(first.mask, second.mask)
    assert np.array_equal(first.logits, second.logits)


def test_a_batch_of_four_gives_the_masks_of_four_single_photographs() -> None:
    predictor = dark_predictor()
    files = [encode(lesion(*size)) for size in [(60, 80), (80, 60), (33, 99), (128, 128)]]
    prepared = [predictor.prepare(data) for data in files]
    batch = predictor.infer(np.stack([one.pixels for one in prepared]))
    for data, one, logits in zip(files, prepared, batch, strict=True):
        single = predictor.predict(data)
        assert np.allclose(logits, single.logits, atol=1e-5)
        assert np.array_equal(predictor.finish(logits, one.geometry).mask, single.mask)


@pytest.mark.parametrize(
    ("threshold", "columns"),
    [
        # logits are 8 - 16 * value, and sigmoid(4) = 0.982
        pytest.param(None, 32, id="the card's, one half: value under 1/2"),
        pytest.param(0.9820, 16, id="strict: value under 1/4"),
        pytest.param(0.0180, 48, id="lax: value under 3/4"),
    ],
)
def test_the_threshold_cuts_the_probability(threshold: float | None, columns: int) -> None:
    prediction = dark_predictor().predict(ramp(), threshold=threshold)
    assert prediction.mask.sum(axis=1).tolist() == [columns] * 64
    assert prediction.threshold == (threshold or 0.5)


def test_the_card_s_threshold_holds_unless_another_is_asked_for() -> None:
    predictor = dark_predictor(postprocess=PostprocessConfig(threshold=0.9820))
    assert predictor.predict(ramp()).mask[0].sum() == 16
    assert predictor.predict(ramp(), threshold=0.5).mask[0].sum() == 32
    assert predictor.predict(ramp()).threshold == 0.9820


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0, float("nan")])
def test_a_threshold_outside_zero_to_one_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold"):
        dark_predictor().predict(ramp(), threshold=threshold)


def test_the_probability_is_the_sigmoid_in_the_photograph_s_frame() -> None:
    probability = dark_predictor().predict(ramp()).probability()
    assert probability.shape == (64, 64)
    assert probability.dtype == np.float32
    columns = np.arange(64) * 4 / 255
    assert np.allclose(probability[30], 1 / (1 + np.exp(16 * columns - 8)), atol=1e-5)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [(40, 60), (64, 64), (150, 90)])
def test_untidied_the_mask_is_where_the_probability_exceeds_the_threshold(
    size: tuple[int, int], threshold: float
) -> None:
    prediction = dark_predictor(postprocess=RAW).predict(encode(lesion(*size)), threshold=threshold)
    probability = prediction.probability()
    assert probability.min() >= 0
    assert probability.max() <= 1
    sure = np.abs(probability - threshold) > 1e-5
    assert np.array_equal(prediction.mask[sure], (probability > threshold)[sure])


def test_specks_go_and_holes_are_filled_unless_the_card_says_otherwise() -> None:
    data = islands("........ .###.... .#.#..#. .###.... ........ ........ ........ ........")
    tidy = dark_predictor().predict(data).mask
    raw = dark_predictor(postprocess=RAW).predict(data).mask
    hole, speck = (20, 20), (20, 52)  # rows 16 to 23; columns 16 to 23 and 48 to 55
    assert (tidy[hole], tidy[speck]) == (True, False)
    assert (raw[hole], raw[speck]) == (False, True)


def test_the_probability_stays_what_the_network_said() -> None:
    data = islands("........ .###.... .#.#..#. .###.... ........ ........ ........ ........")
    probability = dark_predictor().predict(data).probability()
    assert probability[20, 20] < 0.01
    assert probability[20, 52] > 0.99


def test_the_black_bars_of_a_letterbox_are_no_lesion() -> None:
    # To this network the bars are dark, so lesion, and larger than the real one.
    preprocess = PreprocessConfig(size=64, fit="letterbox")
    picture = lesion(40, 120)
    mask = dark_predictor(preprocess=preprocess).predict(encode(picture)).mask
    assert overlap(truth_of(picture), mask) > 0.9


def test_what_is_no_photograph_is_refused() -> None:
    with pytest.raises(UnsupportedImageError):
        dark_predictor().predict(b"no photograph")


def test_the_pixel_limit_holds() -> None:
    predictor = dark_predictor()
    predictor.max_pixels = 99
    with pytest.raises(ImageTooLargeError, match="limit is 99"):
        predictor.predict(encode(lesion(10, 10)))
