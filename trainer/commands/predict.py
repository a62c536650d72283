"""The command `predict`: its options, and what it prints."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, get_args

from model_core.backends.protocol import CHOICES, Device
from model_core.decimals import decimal, integer
from model_core.errors import ConfigError
from trainer.commands import registry

if TYPE_CHECKING:
    from trainer.archive.job import Model
    from trainer.archive.predict import Runner

Commands = argparse._SubParsersAction  # what add_subparsers gives, which has no public name
_SHOWN = 20
"""Names of a kind on the terminal; of bad images a table has all of them."""


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command of this file to the program's."""
    predict = commands.add_parser("predict", help="masks of a folder or a whole archive")
    predict.add_argument(
        "source", help="folder of photographs or Parquet files, .csv or .parquet; path or URL"
    )
    predict.add_argument("--out", required=True, help="folder or URL for the results")
    predict.add_argument(
        "--form", default="png,coco", help="png, coco, parquet; comma-separated (png,coco)"
    )
    predict.add_argument("--model", default="production", help="run folder, version or alias")
    predict.add_argument("--threshold", type=decimal, help="0 to 1 (default: the model's own)")
    predict.add_argument(
        "--backend",
        default="auto",
        choices=CHOICES,
        help="engine of a version (auto, as it serves)",
    )
    predict.add_argument("--device", default="auto", choices=get_args(Device), help="(auto)")
    predict.add_argument(
        "--batch", type=_positive, help="photographs the network gets at once (what pays)"
    )
    predict.add_argument(
        "--shard-size", type=_positive, default=500, help="photographs of a shard (500)"
    )
    _add_ray(predict)
    registry.add_registry(predict)
    predict.set_defaults(command=_predict, after_interrupt="the same command goes on")


def _add_ray(predict: argparse.ArgumentParser) -> None:
    predict.add_argument(
        "--runner", default="local", choices=("local", "ray"), help="this process, or Ray (local)"
    )
    ray = predict.add_argument_group("with --runner ray (needs the extra `ray`)")
    ray.add_argument("--workers", type=_positive, default=1, help="workers at once (1)")
    ray.add_argument("--worker-cpus", type=_positive, default=1, help="cores of each (1)")
    ray.add_argument("--worker-gpus", type=decimal, default=0.0, help="GPUs of each, as 0.5 (0)")
    ray.add_argument(
        "--ray-address", help="of a cluster (RAY_ADDRESS, or a new one on this machine)"
    )


def _predict(options: argparse.Namespace) -> int:
    from trainer.archive.forms import FORMS
    from trainer.archive.job import Job, Model
    from trainer.archive.places import absolute
    from trainer.archive.predict import predict_archive

    forms = tuple(form for form in FORMS if form in options.form.split(","))
    if len(forms) != len(set(options.form.split(","))):
        raise ConfigError(f"--form is {options.form!r}, expected some of {', '.join(FORMS)}")
    model = Model(
        options.model,
        options.registry,
        options.name,
        options.threshold,
        options.backend,
        options.device,
    ).pinned()
    job = Job(absolute(options.out), model.rules(), forms, options.shard_size, options.batch)
    outcome = predict_archive(options.source, job, _runner(options, model))
    for name in outcome.passed_over[:_SHOWN]:
        print(f"passed over, no photograph: {name}", file=sys.stderr)
    if len(outcome.passed_over) > _SHOWN:
        print(f"passed over: {len(outcome.passed_over) - _SHOWN} files more", file=sys.stderr)
    for name, problem in outcome.skipped[:_SHOWN]:
        print(f"skipped: {name}: {problem}", file=sys.stderr)
    listed = f", listed in {options.out}/skipped.csv" if outcome.skipped else ""
    masks = outcome.images - len(outcome.skipped)
    print(f"{masks} masks in {options.out}; {len(outcome.skipped)} images skipped{listed}")
    if outcome.done_now:
        print(
            f"{outcome.done_now} images in {outcome.seconds:.1f} s with the workers' start: "
            f"{outcome.done_now / outcome.seconds:.1f} images/s; workers' processor time "
            f"{1000 * outcome.processor_s / outcome.done_now:.1f} ms an image"
        )
    return 1 if outcome.skipped else 0


def _runner(options: argparse.Namespace, model: "Model") -> "Runner":
    from trainer.archive.predict import on_this_machine

    if options.runner == "local":
        return on_this_machine(model.open)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    from trainer.archive.on_ray import Workers, on_ray

    workers = Workers(
        options.workers, options.worker_cpus, options.worker_gpus, options.ray_address
    )
    return on_ray(model, workers)


def _positive(text: str) -> int:
    number = integer(text)
    if number < 1:
        raise ValueError(f"found {text}, expected 1 or more")
    return number
