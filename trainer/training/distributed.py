"""Several processes that train as one: a team shares each batch and averages its gradients.

    torchrun --nproc-per-node 2 -m trainer train trainer/configs/default.toml --out runs/first

Every process reads and augments the whole batch, drawing the same random numbers, and trains on its
own rows of it. So order and augmentation know nothing of ranks, all random generators agree at
every step, and a checkpoint goes on with any number of processes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.parallel import DistributedDataParallel

from model_core.backends.pytorch import computes_in_bf16
from model_core.errors import ConfigError
from model_core.network.unet import UNet

Network = Callable[[Tensor], list[Tensor]]
"""From inputs (N, 3, S, S) to the logits of `UNet.forward_all`."""
T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """The processes of one training run, seen from one of them.

    Attributes:
        rank: Place of this process, from 0.
        world_size: Number of processes.
        local_rank: Place of this process on its machine, which is the number of its GPU.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this process trains."""
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return (
            torch.device("cuda", self.local_rank) if self.world_size > 1 else torch.device("cuda")
        )

    @property
    def label(self) -> str:
        """The device for the run's record, such as `cpu`, or `cuda x 8`."""
        kind = self.device.type
        return kind if self.world_size == 1 else f"{kind} x {self.world_size}"

    def shard(self, total: int) -> slice:
        """Select this process's rows of `total`: in rank order they are all rows, each once."""
        return slice(
            total * self.rank // self.world_size, total * (self.rank + 1) // self.world_size
        )

    def weight(self, total: int) -> float:
        """Compute the factor of this process's mean, so that the team's mean is that of all rows.

        Exactly 1 where the rows divide evenly.
        """
        return len(range(total)[self.shard(total)]) * self.world_size / total

    def network(self, model: UNet) -> Network:
        """Wrap the model's `forward_all`, so that its gradients become the team's mean."""
        if self.world_size == 1:
            return model.forward_all
        _share_statistics(model, self.device)
        ids = [self.local_rank] if self.device.type == "cuda" else None
        # Normalisation sees the whole batch, so that buffers agree without being sent.
        return DistributedDataParallel(_Heads(model), device_ids=ids, broadcast_buffers=False)

    def mean(self, value: Tensor) -> float:
        """Average a scalar over the processes, without gradient."""
        if self.world_size == 1:
            return float(value.item())
        total = value.detach().clone()
        distributed.all_reduce(total)
        return float(total.item()) / self.world_size

    def gather(self, part: list[T]) -> list[T]:
        """Join the lists of all processes in rank order."""
        if self.world_size == 1:
            return part
        parts: list[list[T]] = [[]] * self.world_size
        distributed.all_gather_object(parts, part)
        return [entry for rows in parts for entry in rows]

    def in_bf16(self, wanted: bool) -> bool:
        """Whether to compute in bfloat16: it is wanted, and no process's device only emulates it.

        Emulated it is slower than float32, and coarser.
        """
        return wanted and all(self.gather([computes_in_bf16(on_gpu=self.device.type == "cuda")]))

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.world_size > 1:
            distributed.barrier()


SINGLE_PROCESS = Team()
"""What a run without `torchrun` is."""


@contextmanager
def joined() -> Iterator[Team]:
    """Join the team that `torchrun` started this process in, or `SINGLE_PROCESS`.

    Raises:
        ConfigError: there are more processes on this machine than GPUs.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield SINGLE_PROCESS
        return
    team = Team(int(os.environ["RANK"]), count, int(os.environ["LOCAL_RANK"]))
    on_gpu = torch.cuda.is_available()
    if on_gpu and team.local_rank >= torch.cuda.device_count():
        raise ConfigError(
            f"process {team.local_rank} of this machine has no GPU: there are "
            f"{torch.cuda.device_count()}, so --nproc-per-node is at most that"
        )
    if on_gpu:
        torch.cuda.set_device(team.device)
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    yield team
    # Not after an error: a peer that is gone would be waited for. `torchrun` ends the others.
    distributed.destroy_process_group()


class _Heads(nn.Module):
    """`forward_all` as a `forward`, which is what DistributedDataParallel calls."""

    def __init__(self, model: UNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.model.forward_all(images)


class TeamBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the team's whole batch, on any device.

    PyTorch's own `SyncBatchNorm` does the same on GPUs alone.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features float (N, C, H, W); N may differ between processes."""
        if not self.training:
            return super().forward(features)
        exact = features.float()
        channels = exact.shape[1]
        own = torch.cat([exact.sum((0, 2, 3)), exact.new_tensor([exact.numel() / channels])])
        sums = all_reduce(own)  # differentiable, unlike `distributed.all_reduce`
        count = sums[-1].detach()
        mean = sums[:-1] / count
        apart = exact - mean[:, None, None]
        variance = all_reduce(apart.square().sum((0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        out: Tensor = apart * scale[:, None, None] + self.bias[:, None, None]
        return out.to(features.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None  # noqa: S101  # for the type checker
        assert self.running_var is not None  # noqa: S101
        assert self.num_batches_tracked is not None  # noqa: S101
        assert self.momentum is not None  # noqa: S101
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


def _share_statistics(model: nn.Module, device: torch.device) -> None:
    """Let every batch norm see the whole batch; parameters and buffers stay the same objects."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                shared = TeamBatchNorm(child.num_features, child.eps, child.momentum)
                shared._parameters, shared._buffers = child._parameters, child._buffers
                setattr(parent, name, shared)
