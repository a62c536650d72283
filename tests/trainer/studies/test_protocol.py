import io
import json
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import BuiltOnce
from tests.fixtures.committed import ids_of, write_committed
from tests.fixtures.undrawn import undrawn
from trainer.commands.main import main
from trainer.config import TrainConfig, parse_config
from trainer.data.samples import read_samples, write_samples
from trainer.data.split import COMMITTED_SPLIT, Part
from trainer.training.loop import train


@pytest.fixture(scope="session")
def data(built_once: BuiltOnce) -> Path:
    """A prepared folder whose IDs are in the committed split."""

    def fill(folder: Path) -> None:
        samples = write_committed(folder / "source", folder / "data")
        assert {sample.part for sample in samples} == {"train", "val", "test", "external"}

    return built_once("committed", fill) / "data"


@pytest.fixture(scope="session")
def trained(data: Path, built_once: BuiltOnce) -> Path:
    def fill(folder: Path) -> None:
        with undrawn():
            train(config_of(data), folder / "run")

    return built_once("protocol", fill) / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run that nobody has scored yet."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="session")
def scored(trained: Path, data: Path, built_once: BuiltOnce) -> Path:
    """The same run after its evaluation of record; said.txt has what that printed."""

    def fill(folder: Path) -> None:
        run = shutil.copytree(trained, folder / "run")
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said), undrawn():
            assert main(of_record(data, run)) == 0
        (run / "said.txt").write_text(said.getvalue())

    return built_once("of_record", fill) / "run"


def config_of(data: Path) -> TrainConfig:
    table = {
        "name": "disc-unet",
        "data": str(data),
        "gate_dice": 0.0,
        "stages": [{"size": 16, "epochs": 2, "batch": 4}],
        "model": {"width": 4, "depth": 2, "norm": "batch"},
        "preprocess": {"size": 16},
    }
    return parse_config(table, "test")


def of_record(data: Path, *targets: Path | str, out: Path | None = None) -> list[str]:
    names = [str(target) for target in targets]
    where = ["--out", str(out)] if out else []
    return ["evaluate", *names, "--protocol", "--data", str(data), *where]


def test_the_evaluation_of_record_scores_all_that_is_held_out(scored: Path) -> None:
    said = (scored / "said.txt").read_text()
    (target,) = json.loads((scored / "protocol.json").read_text())["targets"]
    sets = {(entry["dataset"], entry["part"]): entry["summary"] for entry in target["sets"]}
    held_out = {("isic", "test"): 3, ("ph2", "external"): 3}
    assert {name: summary["n"] for name, summary in sets.items()} == held_out
    dice = sets["isic", "test"]["per_image"]["dice"]
    cell = f"{dice['mean']:.4f} ({dice['low']:.3f}–{dice['high']:.3f})"
    assert re.search(rf"isic test, 3 images\n  Dice +{re.escape(cell)}\n  Jaccard ", said)
    assert f"| isic test, 3 images | Dice | {cell} |" in (scored / "protocol.md").read_text()
    for measure in ("threshold Jaccard", "failures", "Hausdorff 95", "pooled Dice", "batch-of-4"):
        assert f"  {measure}" in said


def test_sets_of_the_protocol_that_are_not_there_are_named(scored: Path) -> None:
    notes = json.loads((scored / "protocol.json").read_text())["notes"]
    assert notes[:2] == ["not in this data: isic_fullframe test", "not in this data: ham10000 test"]
    assert re.match(r"\d+ of the \d+ photographs that the committed split holds out", notes[2])
    said = (scored / "said.txt").read_text()
    assert all(f"note: {note}\n" in said for note in notes)


def test_every_stratum_counts_its_images(scored: Path) -> None:
    strata = json.loads((scored / "protocol.json").read_text())["targets"][0]["strata"]
    assert set(strata) == {"size", "contrast", "skin", "frame", "dataset"}
    assert {sum(row["n"] for row in rows) for rows in strata.values()} == {6}
    assert [row["stratum"] for row in strata["dataset"]] == ["isic test", "ph2 external"]
    assert "| dataset: ph2 external | 3 |" in (scored / "protocol.md").read_text()


