"""The commands between training and publishing: calibrate, export, quality and robustness."""

import argparse
from dataclasses import asdict
from pathlib import Path

from model_core.backends.protocol import CHOICES
from model_core.decimals import integer
from model_core.errors import ConfigError
from model_core.registry.registry import Registry
from trainer.commands.registry import add_registry
from trainer.data.leaks import SKIP_HELP, require_unseen, scorable
from trainer.data.samples import read_samples
from trainer.training.run import CALIBRATION, CONFIG, EXPORTS, PRECISION, load_run, trained_on

Commands = argparse._SubParsersAction  # what add_subparsers gives, which has no public name


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands of this file to the program's."""
    calibrating = commands.add_parser("calibrate", help="choose what follows a run's weights")
    calibrating.add_argument("run", type=Path, help="run folder")
    calibrating.add_argument("--data", type=Path, required=True, help="prepared folder")
    calibrating.set_defaults(command=_calibrate)

    exporting = commands.add_parser("export", help="other engines' forms of a run, compared")
    exporting.add_argument("target", help="run folder, version, alias, or name@version")
    exporting.add_argument("--data", type=Path, required=True, help="prepared folder")
    exporting.add_argument(
        "--publish", metavar="VERSION", help="of a version: what it becomes with its new networks"
    )
    add_registry(exporting)
    exporting.set_defaults(command=_export)

    trusting = commands.add_parser(
        "quality", help="when a mask needs no review, and what then fails"
    )
    trusting.add_argument("target", help="run folder, version, alias, or name@version")
    trusting.add_argument("--data", type=Path, required=True, help="prepared folder")
    trusting.add_argument("--out", type=Path, help="folder for the results (default: the run)")
    trusting.add_argument(
        "--backend",
        choices=CHOICES,
        default="pytorch-fp32",
        help="engine of a version: auto is the one that serves (pytorch-fp32)",
    )
    trusting.add_argument("--skip-bad", action="store_true", help=SKIP_HELP)
    add_registry(trusting)
    trusting.set_defaults(command=_quality)

    robust = commands.add_parser("robustness", help="scores of worse photographs, and inventions")
    robust.add_argument("target", help="run folder, version, alias, or name@version")
    robust.add_argument("--data", type=Path, required=True, help="prepared folder")
    robust.add_argument("--part", choices=["val", "test", "external"], default="test")
    robust.add_argument(
        "--limit",
        type=integer,
        default=200,
        help="images, of each set its share (200); 0 takes all",
    )
    robust.add_argument(
        "--seed", type=integer, default=0, help="of the sample and what is drawn (0)"
    )
    robust.add_argument("--out", type=Path, help="folder for the results (default: the run)")
    robust.add_argument("--skip-bad", action="store_true", help=SKIP_HELP)
    add_registry(robust)
    robust.set_defaults(command=_robustness)


def _calibrate(options: argparse.Namespace) -> None:
    from trainer.evaluation.calibrate import calibrate
    from trainer.evaluation.evaluate import held_out
    from trainer.evaluation.subjects import run_subject

    run: Path = options.run
    subject = run_subject(run, calibrated=False)
    samples = held_out(read_samples(options.data), "val", datasets=load_run(run).datasets)
    require_unseen(samples, trained_on(run))
    report = calibrate(subject.predictor, samples, run, weights_sha256=subject.weights_sha256)
    for part in ("calibration", "postprocess", "fit"):
        print(f"{part}: " + ", ".join(f"{key} {value}" for key, value in report[part].items()))
    print(f"written to {run / CALIBRATION}")


def _export(options: argparse.Namespace) -> None:
    from trainer.evaluation.subjects import resolve
    from trainer.release.export import export, export_version, format_engines

    run, version = Path(options.target), options.publish
    if (run / CONFIG).is_file():
        if version is not None:
            raise ConfigError(f"{run} is a run: export it without --publish, then publish it")
        print(format_engines(export(run, read_samples(options.data))["engines"]))
        print(f"written to {run / EXPORTS} and {run / PRECISION}")
        return
    registry = Registry(options.registry)
    found = resolve(registry, options.target, options.name)
    if version is None:
        raise ConfigError(
            f"{'@'.join(found)} is published and never changes: name with --publish the version "
            "that it becomes with its new networks"
        )
    made = export_version(
        registry.load(*found, device="cpu"), read_samples(options.data), registry, version=version
    )
    print(format_engines([asdict(entry) for entry in made.card.engines]))
    print(f"published {made.label}, card SHA-256 {made.sha256}")


def _quality(options: argparse.Namespace) -> None:
    from trainer.evaluation.evaluate import held_out
    from trainer.evaluation.subjects import open_subject
    from trainer.release import accept_score

    opened = open_subject(options.target, options.registry, options.name, backend=options.backend)
    everything, predictor = read_samples(options.data), opened.predictor
    parts = {part: held_out(everything, part, datasets=opened.datasets) for part in ("val", "test")}
    for part, samples in parts.items():
        parts[part] = scorable(samples, opened.seen or [], skip_bad=options.skip_bad)
    judged = {part: accept_score.judge(predictor, samples) for part, samples in parts.items()}
    # What a version accepts is frozen: then only what that lets through is counted.
    chosen = opened.accept_score
    if chosen is None:
        chosen = accept_score.choose(judged["val"])
    judged["no_lesion"] = accept_score.judge_no_lesion(predictor)
    tables = {part: accept_score.tabulate(rows, chosen) for part, rows in judged.items()}
    out = options.out or opened.home
    print(accept_score.write_quality(tables, chosen, opened, out))
    print(f"written to {out}: quality.json, quality.md")


def _robustness(options: argparse.Namespace) -> None:
    from trainer.evaluation.evaluate import held_out
    from trainer.evaluation.subjects import open_subject
    from trainer.studies.robustness import (
        draw_sheet,
        format_markdown,
        measure,
        sampled,
        write_report,
    )

    opened = open_subject(options.target, options.registry, options.name)
    samples = held_out(read_samples(options.data), options.part, datasets=opened.datasets)
    samples = scorable(samples, opened.seen or [], skip_bad=options.skip_bad)
    chosen = sampled(samples, options.limit, seed=options.seed)
    predictor, out = opened.predictor, options.out or opened.home
    report = measure(predictor, chosen, seed=options.seed)
    write_report(report, out, part=options.part)
    draw_sheet(predictor, chosen[0], out / f"robustness_{options.part}.png", seed=options.seed)
    print(format_markdown(report))
    print(f"written to {out}: robustness_{options.part}.json, .md, .png")
