import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.arrays import Mask
from model_core.images.decode import decode_image
from tests.fixtures.models import dark_predictor
from trainer.commands.main import main
from trainer.config import parse_config
from trainer.data.drawn import draw_lesion, draw_skin
from trainer.data.no_lesion import KINDS
from trainer.data.samples import read_samples
from trainer.studies.perturb import PERTURBATIONS, UNCHANGED, Perturbation
from trainer.studies.robustness import measure, sampled
from trainer.training.loop import train

BY_NAME = {each.name: each for each in PERTURBATIONS}
every_perturbation = pytest.mark.parametrize("each", PERTURBATIONS, ids=lambda each: each.name)


@pytest.fixture
def _few_without_lesion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pictures of each kind: to draw them takes longer than to look at them."""
    monkeypatch.setattr("trainer.studies.robustness.COUNT", 3)


def drawn() -> tuple[Image.Image, Mask]:
    pixels, truth = draw_lesion(3, height=96, width=128, hair=False)
    return Image.fromarray(pixels), truth


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(decode_image(data).picture)


@every_perturbation
def test_photograph_and_truth_keep_one_size(each: Perturbation) -> None:
    data, truth = each.apply(*drawn(), seed=0)
    assert pixels_of(data).shape == (*truth.shape, 3)
    assert truth.dtype == bool
    assert truth.any()


@every_perturbation
def test_a_seed_repeats_what_is_drawn(each: Perturbation) -> None:
    assert each.apply(*drawn(), seed=4)[0] == each.apply(*drawn(), seed=4)[0]


@every_perturbation
def test_only_unchanged_leaves_every_pixel(each: Perturbation) -> None:
    photograph, truth = drawn()
    data, moved = each.apply(photograph, truth, seed=0)
    same = np.array_equal(pixels_of(data), np.asarray(photograph))
    assert same == (each is UNCHANGED)
    assert (moved is truth) == (each.truth is None)


def test_four_quarter_turns_are_none() -> None:
    photograph, truth = drawn()
    start = photograph, truth
    for _ in range(4):
        data, truth = BY_NAME["rotated 90"].apply(photograph, truth, seed=0)
        photograph = Image.open(io.BytesIO(data))
    assert np.array_equal(np.asarray(photograph), np.asarray(start[0]))
    assert np.array_equal(truth, start[1])


@pytest.mark.parametrize("name", ["scaled 25 %", "scaled 50 %", "scaled 200 %", "scaled 400 %"])
def test_scaling_keeps_the_share_that_is_lesion(name: str) -> None:
    _, truth = drawn()
    moved = BY_NAME[name].move(truth)
    assert moved.shape[0] == round(truth.shape[0] * int(name.split()[1]) / 100)
    assert moved.mean() == pytest.approx(truth.mean(), rel=0.02)


def test_an_eighth_turn_shows_nothing_from_outside_the_frame() -> None:
    white = Image.new("RGB", (200, 150), "white")
    data, _ = BY_NAME["rotated 45"].apply(white, np.ones((150, 200), bool), seed=0)
    assert pixels_of(data).min() > 250


def test_the_truth_moves_with_the_photograph() -> None:
    # A photograph that is its own mask: what is dark must stay where the truth is.
    _, truth = drawn()
    picture = Image.fromarray(np.where(truth, 0, 255).astype(np.uint8)).convert("RGB")
    for each in PERTURBATIONS:
        if each.truth is not None:
            data, moved = each.apply(picture, truth, seed=0)
            assert ((pixels_of(data)[..., 0] < 128) != moved).mean() < 0.01, each.name


def test_pictures_without_a_lesion_are_repeatable_and_all_different() -> None:
    for name, draw in KINDS.items():
        pictures = [draw(seed) for seed in range(3)]
        assert all(np.array_equal(picture, draw(seed)) for seed, picture in enumerate(pictures))
        assert len({picture.tobytes() for picture in pictures}) == 3, name


def test_skin_gets_darker_with_its_tone() -> None:
    light, dark = (draw_skin(1, height=64, width=64, tone=tone).mean() for tone in (1.0, 0.35))
    assert dark < 0.5 * light


def test_a_sample_takes_each_set_in_its_proportion(discs: Path) -> None:
    samples = read_samples(discs)
    chosen = sampled(samples, 10, seed=1)
    assert len(chosen) == 10
    assert chosen == sampled(list(reversed(samples)), 10, seed=1)
    assert chosen != sampled(samples, 10, seed=2)
    assert sampled(samples, 0) == sampled(samples, 1000) == samples


@pytest.mark.usefixtures("_few_without_lesion")
def test_a_model_that_sees_only_light_keeps_its_masks_when_turned(discs: Path) -> None:
    report = measure(dark_predictor(), read_samples(discs)[:4])
    entries = {entry["name"]: entry for entry in report["perturbed"]}
    plain = entries["unchanged"]
    assert (plain["lost_dice"], plain["kept_dice"], plain["agreement"]) == (0, 1, 1)
    for name in ("rotated 90", "rotated 180", "mirrored"):
        assert entries[name]["agreement"] > 0.98
    assert entries["darker"]["agreement"] < 0.98
    assert {entry["kind"] for entry in report["invented"]} == set(KINDS)
    assert all(0 <= entry["share"] <= 1 for entry in report["invented"])


@pytest.mark.usefixtures("_few_without_lesion")
def test_the_command_leaves_a_table_and_a_sheet(discs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    config = {
        "data": str(discs),
        "stages": [{"size": 32, "epochs": 1, "batch": 4}],
        "model": {"width": 4, "depth": 2, "norm": "batch"},
        "preprocess": {"size": 32},
    }
    train(parse_config(config, "test"), run)
    command = ["robustness", str(run), "--data", str(discs), "--part", "val", "--limit", "2"]
    assert main(command) == 0
    report = json.loads((run / "robustness_val.json").read_text())
    assert report["n"] == 2
    table = (run / "robustness_val.md").read_text()
    assert all(f"| {each.name}: " in table for each in PERTURBATIONS)
    with Image.open(run / "robustness_val.png") as sheet:
        assert sheet.width > 1000
