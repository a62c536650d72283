"""The commands on runs: train, cross-validate and evaluate."""

import sys
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_core.decimals import parse_spacing
from model_core.errors import ConfigError
from trainer.commands.declare import (
    OUT,
    REGISTRY_AND_NAME,
    SKIP_BAD,
    at_least,
    command,
    option,
)

if TYPE_CHECKING:
    from trainer.data.samples import Sample
    from trainer.evaluation.evaluate import Scored
    from trainer.evaluation.subjects import EvaluationSubject

_CONFIGS_DATA = option("--data", type=Path, help="prepared folder (default: the config's)")
_RESUMES = "the same with --resume goes on"


@command(
    option("config", type=Path),
    option("--out", type=Path, required=True, help="run folder"),
    _CONFIGS_DATA,
    option("--name", help="name to publish it under (default: the config's)"),
    option("--initial", help="folder of a run or a published version to start the weights from"),
    option(
        "--teacher",
        action="append",
        help="folder of a run or a published version to learn from, too; several teach their mean",
    ),
    option("--resume", action="store_true", help="go on from the checkpoint"),
    after_interrupt=_RESUMES,
)
def train(options: Namespace) -> None:
    """Train a run from a TOML config."""
    from trainer.config import load_config
    from trainer.data.leaks import require_unseen
    from trainer.data.samples import digest, read_samples
    from trainer.evaluation.evaluate import held_out
    from trainer.evaluation.subjects import run_subject
    from trainer.training.distributed import joined
    from trainer.training.loop import train
    from trainer.training.run import trained_on

    config = load_config(
        options.config,
        data=options.data,
        initial=options.initial,
        teachers=options.teacher,
        name=options.name,
    )
    run: Path = options.out
    with joined() as team:
        train(config, run, resume=options.resume, team=team)
    if not team.is_main:
        return
    everything = read_samples(config.data)
    samples = held_out(everything, "val", datasets=config.datasets)
    require_unseen(samples, trained_on(run))  # the initial weights may have seen them
    # A calibration that an earlier start was given is of other weights than these.
    subject = run_subject(run, calibrated=False)
    _write_scores(subject, samples, run, "val", data_sha256=digest(everything), leak_checked=True)


@command(
    option("config", type=Path, help="as of `train`, such as trainer/configs/*.toml"),
    option("--out", type=Path, required=True, help="folder for all runs"),
    _CONFIGS_DATA,
    option("--folds", type=at_least(2), default=5, help="number of folds (5)"),
    option("--resume", action="store_true", help="go on with what --out holds"),
    after_interrupt=_RESUMES,
)
def cross_validate(options: Namespace) -> None:
    """Train a run for each fold, and score it on the fold it never saw."""
    from trainer.config import load_config
    from trainer.evaluation.scores import format_table
    from trainer.studies.cross_validate import OUT_OF_FOLD, cross_validate
    from trainer.training.distributed import joined

    config, out = load_config(options.config, data=options.data), options.out
    with joined() as team:
        records = cross_validate(config, options.folds, out, resume=options.resume, team=team)
    if team.is_main:
        print(f"all {options.folds} folds:\n{format_table(records)}")
        print(f"written to {out}: {OUT_OF_FOLD}.json, {OUT_OF_FOLD}.csv")


def _spacing(text: str) -> tuple[float, float]:
    try:
        return parse_spacing(text)
    except ValueError as exc:
        raise ArgumentTypeError(f"found {text!r}, {exc}") from exc


