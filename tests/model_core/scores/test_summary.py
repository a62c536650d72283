import numpy as np
import pytest

from model_core.errors import InputError
from model_core.scores.metrics import score_image
from model_core.scores.summary import Summary, bootstrap, summarise
from tests.fixtures.drawing import draw


def mean(summary: Summary, metric: str) -> float:
    interval = summary["per_image"][metric]
    assert interval is not None
    return interval["mean"]


def test_the_three_means_of_five_images_counted_by_hand() -> None:
    perfect = score_image(draw("##.."), draw("##.."))
    half = score_image(draw("##.."), draw("#..."))
    summary = summarise([perfect, half, half, half, perfect])
    assert summary["n"] == 5
    assert summary["failure_rate"] == 3 / 5
    assert mean(summary, "jaccard") == pytest.approx((1 + 3 * 0.5 + 1) / 5)
    assert summary["pooled"]["jaccard"] == pytest.approx(7 / 10)
    assert summary["batch_of_4"]["jaccard"] == pytest.approx((5 / 8 + 1) / 2)
    assert mean(summary, "threshold_jaccard") == pytest.approx(2 / 5)


def test_pooled_threshold_jaccard_cuts_the_pooled_jaccard() -> None:
    good, bad = score_image(draw("####"), draw("####")), score_image(draw("##.."), draw("...."))
    summary = summarise([good, good, good, good, bad])
    assert summary["pooled"]["threshold_jaccard"] == 16 / 18
    assert summary["batch_of_4"]["threshold_jaccard"] == (1 + 0) / 2
    assert mean(summary, "threshold_jaccard") == 4 / 5


def test_one_image_has_an_interval_of_no_width() -> None:
    interval = summarise([score_image(draw("##"), draw("#."))])["per_image"]["jaccard"]
    assert interval == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_no_image_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        summarise([])


def test_the_bootstrap_is_the_same_every_time_and_covers_the_mean() -> None:
    scores = np.random.default_rng(1).random((200, 2))
    first, second = bootstrap(scores), bootstrap(scores)
    assert first == second
    spread = 1.96 * scores[:, 0].std() / np.sqrt(200)
    assert first[0]["low"] == pytest.approx(scores[:, 0].mean() - spread, abs=0.01)
    assert first[0]["high"] == pytest.approx(scores[:, 0].mean() + spread, abs=0.01)


def test_all_metrics_share_the_same_resamples() -> None:
    scores = np.random.default_rng(2).random((50, 1))
    first, second = bootstrap(np.hstack([scores, scores]))
    assert first == second


def test_the_summary_has_the_distances_of_the_images_that_have_any() -> None:
    nothing, lesion = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    lesion[2:5, 2:5] = True
    items = [score_image(lesion, np.roll(lesion, 1, axis=1)), score_image(lesion, nothing)]
    summary = summarise(items)
    assert summary["n_distances"] == 1
    assert summary["per_image"]["assd_px"] == {"mean": 0.5, "low": 0.5, "high": 0.5}
    assert summarise(items[1:])["per_image"]["assd_px"] is None


def test_the_other_means_have_intervals_around_them_too() -> None:
    half, whole = score_image(draw("##.."), draw("#...")), score_image(draw("##.."), draw("##.."))
    summary = summarise([half, whole] * 20)
    for name in ("pooled", "batch_of_4"):
        mean_of: dict[str, float] = summary[name]
        for metric, interval in summary["intervals"][name].items():
            assert interval["mean"] == pytest.approx(mean_of[metric])
            assert interval["low"] <= interval["mean"] + 1e-12
            assert interval["mean"] <= interval["high"] + 1e-12
    pooled = summary["intervals"]["pooled"]["jaccard"]
    # 60 of 80 lesion pixels are found; of images resampled, half and half, 0.68 to 0.82 of them.
    assert pooled["low"] == pytest.approx(0.68, abs=0.03)
    assert pooled["high"] == pytest.approx(0.82, abs=0.03)
