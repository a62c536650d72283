"""What is seen of a picture and its mask; of each drawn here, one thing is wrong."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from model_core.arrays import Image as Pixels
from model_core.arrays import Logits, Mask
from model_core.processing.quality import Quality, assess
from trainer.data.drawn import draw_lesion, draw_skin
from trainer.data.no_lesion import noise, something_else

SIDE = 256


def lesion() -> tuple[Pixels, Mask]:
    pixels, mask = draw_lesion(3, height=SIDE, width=SIDE, hair=False)
    return pixels, mask


def logits_of(mask: Mask, sure: float = 8.0) -> Logits:
    return np.where(mask, sure, -sure).astype(np.float32)


def judged(pixels: Pixels, mask: Mask, logits: Logits | None = None, **more: Any) -> Quality:
    known: dict[str, Any] = {
        "score": 0.9,
        "threshold": 0.5,
        "accept_score": 0.8,
        "spacing": (1.0, 1.0),
    }
    found = logits_of(mask) if logits is None else logits
    return assess(pixels, found, mask, **(known | more))


def disc(radius: float, row: float = 128, column: float = 128) -> Mask:
    rows, columns = np.indices((SIDE, SIDE))
    mask: Mask = np.hypot(rows - row, columns - column) < radius
    return mask


def test_a_good_photograph_is_accepted_without_a_word() -> None:
    quality = judged(*lesion())
    assert (quality.advice, quality.reasons) == ("accept", ())


def changed(pixels: Pixels, how: str) -> Pixels:
    match how:
        case "dark":
            return np.asarray(pixels * 0.2, np.uint8)
        case "bright":
            return np.asarray(np.clip(pixels * 2.2, 0, 255), np.uint8)
        case "blurred":
            return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(5)))
        case "green":
            return np.ascontiguousarray(pixels[..., [1, 0, 2]])
    raise AssertionError(how)


@pytest.mark.parametrize(
    ("how", "reason", "advice"),
    [
        ("dark", "underexposed", "review"),
        ("bright", "overexposed", "review"),
        ("blurred", "blurred", "review"),
        ("green", "not_skin", "reject"),
    ],
)
def test_what_is_wrong_with_the_picture_is_said(how: str, reason: str, advice: str) -> None:
    pixels, mask = lesion()
    quality = judged(changed(pixels, how), mask)
    assert reason in quality.reasons
    assert quality.advice == advice


@pytest.mark.parametrize("tone", [1.0, 0.7, 0.5, 0.4])
def test_skin_of_any_tone_is_skin_and_not_underexposed(tone: float) -> None:
    skin = draw_skin(5, height=SIDE, width=SIDE, tone=tone, hair=True)
    assert not {"not_skin", "underexposed"} & set(judged(skin, disc(40)).reasons)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_other_scenes_and_noise_are_not_skin(seed: int) -> None:
    for picture in (something_else(seed), noise(seed)):
        small = np.asarray(Image.fromarray(picture).resize((SIDE, SIDE)))
        assert judged(small, disc(40)).advice == "reject"


def test_skin_under_dense_hair_is_skin() -> None:
    pixels, mask = lesion()
    pixels = pixels.copy()
    pixels[:, ::6] = (60, 40, 30)
    assert "not_skin" not in judged(pixels, mask).reasons


def test_nothing_found_is_rejected() -> None:
    pixels, mask = lesion()
    quality = judged(pixels, np.zeros_like(mask))
    assert (quality.advice, quality.reasons, quality.band) == ("reject", ("nothing_found",), None)


@pytest.mark.parametrize(
    ("radius", "seen"), [pytest.param(30, True, id="a tenth"), pytest.param(10, False, id="a dot")]
)
def test_a_second_region_of_some_size_is_another_lesion(radius: float, seen: bool) -> None:
    pixels, _ = lesion()
    first = disc(60, column=80)
    quality = judged(pixels, first, logits_of(first | disc(radius, column=210)))
    assert ("several_lesions" in quality.reasons) == seen
    assert quality.advice == ("review" if seen else "accept")


def test_a_lesion_that_the_frame_cuts_is_told_and_may_be_accepted() -> None:
    quality = judged(lesion()[0], disc(60, row=10))
    assert (quality.advice, quality.reasons) == ("accept", ("cut_by_frame",))


@pytest.mark.parametrize(
    ("score", "accept_score", "reasons"),
    [
        pytest.param(0.79, 0.8, ("low_score",), id="too low"),
        pytest.param(0.8, 0.8, (), id="just enough"),
        pytest.param(None, 0.8, ("not_calibrated",), id="no score"),
        pytest.param(0.99, None, ("not_calibrated",), id="no limit"),
    ],
)
def test_the_score_decides(
    score: float | None, accept_score: float | None, reasons: tuple[str, ...]
) -> None:
    quality = judged(*lesion(), score=score, accept_score=accept_score)
    assert quality.reasons == reasons
    assert quality.advice == ("review" if reasons else "accept")


def test_the_band_is_where_the_probability_is_between_a_quarter_and_three() -> None:
    rows, columns = np.indices((SIDE, SIDE))
    away = np.hypot(rows - 128, columns - 128) - 50  # px outside the disc
    # Probability 0.75 lies 3 px within, 0.25 as far out.
    logits = (-away / 3 * np.log(3)).astype(np.float32)
    band = judged(lesion()[0], away < 0, logits).band
    assert band is not None
    assert band.area_px == pytest.approx(np.pi * (53**2 - 47**2), rel=0.02)
    assert band.share == pytest.approx((53**2 - 47**2) / 50**2, rel=0.02)
    assert band.width_px == pytest.approx(6, rel=0.02)
    wide = judged(lesion()[0], away < 0, logits, spacing=(2.0, 4.0)).band
    assert wide is not None
    assert wide.area_px == pytest.approx(8 * band.area_px)
    assert wide.share == band.share


def test_what_is_unsure_far_from_the_mask_is_no_part_of_the_band() -> None:
    mask = disc(40)
    logits = logits_of(mask)
    logits[:20] = 0
    band = judged(lesion()[0], mask, logits).band
    assert band is not None
    assert band.area_px == 0


def test_one_pixel_and_grey_pictures_can_be_judged() -> None:
    for side in (1, 2):
        grey = np.full((side, side, 3), 128, np.uint8)
        assert "not_skin" in judged(grey, np.ones((side, side), bool)).reasons
