import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model_core.backends import select
from model_core.backends.byte_network import ByteNetwork
from model_core.backends.openvino import OpenVINOBackend, int8_saturates
from model_core.backends.protocol import Engine
from model_core.backends.select import INT8_FILE, ONNX_FILE, WEIGHTS, open_backend, rank_engines
from model_core.card import Card, EngineRecord
from model_core.errors import ConfigError, CorruptVersionError
from model_core.network.weights import save_weights
from model_core.registry.registry import Registry
from tests.fixtures.models import CARD, NAME, VERSION, dark_is_lesion
from tests.fixtures.pictures import encode, lesion
from trainer.release.export import write_int8, write_onnx

BF16_HERE = torch.cpu._is_avx512_bf16_supported()


def record(engine: str, *, admitted: bool = True) -> EngineRecord:
    return EngineRecord(
        engine=engine, part="val", n=1, dice=0.9, jaccard=0.8, threshold_jaccard=0.8,
        lost_dice=0.0, lost_threshold_jaccard=0.0, agreement={"median": 1.0},
        admitted=admitted, overflow_safe=engine.endswith("int8"),
    )  # fmt: skip


def unguarded() -> Card:
    """A card from before the overflow of int8 was known."""
    old = replace(record("openvino-int8"), overflow_safe=False)
    return replace(CARD, engines=[old], files={INT8_FILE: "0" * 64})


def card(*admitted: str, refused: tuple[str, ...] = ()) -> Card:
    engines = [record(name) for name in admitted]
    return replace(CARD, engines=[*engines, *(record(name, admitted=False) for name in refused)])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dark_is_lesion`, as a version's is."""
    folder = tmp_path_factory.mktemp("version")
    save_weights(dark_is_lesion().state_dict(), folder / WEIGHTS)
    return folder


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the quantised and the ONNX network beside."""
    folder = tmp_path_factory.mktemp("exports")
    onnx = write_onnx(ByteNetwork(dark_is_lesion(), CARD.preprocess), folder / ONNX_FILE)
    write_int8(onnx, [noise(1)[0]] * 8, (folder / INT8_FILE).parent)
    save_weights(dark_is_lesion().state_dict(), folder / WEIGHTS)
    return folder


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def chosen(card: Card, folder: Path) -> str:
    ranked = rank_engines(card, device="cpu")
    engine = next(engine for engine, reason in ranked if not reason)
    return open_backend(card, folder, engine, device="cpu").name


def test_without_measurements_only_float32_is_trusted(weights: Path) -> None:
    assert chosen(card(), weights) == "pytorch-cpu-fp32"


@pytest.mark.skipif(not BF16_HERE, reason="this CPU has no bfloat16")
def test_auto_takes_the_fastest_that_is_admitted(int8: Path) -> None:
    files = {INT8_FILE: "0" * 64}
    every = card("pytorch-cpu-bf16", "openvino-bf16", "openvino-int8")
    assert chosen(replace(every, files=files), int8) == "openvino-int8"
    assert chosen(every, int8) == "openvino-bf16"  # the version holds no int8 file
    lossy = card("openvino-bf16", refused=("openvino-int8",))
    assert chosen(replace(lossy, files=files), int8) == "openvino-bf16"


@pytest.mark.parametrize(
    ("saturates", "expected"), [(True, "pytorch-cpu-fp32"), (False, "openvino-int8")]
)
def test_auto_passes_over_an_unguarded_int8_network_where_its_sums_overflow(
    saturates: bool, expected: str, int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "int8_saturates", lambda: saturates)
    assert chosen(unguarded(), int8) == expected
    guarded = replace(card("openvino-int8"), files={INT8_FILE: "0" * 64})
    assert chosen(guarded, int8) == "openvino-int8"


def test_an_unguarded_int8_network_asked_for_by_name_is_refused_with_the_way_out(
    int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "int8_saturates", lambda: True)
    with pytest.raises(ConfigError, match=r"without VNNI.* `python -m trainer export .*--publish"):
        open_backend(unguarded(), int8, "openvino-int8", device="cpu")


@pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/cpuinfo").is_file(),
    reason="needs the processor flags of Linux on x86-64",
)
def test_int8_saturates_exactly_where_the_processor_lacks_vnni() -> None:
    # Seen True on AMD EPYC 7003 (AVX2 alone) and under `qemu-x86_64 -cpu Haswell`.
    flags = set(Path("/proc/cpuinfo").read_text().split())
    assert int8_saturates() == flags.isdisjoint({"avx512_vnni", "avx_vnni", "amx_int8"})


def test_one_engine_that_loses_too_much_bars_its_precision(weights: Path) -> None:
    mixed = card("openvino-bf16", refused=("pytorch-cpu-bf16",))
    assert not mixed.admits("bf16")
    assert chosen(mixed, weights) == "pytorch-cpu-fp32"


