from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_core.errors import CorruptVersionError
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig
from model_core.network.weights import load_weights, save_weights

SHAPE = UNetConfig(width=4, depth=1, norm="batch")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def net(seed: int = 0, config: UNetConfig = SHAPE) -> UNet:
    torch.manual_seed(seed)
    return UNet(config)


def saved(path: Path) -> Path:
    save_weights(net().state_dict(), path)
    return path


def test_kernels_are_stored_in_half_precision_and_vectors_in_full(path: Path) -> None:
    stored = load_file(saved(path))
    assert stored["down.0.0.weight"].dtype == torch.float16
    assert stored["down.0.1.running_var"].dtype == torch.float32
    assert stored["head.bias"].dtype == torch.float32
    assert stored.keys() == net().state_dict().keys()


def test_loading_gives_back_what_was_saved_in_the_model_s_own_precision(path: Path) -> None:
    source, target = net(seed=0), net(seed=1)
    save_weights(source.state_dict(), path)
    load_weights(path, target)
    for name, value in source.state_dict().items():
        expected = value.half().float() if value.ndim >= 2 else value
        assert torch.equal(target.state_dict()[name], expected), name
        assert target.state_dict()[name].dtype == value.dtype, name


def test_a_large_variance_survives_because_vectors_keep_their_precision(path: Path) -> None:
    source, target = net(), net(seed=1)
    source.get_buffer("down.0.1.running_var").fill_(1e6)  # float16 ends at 65,504
    save_weights(source.state_dict(), path)
    load_weights(path, target)
    assert target.get_buffer("down.0.1.running_var").tolist() == [1e6] * 4


def test_saving_replaces_the_file_and_leaves_nothing_beside_it(path: Path) -> None:
    path.write_bytes(b"an older file")
    saved(path)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    load_weights(path, net())


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(UNetConfig(width=8, depth=1, norm="batch"), id="wider"),
        pytest.param(UNetConfig(width=4, depth=2, norm="batch"), id="deeper"),
        pytest.param(UNetConfig(width=4, depth=1), id="without norm"),
        pytest.param(UNetConfig(width=4, depth=1, norm="batch", up="bilinear"), id="bilinear"),
    ],
)
def test_weights_of_another_architecture_are_refused(path: Path, other: UNetConfig) -> None:
    with pytest.raises(CorruptVersionError, match="does not fit the architecture") as refused:
        load_weights(saved(path), net(config=other))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("tenths", range(10))
def test_a_truncated_file_is_refused(path: Path, tenths: int) -> None:
    data = saved(path).read_bytes()
    path.write_bytes(data[: len(data) * tenths // 10])
    with pytest.raises(CorruptVersionError):
        load_weights(path, net())


def test_a_missing_file_is_refused(path: Path) -> None:
    with pytest.raises(CorruptVersionError, match=r"model\.safetensors"):
        load_weights(path, net())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused(path: Path, value: float) -> None:
    weights = net().state_dict()
    weights["head.bias"] = torch.tensor([value])
    save_weights(weights, path)
    with pytest.raises(CorruptVersionError, match="not finite"):
        load_weights(path, net())


def test_a_kernel_beyond_half_precision_is_refused_at_loading(path: Path) -> None:
    weights = net().state_dict()
    weights["head.weight"] = torch.full((1, 4, 1, 1), 1e6)
    save_weights(weights, path)
    with pytest.raises(CorruptVersionError, match="not finite"):
        load_weights(path, net())


def test_a_pickle_is_refused(path: Path) -> None:
    torch.save(net().state_dict(), path)
    with pytest.raises(CorruptVersionError):
        load_weights(path, net())


def test_a_superfluous_tensor_is_refused(path: Path) -> None:
    save_file(net().state_dict() | {"extra": torch.zeros(1)}, path)
    with pytest.raises(CorruptVersionError, match="extra"):
        load_weights(path, net())
