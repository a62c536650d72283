"""k-fold cross-validation: every image is scored by a run that never saw it.

    python -m trainer cross-validate trainer/configs/default.toml --data data/skin --out runs/folds

The images are those of the train and val parts; test and external sets stay out of it. The folder:

| file | what |
| --- | --- |
| folds.csv | the fold of every image |
| fold-N/data/ | the prepared folder of the run that is kept from fold N |
| fold-N/run/ | that run (`trainer/run.py`), with its scores on fold N |
| out_of_fold.csv | one row an image, scored by the run that was kept from it |
| out_of_fold.json | these as means with intervals, and the spread from fold to fold |
"""

import shutil
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from model_core.card import ScoreRecord
from model_core.errors import ConfigError
from model_core.predictor import Predictor
from trainer.config import TrainConfig
from trainer.distributed import ALONE, Team
from trainer.evaluate import Scored, run_target, score
from trainer.folds import deal, without
from trainer.leaks import require_unseen
from trainer.loop import train
from trainer.run import held, trained_on, training_samples, write_json
from trainer.samples import Sample, digest, write_samples
from trainer.scores import format_table, score_row, summarise_sets, write_rows, write_scores
from trainer.tables import read_table, write_table

FOLDS_CSV = "folds.csv"
OUT_OF_FOLD = "out_of_fold"
PART = "out of fold"
_SPREAD = ("dice", "jaccard", "threshold_jaccard")


def cross_validate(
    config: TrainConfig, count: int, out: Path, *, resume: bool = False, team: Team = ALONE
) -> list[ScoreRecord]:
    """Train a run for each fold, and score every image by the run that was kept from it.

    A fold's scores are printed as soon as there are any.

    Args:
        config: Of every run.
        count: Number of folds, from 2 on.
        out: Folder for all of them; made where absent.
        resume: Go on with what `out` holds; runs that have ended are scored again, not trained.
        team: The processes that share each batch.

    Returns:
        Scores out of fold, one record a dataset; none in processes that do not lead.

    Raises:
        ConfigError: `out` holds a cross-validation and `resume` is not set, or other folds.
        DatasetError: too few images, or the config's initial weights have seen some.
        RunStoppedError: a run could not go on.
    """
    samples = [sample for sample in training_samples(config) if sample.part != "test"]
    folds = deal(samples, count)
    if config.initial:
        scored_later = [replace(sample, part="test") for sample in samples]
        require_unseen(scored_later, trained_on(Path(config.initial)))
    results: list[list[Scored]] = []
    with ExitStack() as stack:
        if team.leads:
            stack.enter_context(held(out))
            _open(samples, folds, out, resume=resume)
        for fold in range(count):
            results.append(_run_fold(config, without(samples, folds, fold), out, fold, team))
        if not team.leads:
            return []
        predictor = run_target(_run(out, 0), calibrated=False).predictor
        return _write(results, predictor, samples, out)


def _open(samples: Sequence[Sample], folds: dict[str, int], out: Path, *, resume: bool) -> None:
    """Note the folds, or check that they are those which `out` was begun with."""
    path = out / FOLDS_CSV
    columns = ("dataset", "id", "group", "fold")
    rows = [(s.dataset, s.id, s.group, str(folds[s.group] + 1)) for s in samples]
    if not path.exists():
        write_table(path, columns, rows)
    elif not resume:
        raise ConfigError(
            f"{out} already holds a cross-validation: add --resume, or choose another --out"
        )
    elif [tuple(row[name] for name in columns) for row in read_table(path, columns)] != rows:
        raise ConfigError(
            f"{out} was begun with other images or another number of folds: put that back, or "
            "choose another --out"
        )


def _run_fold(
    config: TrainConfig, samples: list[Sample], out: Path, fold: int, team: Team
) -> list[Scored]:
    """Train the run that is kept from a fold, to its end, and score it on the fold."""
    run, data = _run(out, fold), _data(out, fold)
    if team.leads:
        write_samples(samples, data)
    team.wait()
    train(replace(config, data=data), run, resume=True, team=team)
    if not team.leads:
        return []
    shutil.rmtree(data / "cache", ignore_errors=True)  # gigabytes, which no other run can use
    kept_out = [sample for sample in samples if sample.part == "test"]
    require_unseen(kept_out, trained_on(run))
    target = run_target(run, calibrated=False)
    scored = score(target.predictor, kept_out)
    records = write_scores(
        scored, target, run, part="test", data_sha256=digest(samples), leak_checked=True
    )
    print(f"fold {fold + 1}, scored by a run that was kept from it:\n{format_table(records)}")
    return scored


def _write(
    results: list[list[Scored]], predictor: Predictor, samples: Sequence[Sample], out: Path
) -> list[ScoreRecord]:
    everything = [entry for scored in results for entry in scored]
    records = [
        replace(record, part=PART, conditions=_conditions(record, len(results)))
        for record in summarise_sets(everything, predictor)
    ]
    rows = [
        score_row(entry) | {"part": PART, "fold": fold}
        for fold, scored in enumerate(results, start=1)
        for entry in scored
    ]
    write_rows(rows, out / f"{OUT_OF_FOLD}.csv")
    folds = [_means(scored, predictor) for scored in results]
    summary = {
        "data_sha256": digest(samples),
        "sets": [asdict(record) for record in records],
        "folds": folds,
        "spread": _spread(folds),
    }
    write_json(out / f"{OUT_OF_FOLD}.json", summary)
    return records


def _conditions(record: ScoreRecord, count: int) -> str:
    return (
        f"{record.conditions}; {count}-fold cross-validation, near-duplicates in one fold, each "
        "image scored by the run that was kept from it"
    )


def _means(scored: list[Scored], predictor: Predictor) -> dict[str, Any]:
    """By dataset: images and means per image of one fold."""
    return {
        record.dataset: {"n": record.summary["n"]}
        | {name: record.summary["per_image"][name]["mean"] for name in _SPREAD}
        for record in summarise_sets(scored, predictor)
    }


def _spread(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By dataset: mean and standard deviation (n - 1) over the folds that have images of it."""
    found: dict[str, Any] = {}
    for dataset in sorted({name for fold in folds for name in fold}):
        means = [fold[dataset] for fold in folds if dataset in fold]
        found[dataset] = {
            name: {
                "mean": statistics.fmean(each[name] for each in means),
                "sd": statistics.stdev(each[name] for each in means) if len(means) > 1 else None,
            }
            for name in _SPREAD
        }
    return found


def _run(out: Path, fold: int) -> Path:
    return out / f"fold-{fold + 1}" / "run"


def _data(out: Path, fold: int) -> Path:
    return out / f"fold-{fold + 1}" / "data"
