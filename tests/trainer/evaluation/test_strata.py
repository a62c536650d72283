import numpy as np
import pytest

from tests.fixtures.drawing import draw
from trainer.evaluation.strata import (
    Traits,
    contrast_name,
    format_markdown,
    group,
    measure,
    size_name,
    skin_name,
    tabulate,
)


def grey(skin: int, lesion: int, *, size: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """A square of 40 x 40 px on skin, and its mask."""
    truth = np.zeros((size, size), bool)
    truth[30:70, 30:70] = True
    return np.where(truth[..., None], lesion, skin).repeat(3, axis=2).astype(np.uint8), truth


@pytest.mark.parametrize(
    ("share", "name"),
    [
        pytest.param(0.0, "no lesion", id="none"),
        pytest.param(0.0199, "below 2 %", id="small"),
        pytest.param(0.02, "2–10 %", id="a bound belongs to what is above it"),
        pytest.param(0.3, "30 % and more", id="large"),
        pytest.param(1.0, "30 % and more", id="all"),
    ],
)
def test_size_strata(share: float, name: str) -> None:
    assert size_name(share) == name


@pytest.mark.parametrize(
    ("contrast", "name"),
    [
        pytest.param(-4.0, "L* below 10", id="lighter than skin"),
        pytest.param(10.0, "L* 10–17", id="a bound belongs to what is above it"),
        pytest.param(60.0, "L* 24 and more", id="dark"),
        pytest.param(None, "no skin around it", id="unknown"),
    ],
)
def test_contrast_strata(contrast: float | None, name: str) -> None:
    assert contrast_name(contrast) == name


@pytest.mark.parametrize(
    ("ita_deg", "name"),
    [
        pytest.param(-40.0, "ITA below 28°", id="dark"),
        pytest.param(28.0, "ITA 28–41°", id="a bound belongs to what is above it"),
        pytest.param(90.0, "ITA 88° and more", id="bright"),
        pytest.param(None, "no skin around it", id="unknown"),
    ],
)
def test_skin_strata(ita_deg: float | None, name: str) -> None:
    assert skin_name(ita_deg) == name


@pytest.mark.parametrize(
    ("skin", "ita_deg"),
    [
        pytest.param((188, 188, 188), 90.0, id="grey has no b*"),
        # Their L* and b* (CIE 15) are 97.1 and 94.5, 25.5 and 38.1.
        pytest.param((255, 255, 0), 26.5, id="yellow"),
        pytest.param((128, 0, 0), -32.7, id="maroon, darker than L* 50"),
    ],
)
def test_the_typology_angle_is_of_the_skin_around(
    skin: tuple[int, int, int], ita_deg: float
) -> None:
    image, truth = grey(188, 119)
    image[~truth] = skin
    assert measure(image, truth).ita_deg == pytest.approx(ita_deg, abs=0.1)


def test_contrast_is_the_difference_of_cielab_lightness() -> None:
    # sRGB 119 is L* 50.03, and 188 is L* 76.2 (CIE 15).
    image, truth = grey(188, 119)
    assert measure(image, truth).contrast == pytest.approx(76.2 - 50.03, abs=0.1)
    image, truth = grey(119, 188)
    assert measure(image, truth).contrast == pytest.approx(50.03 - 76.2, abs=0.1)


def test_the_dark_frame_of_a_dermatoscope_is_not_skin() -> None:
    image, truth = grey(188, 119)
    image[:, :26] = 0  # 4 px beside the lesion: within the ring
    assert measure(image, truth).contrast == pytest.approx(76.2 - 50.03, abs=0.1)


def test_a_lesion_without_skin_around_it_has_no_contrast() -> None:
    image, truth = grey(188, 119)
    assert measure(image, np.ones_like(truth)).contrast is None
    assert measure(image, np.zeros_like(truth)) == Traits(0.0, None, touches_frame=False)


@pytest.mark.parametrize(
    ("drawn", "touches"),
    [
        pytest.param("... .#. ...", False, id="inside"),
        pytest.param(".#. ... ...", True, id="top"),
        pytest.param("... ..# ...", True, id="right"),
        pytest.param("#", True, id="one pixel"),
    ],
)
def test_a_lesion_is_cut_where_it_reaches_the_outermost_pixels(drawn: str, touches: bool) -> None:
    truth = draw(drawn)
    assert measure(np.zeros((*truth.shape, 3), np.uint8), truth).touches_frame == touches


def test_each_stratum_has_the_means_of_its_own_images() -> None:
    def item(jaccard: float) -> dict[str, object]:
        cut = jaccard if jaccard >= 0.65 else 0.0
        scores = {"dice": 0.9, "jaccard": jaccard, "threshold_jaccard": cut}
        return {"dataset": "isic", "part": "val", "id": "x", **scores}

    traits = [Traits(0.01, 5.0, False), Traits(0.01, 30.0, True), Traits(0.5, None, False)]
    items = [item(0.4), item(0.8), item(0.7)]
    strata = tabulate(items, group(items, traits))
    small, large = strata["size"]
    assert (small["stratum"], small["n"], small["failed"], small["failure_rate"]) == (
        "below 2 %",
        2,
        1,
        0.5,
    )
    assert small["jaccard"]["mean"] == pytest.approx(0.6)
    assert small["threshold_jaccard"]["mean"] == pytest.approx(0.4)
    assert large["jaccard"] == {"mean": 0.7, "low": 0.7, "high": 0.7}
    contrasts = ["L* below 10", "L* 24 and more", "no skin around it"]
    assert [row["stratum"] for row in strata["contrast"]] == contrasts
    assert [row["n"] for row in strata["frame"]] == [2, 1]
    lines = format_markdown(strata).splitlines()
    assert len(lines) == 2 + 2 + 3 + 1 + 2 + 1
    assert lines[2].startswith("| size: below 2 % | 2 | 0.9000 (0.900–0.900) | 0.6000 (")
