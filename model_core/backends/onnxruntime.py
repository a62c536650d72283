"""The network on ONNX Runtime, for whoever has it already: an engine of the exchange format."""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from model_core.arrays import Batch, Logits
from model_core.backends.cores import usable_cores
from model_core.errors import ConfigError, CorruptVersionError


class ONNXRuntimeBackend:
    """An ONNX network in float32 on this CPU, on all cores for one batch after the other.

    Args:
        network: An `.onnx` file that `trainer export` wrote, or its bytes.
        threads: CPU threads; 0 takes as many as there are usable cores.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        CorruptVersionError: it is no network that ONNX Runtime reads.
    """

    name = "onnxruntime-fp32"
    streams = batch = 1

    def __init__(self, network: Path | bytes, *, threads: int = 0) -> None:
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        # Between two batches its threads would otherwise spin on the cores that decode and encode.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors
        readable = str(network) if isinstance(network, Path) else network
        try:
            self._session = runtime.InferenceSession(
                readable, options, providers=["CPUExecutionProvider"]
            )
        except Exception as exc:  # its own exceptions share no class but this
            named = network if isinstance(network, Path) else "the network"
            raise CorruptVersionError(f"{named} is no model that ONNX Runtime reads") from exc
        self._one_at_a_time = Lock()

    def run(self, batch: Batch) -> Logits:
        """Logits float32 (N, S, S) of images uint8 (N, S, S, 3)."""
        with self._one_at_a_time:
            logits: Logits = self._session.run(["logits"], {"images": batch})[0]
        return logits

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        """`run` alone: the network is compiled once."""
        return (self.run,)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as exc:
        raise ConfigError(
            "onnxruntime is not installed; its backend needs the extra `onnx`: "
            "pip install -c constraints.txt -e '.[onnx]'"
        ) from exc
    return onnxruntime
