"""The evaluation of record: the same sets, split, scoring and means for every model.

    python -m trainer evaluate --protocol runs/first 1.2.0 --data data/skin

docs/evaluation.md is the protocol in words. With tables of patients and readers (--metadata DIR) it
tells whom the model fails, and how it stands beside a second reader. Nothing can be chosen here:
whatever is chosen on the test part makes its scores too good.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model_core.card import GapRecord, ScoreRecord
from model_core.errors import ConfigError, DatasetError
from model_core.registry.local_store import file_sha256
from trainer.data.leaks import count_left_out, scorable
from trainer.data.samples import Sample, digest
from trainer.data.split import COMMITTED_SPLIT, read_split
from trainer.data.tables import replace_text
from trainer.evaluation import metadata, strata
from trainer.evaluation.evaluate import held_out, score
from trainer.evaluation.gaps import format_gaps, largest_gaps
from trainer.evaluation.metadata import Metadata
from trainer.evaluation.readers import Agreement, beside_readers, format_agreement
from trainer.evaluation.scores import scores_path, write_scores
from trainer.evaluation.subjects import OpenedSubject
from trainer.plots.text import MISSING, aligned, interval, markdown_table
from trainer.training.run import read_json, write_json

SETS = (("isic", "test"), ("isic_fullframe", "test"), ("ham10000", "test"), ("ph2", "external"))
"""Datasets and parts that the protocol names; those that the data lacks are named as absent."""

PROTOCOL = "protocol.json"
_PART = "test"
_NO_METADATA = (
    "no --metadata: nothing by diagnosis, age, sex, body site and tool, and nothing beside a "
    "second reader"
)
_SHOWN = 5
_MEASURES = (
    ("Dice", "per_image", "dice"),
    ("Jaccard", "per_image", "jaccard"),
    ("threshold Jaccard", "per_image", "threshold_jaccard"),
    ("failures, Jaccard < 0.65", "failure_rate", ""),
    ("Hausdorff 95, px", "per_image", "hausdorff_95_px"),
    ("pooled Dice", "pooled", "dice"),
    ("pooled Jaccard", "pooled", "jaccard"),
    ("batch-of-4 Dice", "batch_of_4", "dice"),
    ("batch-of-4 Jaccard", "batch_of_4", "jaccard"),
)


@dataclass(frozen=True)
class HeldOut:
    """The samples of record of a prepared folder.

    Attributes:
        samples: All of its test part and of its external sets.
        traits: What their lesions are like.
        data_sha256: Digest of the whole folder.
        notes: What of the protocol the folder lacks, or has beyond it, one line each.
        metadata: What tables tell of patients and readers; None where none were given.
        left_out: Images that a target is not scored on, since it has seen them.
    """

    samples: list[Sample]
    traits: list[strata.Traits]
    data_sha256: str
    notes: list[str]
    metadata: Metadata | None = None
    left_out: int = 0


@dataclass(frozen=True)
class Result:
    """Scores of record of one target.

    Attributes:
        label: Its name.
        weights_sha256: Hash of its weights.
        sets: Scores by set.
        strata: Scores by stratum, as `strata.tabulate` gives them.
        gaps: Largest difference between groups of each kind.
        readers: Agreement beside that of readers with each other.
        left_out: As `HeldOut`.
    """

    label: str
    weights_sha256: str
    sets: list[ScoreRecord]
    strata: dict[str, list[dict[str, Any]]]
    gaps: list[GapRecord]
    readers: list[Agreement]
    left_out: int = 0


def samples_of_record(everything: Sequence[Sample], tables: Sequence[Path] = ()) -> HeldOut:
    """Select what the protocol scores of a prepared folder.

    Args:
        everything: All samples of the folder.
        tables: Folders with tables of patients and readers, as `metadata.read_metadata` takes them.

    Raises:
        DatasetError: a photograph is on another side than the committed split puts it, or nothing
            is held out; or the tables cannot be read.
    """
    places = read_split(COMMITTED_SPLIT)
    moved = [s for s in everything if s.id in places and s.part != places[s.id].part]
    if moved:
        shown = "; ".join(
            f"{s.key} is in {s.part}, not {places[s.id].part}" for s in moved[:_SHOWN]
        )
        raise DatasetError(
            f"{len(moved)} of {len(everything)} photographs are on another side than "
            f"{COMMITTED_SPLIT.name} puts them: {shown}{'; …' * (len(moved) > _SHOWN)}; "
            "prepare the data again without --split and --official-split"
        )
    samples = held_out(everything, _PART)
    sets = {(sample.dataset, sample.part) for sample in samples}
    notes = [f"not in this data: {name} {part}" for name, part in SETS if (name, part) not in sets]
    committed = {name for name, place in places.items() if place.part in ("test", "external")}
    ours, others = committed & {s.id for s in samples}, {s.id for s in samples} - committed
    if len(ours) < len(committed):
        notes.append(
            f"{len(committed) - len(ours)} of the {len(committed)} photographs that the committed "
            "split holds out are not in this data: its scores are of fewer images"
        )
    if others:
        notes.append(
            f"{len(others)} photographs to score are not in the committed split: its scores are "
            "of others too"
        )
    known = metadata.read_metadata(tables) if tables else None
    notes += known.notes(samples) if known else [_NO_METADATA]
    return HeldOut(samples, strata.measure_all(samples), digest(everything), notes, known)


def homes(targets: Sequence[OpenedSubject], out: Path | None) -> list[Path]:
    """Choose a folder for each target's scores: its own, or one below `out` for several.

    Raises:
        ConfigError: two targets would have the same folder.
    """
    if out is None:
        folders = [subject.home for subject in targets]
    else:
        folders = [out / subject.label for subject in targets] if len(targets) > 1 else [out]
    twice = [str(path) for path, count in Counter(map(Path.resolve, folders)).items() if count > 1]
    if twice:
        raise ConfigError(f"several targets would be scored into {', '.join(twice)}: rename a run")
    return folders


def fit_for(subject: OpenedSubject, data: HeldOut, *, skip_bad: bool = False) -> HeldOut:
    """Select what a target is scored on.

    With `skip_bad`, leave out what it has seen, as an older version may have of a newer split.

    Raises:
        DatasetError: it is not known what it has seen; or it has seen some of the photographs and
            none may be left out, or all of them.
    """
    if subject.seen is None:
        raise DatasetError(
            f"{subject.label} does not list the photographs it was trained on: whether it has seen "
            "the test part is not known; score the run that it was published from"
        )
    samples = scorable(data.samples, subject.seen, skip_bad=skip_bad)
    kept = {sample.key for sample in samples}
    out = [sample for sample in data.samples if sample.key not in kept]
    if not out:
        return data
    note = (
        f"{subject.label} is scored without {count_left_out(data.samples, out)}, which it has seen "
        "in training or which are grouped with such"
    )
    rows = zip(data.samples, data.traits, strict=True)
    traits = [traits for sample, traits in rows if sample.key in kept]
    return replace(
        data, samples=samples, traits=traits, notes=[*data.notes, note], left_out=len(out)
    )


def together(fit: Sequence[HeldOut]) -> HeldOut:
    """Join what several targets were scored on, for the table of all, with the notes of all."""
    # A dict keeps their order, and each of them once.
    notes = dict.fromkeys(note for data in fit for note in data.notes)
    return replace(fit[0], notes=list(notes))


def evaluate_of_record(subject: OpenedSubject, data: HeldOut, out: Path) -> tuple[Result, bool]:
    """Score one target, or read its scores from `out` where they are there already.

    `data` is of `fit_for`; what `write_scores` writes is left in `out`, the target's own folder.

    Returns:
        The scores, and whether they were read: the test part is looked at once.
    """
    stored = _stored(subject, data, out)
    was_there = bool(stored)
    if not was_there:
        # No threshold sweep: its best cut would be one chosen on the test part.
        scored = score(subject.predictor, data.samples)
        write_scores(scored, subject, out, part=_PART, data_sha256=data.data_sha256,
                     leak_checked=True, left_out=data.left_out)  # fmt: skip
        stored = read_json(scores_path(out, _PART))
    sets = [ScoreRecord(**entry) for entry in stored["sets"]]
    items = stored["items"]
    groups = strata.group(items, data.traits)
    if data.metadata:
        groups |= metadata.group(data.samples, data.metadata)
    result = Result(
        subject.label,
        subject.weights_sha256,
        sets,
        strata.tabulate(items, groups),
        largest_gaps(items, groups, [sample.group for sample in data.samples]),
        beside_readers(items, data.metadata.pairs) if data.metadata else [],
        data.left_out,
    )
    return result, was_there


def write_protocol(results: Sequence[Result], data: HeldOut, out: Path) -> None:
    """Write protocol.json and protocol.md, a table fit for documents, into `out`."""
    record = {
        "split": {"file": COMMITTED_SPLIT.name, "sha256": file_sha256(COMMITTED_SPLIT)},
        "data_sha256": data.data_sha256,
        "notes": data.notes,
        "strata": {
            "size": strata.SIZES,
            "contrast": strata.CONTRASTS,
            "skin_deg": strata.SKIN_DEG,
        },
        "targets": [asdict(result) for result in results],
    }
    write_json(out / PROTOCOL, record)
    replace_text(out / "protocol.md", _markdown(results, data))


def read_gaps(folder: Path, sets: Sequence[Mapping[str, Any]]) -> list[GapRecord]:
    """Read the gaps between groups that `write_protocol` left; none where they are of other scores.

    `sets` are those of the scores beside it.
    """
    path = folder / PROTOCOL
    if not path.is_file():
        return []
    return [
        GapRecord(**{**gap, "n": tuple(gap["n"])})
        for target in read_json(path)["targets"]
        if target["sets"] == sets
        for gap in target.get("gaps", [])
    ]


def format_results(results: Sequence[Result]) -> str:
    """Format the scores of all targets beside each other, for the terminal."""
    widths = (28, *(26 for _ in results))
    lines = [aligned(("", *(result.label for result in results)), widths)]
    for heading, rows in _rows(results):
        lines += ["", heading]
        lines += [aligned((f"  {measure}", *cells), widths) for measure, cells in rows]
    return "\n".join(lines)


def _stored(subject: OpenedSubject, data: HeldOut, out: Path) -> dict[str, Any]:
    """Read scores in `out` of these very weights, rules and images; empty where there are none."""
    path = scores_path(out, _PART)
    if not path.is_file():
        return {}
    stored = read_json(path)
    wanted = {**subject.conditions(), "data_sha256": data.data_sha256, "leak_checked": True}
    images = [(item["dataset"], item["part"], item["id"]) for item in stored.get("items", [])]
    ours = [(sample.dataset, sample.part, sample.id) for sample in data.samples]
    # Their order counts too: strata are matched to the items by it.
    same = all(stored.get(name) == value for name, value in wanted.items())
    return stored if same and images == ours else {}


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """List each set's name, and of each measure its name and the cell of each target."""
    by_set = [{(r.dataset, r.part): r.summary for r in result.sets} for result in results]
    for dataset, part in dict.fromkeys(name for sets in by_set for name in sets):
        summaries = [sets.get((dataset, part)) for sets in by_set]
        counts = dict.fromkeys(str(summary["n"] if summary else 0) for summary in summaries)
        rows = [
            (name, [_cell(summary, mean, metric) for summary in summaries])
            for name, mean, metric in _MEASURES
        ]
        yield f"{dataset} {part}, {' and '.join(counts)} images", rows


