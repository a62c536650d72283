"""Run the network on an NVIDIA GPU: batches of a few sizes, each recorded once as a CUDA graph.

A small network's layers take less time on a GPU than their launch from Python; a graph launches
all of them at once. Its memory stays where it is, so a batch is copied there, through memory of
the host that the GPU reads by itself (pinned).
"""

import logging
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from model_core.arrays import Batch, Logits
from model_core.backends.byte_network import ByteNetwork
from model_core.backends.pytorch import ready_network
from model_core.network.unet import UNet
from model_core.processing.preprocess import PreprocessConfig

SIZES = (1, 2, 4, 8, 16, 32)
"""Batches are filled up to the next of these; larger ones are split."""
_WARM_UP = 3
"""Runs before the recording: cuDNN tries its algorithms in them, and allocates."""

logger = logging.getLogger("model_core.backends.cuda")


class CUDABackend:
    """A U-Net in evaluation mode on a GPU, one batch after the other.

    Args:
        model: The network with its weights; a copy of it runs.
        config: Preprocessing the weights were trained with.
        precision: `bf16` runs the convolutions in bfloat16.
        sizes: Batch sizes to record, ascending.
        device: Another one is for tests: there nothing is recorded, and all else is the same.
    """

    streams = 1

    def __init__(
        self,
        model: UNet,
        config: PreprocessConfig,
        *,
        precision: Literal["fp32", "bf16"] = "fp32",
        sizes: Sequence[int] = SIZES,
        device: str = "cuda",
    ) -> None:
        target = torch.device(device)
        network = ready_network(model, config, target, precision)
        pool = torch.cuda.graph_pool_handle() if target.type == "cuda" else None
        # The largest first: the smaller ones then find room in its memory.
        steps = [_Step(network, size, target, pool) for size in sorted(sizes, reverse=True)]
        self._steps = steps[::-1]
        self._one_at_a_time = Lock()
        self.batch = max(sizes)
        self.name = f"pytorch-{target.type}-{precision}"

    def run(self, batch: Batch) -> Logits:
        """Compute logits float32 (N, S, S) of images uint8 (N, S, S, 3)."""
        parts = [batch[at : at + self.batch] for at in range(0, len(batch), self.batch)]
        with self._one_at_a_time:
            answers = [self._smallest(len(part)).run(part) for part in parts]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        """The step of each batch size; for one thread at a time."""
        return [step.run for step in self._steps]

    def _smallest(self, count: int) -> "_Step":
        return next(step for step in self._steps if step.size >= count)


class _Step:
    """A batch of one size, with memory of its own on the host and on the device."""

    def __init__(self, network: ByteNetwork, size: int, device: torch.device, pool: Any) -> None:
        self.size = size
        self._network = network
        self._sent, self._images = network.example(size), network.example(size).to(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        with torch.inference_mode():
            self._logits = network(self._images)
            if pool is not None:
                self._sent = self._sent.pin_memory()
                self._record(pool)
        self._received = torch.empty(self._logits.shape, pin_memory=pool is not None)

    @torch.inference_mode()
    def run(self, batch: Batch) -> Logits:
        """Compute logits float32 (N, S, S) of images uint8 (N, S, S, 3), N at most `size`."""
        count = len(batch)
        np.copyto(self._sent.numpy()[:count], batch)  # the rest of the batch is ignored below
        self._images.copy_(self._sent, non_blocking=True)
        if self._graph is None:
            self._logits = self._network(self._images)
        else:
            self._graph.replay()
        self._received.copy_(self._logits, non_blocking=True)
        if self._images.is_cuda:
            torch.cuda.current_stream(self._images.device).synchronize()
        return self._received[:count].numpy().copy()

    def _record(self, pool: Any) -> None:
        """Record the network; where that cannot be, it runs layer by layer."""
        try:
            with torch.backends.cudnn.flags(enabled=True, benchmark=True):
                self._graph, self._logits = _recorded(self._network, self._images, pool)
        except RuntimeError as exc:
            reason = str(exc).split("\n", 1)[0]
            logger.warning("no CUDA graph for a batch of %d: %s", self.size, reason)


def _recorded(
    network: ByteNetwork, images: Tensor, pool: Any
) -> tuple[torch.cuda.CUDAGraph, Tensor]:
    """Record the network as a graph that reads these images; give its logits, too."""
    here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UP):
            network(images)
    here.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    # Of this thread alone: in others another version may be answering meanwhile.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        logits: Tensor = network(images)
    return graph, logits
