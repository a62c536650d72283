"""Select the engine that runs a version on this machine.

PyTorch takes seconds to load, so it is imported where it is needed: a service that runs a version
in int8 on OpenVINO never loads it.
"""

import ctypes
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from model_core.backends.openvino import OpenVINOBackend, cpu_has_bf16, int8_saturates
from model_core.backends.protocol import Backend, Device, Engine
from model_core.card import Card
from model_core.errors import ConfigError

WEIGHTS = "model.safetensors"
"""The network's weights, within a version."""
INT8_FILE = "openvino-int8/model.xml"
"""Where `trainer export` writes the quantised network, within a version."""
ONNX_FILE = "onnx/model.onnx"
"""Where it writes the network for other runtimes; only versions published with `--onnx` hold it."""


def open_backend(card: Card, folder: Path, engine: Engine, *, device: Device = "auto") -> Backend:
    """Open a version's network on one engine.

    Args:
        card: The version's card: what is not float32 must have been measured and admitted.
        folder: The version's files.
        engine: Library and precision.
        device: `auto` takes the GPU where there is one.

    Raises:
        ConfigError: the engine is not installed, not admitted, or not for this device.
        CorruptVersionError: the weights or the engine's file cannot be used.
    """
    on_gpu = _on_gpu(device)
    if reason := _against(engine, card, on_gpu=on_gpu):
        raise ConfigError(f"the backend {engine!r} cannot run {card.name}@{card.version}: {reason}")
    if engine == "openvino-int8":
        return OpenVINOBackend(folder / INT8_FILE, precision="int8")

    from model_core.backends.byte_network import ByteNetwork
    from model_core.backends.pytorch import PyTorchBackend
    from model_core.network.unet import UNet
    from model_core.network.weights import load_weights

    model = UNet(card.architecture)
    load_weights(folder / WEIGHTS, model)
    precision: Literal["fp32", "bf16"] = "bf16" if engine.endswith("bf16") else "fp32"
    if engine.startswith("openvino"):
        return OpenVINOBackend(ByteNetwork(model, card.preprocess), precision=precision)
    if on_gpu:
        from model_core.backends.cuda import CUDABackend

        return CUDABackend(model, card.preprocess, precision=precision)
    return PyTorchBackend(model, card.preprocess, device="cpu", precision=precision)


def rank_engines(card: Card, *, device: Device) -> Iterator[tuple[Engine, str]]:
    """Rank the engines that `auto` may take for a version on this machine, the fastest first.

    Each comes with why it cannot run the version here, empty where it can; the last, PyTorch in
    float32, always can. A generator, because some answers take seconds to find.
    """
    on_gpu = _on_gpu(device)
    # Measured on 2 cores, docs/performance.md; on a GPU float32 is the slower of the two.
    order: tuple[Engine, ...] = (
        ("pytorch-bf16",) if on_gpu else ("openvino-int8", "openvino-bf16", "pytorch-bf16")
    )
    for engine in order:
        reason = _against(engine, card, on_gpu=on_gpu)
        if not reason and not _pays(engine, on_gpu=on_gpu):
            reason = "this processor only emulates bfloat16, which is slower than float32"
        yield engine, reason
    yield "pytorch-fp32", ""


def _on_gpu(device: Device) -> bool:
    return device == "cuda" or (device == "auto" and gpu_is_usable())


def gpu_is_usable() -> bool:
    """Tell whether PyTorch can compute on a GPU here; without a driver it is not even imported."""
    try:
        ctypes.CDLL("nvcuda.dll" if hasattr(ctypes, "WinDLL") else "libcuda.so.1")
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()


def _against(engine: Engine, card: Card, *, on_gpu: bool) -> str:
    """Say why an engine may not run a version here; empty where it may."""
    library, _, precision = engine.partition("-")
    if library != "pytorch" and on_gpu:
        return "it runs on a CPU, and LESION_DEVICE gives the GPU"
    if library == "openvino" and find_spec("openvino") is None:
        return "openvino is not installed (pip install -c constraints.txt -e '.[cpu]')"
    if engine == "openvino-int8" and INT8_FILE not in card.files:
        return f"the version holds no {INT8_FILE}"
    if precision != "fp32" and not card.admits(precision):
        if any(entry.engine.endswith(precision) for entry in card.engines):
            return f"its masks in {precision} differ too much from those in float32, says its card"
        return f"its card does not admit {precision}: `trainer export` has to measure it first"
    if engine == "openvino-int8" and not card.overflow_safe and int8_saturates():
        return (
            "its int8 network was exported without protection against overflow, and this processor "
            "(without VNNI) would cut its sums off and lose lesions; `python -m trainer export "
            f"{card.name}@{card.version} --publish VERSION` makes a safe one"
        )
    return ""


def _pays(engine: Engine, *, on_gpu: bool) -> bool:
    """Tell whether an engine's arithmetic is this machine's own, not emulated."""
    if engine == "openvino-bf16":
        return cpu_has_bf16()
    if engine == "pytorch-bf16":
        from model_core.backends.pytorch import computes_in_bf16

        return computes_in_bf16(on_gpu=on_gpu)
    return True
