"""The runner that gives shards to workers on a Ray cluster, or to several on this machine.

Ray Data starts the workers, hands them shards as they get free, replaces those that die and gives
their shards to others. Results do not travel through it: each worker writes its own.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from model_core.backends.cores import share_cores, usable_cores
from trainer.archive.job import Job, Model
from trainer.archive.shards import Report, Shard
from trainer.archive.sources import Photograph
from trainer.archive.worker import Worker


@dataclass(frozen=True)
class Workers:
    """How many workers, and what each of them gets.

    Attributes:
        count: Workers at once; those that the cluster has no room for wait.
        cpus: Cores of each.
        gpus: GPUs of each; a fraction shares one.
        address: Of a running cluster, as `ray.init`; None finds one by RAY_ADDRESS, or starts one
            on this machine.
    """

    count: int
    cpus: int = 1
    gpus: float = 0.0
    address: str | None = None


class _ShardWorker:
    """A `Worker` in a process of Ray's; a batch is one shard."""

    def __init__(self, job: Job, model: Model, cpus: int) -> None:
        import torch

        torch.set_num_threads(cpus)
        share_cores(max(1, usable_cores() // cpus))
        self._worker = Worker(job, model.open())

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (text,) = batch["shard"]
        number, start, photographs = json.loads(text)
        shard = Shard(number, start, [Photograph(*photograph) for photograph in photographs])
        report = asdict(self._worker.run(shard))
        return {name: [value] for name, value in report.items()}


def on_ray(model: Model, workers: Workers) -> Callable[..., Iterator[Report]]:
    """Make the runner that works on a Ray cluster.

    Every worker opens the model, which is pinned, for itself, so that registry, source and target
    must be within reach of all machines: a shared folder, or URLs.
    """

    def run(job: Job, shards: list[Shard], progress: Callable[[int], Any]) -> Iterator[Report]:
        import ray

        own = not ray.is_initialized()
        if own:
            ray.init(address=workers.address, log_to_driver=False, logging_level="warning")
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        try:
            for row in _dataset(job, shards, model, workers).iter_rows():
                progress(row["images"])
                yield Report(**row)
        finally:
            if own:
                ray.shutdown()

    return run


def _dataset(job: Job, shards: list[Shard], model: Model, workers: Workers) -> Any:
    """Make a lazy Ray dataset that gives reports as they come; a row of it is a shard."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # ours counts photographs
    context.execution_options.preserve_order = False
    rows = [{"shard": json.dumps([s.number, s.start, s.photographs])} for s in shards]
    # A block a shard: what is lost with a worker is the shard that it was at.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    return dataset.map_batches(
        _ShardWorker,
        fn_constructor_args=(job, model, workers.cpus),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers.count, len(rows))),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
    )
