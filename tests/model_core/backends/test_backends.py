import numpy as np
import pytest
import torch

from model_core.arrays import Batch
from model_core.backends.protocol import Backend
from model_core.backends.pytorch import PyTorchBackend
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig
from model_core.processing.preprocess import PreprocessConfig
from tests.fixtures.models import dark_is_lesion


def greys(*values: int) -> Batch:
    """One image of 16x16 pixels for each grey value."""
    return np.stack([np.full((16, 16, 3), value, np.uint8) for value in values])


def test_pytorch_gives_float32_logits_in_the_order_of_the_images() -> None:
    backend: Backend = PyTorchBackend(dark_is_lesion(), PreprocessConfig(), device="cpu")
    logits = backend.run(greys(0, 255, 51))
    assert logits.shape == (3, 16, 16)
    assert logits.dtype == np.float32
    # 8 - 16 * luma, as `dark_is_lesion` says
    assert logits[:, 7, 7].tolist() == pytest.approx([8.0, -8.0, 4.8], abs=1e-5)


def test_pytorch_normalises_as_the_weights_were_trained() -> None:
    brighter = PreprocessConfig(mean=(0.75, 0.75, 0.75))  # shifts every input by one
    backend = PyTorchBackend(dark_is_lesion(), brighter, device="cpu")
    assert backend.run(greys(255))[0, 7, 7] == pytest.approx(-8.0 + 4.0, abs=1e-5)


def test_pytorch_runs_in_evaluation_mode_and_changes_no_weight() -> None:
    torch.manual_seed(0)
    model = UNet(UNetConfig(width=4, depth=1, norm="batch")).train()
    backend = PyTorchBackend(model, PreprocessConfig(), device="cpu")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = backend.run(greys(10, 200)), backend.run(greys(10, 200))
    assert np.array_equal(first, second)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_name_says_library_device_and_precision() -> None:
    backend = PyTorchBackend(dark_is_lesion(), PreprocessConfig(), device="cpu")
    assert backend.name == "pytorch-cpu-fp32"


def test_auto_takes_the_gpu_where_there_is_one() -> None:
    backend = PyTorchBackend(dark_is_lesion(), PreprocessConfig())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert backend.name == f"pytorch-{device}-fp32"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")
def test_gpu_and_cpu_agree() -> None:
    torch.manual_seed(0)
    weights = UNet(UNetConfig(width=8, depth=3, norm="batch")).state_dict()
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    answers = []
    for device in ("cpu", "cuda"):
        model = UNet(UNetConfig(width=8, depth=3, norm="batch"))
        model.load_state_dict(weights)
        answers.append(PyTorchBackend(model, PreprocessConfig(), device=device).run(images))
    assert np.allclose(answers[0], answers[1], atol=1e-2)
