"""The command `predict`: its options, and what it prints."""

import os
import sys
from argparse import Namespace
from typing import TYPE_CHECKING, get_args

from model_core.backends.protocol import BACKEND_NAMES, Device
from model_core.decimals import decimal
from model_core.errors import ConfigError
from trainer.commands.declare import REGISTRY_AND_NAME, at_least, command, one_of, option, titled

if TYPE_CHECKING:
    from trainer.archive.job import Model
    from trainer.archive.predict import Runner

_SHOWN = 20
"""Names of a kind on the terminal; of bad images a table has all of them."""


@command(
    option("source", help="folder of photographs or Parquet files, .csv or .parquet; path or URL"),
    option("--out", required=True, help="folder or URL for the results"),
    option("--format", default="png,coco", help="png, coco, parquet; comma-separated (png,coco)"),
    option("--model", default="production", help="run folder, version or alias"),
    one_of(
        option("--threshold", type=decimal, help="0 to 1 (default: the model's own)"),
        option(
            "--margin",
            choices=("tight", "middle", "loose"),
            default="middle",
            help="of the outline (middle)",
        ),
    ),
    option(
        "--backend",
        default="auto",
        choices=BACKEND_NAMES,
        help="engine of a version (auto, as it serves)",
    ),
    option("--device", default="auto", choices=get_args(Device), help="(auto)"),
    option("--batch", type=at_least(1), help="photographs the network gets at once (what pays)"),
    option("--shard-size", type=at_least(1), default=500, help="photographs of a shard (500)"),
    option(
        "--runner", default="local", choices=("local", "ray"), help="this process, or Ray (local)"
    ),
    titled(
        "with --runner ray (needs the extra `ray`)",
        option("--workers", type=at_least(1), default=1, help="workers at once (1)"),
        option("--worker-cpus", type=at_least(1), default=1, help="cores of each (1)"),
        option("--worker-gpus", type=decimal, default=0.0, help="GPUs of each, as 0.5 (0)"),
        option("--ray-address", help="of a cluster (RAY_ADDRESS, or a new one on this machine)"),
    ),
    *REGISTRY_AND_NAME,
    after_interrupt="the same command goes on",
)
def predict(options: Namespace) -> int:
    """Write the masks of a folder or a whole archive."""
    from trainer.archive.file_store import absolute
    from trainer.archive.formats import FORMATS
    from trainer.archive.job import Job, Model
    from trainer.archive.predict import predict_archive

    wanted = set(options.format.split(","))
    if not wanted <= set(FORMATS):
        raise ConfigError(f"--format is {options.format!r}, expected some of {', '.join(FORMATS)}")
    formats = tuple(name for name in FORMATS if name in wanted)
    model = Model(
        options.model,
        options.registry,
        options.name,
        options.threshold,
        options.backend,
        options.device,
        options.margin,
    ).pinned()
    job = Job(absolute(options.out), model.rules(), formats, options.shard_size, options.batch)
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


def _runner(options: Namespace, model: "Model") -> "Runner":
    from trainer.archive.predict import on_this_machine

    if options.runner == "local":
        return on_this_machine(model.open)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    from trainer.archive.on_ray import Workers, on_ray

    workers = Workers(
        options.workers, options.worker_cpus, options.worker_gpus, options.ray_address
    )
    return on_ray(model, workers)