@command(
    option(
        "target", nargs="+", help="run folder, version, alias, or name@version; one, or --protocol"
    ),
    option(
        "--protocol", action="store_true", help="the evaluation of record, of one target or more"
    ),
    option("--data", type=Path, required=True, help="prepared folder, or a manifest"),
    option(
        "--part",
        choices=["train", "val", "test", "external", "all"],
        help="(test; of a manifest, which nobody split, all)",
    ),
    option("--datasets", help="comma-separated (default: the run's, or all)"),
    OUT,
    option(
        "--metadata",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="with --protocol: folder of tables of patients and readers; may be given again",
    ),
    option("--spacing-mm", type=_spacing, help="height,width of a pixel in mm, the same for all"),
    SKIP_BAD,
    *REGISTRY_AND_NAME,
)
def evaluate(options: Namespace) -> None:
    """Score a run or a version."""
    from trainer.data.leaks import scorable
    from trainer.data.prepare import samples_of
    from trainer.data.samples import SAMPLES_CSV, digest
    from trainer.evaluation.evaluate import held_out
    from trainer.evaluation.subjects import open_subject

    if options.protocol:
        _evaluate_of_record(options)
        return
    if options.metadata:
        raise ConfigError("--metadata goes with --protocol alone")
    if len(options.target) > 1:
        raise ConfigError(
            f"{len(options.target)} targets: several beside each other take --protocol"
        )
    subject = open_subject(options.target[0], options.registry, options.name)
    everything = samples_of(options.data)
    part = options.part or ("test" if (options.data / SAMPLES_CSV).is_file() else "all")
    datasets = tuple(options.datasets.split(",")) if options.datasets else subject.datasets
    samples = held_out(everything, part, datasets=datasets)
    wanted = len(samples)
    if subject.seen is None:
        _warn_unless(subject.trained_with, everything)
    elif part != "train":
        samples = scorable(samples, subject.seen, skip_bad=options.skip_bad)
    _write_scores(
        subject,
        samples,
        options.out or subject.home,
        part,
        data_sha256=digest(everything),
        spacing_mm=options.spacing_mm,
        leak_checked=subject.seen is not None and part != "train",
        left_out=wanted - len(samples),
    )


def _evaluate_of_record(options: Namespace) -> None:
    from trainer.data.prepare import samples_of
    from trainer.evaluation.subjects import open_subject
    from trainer.studies import protocol

    for name in ("part", "datasets", "spacing_mm"):
        if getattr(options, name):
            raise ConfigError(
                f"--{name.replace('_', '-')} does not go with --protocol, which leaves no choice"
            )
    subjects = [open_subject(name, options.registry, options.name) for name in options.target]
    homes = protocol.homes(subjects, options.out)
    data = protocol.samples_of_record(samples_of(options.data), options.metadata)
    for note in data.notes:
        print(f"note: {note}", file=sys.stderr)
    # Of all of them, before hours of scoring.
    fit = [protocol.fit_for(subject, data, skip_bad=options.skip_bad) for subject in subjects]
    results = []
    for subject, own, home in zip(subjects, fit, homes, strict=True):
        result, was_there = protocol.evaluate_of_record(subject, own, home)
        protocol.write_protocol([result], own, home)
        done = "already scored, read from" if was_there else "scored, written to"
        print(f"{subject.label}: {done} {home}: protocol.md, protocol.json, scores_test.json")
        results.append(result)
    print(protocol.format_results(results))
    if options.out and len(results) > 1:
        protocol.write_protocol(results, protocol.together(fit), options.out)
        print(f"side by side: {options.out / 'protocol.md'}, {options.out / 'protocol.json'}")


def _warn_unless(trained_with: str, everything: "list[Sample]") -> None:
    """Say that a version may have seen the images, unless the data is its own, split as then."""
    from trainer.data.samples import digest

    own = digest(sample for sample in everything if sample.part != "external")
    if trained_with != own:
        print(
            "note: this version does not list the photographs it was trained on, and this is not "
            "its own data: whether it has seen these is not known",
            file=sys.stderr,
        )


def _write_scores(
    subject: "EvaluationSubject",
    samples: "list[Sample]",
    out: Path,
    part: str,
    *,
    spacing_mm: tuple[float, float] | None = None,
    **noted: Any,
) -> None:
    """Score samples and write the report; `noted` goes to `write_scores`."""
    from trainer.evaluation.evaluate import score
    from trainer.evaluation.scores import format_table, write_scores
    from trainer.studies.run_report import write_report

    scored = score(subject.predictor, samples, spacing_mm=spacing_mm, sweep=True)
    records = write_scores(scored, subject, out, part=part, **noted)
    print(format_table(records))
    print(f"written to {out}: scores_{part}.json, scores_{part}.csv, triptychs_{part}.png")
    print(f"report: {write_report(out)}")
    if part == "val":
        _write_failures(scored, subject, out)


def _write_failures(scored: "list[Scored]", subject: "EvaluationSubject", out: Path) -> None:
    """Write where the model fails on the validation part, which may be looked at."""
    from trainer.evaluation.scores import scores_path
    from trainer.evaluation.strata import measure_all, write_strata
    from trainer.studies.worst import write_worst
    from trainer.training.run import read_json

    items = read_json(scores_path(out, "val"))["items"]
    written = write_strata(items, measure_all([entry.sample for entry in scored]), out, part="val")
    print(f"strata: {written}")
    sheet, page = write_worst(scored, subject.predictor, out, part="val")
    print(f"worst images: {sheet}, {page}")
