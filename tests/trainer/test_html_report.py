import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from trainer.config import parse_config
from trainer.evaluate import held_out, run_target, score, write_scores
from trainer.html_report import write_report
from trainer.loop import train
from trainer.samples import read_samples

VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """A page that must be well formed: its texts, tables and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.rows: list[list[str]] = []
        self.loads: list[str] = []
        self.alts: list[str] = []
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

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("td", "th"):
            self.rows[-1].append(data)
        self.texts.append(data)


@pytest.fixture(scope="module")
def run(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs, scored with its threshold sweep."""
    folder = tmp_path_factory.mktemp("report") / "run"
    table = {
        "name": "disc-unet",
        "data": str(discs),
        "limits": ["<script>alert(1)</script>"],
        "stages": [{"size": 16, "epochs": 2, "batch": 4}],
        "model": {"width": 4, "depth": 2, "norm": "batch"},
        "preprocess": {"size": 16},
    }
    train(parse_config(table, "test"), folder)
    target = run_target(folder)
    scored = score(target.predictor, held_out(read_samples(discs), "test"), sweep=True)
    write_scores(scored, target, folder, part="test", data_sha256="0" * 64)
    return folder


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def test_the_page_has_every_section_and_needs_nothing_from_outside(run: Path) -> None:
    page = page_of(run)
    text = "".join(page.texts)
    for wanted in ("Training", "Scores: test", "Scores by lesion size", "Data", "Configuration"):
        assert wanted in text
    assert [alt.split(" ")[0] for alt in page.alts] == [
        "curves", "scores", "histograms", "photographs,",
    ]  # fmt: skip
    assert page.loads
    assert all(load.startswith("data:") for load in page.loads)
    assert "fit for diagnosis" in text


def test_its_figures_are_those_of_the_scores(run: Path) -> None:
    (entry,) = json.loads((run / "scores_test.json").read_text())["sets"]
    dice = entry["summary"]["per_image"]["dice"]
    shown = f"{dice['mean']:.4f} ({dice['low']:.3f}–{dice['high']:.3f})"
    assert any(row[:3] == ["discs", "3", shown] for row in page_of(run).rows)
    pooled = f"{entry['summary']['pooled']['dice']:.4f} ("
    assert any(
        row[:2] == ["discs", "all pixels pooled"] and row[2].startswith(pooled)
        for row in page_of(run).rows
    )


def test_what_a_config_says_is_text_and_never_code(run: Path) -> None:
    assert "<script" not in write_report(run).read_text()
    assert "<script>alert(1)</script>" in "".join(page_of(run).texts)


def test_the_same_run_gives_the_same_page(run: Path) -> None:
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_a_run_without_scores_says_what_makes_them(run: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(run, tmp_path / "bare")
    (bare / "scores_test.json").unlink()
    (bare / "log.jsonl").unlink()
    text = "".join(page_of(bare).texts)
    assert "python -m trainer evaluate bare" in text
    assert "python -m trainer train bare" in text


def test_scores_of_before_the_sweep_and_of_other_weights_are_told_apart(
    run: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(run, tmp_path / "old")
    scores = json.loads((old / "scores_test.json").read_text())
    del scores["sweep"]
    scores["weights_sha256"] = "0" * 64
    (old / "scores_test.json").write_text(json.dumps(scores))
    text = "".join(page_of(old).texts)
    assert "No threshold sweep" in text
    assert "scores of other weights" in text
    assert "other weights" not in "".join(page_of(run).texts)
