"""The engines that every row runs: a version's own, on as many threads as a row is to have.

PyTorch is imported only where it computes, so that no server is weighed with what it does not use.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from model_core.arrays import Batch, Logits
from model_core.backends.cores import usable_cores
from model_core.backends.openvino import OpenVINOBackend
from model_core.backends.protocol import Backend, BackendName
from model_core.backends.select import INT8_FILE
from model_core.predictor import Predictor
from model_core.registry.registry import LoadedVersion, Registry

NULL = "null"
"""In place of an engine's name: no network at all."""


class NullBackend:
    """In the network's place a constant: a disc, so that there is a mask to bring back and encode.

    Args:
        size: Side of the network's square, px.
    """

    name = NULL

    def __init__(self, size: int) -> None:
        self.streams, self.batch = usable_cores(), 1
        rows, columns = np.mgrid[:size, :size] - size / 2
        self._logits = (size / 4 - np.hypot(rows, columns)).astype(np.float32)

    def run(self, batch: Batch) -> Logits:
        """The disc, float32 (N, S, S), for images uint8 (N, S, S, 3)."""
        logits: Logits = np.repeat(self._logits[None], len(batch), axis=0)
        return logits

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        """`run` alone."""
        return (self.run,)


def open_version(
    root: Path, name: str, version: str, engine: str, *, threads: int = 0
) -> LoadedVersion:
    """A published version, checked as the service checks it, with its engine on some threads.

    Args:
        root: The registry.
        name: Model.
        version: Its version or alias.
        engine: A `BackendName`, or `null`.
        threads: Of the engine; 0 leaves it to the engine, as the service does.
    """
    registry = Registry(root)
    choice: BackendName = "auto" if engine == NULL else engine  # type: ignore[assignment]  # the registry refuses others
    loaded = registry.load(name, registry.resolve(name, version), backend=choice)
    backend = loaded.predictor.backend
    if engine == NULL:
        backend = NullBackend(loaded.card.preprocess.size)
    elif threads and backend.name.startswith("openvino"):
        backend = _on_threads(loaded, threads)
    elif threads:
        import torch

        torch.set_num_threads(threads)
    return with_backend(loaded, backend)


def with_backend(loaded: LoadedVersion, backend: Backend) -> LoadedVersion:
    """The version with another backend in its predictor."""
    old = loaded.predictor
    predictor = Predictor(
        backend,
        old.preprocess_config,
        old.postprocess_config,
        old.calibration,
        max_pixels=old.max_pixels,
    )
    return replace(loaded, predictor=predictor)


def _on_threads(loaded: LoadedVersion, threads: int) -> OpenVINOBackend:
    # The registry's loader leaves the number of threads to OpenVINO.
    precision = loaded.predictor.backend.name.removeprefix("openvino-")
    if precision == "int8":
        return OpenVINOBackend(loaded.folder / INT8_FILE, precision="int8", threads=threads)
    from model_core.backends.byte_network import ByteNetwork
    from model_core.network.unet import UNet
    from model_core.network.weights import load_weights

    model = UNet(loaded.card.architecture)
    load_weights(loaded.folder / "model.safetensors", model)
    network = ByteNetwork(model, loaded.card.preprocess)
    return OpenVINOBackend(
        network, precision="bf16" if precision == "bf16" else "fp32", threads=threads
    )
