"""Run the network on OpenVINO: a CPU's fastest engine, in float32, bfloat16 or int8."""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core.arrays import Batch, Logits
from model_core.backends.cores import usable_cores
from model_core.backends.protocol import Precision
from model_core.errors import ConfigError, CorruptVersionError

if TYPE_CHECKING:
    from model_core.backends.byte_network import ByteNetwork

_HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What OpenVINO computes in; in a quantised network, the layers that are not."""


class OpenVINOBackend:
    """A network compiled for this CPU, twice: for a batch that is alone, and for several at once.

    Alone, all cores work on one batch, and it is ready soonest. With others beside it each has a
    core of its own: no core waits for another at the end of every layer, and more batches are
    ready a second (docs/performance.md).

    Args:
        network: The U-Net, or an `.onnx` or `.xml` file that `trainer export` wrote.
        precision: What it is to run in; `int8` is for a file that was quantised.
        threads: CPU threads; 0 takes as many as there are usable cores.

    Raises:
        ConfigError: OpenVINO is not installed.
        CorruptVersionError: the file is missing, or is none of its models.
    """

    def __init__(
        self, network: "ByteNetwork | Path", *, precision: Precision, threads: int = 0
    ) -> None:
        openvino = _openvino()
        readable = network if isinstance(network, Path) else _converted(network)
        threads = threads or usable_cores()
        options = {"INFERENCE_PRECISION_HINT": _HINTS[precision], "INFERENCE_NUM_THREADS": threads}
        core = openvino.Core()
        try:
            model = core.read_model(readable) if isinstance(readable, Path) else readable
            alone = core.compile_model(model, "CPU", options | {"NUM_STREAMS": 1})
            several = options | {"NUM_STREAMS": threads}
            beside = core.compile_model(model, "CPU", several) if threads > 1 else alone
        except RuntimeError as exc:
            raise CorruptVersionError(f"{network} is no model that OpenVINO reads") from exc
        self.name = f"openvino-{precision}"
        self.streams, self.batch = threads, 1
        self._alone = alone.create_infer_request()
        self._beside: SimpleQueue[Any] = SimpleQueue()
        for _ in range(threads):
            self._beside.put(beside.create_infer_request())
        self._running = 0
        self._counting = Lock()

    def run(self, batch: Batch) -> Logits:
        """Compute logits float32 (N, S, S) of images uint8 (N, S, S, 3)."""
        with self._counting:
            self._running += 1
            alone = self._running == 1
        try:
            return self._run_alone(batch) if alone else self._run_beside(batch)
        finally:
            with self._counting:
                self._running -= 1

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        """The network compiled for one batch alone, and for several beside each other."""
        return self._run_alone, self._run_beside

    def _run_alone(self, batch: Batch) -> Logits:
        return _answer(self._alone, batch)

    def _run_beside(self, batch: Batch) -> Logits:
        request = self._beside.get()
        try:
            return _answer(request, batch)
        finally:
            self._beside.put(request)


def cpu_has_bf16() -> bool:
    """Tell whether this CPU computes in bfloat16 itself, so that it is faster than float32."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@cache
def int8_saturates() -> bool:
    """Find out whether OpenVINO's int8 arithmetic overflows on this processor.

    Without VNNI or AMX, x86 adds the products of unsigned and signed bytes in pairs, in 16 bits,
    and what does not fit is cut off. One convolution of the largest bytes is computed to find out:
    so the answer also holds on an emulated processor, and under `ONEDNN_MAX_CPU_ISA`.
    """
    openvino = _openvino()
    ops = openvino.opset13
    channels, most, least = 16, 255, 0
    images = ops.parameter([1, channels, 8, 8], np.float32)
    low, high = (ops.constant(np.float32(value)) for value in (least, most))
    as_bytes = ops.fake_quantize(images, low, high, low, high, 256)
    weights = ops.convert(ops.constant(np.full((channels, channels, 1, 1), 127, np.int8)), "f32")
    scaled = ops.multiply(weights, ops.constant(np.float32(1)))
    sums = ops.convolution(as_bytes, scaled, [1, 1], [0, 0], [0, 0], [1, 1])
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    network = openvino.Core().compile_model(openvino.Model([sums], [images]), "CPU", options)
    computed = network(np.full((1, channels, 8, 8), most, np.float32))[0]
    return bool((computed < most * 127 * channels).any())


def _answer(request: Any, batch: Batch) -> Logits:
    # A copy: the answer's memory is the request's, and its next use overwrites it.
    logits: Logits = np.array(request.infer(batch)[0])
    return logits


def _openvino() -> Any:
    try:
        import openvino
    except ModuleNotFoundError as exc:
        raise ConfigError(
            "openvino is not installed; its backends need the extra `cpu`: "
            "pip install -c constraints.txt -e '.[cpu]'"
        ) from exc
    return openvino


def _converted(network: "ByteNetwork") -> Any:
    import torch

    # Not openvino.convert_model, which is the same but reports its use to its makers.
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        # Tracing takes the size for a constant, and warns; it is one: the card's.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, network.example(1), check_trace=False)
        frontend = FrontEndManager().load_by_framework("pytorch")
        decoder = TorchScriptPythonDecoder(traced)  # the front end keeps no reference to it
        model = frontend.convert(frontend.load(decoder))
    size = network.config.size
    model.reshape({0: [-1, size, size, 3]})
    return model
