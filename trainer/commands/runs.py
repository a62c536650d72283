"""The commands on runs: train, cross-validate and evaluate."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from model_core.decimals import parse_spacing
from model_core.errors import ConfigError
from trainer.commands import registry
from trainer.config import load_config
from trainer.data.leaks import SKIP_HELP, require_unseen, scorable
from trainer.data.samples import SAMPLES_CSV, Sample, digest, read_samples
from trainer.training.run import read_json, trained_on

if TYPE_CHECKING:
    from trainer.evaluation.evaluate import Scored
    from trainer.evaluation.subjects import EvaluationSubject

Commands = argparse._SubParsersAction  # what add_subparsers gives, which has no public name


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands of this file to the program's."""
    training = commands.add_parser("train", help="train a run from a TOML config")
    training.add_argument("config", type=Path)
    training.add_argument("--out", type=Path, required=True, help="run folder")
    training.add_argument("--data", type=Path, help="prepared folder (default: the config's)")
    training.add_argument("--name", help="name to publish it under (default: the config's)")
    training.add_argument(
        "--initial", help="folder of a run or a published version to start the weights from"
    )
    training.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    training.set_defaults(command=_train, after_interrupt="the same with --resume goes on")

    crossing = commands.add_parser(
        "cross-validate", help="train a run for each fold, and score it on the fold it never saw"
    )
    crossing.add_argument("config", type=Path, help="as of `train`, such as trainer/configs/*.toml")
    crossing.add_argument("--out", type=Path, required=True, help="folder for all runs")
    crossing.add_argument("--data", type=Path, help="prepared folder (default: the config's)")
    crossing.add_argument("--folds", type=_folds, default=5, help="number of folds (5)")
    crossing.add_argument("--resume", action="store_true", help="go on with what --out holds")
    crossing.set_defaults(command=_cross_validate, after_interrupt="the same with --resume goes on")

    evaluate = commands.add_parser("evaluate", help="score a run or a version")
    evaluate.add_argument(
        "target", nargs="+", help="run folder, version, alias, or name@version; one, or --protocol"
    )
    evaluate.add_argument(
        "--protocol", action="store_true", help="the evaluation of record, of one target or more"
    )
    evaluate.add_argument("--data", type=Path, required=True, help="prepared folder, or a manifest")
    parts = ["train", "val", "test", "external", "all"]
    evaluate.add_argument(
        "--part", choices=parts, help="(test; of a manifest, which nobody split, all)"
    )
    evaluate.add_argument("--datasets", help="comma-separated (default: the run's, or all)")
    evaluate.add_argument("--out", type=Path, help="folder for the results (default: the run)")
    evaluate.add_argument(
        "--spacing-mm", type=_spacing, help="height,width of a pixel in mm, the same for all"
    )
    evaluate.add_argument("--skip-bad", action="store_true", help=SKIP_HELP)
    registry.add_registry(evaluate)
    evaluate.set_defaults(command=_evaluate)


