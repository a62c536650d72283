"""The commands between training and publishing: calibrate, export, quality and robustness."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

from model_core.backends.protocol import BACKEND_NAMES
from model_core.errors import ConfigError
from trainer.commands.declare import (
    DATA,
    OUT,
    REGISTRY_AND_NAME,
    SKIP_BAD,
    TARGET,
    at_least,
    command,
    option,
)


@command(
    option("run", type=Path, help="run folder"),
    DATA,
    option("--readers", type=Path, help="table of each mask's reader and tool: calibrates margins"),
)
def calibrate(options: Namespace) -> None:
    """Choose threshold, component rules and calibration for a run's weights."""
    from trainer.data.leaks import require_unseen
    from trainer.data.samples import read_samples
    from trainer.evaluation.calibrate import calibrate
    from trainer.evaluation.evaluate import held_out
    from trainer.evaluation.margins import read_tools
    from trainer.evaluation.subjects import run_subject
    from trainer.training.run import CALIBRATION, load_run, trained_on

    run: Path = options.run
    subject = run_subject(run, calibrated=False)
    everything, datasets = read_samples(options.data), load_run(run).datasets
    samples = held_out(everything, "val", datasets=datasets)
    require_unseen(samples, trained_on(run))
    report = calibrate(
        subject.predictor,
        samples,
        run,
        weights_sha256=subject.weights_sha256,
        trained=held_out(everything, "train", datasets=datasets) if options.readers else (),
        tools=read_tools(options.readers) if options.readers else None,
    )
    for part in ("calibration", "postprocess", "fit", "margins"):
        print(f"{part}: " + ", ".join(f"{key} {value}" for key, value in report[part].items()))
    print(f"written to {run / CALIBRATION}")


@command(
    TARGET,
    DATA,
    option(
        "--publish", metavar="VERSION", help="of a version: what it becomes with its new networks"
    ),
    option("--measure-only", action="store_true", help="of a run: score the networks that it has"),
    option(
        "--float-first",
        type=at_least(0),
        default=4,
        help="of a run: first convolutions that int8 leaves in float (4)",
    ),
    option(
        "--float-last", type=at_least(0), default=0, help="of a run: the last ones, likewise (0)"
    ),
    *REGISTRY_AND_NAME,
)
def export(options: Namespace) -> None:
    """Write a network for other engines, and compare them with PyTorch."""
    from model_core.registry.registry import Registry
    from trainer.data.samples import read_samples
    from trainer.evaluation.subjects import resolve
    from trainer.release.export import export, export_version, format_engines
    from trainer.training.run import CONFIG, EXPORTS, PRECISION

    run, version = Path(options.target), options.publish
    if (run / CONFIG).is_file():
        if version is not None:
            raise ConfigError(f"{run} is a run: export it without --publish, then publish it")
        print(
            format_engines(
                export(
                    run,
                    read_samples(options.data),
                    measure_only=options.measure_only,
                    float_first=options.float_first,
                    float_last=options.float_last,
                )["engines"]
            )
        )
        print(f"written to {run / EXPORTS} and {run / PRECISION}")
        return
    registry = Registry(options.registry)
    reference = resolve(registry, options.target, options.name)
    if version is None:
        raise ConfigError(
            f"{'@'.join(reference)} is published and never changes: name with --publish the "
            "version that it becomes with its new networks"
        )
    loaded = registry.load(*reference, device="cpu")
    made = export_version(loaded, read_samples(options.data), registry, version=version)
    print(format_engines([asdict(entry) for entry in made.card.engines]))
    print(f"published {made.label}, card SHA-256 {made.sha256}")


@command(
    TARGET,
    DATA,
    OUT,
    option(
        "--backend",
        choices=BACKEND_NAMES,
        default="pytorch-fp32",
        help="engine of a version: auto is the one that serves (pytorch-fp32)",
    ),
    SKIP_BAD,
    *REGISTRY_AND_NAME,
)
def quality(options: Namespace) -> None:
    """Choose when a mask needs no review, and count what then fails."""
    from trainer.data.samples import read_samples
    from trainer.evaluation.subjects import open_subject
    from trainer.release import accept_score

    subject = open_subject(options.target, options.registry, options.name, backend=options.backend)
    everything, predictor = read_samples(options.data), subject.predictor
    # Of both parts, before the first is scored.
    parts = {
        part: subject.samples_to_score(everything, part, skip_bad=options.skip_bad)
        for part in ("val", "test")
    }
    judged = {part: accept_score.judge(predictor, samples) for part, samples in parts.items()}
    # What a version accepts is frozen: then only what that lets through is counted.
    chosen = subject.accept_score
    if chosen is None:
        chosen = accept_score.choose(judged["val"])
    judged["no_lesion"] = accept_score.judge_no_lesion(predictor)
    tables = {part: accept_score.tabulate(rows, chosen) for part, rows in judged.items()}
    out = options.out or subject.home
    print(accept_score.write_quality(tables, chosen, subject, out))
    print(f"written to {out}: quality.json, quality.md")


@command(
    TARGET,
    DATA,
    option("--part", choices=["val", "test", "external"], default="test"),
    option(
        "--limit",
        type=at_least(0),
        default=200,
        help="images, of each set its share (200); 0 takes all",
    ),
    option("--seed", type=at_least(0), default=0, help="of the sample and what is drawn (0)"),
    OUT,
    SKIP_BAD,
    *REGISTRY_AND_NAME,
)
def robustness(options: Namespace) -> None:
    """Score worse photographs, and pictures without a lesion."""
    from trainer.data.samples import read_samples
    from trainer.evaluation.subjects import open_subject
    from trainer.studies import robustness

    subject = open_subject(options.target, options.registry, options.name)
    everything = read_samples(options.data)
    samples = subject.samples_to_score(everything, options.part, skip_bad=options.skip_bad)
    chosen = robustness.sampled(samples, options.limit, seed=options.seed)
    predictor, out = subject.predictor, options.out or subject.home
    report = robustness.measure(predictor, chosen, seed=options.seed)
    robustness.write_report(report, out, part=options.part)
    picture = out / f"robustness_{options.part}.png"
    robustness.draw_sheet(predictor, chosen[0], picture, seed=options.seed)
    print(robustness.format_markdown(report))
    print(f"written to {out}: robustness_{options.part}.json, .md, .png")
