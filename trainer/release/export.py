"""A run's network for other engines, and how much each costs in quality.

    python -m trainer export runs/first --data data/skin
    python -m trainer export 1.0.0 --data data/skin --publish 1.0.1

The first writes `exports/openvino-int8/` (quantised after training, calibrated on training images)
into the run, for `publish` to freeze, `exports/onnx/` for other runtimes, and `precision.json`:
fp32, bf16 and int8 on the same images. The second makes them of a published version's weights, and
publishes these again under a new version: nothing within a version ever changes.
"""

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_core.backends.byte_network import ByteNetwork
from model_core.backends.openvino import OpenVINOBackend
from model_core.backends.protocol import Backend
from model_core.backends.pytorch import PyTorchBackend
from model_core.backends.select import INT8_FILE, ONNX_FILE
from model_core.card import EngineRecord
from model_core.errors import DatasetError
from model_core.network.unet import UNet
from model_core.network.weights import load_weights
from model_core.predictor import Predictor
from model_core.registry.registry import LoadedVersion, Registry
from model_core.scores.metrics import Confusion
from trainer.data.leaks import TRAINED_CSV
from trainer.data.samples import Sample, map_images, read_photo, read_truth
from trainer.evaluation.subjects import run_subject
from trainer.plots.text import aligned
from trainer.release.publish import golden_images
from trainer.training.run import EXPORTS, PRECISION, WEIGHTS, load_run, write_json

PART = "val"
"""Side of the split that engines are compared on."""
CALIBRATION_IMAGES = 64
"""Five times as many made no mask better (docs/experiments.md)."""
FLOAT_CONVOLUTIONS = 4
"""Convolutions that stay in float, from the first on: with those of two levels, no mask of 1,495
photographs has a Jaccard under 0.96 with float32's; with the first alone the least is 0 (1.1.0's
weights, AVX2; docs/experiments.md, row 16)."""
DICE_TOLERANCE = 0.002
THRESHOLD_JACCARD_TOLERANCE = 0.003
"""How much lower than fp32 the means of a reduced precision may be for it to be admitted."""
AGREEMENT = {"median": 0.995, "first_percentile": 0.97}
"""Least Jaccard between its masks and fp32's: equal means may hide masks that are lost here and won
there."""


