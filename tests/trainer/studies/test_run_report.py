import base64
import csv
import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from model_core.errors import ConfigError
from model_core.scores.metrics import METRICS
from tests.conftest import BuiltOnce
from tests.fixtures.undrawn import undrawn, without_charts
from trainer.commands.main import main
from trainer.config import parse_config
from trainer.data.samples import read_samples
from trainer.evaluation.evaluate import held_out, score
from trainer.evaluation.scores import write_scores
from trainer.evaluation.subjects import run_subject
from trainer.plots import charts
from trainer.studies.run_report import write_report
from trainer.training.loop import train

VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """A page that must be well formed: its texts, tables and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.commands: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        values = dict(attrs)
        self.loads += [value for name, value in attrs if name in ("src", "href") and value]
        if tag == "img":
            self.alts.append(values["alt"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def charts(self) -> list[str]:
        """Letters of each chart; one that is not well formed fails."""
        kind = "data:image/svg+xml;base64,"
        found = [base64.b64decode(load.removeprefix(kind)) for load in self.loads if kind in load]
        return ["\n".join(ElementTree.fromstring(svg).itertext()) for svg in found]

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "code":
            self.commands.append(data)
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1].append(data)
        self.texts.append(data)


@pytest.fixture(scope="session")
def run(discs: Path, built_once: BuiltOnce) -> Path:
    """A run of two epochs, scored with its threshold sweep."""

    def fill(folder: Path) -> None:
        table = {
            "name": "disc-unet",
            "data": str(discs),
            "limits": ["<script>alert(1)</script>"],
            "stages": [{"size": 16, "epochs": 2, "batch": 4}],
            "model": {"width": 4, "depth": 2, "norm": "batch"},
            "preprocess": {"size": 16},
        }
        with undrawn():
            train(parse_config(table, "test"), folder / "run")
        target = run_subject(folder / "run")
        scored = score(target.predictor, held_out(read_samples(discs), "test"), sweep=True)
        where = folder / "run"
        write_scores(scored, target, where, part="test", data_sha256="0" * 64, leak_checked=True)
        write_report(where)

    return built_once("report", fill) / "run"


DRAWN: dict[str, str] = {}
"""Charts by what they show: most pages of these tests have the same ones."""


@pytest.fixture(autouse=True, scope="module")
def _each_chart_is_drawn_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("curve", "sweep", "histogram"):
            patch.setattr(charts, name, remembered(name, getattr(charts, name)))
        yield


def remembered(name: str, draw: Callable[..., str]) -> Callable[..., str]:
    def drawn(*values: Any, **options: Any) -> str:
        key = json.dumps([name, values, options])
        if key not in DRAWN:
            DRAWN[key] = draw(*values, **options)
        return DRAWN[key]

    return drawn


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    """The page of that run as it is."""
    return Page((run / "report.html").read_text(encoding="utf-8"))


def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copy")


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the object that a JSON file holds."""
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def read_rows(run: Path) -> list[dict[str, str]]:
    with (run / "scores_test.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def write_rows(run: Path, rows: list[dict[str, str]]) -> None:
    with (run / "scores_test.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def name_sets(run: Path, names: list[str]) -> None:
    """Give a run's test scores as many sets as there are names, with an image each."""

    def rename(scores: dict[str, Any]) -> None:
        for sets in (scores, scores["sweep"]):
            sets["sets"] = [{**sets["sets"][0], "dataset": name} for name in names]

    edit(run / "scores_test.json", rename)
    first = read_rows(run)[0]
    write_rows(run, [{**first, "dataset": name} for name in names])


def test_the_page_has_every_section_and_needs_nothing_from_outside(run: Path, page: Page) -> None:
    for wanted in (
        "disc-unet – run",
        "not a medical device",
        "photographs of patients",
        "Scores: test",
        "Mean per image",
        "Pooled: one count of all pixels",
        "Mean of batches of 4",
        "Threshold sweep",
        "Dice of the images",
        "Scores by lesion size",
        "Best, median and worst",
        "Scores: val",
        "Training",
        "Starts of the run",
        "Images of each dataset",
        "Configuration",
    ):
        assert wanted in page.text
    assert [alt.split(" of ")[0].split(" over ")[0] for alt in page.alts] == [
        "Mean dice", "Mean jaccard", "Mean threshold jaccard", "Dice", "Rows",
        "Training loss", "Validation dice", "Learning rate",
    ]  # fmt: skip
    assert all(load.startswith("data:image/") for load in page.loads)
    source = (run / "report.html").read_text()
    assert "http://" not in source
    assert "https://" not in source
    assert "url(" not in source
    assert len(source) < 2_000_000


def test_its_figures_are_those_of_the_scores(run: Path, page: Page) -> None:
    stored = json.loads((run / "scores_test.json").read_text())
    (entry,) = stored["sets"]
    summary = entry["summary"]

    def shown(values: dict[str, dict[str, float]]) -> list[str]:
        return [
            f"{values[name]['mean']:.4f}\n({values[name]['low']:.3f}–{values[name]['high']:.3f})"
            for name in METRICS
        ]

    tables = [row for row in page.rows if row[0] == "discs test"]
    per_image, distances, pooled, batches, swept = tables
    assert per_image[:3] == ["discs test", "3", f"{summary['failure_rate']:.1%}"]
    assert per_image[3:] == shown(summary["per_image"])
    assert distances[1] == str(summary["n_distances"])
    far = [summary["per_image"][name] for name in ("hausdorff_95_px", "assd_px")]
    assert distances[2:] == [f"{v['mean']:.1f}\n({v['low']:.1f}–{v['high']:.1f})" for v in far]
    assert pooled[1:] == shown(summary["intervals"]["pooled"])
    assert batches[1:] == shown(summary["intervals"]["batch_of_4"])
    (sweep,) = stored["sweep"]["sets"]
    assert swept[1].startswith(f"{max(sweep['dice']):.4f} at ")


def test_the_weights_and_the_start_of_a_run_are_named(run: Path, page: Page) -> None:
    weights = json.loads((run / "scores_test.json").read_text())["weights_sha256"]
    (start,) = json.loads((run / "run.json").read_text())["starts"]
    assert weights in page.text
    assert start["time"] in page.text
    assert start["torch"] in page.text


@pytest.mark.usefixtures("pictures")
def test_every_set_is_in_every_table_and_chart(run: Path, tmp_path: Path) -> None:
    many = copy(run, tmp_path)
    names = [f"set{number}" for number in range(7)]
    name_sets(many, names)
    page = page_of(many)
    for name in names:
        assert sum(row[0] == f"{name} test" for row in page.rows) == 5
        assert sum(f"{name} test" in chart for chart in page.charts) == 4


def test_images_are_grouped_by_the_size_of_their_lesion_and_none_is_left_out(
    run: Path, tmp_path: Path
) -> None:
    sized = copy(run, tmp_path)
    first = {**read_rows(run)[0], "dice": "0.8", "jaccard": "0.7", "threshold_jaccard": "0.7"}
    failed = {**first, "dice": "0.4", "jaccard": "0.25", "threshold_jaccard": "0"}
    shares = ["0", "0.001", "0.02", "0.099", "0.1", "0.3", "1"]
    found = [{**first, "lesion_fraction": share} for share in shares]
    write_rows(sized, [*found, {**failed, "lesion_fraction": "0.03"}])
    rows = page_of(sized).rows
    start = next(index for index, row in enumerate(rows) if row[0] == "lesion's share")
    assert rows[start + 1 : start + 6] == [
        ["below 2 %", "1", "0.8000", "0.7000", "0.7000", "0 (0.0%)"],
        ["2–10 %", "3", "0.6667", "0.5500", "0.4667", "1 (33.3%)"],
        ["10–30 %", "1", "0.8000", "0.7000", "0.7000", "0 (0.0%)"],
        ["30 % and more", "2", "0.8000", "0.7000", "0.7000", "0 (0.0%)"],
        ["no lesion", "1", "0.8000", "0.7000", "0.7000", "0 (0.0%)"],
    ]


@pytest.mark.usefixtures("pictures")
def test_what_a_file_says_is_text_and_never_code(run: Path, tmp_path: Path) -> None:
    hostile = copy(run, tmp_path)
    names = ["<script>x</script>", '"><img src=x onerror=y>', r"a$\foo$", "皮膚", "_under"]
    name_sets(hostile, names)
    edit(hostile / "config.json", lambda config: config.update(name=names[0], limits=names))
    edit(hostile / "run.json", lambda record: record["starts"][0].update(device=names[1]))
    page = page_of(hostile)
    for name in names:
        assert sum(row[0] == f"{name} test" for row in page.rows) == 5
        assert sum(name.lstrip("_") in chart for chart in page.charts) == 4
    source = (hostile / "report.html").read_text()
    assert "<script" not in source
    assert "<img src=x" not in source


def test_charts_have_the_colour_of_the_page_they_stand_on(page: Page) -> None:
    kind = "data:image/svg+xml;base64,"
    charts = [load for load in page.loads if load.startswith(kind)]
    assert len(charts) == 7
    for chart in charts:
        svg = base64.b64decode(chart.removeprefix(kind)).decode()
        assert "currentColor" in svg
        assert "prefers-color-scheme:dark" in svg
        assert "#010203" not in svg  # the ink that stood for it


@pytest.mark.usefixtures("pictures")
def test_the_same_run_gives_the_same_page(run: Path, tmp_path: Path) -> None:
    again = shutil.copytree(run, tmp_path / "run")
    DRAWN.clear()
    page = write_report(again).read_text().replace(str(again), str(run))  # in its commands
    assert page == (run / "report.html").read_text()
    assert not list(again.glob("*.part"))


MISSING = {
    "config.json": "the folder has no config.json",
    "run.json": "the folder has no run.json",
    "log.jsonl": "There is no finished epoch.",
    "model.safetensors": "Scores of the weights with SHA-256",
    "scores_test.json": "There are no scores of the part test yet.",
    "scores_test.csv": "There is no table of the images' scores.",
    "triptychs_test.png": "There are no pictures.",
}


@pytest.mark.parametrize(
    "names",
    [
        ["config.json", "triptychs_test.png"],
        ["run.json", "scores_test.csv"],
        ["log.jsonl", "model.safetensors"],
        ["scores_test.json"],
        ["config.json", "run.json", "log.jsonl", "model.safetensors"],  # scores of a version
    ],
)
def test_a_missing_file_is_named_and_the_rest_is_shown(
    run: Path, page: Page, tmp_path: Path, names: list[str]
) -> None:
    bare = copy(run, tmp_path)
    for name in names:
        (bare / name).unlink()
    found = page_of(bare).text
    assert [said for said in MISSING.values() if said in page.text] == []
    assert [name for name, said in MISSING.items() if said in found] == sorted(
        names, key=list(MISSING).index
    )
    for section in ("Scores: test", "Training", "Data", "Configuration"):
        assert section in found


@pytest.mark.usefixtures("pictures")
def test_the_command_that_the_page_names_makes_what_is_missing(run: Path, tmp_path: Path) -> None:
    unscored = copy(run, tmp_path)
    with without_charts():
        (command,) = page_of(unscored).commands
        program, arguments = command.split("trainer ")
        assert program == "python -m "
        assert main(shlex.split(arguments)) == 0
        page = page_of(unscored)
    assert page.commands == []
    assert any(row[0] == "discs val" for row in page.rows)


def test_scores_of_before_the_sweep_and_of_other_weights_are_told_apart(
    run: Path, page: Page, tmp_path: Path
) -> None:
    old = copy(run, tmp_path)

    def age(scores: dict[str, Any]) -> None:
        del scores["sweep"], scores["sets"][0]["summary"]["intervals"]
        scores["weights_sha256"] = "0" * 64

    edit(old / "scores_test.json", age)
    table = read_rows(old)
    write_rows(old, [{k: v for k, v in row.items() if k != "lesion_fraction"} for row in table])
    text = page_of(old).text
    assert "no threshold sweep" in text
    assert "no note of the lesions' sizes" in text
    assert "scores of other weights" in text
    assert "other weights" not in page.text


@pytest.mark.usefixtures("page")
@pytest.mark.parametrize("name", ["config.json", "run.json", "scores_test.json"])
def test_a_damaged_file_is_an_error_and_leaves_the_page_as_it_was(
    run: Path, tmp_path: Path, name: str
) -> None:
    damaged = copy(run, tmp_path)
    before = (damaged / "report.html").read_bytes()
    (damaged / name).write_text('{"cut')
    with pytest.raises(ConfigError, match=name):
        write_report(damaged)
    assert (damaged / "report.html").read_bytes() == before
