"""The network on OpenVINO: a CPU's fastest engine, in bfloat16 or int8."""

from pathlib import Path
from typing import Literal

import numpy as np

from model_core.arrays import Batch, Logits
from model_core.errors import ConfigError, CorruptVersionError

Precision = Literal["fp32", "bf16", "int8"]
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""What the layers that are not quantised run in."""


class OpenVINOBackend:
    """A network as `trainer export` writes it: bytes in, logits out, normalisation within.

    Args:
        model: Its `.onnx` or `.xml` file.
        precision: What it is to run in; `int8` is for a file that was quantised.
        threads: CPU threads; 0 leaves it to OpenVINO.

    Raises:
        ConfigError: OpenVINO is not installed.
        CorruptVersionError: the file is missing, or is none of its models.
    """

    def __init__(self, model: Path, *, precision: Precision, threads: int = 0) -> None:
        try:
            import openvino
        except ModuleNotFoundError as exc:
            raise ConfigError(
                "openvino is not installed; this backend needs the extra: pip install '.[cpu]'"
            ) from exc
        options: dict[str, str | int] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = openvino.Core().compile_model(model, "CPU", options)
        except RuntimeError as exc:
            raise CorruptVersionError(f"{model.name} is no model that OpenVINO reads") from exc
        self.name = f"openvino-{precision}"

    def run(self, batch: Batch) -> Logits:
        """Logits float32 (N, S, S) of images uint8 (N, S, S, 3)."""
        # A copy: the answer's memory is OpenVINO's, and the next call overwrites it.
        logits: Logits = np.array(self._compiled(batch)[0])
        return logits
