"""The GPU's backend: all but the recording and the pinned memory runs on a CPU too."""

import logging

import numpy as np
import pytest
import torch

from model_core.arrays import Batch
from model_core.backends import cuda
from model_core.backends.cuda import CUDABackend
from model_core.backends.protocol import Backend
from model_core.backends.pytorch import PyTorchBackend
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig
from model_core.processing.preprocess import PreprocessConfig

CONFIG = PreprocessConfig(size=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")


@pytest.fixture(scope="module")
def model() -> UNet:
    torch.manual_seed(0)
    return UNet(UNetConfig(width=4, depth=2, norm="batch", patch=2))


def noise(count: int) -> Batch:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 11])
def test_batches_of_any_size_are_answered_in_order(model: UNet, count: int) -> None:
    backend: Backend = CUDABackend(model, CONFIG, sizes=(4, 1, 2), device="cpu")
    expected = PyTorchBackend(model, CONFIG, device="cpu").run(noise(count))
    logits = backend.run(noise(count))
    assert logits.dtype == np.float32
    assert np.allclose(logits, expected, atol=1e-5)
    assert (backend.name, backend.batch) == ("pytorch-cpu-fp32", 4)


def test_an_answer_stays_when_the_next_batch_comes(model: UNet) -> None:
    backend = CUDABackend(model, CONFIG, sizes=(2,), device="cpu")
    first = backend.run(noise(2))
    kept = first.copy()
    backend.run(noise(4)[2:])
    assert np.array_equal(first, kept)


def test_bf16_is_nearly_fp32(model: UNet) -> None:
    bf16 = CUDABackend(model, CONFIG, precision="bf16", sizes=(2,), device="cpu").run(noise(2))
    fp32 = CUDABackend(model, CONFIG, sizes=(2,), device="cpu").run(noise(2))
    assert bf16.dtype == np.float32
    assert 0 < np.abs(bf16 - fp32).max() < 0.2


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_on_a_gpu_it_answers_as_the_cpu_does(
    model: UNet, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        backend = CUDABackend(model, CONFIG, precision=precision, sizes=(1, 4))  # type: ignore[arg-type]
    assert not caplog.records  # each size was recorded
    assert backend.name == f"pytorch-cuda-{precision}"
    for count in (1, 3, 4, 9):
        expected = PyTorchBackend(model, CONFIG, device="cpu").run(noise(count))
        assert np.allclose(backend.run(noise(count)), expected, atol=0.2)


@needs_gpu
def test_what_cannot_be_recorded_runs_layer_by_layer(
    model: UNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(cuda, "_recorded", fail)
    expected = PyTorchBackend(model, CONFIG, device="cpu").run(noise(3))
    assert np.allclose(CUDABackend(model, CONFIG).run(noise(3)), expected, atol=0.2)
