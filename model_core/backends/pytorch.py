"""Run the network on PyTorch itself; `cuda.py` adds what makes a GPU fast."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Literal

import torch

from model_core.arrays import Batch, Logits
from model_core.backends.byte_network import ByteNetwork
from model_core.network.unet import UNet, channels_last, fused
from model_core.processing.preprocess import PreprocessConfig


class PyTorchBackend:
    """A U-Net in evaluation mode on one device.

    Args:
        model: The network with its weights; a copy of it runs.
        config: Preprocessing the weights were trained with.
        device: A torch device name; `auto` takes the GPU where there is one.
        precision: `bf16` runs the convolutions in bfloat16.
    """

    def __init__(
        self,
        model: UNet,
        config: PreprocessConfig,
        *,
        device: str = "auto",
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        self._network = ready_network(model, config, self._device, precision)
        self._one_at_a_time = Lock()
        self.streams = self.batch = 1
        self.name = f"pytorch-{self._device.type}-{precision}"

    @torch.inference_mode()
    def run(self, batch: Batch) -> Logits:
        """Compute logits float32 (N, S, S) of images uint8 (N, S, S, 3)."""
        images = torch.from_numpy(batch).to(self._device)
        with self._one_at_a_time:
            logits: Logits = self._network(images).cpu().numpy()
        return logits

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        """`run` alone: the network is compiled once."""
        return (self.run,)


def ready_network(
    model: UNet, config: PreprocessConfig, device: torch.device, precision: Literal["fp32", "bf16"]
) -> ByteNetwork:
    """Copy a network as it computes fastest: norms folded, channels last, weights cast.

    Casting them once gives the same logits as autocast, which casts them again for every batch.
    """
    quick = channels_last(fused(model), device)
    return ByteNetwork(quick.bfloat16() if precision == "bf16" else quick, config)


def computes_in_bf16(*, on_gpu: bool) -> bool:
    """Tell whether bfloat16 is the device's own arithmetic, not emulated."""
    if on_gpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