@pytest.mark.parametrize("engine", ["pytorch-fp32", "openvino-fp32"])
def test_float32_needs_no_admission(engine: Engine, weights: Path) -> None:
    assert open_backend(card(), weights, engine, device="cpu").name.endswith("fp32")


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("openvino-int8", "the version holds no openvino-int8/model.xml"),
        ("openvino-bf16", "its card does not admit bf16: `trainer export` has to measure it"),
        ("pytorch-bf16", "its card does not admit bf16"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_with_its_reason(
    engine: Engine, reason: str, weights: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        open_backend(card(), weights, engine, device="cpu")


def test_a_precision_that_was_measured_and_found_too_far_off_says_so(weights: Path) -> None:
    refused = card(refused=("pytorch-cpu-bf16",))
    with pytest.raises(
        ConfigError, match="its masks in bf16 differ too much from those in float32"
    ):
        open_backend(refused, weights, "pytorch-bf16", device="cpu")


@pytest.mark.parametrize("name", ["openvino-fp32", "openvino-bf16", "openvino-int8"])
def test_every_engine_gives_the_reference_s_masks(name: Engine, int8: Path) -> None:
    admitting = replace(card("openvino-bf16", "openvino-int8"), files={INT8_FILE: "0" * 64})
    engine = open_backend(admitting, int8, name, device="cpu")
    reference = open_backend(admitting, int8, "pytorch-fp32", device="cpu")
    images = noise(3)
    expected = reference.run(images)
    sure = np.abs(expected) > 0.5
    assert np.array_equal(engine.run(images)[sure] > 0, expected[sure] > 0)


def test_a_published_version_runs_on_its_int8_network(
    int8: Path, weights: Path, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "models")
    exports = tmp_path / "exports"
    shutil.copytree((int8 / INT8_FILE).parent, (exports / INT8_FILE).parent)
    registry.publish(
        card("openvino-int8"), weights / WEIGHTS, encode(lesion(48, 64)), exports=exports
    )
    assert registry.load(NAME, VERSION).predictor.backend.name.startswith("pytorch-")
    loaded = registry.load(NAME, VERSION, device="cpu", backend="auto")
    assert loaded.predictor.backend.name == "openvino-int8"


def test_an_engine_that_fails_the_golden_test_is_passed_over_with_its_reason(
    int8: Path, tmp_path: Path
) -> None:
    exports, photograph = tmp_path / "exports", encode(lesion(48, 64))
    shutil.copytree((int8 / INT8_FILE).parent, (exports / INT8_FILE).parent)
    light_is_lesion = dark_is_lesion()
    with torch.no_grad():
        light_is_lesion.head.weight.neg_()
        assert light_is_lesion.head.bias is not None
        light_is_lesion.head.bias.neg_()
    save_weights(light_is_lesion.state_dict(), tmp_path / WEIGHTS)
    registry = Registry(tmp_path / "models")
    registry.publish(card("openvino-int8"), tmp_path / WEIGHTS, photograph, exports=exports)
    loaded = registry.load(NAME, VERSION, device="cpu", backend="auto")
    assert loaded.predictor.backend.name == "pytorch-cpu-fp32"
    assert re.search(r"golden image's mask has Jaccard", loaded.passed_over["openvino-int8"])
    with pytest.raises(CorruptVersionError, match="golden image's mask has Jaccard"):
        registry.load(NAME, VERSION, device="cpu", backend="openvino-int8")


def test_a_version_in_int8_answers_without_pytorch(
    int8: Path, weights: Path, tmp_path: Path
) -> None:
    exports = tmp_path / "exports"
    shutil.copytree((int8 / INT8_FILE).parent, (exports / INT8_FILE).parent)
    photograph = encode(lesion(48, 64))
    Registry(tmp_path / "models").publish(
        card("openvino-int8"), weights / WEIGHTS, photograph, exports=exports
    )
    (tmp_path / "lesion.png").write_bytes(photograph)
    program = f"""
import sys
from pathlib import Path
import service.app
from model_core.registry.registry import Registry
loaded = Registry(Path("models")).load({NAME!r}, {VERSION!r}, backend="auto")
assert loaded.predictor.predict(Path("lesion.png").read_bytes()).mask.any()
print(loaded.predictor.backend.name, "torch" in sys.modules)
"""
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.stdout.decode().split() == ["openvino-int8", "False"], done.stderr.decode()


def test_a_self_test_sees_both_compiled_forms_of_the_network(int8: Path) -> None:
    engine = OpenVINOBackend(int8 / INT8_FILE, precision="int8", threads=2)
    assert len(engine.forms) == 2
    for form in engine.forms:
        assert np.array_equal(form(noise(1)), engine.run(noise(1)))


def test_batches_beside_each_other_get_the_answers_that_they_get_alone(int8: Path) -> None:
    engine = OpenVINOBackend(int8 / INT8_FILE, precision="int8", threads=2)
    batches = [noise(1) * (number % 2) + noise(2)[1:] // 2 for number in range(12)]
    alone = [engine.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(engine.run, batches))
    assert engine.streams == 2
    assert all(np.array_equal(*pair) for pair in zip(alone, beside, strict=True))
