"""k-fold cross-validation: every image is scored by a run that never saw it.

    python -m trainer cross-validate trainer/configs/default.toml --data data/skin --out runs/folds

The images are those of the train and val parts; test and external sets stay out of it. The folder:

| file | what |
| --- | --- |
| folds.csv | the fold of every image |
| fold-N/data/ | the prepared folder of the run that is kept from fold N, its test part |
| fold-N/run/ | that run (`trainer/training/run.py`), with its scores on fold N |
| out_of_fold.csv | one row an image, scored by the run that was kept from it |
| out_of_fold.json | these as means with intervals, and the spread from fold to fold |
"""

import shutil
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model_core.card import ScoreRecord
from model_core.errors import ConfigError
from trainer.config import TrainConfig
from trainer.data.folds import assign_folds, without
from trainer.data.leaks import fingerprint, require_unseen
from trainer.data.samples import Sample, digest, write_samples
from trainer.data.tables import read_table, write_table
from trainer.evaluation.evaluate import Scored, score
from trainer.evaluation.scores import (
    format_table,
    score_row,
    summarise_sets,
    write_rows,
    write_scores,
)
from trainer.evaluation.subjects import EvaluationSubject, run_subject
from trainer.studies.run_report import write_report
from trainer.training.distributed import SINGLE_PROCESS, Team
from trainer.training.loop import train
from trainer.training.run import CONFIG, RUN, held, load_record, own_samples, trained_on, write_json

OUT_OF_FOLD = "out_of_fold"
_FOLDS_CSV = "folds.csv"
_COLUMNS = ("dataset", "id", "image_sha256", "mask_sha256", "group", "fold")
_PART = "out of fold"
_SPREAD_OF = ("dice", "jaccard", "threshold_jaccard")


@dataclass(frozen=True)
class Fold:
    """One fold, numbered from 1, and the run that is kept from it: the fold is its test part."""

    number: int
    of: int
    home: Path
    samples: list[Sample]

    def __str__(self) -> str:
        return f"fold {self.number} of {self.of}"

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.home / "run"

    @property
    def data(self) -> Path:
        """The prepared folder of the run."""
        return self.home / "data"

    @property
    def kept_out(self) -> list[Sample]:
        """Samples that the run is scored on."""
        return [sample for sample in self.samples if sample.part == "test"]


@dataclass(frozen=True)
class Result:
    """What a fold's run is worth on its fold."""

    fold: Fold
    subject: EvaluationSubject
    scored: list[Scored]
    records: list[ScoreRecord]


def cross_validate(
    config: TrainConfig, count: int, out: Path, *, resume: bool = False, team: Team = SINGLE_PROCESS
) -> list[ScoreRecord]:
    """Train a run for each fold, and score every image by the run that was kept from it.

    A fold's scores are printed as soon as there are any.

    With `resume`, go on with what `out` holds: runs that have ended are only scored again.

    Returns:
        Scores out of fold, one record a dataset; none in processes that do not lead.

    Raises:
        ConfigError: `out` holds a cross-validation and `resume` is not set, or another one; the
            initial weights changed on the way.
        DatasetError: too few images, a run would be scored on what it or its initial weights saw.
        RunStoppedError: a run could not go on.
    """
    samples = [sample for sample in own_samples(config) if sample.part != "test"]
    dealt = assign_folds(samples, count)
    folds = [
        Fold(number, count, out / f"fold-{number}", without(samples, dealt, number))
        for number in range(1, count + 1)
    ]
    # Before anything is written or trained: it may end here.
    _require_apart(config, folds)
    with ExitStack() as stack:
        if team.is_main:
            stack.enter_context(held(out))
            _open(samples, dealt, out, resume=resume)
        results = [_run_fold(config, fold, folds[0], team) for fold in folds]
        return _write(results, samples, out) if team.is_main else []


def _require_apart(config: TrainConfig, folds: Sequence[Fold]) -> None:
    """Require that no run is scored on what it will have seen, before hours of training."""
    before = trained_on(Path(config.initial)) if config.initial else []
    for fold in folds:
        seen = [fingerprint(sample) for sample in fold.samples if sample.part != "test"]
        require_unseen(fold.kept_out, before, advice="take other initial weights, or none")
        require_unseen(fold.kept_out, seen, advice="`prepare` the data again: it groups them")


