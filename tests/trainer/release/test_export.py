import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from model_core.backends.openvino import OpenVINOBackend
from model_core.backends.pytorch import PyTorchBackend
from model_core.backends.select import INT8_FILE, ONNX_FILE
from model_core.errors import CorruptVersionError, DatasetError
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig
from model_core.network.weights import load_weights
from model_core.processing.preprocess import PreprocessConfig
from model_core.registry.registry import Registry
from trainer.data.leaks import TRAINED_CSV
from trainer.data.samples import read_samples
from trainer.evaluation.subjects import run_subject
from trainer.release.export import _entry, compare, export, export_version, write_int8
from trainer.training.run import WEIGHTS, load_run


@pytest.fixture
def run(exported: Path) -> Path:
    """A trained and exported run."""
    return exported


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


def network(run: Path) -> tuple[UNet, PreprocessConfig]:
    config = load_run(run)
    model = UNet(config.model)
    load_weights(run / WEIGHTS, model)
    return model, config.preprocess


def test_onnx_in_openvino_is_the_same_network(run: Path, pixels: np.ndarray) -> None:
    model, config = network(run)
    engine = OpenVINOBackend(run / "exports" / ONNX_FILE, precision="fp32", threads=1)
    assert engine.name == "openvino-fp32"
    expected = PyTorchBackend(model, config).run(pixels)
    for batch in (pixels, pixels[:1]):  # any number of images
        assert np.allclose(engine.run(batch), expected[: len(batch)], atol=1e-3)


def test_the_exported_onnx_network_needs_nothing_of_this_repository(
    run: Path, pixels: np.ndarray
) -> None:
    path = run / "exports" / ONNX_FILE
    onnx.checker.check_model(onnx.load(path))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    engine = PyTorchBackend(*network(run))
    for count in (1, 3):
        (logits,) = session.run(None, {"images": pixels[:count]})
        assert np.allclose(logits, engine.run(pixels[:count]), atol=1e-4)


def test_an_answer_stays_when_the_engine_is_asked_again(run: Path, pixels: np.ndarray) -> None:
    engine = OpenVINOBackend(run / "exports" / ONNX_FILE, precision="fp32")
    first = engine.run(pixels[:1])
    kept = first.copy()
    engine.run(pixels[1:2])
    assert np.array_equal(first, kept)


def test_bf16_on_pytorch_is_nearly_fp32(run: Path, pixels: np.ndarray) -> None:
    model, config = network(run)
    fp32 = PyTorchBackend(model, config, device="cpu")
    bf16 = PyTorchBackend(model, config, device="cpu", precision="bf16")
    assert (fp32.name, bf16.name) == ("pytorch-cpu-fp32", "pytorch-cpu-bf16")
    assert bf16.run(pixels).dtype == np.float32
    assert np.abs(bf16.run(pixels) - fp32.run(pixels)).max() < 0.2


def test_convolutions_are_left_in_float_at_both_ends(
    run: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    onnx, counts = run / "exports" / ONNX_FILE, []
    for first, last in ((1, 0), (1, 2), (99, 99)):
        path = write_int8(onnx, list(pixels), tmp_path, float_first=first, float_last=last)
        counts.append(path.read_text().count('type="FakeQuantize"'))
    assert counts[0] > counts[1] > counts[2]


def test_an_int8_network_is_written_for_publish_to_freeze(run: Path, pixels: np.ndarray) -> None:
    folder = run / "exports" / "openvino-int8"
    assert {path.name for path in folder.iterdir()} == {"model.xml", "model.bin"}
    engine = OpenVINOBackend(folder / "model.xml", precision="int8")
    assert engine.run(pixels).shape == (3, 32, 32)
    assert b"FakeQuantize" in (folder / "model.xml").read_bytes()


def test_every_precision_is_scored_on_the_same_validation_images(run: Path, discs: Path) -> None:
    report = json.loads((run / "precision.json").read_text())
    assert [entry["engine"] for entry in report["engines"]] == [
        "pytorch-cpu-fp32", "pytorch-cpu-bf16", "openvino-bf16", "openvino-int8",
    ]  # fmt: skip
    count = sum(sample.part == "val" for sample in read_samples(discs))
    for entry in report["engines"]:
        assert entry["n"] == count
        assert entry["lost_dice"] == pytest.approx(report["engines"][0]["dice"] - entry["dice"])
        assert 0.9 < entry["agreement"]["median"] <= 1
    assert report["engines"][0]["admitted"]
    agreement = {"median": 1.0, "first_percentile": 1.0, "least": 1.0}
    assert report["engines"][0]["agreement"] == agreement
    assert [entry.get("overflow_safe", False) for entry in report["engines"]] == [False] * 3 + [
        True
    ]


def test_an_engine_that_loses_too_much_is_not_admitted(run: Path, discs: Path) -> None:
    model, config = network(run)
    target = run_subject(run)
    blind = PyTorchBackend(UNet(UNetConfig(width=4, depth=2, norm="batch", patch=2)), config)
    good, bad = compare(
        [PyTorchBackend(model, config), blind], target.predictor, read_samples(discs)[:8]
    )
    assert good["admitted"]
    assert not bad["admitted"]


def test_equal_means_do_not_admit_an_engine_whose_masks_are_others() -> None:
    fp32 = np.tile([0.9, 0.8, 0.8, 1.0], (100, 1))
    for median, low, admitted in [(0.999, 0.98, True), (0.999, 0.9, False), (0.99, 0.98, False)]:
        own = fp32.copy()
        own[:, 3] = [low] * 2 + [median] * 98
        assert _entry("openvino-int8", own, fp32)["admitted"] == admitted


@pytest.mark.slow  # a whole export more
def test_a_published_version_is_exported_again_as_a_new_one(
    exported: Path, discs: Path, tmp_path: Path
) -> None:
    registry = Registry(shutil.copytree(exported.parent / "models", tmp_path / "models"))
    old = registry.load("disc-unet", "1.0.0", device="cpu")
    new = export_version(old, read_samples(discs), registry, version="1.0.1")
    assert registry.versions("disc-unet") == ["1.0.0", "1.0.1"]
    assert new.card.overflow_safe
    same = ("scores", "calibration", "postprocess", "data", "training", "licence", "git_commit")
    assert all(getattr(new.card, name) == getattr(old.card, name) for name in same)
    kept = (WEIGHTS, TRAINED_CSV)
    assert [new.card.files[name] for name in kept] == [old.card.files[name] for name in kept]
    assert INT8_FILE in new.card.files
    registry.load("disc-unet", "1.0.1", device="cpu", backend="openvino-int8")


def test_without_validation_images_there_is_nothing_to_compare(run: Path, discs: Path) -> None:
    trained = [sample for sample in read_samples(discs) if sample.part == "train"]
    with pytest.raises(DatasetError, match="export needs images of the parts train and val"):
        export(run, trained)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(CorruptVersionError, match="no model that OpenVINO reads"):
        OpenVINOBackend(tmp_path / "model.xml", precision="int8")