def write_onnx(network: ByteNetwork, path: Path) -> Path:
    """Write a network as ONNX: `images` uint8 (N, S, S, 3) in, `logits` float32 (N, S, S) out.

    Normalisation is within, and N may be anything. The folder is made where absent.

    Raises:
        RuntimeError: ONNX Runtime computes other logits from the file than PyTorch does.
    """
    import onnxruntime

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            network,
            (network.example(2),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("count", min=1, max=1024)},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(program.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    # Another number of images than was exported: a constant in place of N would show here.
    shape = (3, network.config.size, network.config.size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (logits,) = session.run(["logits"], {"images": images})
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    if not np.allclose(logits, expected, rtol=1e-3, atol=1e-3):
        raise RuntimeError(f"{path}: ONNX Runtime computes other logits than PyTorch")
    return path


def write_int8(
    onnx: Path,
    images: Sequence[np.ndarray],
    folder: Path,
    *,
    float_first: int = FLOAT_CONVOLUTIONS,
    float_last: int = 0,
) -> Path:
    """Quantise a network and write it as `model.xml` and `model.bin`.

    All but its first convolutions, which stay in float: the little that tells faint skin from a
    faint lesion is lost in eight bits (docs/experiments.md), and they are a seventh of the work. A
    narrow network may need its last ones in float as well.

    Weights have seven bits, so that the sum of two products always fits in 16: processors without
    VNNI add in pairs there, and cut off what does not fit.

    `images` are preprocessed training images, uint8 (S, S, 3), on which ranges are measured.
    """
    os.environ.setdefault("NNCF_CI", "1")  # else it reports its use to its makers
    import nncf
    import openvino

    network = openvino.Core().read_model(onnx)
    ops = network.get_ordered_ops()
    convolutions = [op.get_friendly_name() for op in ops if op.get_type_name() == "Convolution"]
    last = convolutions[float_first:][::-1][:float_last]
    nncf.set_log_level(logging.WARNING)
    quantised = nncf.quantize(
        network,
        nncf.Dataset([image[None] for image in images]),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=convolutions[:float_first] + last),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    openvino.save_model(quantised, folder / "model.xml")
    return folder / "model.xml"


def export(
    run: Path,
    samples: Sequence[Sample],
    *,
    measure_only: bool = False,
    float_first: int = FLOAT_CONVOLUTIONS,
    float_last: int = 0,
) -> dict[str, Any]:
    """Write a run's int8 and ONNX networks, and score every precision on the validation part.

    Args:
        run: The run folder.
        samples: All of its data.
        measure_only: Score the networks that it has, and write none.
        float_first: Convolutions of the int8 network that stay in float, from the first on.
        float_last: The same, up to the last.

    Returns:
        What `precision.json` then holds, see `compare`, with the weights it holds for.

    Raises:
        DatasetError: there are no training or no validation images.
    """
    _require_parts(samples)
    # Killed on the way, no figures stand beside a network that they are not of.
    (run / PRECISION).unlink(missing_ok=True)
    subject = run_subject(run)
    ours, model = subject.predictor, UNet(load_run(run).model)
    load_weights(run / WEIGHTS, model)
    network = ByteNetwork(model, ours.preprocess_config)
    int8 = run / EXPORTS / INT8_FILE
    if measure_only and not int8.is_file():
        raise DatasetError(f"{run} has no {EXPORTS}/{INT8_FILE} to measure: export without that")
    if not measure_only:
        onnx, images = _write_onnx(network, ours, samples, run / EXPORTS)
        write_int8(onnx, images, int8.parent, float_first=float_first, float_last=float_last)
    engines: list[Backend] = [
        PyTorchBackend(model, ours.preprocess_config),
        PyTorchBackend(model, ours.preprocess_config, precision="bf16"),
        OpenVINOBackend(network, precision="bf16"),
        OpenVINOBackend(int8, precision="int8"),
    ]
    report = {
        **subject.conditions(),
        "part": PART,
        "engines": compare(engines, ours, _part(samples, PART)),
    }
    write_json(run / PRECISION, report)
    return report


def export_version(
    loaded: LoadedVersion, samples: Sequence[Sample], registry: Registry, *, version: str
) -> LoadedVersion:
    """Publish a version's weights again, with networks exported and int8 measured again.

    So a version whose int8 network overflows on some processors becomes one whose does not. Its
    weights, rules, calibration and scores stay, and so does what was measured of float engines;
    golden images are drawn as for a new version.

    `loaded` is the version on PyTorch in float32, `samples` are all of its data. No alias is moved.

    Raises:
        DatasetError: there are no training or no validation images.
        VersionExistsError: the version is taken.
    """
    _require_parts(samples)
    card, weights, ours = loaded.card, loaded.folder / WEIGHTS, loaded.predictor
    model = UNet(card.architecture)
    load_weights(weights, model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx, images = _write_onnx(ByteNetwork(model, card.preprocess), ours, samples, folder)
        int8 = write_int8(onnx, images, (folder / INT8_FILE).parent)
        engines: list[Backend] = [ours.backend, OpenVINOBackend(int8, precision="int8")]
        measured = compare(engines, ours, _part(samples, PART))[-1]
        if ONNX_FILE not in card.files:
            shutil.rmtree(onnx.parent)
        if TRAINED_CSV in card.files:
            shutil.copyfile(loaded.folder / TRAINED_CSV, folder / TRAINED_CSV)
        # What was measured of float engines holds on: they run the same weights.
        kept = [record for record in card.engines if not record.engine.endswith("int8")]
        renewed = replace(
            card,
            version=version,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            engines=[*kept, EngineRecord(part=PART, **measured)],
            files={},
        )
        first, *further = golden_images()
        return registry.publish(
            renewed,
            weights,
            first,
            more_golden_images=further,
            exports=folder,
            weights_sha256=card.files[WEIGHTS],
        )


def _write_onnx(
    network: ByteNetwork, predictor: Predictor, samples: Sequence[Sample], folder: Path
) -> tuple[Path, list[np.ndarray]]:
    """Write a network as ONNX; give the file, and training images to quantise it by."""
    trained = _part(samples, "train")
    onnx = write_onnx(network, folder / ONNX_FILE)
    chosen = np.random.default_rng(0).permutation(len(trained))[:CALIBRATION_IMAGES]
    images = [predictor.prepare(read_photo(trained[index])).pixels for index in chosen]
    return onnx, images


def _require_parts(samples: Sequence[Sample]) -> None:
    if not _part(samples, "train") or not _part(samples, PART):
        raise DatasetError(f"export needs images of the parts train and {PART}")


def _part(samples: Sequence[Sample], part: str) -> list[Sample]:
    return [sample for sample in samples if sample.part == part]


def compare(
    engines: Sequence[Backend], predictor: Predictor, samples: Sequence[Sample]
) -> list[dict[str, Any]]:
    """Compare engines of one network with the first of them, on the same images.

    The first engine is the reference, in fp32; all share the predictor's pre- and postprocessing.

    Returns:
        For each engine: `dice`, `jaccard`, `threshold_jaccard` (means per image), their difference
        from the first, `agreement` (Jaccard between its mask and the first's: median and first
        percentile over images), and whether it is `admitted`.
    """
    predictors = [
        Predictor(
            engine, predictor.preprocess_config, predictor.postprocess_config, predictor.calibration
        )
        for engine in engines
    ]

    def scores_of(sample: Sample) -> list[list[float]]:
        truth, prepared = read_truth(sample), predictor.prepare(read_photo(sample))
        rows, reference = [], None
        for engine in predictors:
            logits = engine.infer(prepared.pixels[None])[0]
            mask = engine.finish(logits, prepared.geometry).mask
            reference = mask if reference is None else reference
            count, same = Confusion.of(truth, mask), Confusion.of(reference, mask)
            rows.append([count.dice, count.jaccard, count.threshold_jaccard, same.jaccard])
        return rows

    # (images, engines, 4); one thread, since each engine is run with all cores
    table = np.array(list(map_images(scores_of, samples, "precision", threads=1)))
    return [
        _entry(engine.name, table[:, place], table[:, 0]) for place, engine in enumerate(engines)
    ]


def _entry(name: str, own: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    dice, jaccard, threshold_jaccard, _ = (float(value) for value in own.mean(axis=0))
    lost = reference.mean(axis=0) - own.mean(axis=0)
    agreement = {
        "median": float(np.median(own[:, 3])),
        "first_percentile": float(np.percentile(own[:, 3], 1)),
        "least": float(own[:, 3].min()),
    }
    return {
        "engine": name,
        "n": len(own),
        "dice": dice,
        "jaccard": jaccard,
        "threshold_jaccard": threshold_jaccard,
        "lost_dice": float(lost[0]),
        "lost_threshold_jaccard": float(lost[2]),
        "agreement": agreement,
        "admitted": bool(
            abs(lost[0]) <= DICE_TOLERANCE
            and abs(lost[2]) <= THRESHOLD_JACCARD_TOLERANCE
            and all(agreement[name] >= least for name, least in AGREEMENT.items())
        ),
        "overflow_safe": name.endswith("int8"),  # as `write_int8` makes it
    }


def format_engines(engines: Sequence[Mapping[str, Any]]) -> str:
    """Format what `compare` measured as a table for the terminal."""
    rows = [["engine", "Dice", "Jaccard", "thr. J.", "agreement", "admitted"]]
    for entry in engines:
        same = entry["agreement"]
        means = [f"{entry[name]:.4f}" for name in ("dice", "jaccard", "threshold_jaccard")]
        agreement = f"{same['median']:.4f} / {same['first_percentile']:.4f}"
        rows.append([entry["engine"], *means, agreement, "yes" if entry["admitted"] else "no"])
    return "\n".join(aligned(row, (22, 10, 10, 10, 20, 8)) for row in rows)