def test_tables_tell_of_patients_and_readers_without_another_look(
    scored: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = shutil.copytree(scored, tmp_path / "run")
    notes = json.loads((run / "protocol.json").read_text())["notes"]
    assert notes[3].startswith("no --metadata: nothing by diagnosis")
    first, second, *_ = ids_of("test", 3)
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "patients.csv").write_text(
        f"id,dx,age,sex\n{first},mel,70,female\n{second},nv,20,male\n"
    )
    (tables / "pairs.csv").write_text(
        "id,tool1,skill1,tool2,skill2,dice,jaccard\n"
        f"{first},T1,S1,T1,S1,0.9,0.8\n{second},T1,S1,T2,S1,0.4,0.25\n"
    )
    monkeypatch.setattr("trainer.studies.protocol.score", lambda *_: pytest.fail("scored again"))
    assert main([*of_record(data, run), "--metadata", str(tables)]) == 0
    said = "no diagnosis is known for 4 of 6 images (isic test 1 of 3, ph2 external 3 of 3)"
    assert f"note: {said}\n" in capsys.readouterr().err
    written = json.loads((run / "protocol.json").read_text())
    (target,) = written["targets"]
    assert said in written["notes"]
    counts = {row["stratum"]: row["n"] for row in target["strata"]["diagnosis"]}
    assert counts == {"melanoma": 1, "naevus": 1, "not known": 4}
    assert [row["n"] for row in target["strata"]["readers"]] == [1, 1, 4]
    kinds = ["all", "all with Dice 0.50 or more", "experts, both by hand", "T1–T1", "T1–T2"]
    assert [row["pairs_of"] for row in target["readers"]] == kinds
    assert target["readers"][0]["readers"]["dice"]["mean"] == pytest.approx((0.9 + 0.4) / 2)
    assert target["gaps"] == []  # no group has 30 images
    page = (run / "protocol.md").read_text()
    assert "run with the mask of record, beside reader with reader:" in page
    assert "| diagnosis: melanoma | 1 |" in page


