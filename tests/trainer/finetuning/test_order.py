"""What a version is unsure of comes first, and no two alike."""

import csv
from pathlib import Path

import numpy as np
import pytest

from model_core.registry.registry import LoadedVersion, Registry
from tests.fixtures.discs import write_pair
from trainer.commands.main import main
from trainer.finetuning.order import Looked, choose_next, describe_look


def looked(name: str, score: float, *look: float) -> Looked:
    return Looked(name, score, np.array(look))


def test_the_least_sure_comes_first_where_all_are_equally_far() -> None:
    corners = [looked(f"p{n}", 0.9 - 0.1 * n, *np.eye(4)[n]) for n in range(4)]
    assert [entry.name for entry in choose_next(corners, 9)] == ["p3", "p2", "p1", "p0"]


def test_a_copy_of_what_is_listed_waits_for_the_others() -> None:
    photographs = [
        looked("a", 0.2, 0.0, 0.0),
        looked("a-again", 0.21, 0.0, 0.0),
        looked("b", 0.6, 1.0, 0.0),
        looked("c", 0.7, 0.0, 1.0),
    ]
    listed = choose_next(photographs, 4)
    assert [entry.name for entry in listed] == ["a", "b", "c", "a-again"]
    assert [entry.spread for entry in listed[:2]] == [1.0, 1.0]
    assert [entry.name for entry in choose_next(photographs, 2)] == ["a", "b"]


def test_the_list_keeps_off_what_is_corrected_already() -> None:
    photographs = [looked("a", 0.2, 0.0, 0.0), looked("b", 0.6, 1.0, 0.0)]
    done = [looked("done", 0.1, 0.05, 0.0)]
    assert choose_next(photographs, 1, corrected=done)[0].name == "b"


def test_the_order_of_the_folder_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    photographs = [looked(f"p{n:02}", rng.random(), *rng.random(3)) for n in range(20)]
    assert choose_next(photographs, 20) == choose_next(photographs[::-1], 20)


def test_alike_photographs_all_get_a_place() -> None:
    same = [looked(f"p{n}", 0.5, 1.0, 1.0) for n in range(3)]
    assert [entry.name for entry in choose_next(same, 3)] == ["p0", "p1", "p2"]


def test_a_look_is_colours_within_and_around_and_the_share(
    version: LoadedVersion, tmp_path: Path
) -> None:
    write_pair(tmp_path, "disc", seed=5)
    look = describe_look(version.predictor.predict((tmp_path / "disc.png").read_bytes()))
    assert look.shape == (13,)
    within, around = look[:3], look[6:9]
    assert within == pytest.approx(np.array([90, 50, 40]) / 255, abs=0.1)
    assert around == pytest.approx(np.array([220, 170, 150]) / 255, abs=0.1)
    assert 0.2 < look[12] < 0.6


def test_the_command_lists_a_folder_and_names_what_cannot_be_read(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(3):
        write_pair(folder, f"disc{number}", seed=number)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "next.csv"
    command = ["next", str(folder), "--model", str(finetuned), "--count", "4", "--out", str(out)]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "skipped: broken.png: " in said.err
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["place"] for row in rows] == ["1", "2", "3", "4"]
    assert [line.split()[2] for line in said.out.splitlines()] == [row["image"] for row in rows]
    assert float(rows[0]["predicted_jaccard"]) <= min(float(r["predicted_jaccard"]) for r in rows)


def test_a_corrected_photograph_that_cannot_be_read_is_named(
    finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("photographs", "corrected"):
        (tmp_path / name).mkdir()
    write_pair(tmp_path / "photographs", "disc", seed=1)
    (tmp_path / "corrected" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    command = ["next", str(tmp_path / "photographs"), "--model", str(finetuned)]
    assert main([*command, "--corrected", str(tmp_path / "corrected")]) == 1
    assert "skipped: broken.png: " in capsys.readouterr().err


def test_a_version_that_does_not_know_how_sure_it_is_cannot_choose(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path, "disc", seed=1)
    assert Registry(models).versions("disc-unet") == ["1.0.0"]
    command = ["next", str(tmp_path), "--model", "disc-unet@1.0.0", "--registry", str(models)]
    assert main(command) == 2
    assert "is not calibrated" in capsys.readouterr().err