def _open(samples: Sequence[Sample], dealt: dict[str, int], out: Path, *, resume: bool) -> None:
    """Note the folds, or check that they are those which `out` was begun with."""
    path = out / _FOLDS_CSV
    rows = [
        (s.dataset, s.id, s.image_sha256, s.mask_sha256, s.group, str(dealt[s.group]))
        for s in samples
    ]
    if not any(out.glob(f"fold-*/run/{CONFIG}")):
        write_table(path, _COLUMNS, rows)
    elif not resume:
        raise ConfigError(
            f"{out} already holds a cross-validation: add --resume, or choose another --out"
        )
    elif [tuple(row[name] for name in _COLUMNS) for row in read_table(path, _COLUMNS)] != rows:
        raise ConfigError(
            f"{out} was begun with other images or another number of folds: put that back, or "
            "choose another --out"
        )


def _run_fold(config: TrainConfig, fold: Fold, first: Fold, team: Team) -> Result:
    """Train the run that is kept from a fold, to its end, and score it on the fold."""
    if team.is_main:
        write_samples(fold.samples, fold.data)
        counts = Counter(sample.part for sample in fold.samples)
        print(f"{fold}: {counts['train']} train, {counts['val']} val, {counts['test']} kept out")
    team.wait()
    # Always resumed: whether --resume was needed was decided for the folder of all folds.
    train(replace(config, data=fold.data), fold.run, resume=True, team=team)
    team.wait()  # until the first process has written the weights
    if load_record(fold.run)["initial"] != load_record(first.run)["initial"]:
        raise ConfigError(
            f"{config.initial} changed between {first.run} and {fold.run}: choose another --out"
        )
    kept_out, subject = fold.kept_out, run_subject(fold.run, calibrated=False)
    scored = team.gather(score(subject.predictor, kept_out[team.shard(len(kept_out))]))
    return Result(fold, subject, scored, _write_fold(fold, subject, scored) if team.is_main else [])


def _write_fold(fold: Fold, subject: EvaluationSubject, scored: list[Scored]) -> list[ScoreRecord]:
    write_json(fold.run / RUN, load_record(fold.run) | {"fold": f"{fold.number} of {fold.of}"})
    shutil.rmtree(fold.data / "cache", ignore_errors=True)  # gigabytes, which no other run can use
    records = write_scores(
        scored,
        subject,
        fold.run,
        part="test",
        data_sha256=digest(fold.samples),
        leak_checked=True,  # by `_require_apart`
        called=_PART,
    )
    write_report(fold.run)
    print(f"{fold}, scored by the run kept from it:\n{format_table(records)}")
    return records


def _write(results: list[Result], samples: Sequence[Sample], out: Path) -> list[ScoreRecord]:
    count, predictor = len(results), results[0].subject.predictor
    rows = [
        score_row(entry) | {"part": _PART, "fold": result.fold.number}
        for result in results
        for entry in result.scored
    ]
    write_rows(rows, out / f"{OUT_OF_FOLD}.csv")
    everything = [entry for result in results for entry in result.scored]
    records = [
        replace(
            record,
            conditions=f"{record.conditions}; {count}-fold cross-validation, near-duplicates in "
            "one fold, each image scored by the run that was kept from it",
        )
        for record in summarise_sets(everything, predictor, called=_PART)
    ]
    summary = {
        "data_sha256": digest(samples),
        "postprocess": asdict(predictor.postprocess_config),
        "sets": [asdict(record) for record in records],
        "folds": [
            {
                "weights_sha256": result.subject.weights_sha256,
                "sets": {record.dataset: _means(record) for record in result.records},
            }
            for result in results
        ],
        "spread": _spread(results),
    }
    write_json(out / f"{OUT_OF_FOLD}.json", summary)
    return records


def _means(record: ScoreRecord) -> dict[str, float]:
    means = {name: record.summary["per_image"][name]["mean"] for name in _SPREAD_OF}
    return {"n": record.summary["n"], **means}


def _spread(results: Sequence[Result]) -> dict[str, Any]:
    """Spread from fold to fold, by dataset: mean and standard deviation (n - 1)."""
    records = [record for result in results for record in result.records]
    spread: dict[str, dict[str, Any]] = {}
    for dataset in sorted({record.dataset for record in records}):
        means = [_means(record) for record in records if record.dataset == dataset]
        columns = {name: [fold[name] for fold in means] for name in _SPREAD_OF}
        spread[dataset] = {
            name: {"mean": statistics.fmean(values),
                   "sd": statistics.stdev(values) if len(values) > 1 else None}
            for name, values in columns.items()
        }  # fmt: skip
    return spread