def test_the_test_part_is_looked_at_once(
    scored: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = (scored / "protocol.json").read_text()
    monkeypatch.setattr("trainer.studies.protocol.score", lambda *_: pytest.fail("scored again"))
    assert main(of_record(data, scored)) == 0
    said, table = capsys.readouterr().out.split("\n", 1)
    assert said.startswith("run: already scored, read from")
    assert table in (scored / "said.txt").read_text()
    assert (scored / "protocol.json").read_text() == first


def test_scores_of_other_images_or_rules_are_not_of_record(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said() -> str:
        assert main(of_record(data, run)) == 0
        return capsys.readouterr().out.split(",")[0]

    # `evaluate` may be told to score some of the images.
    assert main(["evaluate", str(run), "--data", str(data), "--datasets", "ph2"]) == 0
    capsys.readouterr()
    assert said() == "run: scored"
    config = json.loads((run / "config.json").read_text())
    config["postprocess"]["threshold"] = 0.4
    (run / "config.json").write_text(json.dumps(config))
    assert said() == "run: scored"
    assert said() == "run: already scored"


def test_scores_of_record_are_enough_to_publish_and_a_version_is_scored_beside_its_run(
    scored: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--registry", str(tmp_path / "models")]
    publish = ["publish", str(scored), "--version", "1.0.0", "--licence", "CC0-1.0"]
    assert main([*publish, *models]) == 0
    capsys.readouterr()
    out = tmp_path / "out"
    both = of_record(data, scored, "disc-unet@1.0.0", out=out)
    assert main([*both, *models]) == 0
    lines = capsys.readouterr().out.splitlines()
    pooled = next(line for line in lines if line.startswith("  pooled Jaccard"))
    first, second = re.findall(r"\d\.\d{4} \(.*?\)", pooled)
    assert first == second
    assert (out / "run" / "protocol.md").is_file()
    assert (out / "disc-unet-1.0.0" / "protocol.md").is_file()
    labels = [
        target["label"] for target in json.loads((out / "protocol.json").read_text())["targets"]
    ]
    assert labels == ["run", "disc-unet-1.0.0"]
    assert "| set | measure | run | disc-unet-1.0.0 |" in (out / "protocol.md").read_text()


def test_another_split_is_refused_by_the_first_ids_that_differ(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = read_samples(data)
    first = next(sample for sample in samples if sample.part == "test")
    moved = [replace(s, part="val") if s.id == first.id else s for s in samples]
    write_samples(moved, tmp_path / "moved")
    assert main(of_record(tmp_path / "moved", run)) == 2
    said = capsys.readouterr().err
    assert f"photographs are on another side than {COMMITTED_SPLIT.name} puts them" in said
    assert f"isic/{first.id} is in val, not test" in said
    assert not (run / "protocol.json").exists()


def test_what_was_seen_in_training_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swap: dict[Part, Part] = {"test": "train", "train": "test"}
    samples = [replace(s, part=swap.get(s.part, s.part)) for s in read_samples(data)]
    write_samples(samples, tmp_path / "swapped")
    train(config_of(tmp_path / "swapped"), tmp_path / "old")
    assert main(of_record(data, tmp_path / "old")) == 2
    assert "3 of 6 images to be scored were seen in training" in capsys.readouterr().err
    assert not (tmp_path / "old" / "scores_test.json").exists()


def test_what_was_seen_is_left_out_where_that_is_asked_for_and_counted(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a newer split tests on what an older version was trained on."""
    samples = read_samples(data)
    first = next(sample for sample in samples if sample.part == "test")
    older = [replace(s, part="train") if s.id == first.id else s for s in samples]
    write_samples(older, tmp_path / "older")
    train(config_of(tmp_path / "older"), tmp_path / "old")
    out = tmp_path / "out"
    both = of_record(data, tmp_path / "old", run, out=out)
    assert main(both) == 2
    assert "1 of 6 images to be scored were seen in training" in capsys.readouterr().err
    assert main([*both, "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert "left out: 1 of 6 images (isic test 1 of 3)" in said.err
    assert "isic test, 2 and 3 images" in said.out
    assert "ph2 external, 3 images" in said.out
    old, new = json.loads((out / "protocol.json").read_text())["targets"]
    assert (old["left_out"], new["left_out"]) == (1, 0)
    note = "old is scored without 1 of 6 images (isic test 1 of 3), which it has seen in training"
    assert note in json.loads((out / "protocol.json").read_text())["notes"][-1]
    scores = json.loads((out / "old" / "scores_test.json").read_text())
    assert (scores["left_out"], scores["leak_checked"]) == (1, True)
    assert first.id not in {item["id"] for item in scores["items"]}
    assert "1 images left out" in scores["sets"][0]["conditions"]
    assert main([*both, "--skip-bad"]) == 0
    assert "old: already scored" in capsys.readouterr().out


def test_a_version_that_does_not_list_what_it_has_seen_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(of_record(data, "0.1.0")) == 2
    assert "whether it has seen the test part is not known" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda a: [*a, "--datasets", "isic"], "--datasets does not go", id="datasets"),
        pytest.param(lambda a: [*a, "--part", "val"], "--part does not go with", id="part"),
        pytest.param(lambda a: [*a, "--spacing-mm", "1,1"], "--spacing-mm does not", id="spacing"),
        pytest.param(lambda a: [*a[:1], *a], "would be scored into", id="twice"),
        pytest.param(
            lambda a: [x for x in [a[0], "other", *a[1:]] if x != "--protocol"],
            "2 targets: several beside each other take --protocol",
            id="two without protocol",
        ),
        pytest.param(
            lambda a: [*(x for x in a if x != "--protocol"), "--metadata", "tables"],
            "--metadata goes with --protocol alone",
            id="tables without protocol",
        ),
    ],
)
def test_nothing_can_be_chosen(
    change: Callable[[list[str]], list[str]],
    said: str,
    run: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command, *arguments = of_record(data, run)
    assert main([command, *change(arguments)]) == 2
    assert said in capsys.readouterr().err
    assert not (run / "scores_test.json").exists()
