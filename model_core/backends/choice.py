"""Which engine runs a version on this machine."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

from model_core.backends.byte_network import ByteNetwork
from model_core.backends.openvino import OpenVINOBackend, cpu_has_bf16
from model_core.backends.protocol import Backend, Choice, Device, Engine
from model_core.backends.pytorch import PyTorchBackend
from model_core.card import Card
from model_core.errors import ConfigError
from model_core.unet import UNet

INT8_FILE = "openvino-int8/model.xml"
"""Where `trainer export` writes the quantised network, within a version."""


def open_backend(
    model: UNet, card: Card, folder: Path, *, device: Device = "auto", choice: Choice = "auto"
) -> Backend:
    """The engine that an operator chose, or the fastest that this machine has and the card admits.

    Args:
        model: The network with its weights.
        card: Its card: what is not float32 must have been measured and admitted.
        folder: The version's files.
        device: `auto` takes the GPU where there is one.
        choice: `auto`, or an engine by name.

    Raises:
        ConfigError: the chosen engine is not installed, not admitted, or not for this device.
        CorruptVersionError: its file cannot be used.
    """
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if choice == "auto":
        choice = next(_by_speed(card, on_gpu=on_gpu))
    elif reason := _against(choice, card, on_gpu=on_gpu):
        raise ConfigError(f"the backend {choice!r} cannot run {card.name}@{card.version}: {reason}")
    network = ByteNetwork(model, card.preprocess)
    match choice:
        case "openvino-int8":
            return OpenVINOBackend(folder / INT8_FILE, precision="int8")
        case "openvino-bf16":
            return OpenVINOBackend(network, precision="bf16")
        case "openvino-fp32":
            return OpenVINOBackend(network, precision="fp32")
    precision: Literal["fp32", "bf16"] = "bf16" if choice == "pytorch-bf16" else "fp32"
    target = "cuda" if on_gpu else "cpu"
    return PyTorchBackend(model, card.preprocess, device=target, precision=precision)


def _by_speed(card: Card, *, on_gpu: bool) -> Iterator[Engine]:
    """Engines that can run the version here, the fastest first; the last can always."""
    # Measured on 2 cores, docs/performance.md; on a GPU float32 is the slower of the two.
    order: tuple[Engine, ...] = (
        ("pytorch-bf16",) if on_gpu else ("openvino-int8", "openvino-bf16", "pytorch-bf16")
    )
    for engine in order:
        if not _against(engine, card, on_gpu=on_gpu) and _pays(engine, on_gpu=on_gpu):
            yield engine
    yield "pytorch-fp32"


def _against(engine: Engine, card: Card, *, on_gpu: bool) -> str:
    """Why an engine may not run a version here; empty where it may."""
    library, _, precision = engine.partition("-")
    if library == "openvino" and on_gpu:
        return "it runs on a CPU, and LESION_DEVICE gives the GPU"
    if library == "openvino" and find_spec("openvino") is None:
        return "openvino is not installed (pip install -c constraints.txt -e '.[cpu]')"
    if engine == "openvino-int8" and INT8_FILE not in card.files:
        return f"the version holds no {INT8_FILE}"
    if precision != "fp32" and not card.admits(precision):
        return f"its card does not admit {precision}: `trainer export` has to measure it first"
    return ""


def _pays(engine: Engine, *, on_gpu: bool) -> bool:
    """Whether an engine's arithmetic is this machine's own, not emulated."""
    if engine == "openvino-bf16":
        return cpu_has_bf16()
    if engine == "pytorch-bf16":
        return (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if on_gpu
            else (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
        )
    return True
