"""Define what an engine for the network must offer; the predictor knows nothing else about it."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

from model_core.arrays import Batch, Logits

Precision = Literal["fp32", "bf16", "int8"]
"""What a network's convolutions are computed in."""

Engine = Literal["pytorch-fp32", "pytorch-bf16", "openvino-fp32", "openvino-bf16", "openvino-int8"]
BackendName = Literal["auto"] | Engine
"""`auto` takes the fastest engine that this machine has and the version's card admits."""
BACKEND_NAMES: tuple[BackendName, ...] = ("auto", *get_args(Engine))
Device = Literal["auto", "cpu", "cuda"]


class Backend(Protocol):
    """Runs one network on batches of preprocessed images, for any number of threads at once.

    Attributes:
        streams: Batches that it works on beside each other; further callers wait.
        batch: Images in one batch up to which a larger one pays; 1 where none does, as on a CPU.
    """

    streams: int
    batch: int

    @property
    def name(self) -> str:
        """Library, device and precision, such as `pytorch-cpu-fp32`; the service's `X-Backend`."""

    def run(self, batch: Batch) -> Logits:
        """Compute logits float32 (N, S, S) of images uint8 (N, S, S, 3), in their order.

        Normalisation is the backend's part, so that a device is sent bytes instead of floats.
        """

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        """Compiled forms of the network that `run` chooses among; a self-test runs each."""
