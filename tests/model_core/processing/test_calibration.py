from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from model_core.errors import ConfigError
from model_core.predictor import Predictor
from model_core.processing.calibration import Calibration, expected_jaccard
from model_core.processing.postprocess import PostprocessConfig
from tests.fixtures.models import dark_predictor
from tests.fixtures.pictures import encode, lesion

PLAIN = Calibration(scale=1.0, bias=0.0, score_scale=1.0, score_bias=0.0)
LOGITS = arrays.arrays(np.float32, (12, 9), elements=st.floats(-60, 60, width=32))


def calibrated(calibration: Calibration | None, threshold: float = 0.5) -> Predictor:
    plain = dark_predictor(postprocess=PostprocessConfig(threshold=threshold))
    return Predictor(plain.backend, plain.preprocess_config, plain.postprocess_config, calibration)


@given(LOGITS, st.floats(0.01, 20), st.floats(-5, 5), st.floats(0.1, 5), st.floats(-5, 5))
def test_a_score_is_a_jaccard_whatever_the_logits(
    logits: np.ndarray, scale: float, bias: float, score_scale: float, score_bias: float
) -> None:
    fitted = Calibration(scale=scale, bias=bias, score_scale=score_scale, score_bias=score_bias)
    found = fitted.logits(logits)
    assert 0 <= fitted.score(found, found > 0) <= 1


@given(LOGITS, st.floats(0.01, 20))
def test_a_scale_alone_moves_no_outline(logits: np.ndarray, scale: float) -> None:
    found = replace(PLAIN, scale=scale).logits(logits)
    # Rounding may bring a logit that was all but zero to zero.
    assert np.array_equal((found > 0)[np.abs(logits) > 1e-30], (logits > 0)[np.abs(logits) > 1e-30])


def test_expected_jaccard_by_hand() -> None:
    # Two pixels of probability 0.8 are the mask; the two beside them have 0.2, all others 0.
    logits = np.full((40, 40), -np.inf, np.float32)
    logits[20, 20:22] = np.log(0.8 / 0.2)
    logits[20, 19] = logits[20, 22] = np.log(0.2 / 0.8)
    assert expected_jaccard(logits, logits > 0) == pytest.approx((2 * 0.8) / (2 + 2 * 0.2))


def test_what_is_far_from_the_mask_says_nothing_of_it() -> None:
    logits = np.full((100, 100), -np.inf, np.float32)
    logits[50, 50] = np.inf
    mask = logits > 0
    alone = expected_jaccard(logits, mask)
    logits[50, 53] = 0.0  # 3 % of the side away
    near = expected_jaccard(logits, mask)
    logits[50, 53], logits[50, 54] = -np.inf, 0.0
    assert near == pytest.approx(1 / 1.5)
    assert alone == expected_jaccard(logits, mask) == 1.0


def test_certain_pixels_give_a_certain_score_and_none_gives_none() -> None:
    logits = np.full((20, 20), -30, np.float32)
    assert PLAIN.score(logits, logits > 0) == 0.0
    logits[5:15, 5:15] = 30
    assert PLAIN.score(logits, logits > 0) == pytest.approx(0.999)


def test_the_more_doubt_the_lower_the_score() -> None:
    place = np.abs(np.arange(41) - 20)
    distance = np.maximum(place[:, None], place[None, :]).astype(np.float32)
    maps = [(np.float32(10.5) - distance) / np.float32(width) for width in (1, 3, 9)]
    scores = [PLAIN.score(found, found > 0) for found in maps]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[2] > 0.1


@pytest.mark.parametrize(
    ("setting", "value"), [("scale", 0.0), ("scale", -1.0), ("score_scale", 0.0), ("bias", np.nan)]
)
def test_an_impossible_calibration_is_refused(setting: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"calibration {setting} is"):
        replace(PLAIN, **{setting: value})


def test_a_predictor_without_calibration_has_no_score() -> None:
    assert calibrated(None).predict(encode(lesion(48, 64))).score is None


def test_the_threshold_cuts_the_calibrated_probability() -> None:
    picture = encode(lesion(48, 64))
    shifted = replace(PLAIN, bias=1.0)
    moved = calibrated(shifted, threshold=1 / (1 + np.exp(-1.0))).predict(picture)
    plain = calibrated(None).predict(picture)
    assert np.array_equal(moved.mask, plain.mask)
    assert np.allclose(moved.logits, plain.logits + 1)
    assert moved.probability().max() > plain.probability().max()


def test_a_prediction_carries_the_score_of_its_own_mask() -> None:
    prediction = calibrated(PLAIN).predict(encode(lesion(48, 64)))
    assert prediction.score is not None
    assert 0.5 < prediction.score < 1


def test_a_region_that_the_network_does_not_believe_in_is_no_lesion() -> None:
    picture = encode(lesion(120, 160))
    believed = calibrated(PLAIN).predict(picture)
    assert believed.score is not None
    assert believed.mask.any()
    for least, found in [(believed.score - 0.01, True), (believed.score + 0.01, False)]:
        prediction = calibrated(replace(PLAIN, least_score=least)).predict(picture)
        assert prediction.mask.any() == prediction.small_mask.any() == found
        assert prediction.score == (believed.score if found else 0.0)
        assert np.array_equal(prediction.logits, believed.logits)


def test_a_sure_core_makes_a_lesion_in_spite_of_a_low_score() -> None:
    picture = encode(lesion(120, 160))
    peak = float(calibrated(PLAIN).predict(picture).probability().max())
    for least, found in [(peak - 1e-4, True), (1.0, False)]:
        fitted = replace(PLAIN, least_score=1.0, least_peak=least)
        assert calibrated(fitted).predict(picture).mask.any() == found


@pytest.mark.parametrize("threshold", [0.02, 0.98])
def test_another_threshold_does_not_decide_whether_there_is_a_lesion(threshold: float) -> None:
    picture = encode(lesion(120, 160))
    score = calibrated(PLAIN).predict(picture).score
    assert score is not None
    predictor = calibrated(replace(PLAIN, least_score=score - 1e-6))
    assert predictor.predict(picture, threshold=threshold).mask.any()


def test_an_interval_is_wider_where_less_is_expected_and_stays_a_jaccard() -> None:
    fitted = replace(PLAIN, score_spread=2.0)
    assert fitted.interval(0.95) == pytest.approx((0.75, 1.0))
    assert fitted.interval(0.75) == pytest.approx((0.15, 1.0))
    assert fitted.interval(0.1) == (0.0, 1.0)
    assert fitted.interval(0.0) is None
    assert PLAIN.interval(0.9) is None