def _cell(summary: dict[str, Any] | None, mean: str, metric: str) -> str:
    if summary is None:
        return MISSING
    if mean == "failure_rate":
        return f"{summary[mean]:.1%}"
    value = summary[mean].get(metric) if mean == "per_image" else summary["intervals"][mean][metric]
    return interval(value, 1 if metric.endswith("_px") else 4)


def _markdown(results: Sequence[Result], data: HeldOut) -> str:
    columns = ("set", "measure", *(result.label for result in results))
    cells = [(heading, name, *row) for heading, rows in _rows(results) for name, row in rows]
    lines = [markdown_table(columns, cells)]
    conditions = dict.fromkeys(record.conditions for result in results for record in result.sets)
    lines += [f"\n{note[0].upper()}{note[1:]}." for note in (*data.notes, *conditions)]
    for result in results:
        lines += [f"\n{result.label}, all these images by stratum:\n"]
        lines += [strata.format_markdown(result.strata)]
        if result.gaps:
            lines += [f"\n{result.label}, largest gap between groups of 30 images or more:\n"]
            lines += [format_gaps(result.gaps)]
        if result.readers:
            lines += [f"\n{result.label} with the mask of record, beside reader with reader:\n"]
            lines += [format_agreement(result.readers)]
    return "\n".join(lines) + "\n"