def _train(options: argparse.Namespace) -> None:
    from trainer.evaluation.evaluate import held_out
    from trainer.evaluation.subjects import run_subject
    from trainer.training.distributed import joined
    from trainer.training.loop import train

    config = load_config(
        options.config, data=options.data, initial=options.initial, name=options.name
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
    _write_scores(
        run_subject(run, calibrated=False),
        samples,
        run,
        "val",
        digest(everything),
        leak_checked=True,
    )


def _cross_validate(options: argparse.Namespace) -> None:
    from trainer.evaluation.scores import format_table
    from trainer.studies.cross_validate import OUT_OF_FOLD, cross_validate
    from trainer.training.distributed import joined

    config, out = load_config(options.config, data=options.data), options.out
    with joined() as team:
        records = cross_validate(config, options.folds, out, resume=options.resume, team=team)
    if team.is_main:
        print(f"all {options.folds} folds:\n{format_table(records)}")
        print(f"written to {out}: {OUT_OF_FOLD}.json, {OUT_OF_FOLD}.csv")


def _evaluate(options: argparse.Namespace) -> None:
    from trainer.data.prepare import samples_of
    from trainer.evaluation.evaluate import held_out
    from trainer.evaluation.subjects import open_subject

    if options.protocol:
        return _evaluate_of_record(options)
    if len(options.target) > 1:
        raise ConfigError(
            f"{len(options.target)} targets: several beside each other take --protocol"
        )
    opened = open_subject(options.target[0], options.registry, options.name)
    everything = samples_of(options.data)
    part = options.part or ("test" if (options.data / SAMPLES_CSV).is_file() else "all")
    datasets = tuple(options.datasets.split(",")) if options.datasets else opened.datasets
    samples = held_out(everything, part, datasets=datasets)
    wanted = len(samples)
    if opened.seen is None:
        _warn_unless(opened.trained_with, everything)
    elif part != "train":
        samples = scorable(samples, opened.seen, skip_bad=options.skip_bad)
    _write_scores(
        opened,
        samples,
        options.out or opened.home,
        part,
        digest(everything),
        spacing_mm=options.spacing_mm,
        leak_checked=opened.seen is not None and part != "train",
        left_out=wanted - len(samples),
    )
    return None


def _evaluate_of_record(options: argparse.Namespace) -> None:
    from trainer.data.prepare import samples_of
    from trainer.evaluation.subjects import open_subject
    from trainer.studies import protocol

    for option in ("part", "datasets", "spacing_mm"):
        if getattr(options, option):
            raise ConfigError(
                f"--{option.replace('_', '-')} does not go with --protocol, which leaves no choice"
            )
    targets = [open_subject(name, options.registry, options.name) for name in options.target]
    homes = protocol.homes(targets, options.out)
    data = protocol.samples_of_record(samples_of(options.data))
    for note in data.notes:
        print(f"note: {note}", file=sys.stderr)
    # Of all of them, before hours of scoring.
    fit = [protocol.fit_for(opened, data, skip_bad=options.skip_bad) for opened in targets]
    results = []
    for opened, own, home in zip(targets, fit, homes, strict=True):
        result, was_there = protocol.evaluate_of_record(opened, own, home)
        protocol.write_protocol([result], own, home)
        found = "already scored, read from" if was_there else "scored, written to"
        print(f"{opened.label}: {found} {home}: protocol.md, protocol.json, scores_test.json")
        results.append(result)
    print(protocol.format_results(results))
    if options.out and len(results) > 1:
        protocol.write_protocol(results, protocol.together(fit), options.out)
        print(f"side by side: {options.out / 'protocol.md'}, {options.out / 'protocol.json'}")


def _warn_unless(trained_with: str, everything: list[Sample]) -> None:
    """Old versions do not list what they have seen; on their own data the split keeps it apart."""
    own = digest(sample for sample in everything if sample.part != "external")
    if trained_with != own:
        print(
            "note: this version does not list the photographs it was trained on, and this is not "
            "its own data: whether it has seen these is not known",
            file=sys.stderr,
        )


def _write_scores(
    subject: "EvaluationSubject",
    samples: list[Sample],
    out: Path,
    part: str,
    data_sha256: str,
    *,
    leak_checked: bool,
    left_out: int = 0,
    spacing_mm: tuple[float, float] | None = None,
) -> None:
    from trainer.evaluation.evaluate import score
    from trainer.evaluation.scores import format_table, write_scores
    from trainer.studies.run_report import write_report

    scored = score(subject.predictor, samples, spacing_mm=spacing_mm, sweep=True)
    records = write_scores(
        scored,
        subject,
        out,
        part=part,
        data_sha256=data_sha256,
        leak_checked=leak_checked,
        left_out=left_out,
    )
    print(format_table(records))
    print(f"written to {out}: scores_{part}.json, scores_{part}.csv, triptychs_{part}.png")
    print(f"report: {write_report(out)}")
    if part == "val":
        _write_failures(scored, subject, out)


def _write_failures(scored: "list[Scored]", subject: "EvaluationSubject", out: Path) -> None:
    """Where the model fails on the validation part, which may be looked at."""
    from trainer.evaluation.scores import scores_path
    from trainer.evaluation.strata import measure_all, write_strata
    from trainer.studies.worst import write_worst

    items = read_json(scores_path(out, "val"))["items"]
    written = write_strata(items, measure_all([entry.sample for entry in scored]), out, part="val")
    print(f"strata: {written}")
    sheet, page = write_worst(scored, subject.predictor, out, part="val")
    print(f"worst images: {sheet}, {page}")


def _folds(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number from 2 on")
    return int(text)


def _spacing(text: str) -> tuple[float, float]:
    try:
        return parse_spacing(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"found {text!r}, {exc}") from exc
