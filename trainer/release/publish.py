"""From a scored run to an immutable version of the registry.

python -m trainer publish runs/first --version 0.1.0
python -m trainer promote 0.1.0
"""

import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image as Pillow

from model_core.arrays import Image
from model_core.backends.select import INT8_FILE, ONNX_FILE
from model_core.card import Card, DataRecord, EngineRecord, ScoreRecord
from model_core.errors import ConfigError, GateError
from model_core.processing.postprocess import PostprocessConfig
from model_core.registry.registry import LoadedVersion, Registry
from trainer.config import TrainConfig, dump_config
from trainer.data.drawn import draw_lesion
from trainer.data.leaks import write_trained
from trainer.evaluation.scores import scores_path
from trainer.evaluation.subjects import EvaluationSubject, run_subject
from trainer.release.accept_score import read_accept_score
from trainer.release.licences import settle_licence
from trainer.release.lineage import describe_lineage, find_parents, read_comparison
from trainer.studies.protocol import read_gaps
from trainer.training.run import (
    EXPORTS,
    PRECISION,
    WEIGHTS,
    load_record,
    load_run,
    read_json,
    starts,
    trained_on,
)

GOLDEN_LESIONS = ((7, 1.0, 1.0), (7, 1.0, 0.2), (9, 0.3, 0.5), (11, 0.5, 0.15))
"""Seed, size and contrast of each golden image: an ordinary lesion, a faint one, a small one, and
one that is both. Arithmetic that is a little wrong shows on the faint and small ones first."""
INTENDED_USE = (
    "Research on outlining skin lesions in dermoscopic photographs. Not a medical device: neither "
    "the mask nor any figure made from it is fit for diagnosis."
)
LIMITS = (
    "Dermoscopy like that of its training data only: clinical close-ups and other photographs were "
    "never seen.",
    "Expert masks of one lesion differ by 10-20 % of its area; so may this one.",
)
ONE_REGION = "Answers with the one largest region: further lesions in the frame are left out."
_OF = "Of"
"""Beginning of a limit that another model handed on."""


def publish(
    run: Path,
    registry: Registry,
    *,
    version: str,
    licence: str | None = None,
    licence_because: str = "",
    worse_because: str = "",
    onnx: bool = False,
) -> LoadedVersion:
    """Freeze a run's weights under a new version, with its card and golden test.

    Args:
        run: A run folder that `evaluate` has scored on its held-out part, or that `finetune` made.
        registry: Where it goes.
        version: Semantic version, not yet taken.
        licence: Terms of the weights, which follow from the data's; None takes those of the version
            that the weights came from.
        licence_because: Why they may be freer than that version's.
        worse_because: Why it is published though `finetune` found it worse than that version.
        onnx: Whether the version holds the exported ONNX network too, twice its weights in size.

    Raises:
        GateError: kept from a fold, not scored, scored before the weights changed, or too low; or
            without a licence, with a freer one than that of the version it came from, or worse
            than that.
        VersionExistsError: the version is taken.
        ConfigError: no ONNX network was exported.
    """
    if onnx and not (run / EXPORTS / ONNX_FILE).is_file():
        raise ConfigError(f"{run} has no {EXPORTS}/{ONNX_FILE}: `python -m trainer export` first")
    config, record = load_run(run), load_record(run)
    parents = find_parents(record, registry)
    licence = settle_licence(licence, parents, because=licence_because)
    if "fold" in record:
        raise GateError(
            f"{run} was kept from fold {record['fold']} of a cross-validation: `train` a run on "
            "all of the data, and publish that"
        )
    subject = run_subject(run)
    rules = subject.predictor.postprocess_config
    compared = read_comparison(run, subject, worse_because=worse_because)
    scores = [ScoreRecord(**entry) for entry in compared.get("scores", [])]
    if not compared or scores_path(run, "test").is_file():
        scores += _held_out_scores(run, config, subject)
    gaps = read_gaps(run, [asdict(record) for record in scores])
    card = Card(
        name=config.name,
        version=version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=starts(record)[-1]["git_commit"],
        architecture=config.model,
        preprocess=config.preprocess,
        postprocess=rules,
        calibration=subject.predictor.calibration,
        accept_score=read_accept_score(run, subject),
        training=_training(config, record),
        data=DataRecord(**record["data"]),
        scores=scores,
        gaps=gaps,
        engines=_engines(run, subject),
        licence=licence,
        intended_use=INTENDED_USE,
        limits=_limits(config, rules, record, parents, compared),
        lineage=describe_lineage(
            parents, compared, licence_because=licence_because, worse_because=worse_because
        ),
    )
    # Gathered first: the registry takes a version whole or not at all.
    with tempfile.TemporaryDirectory() as name:
        more = Path(name)
        if (run / EXPORTS).is_dir():
            left_out = [] if onnx else [str(Path(ONNX_FILE).parent)]
            refused = [entry.engine for entry in card.engines if not entry.admitted]
            if any(engine.endswith("int8") for engine in refused):  # may not answer: of no use
                left_out.append(str(Path(INT8_FILE).parent))
            ignore = shutil.ignore_patterns(*left_out)
            shutil.copytree(run / EXPORTS, more, ignore=ignore, dirs_exist_ok=True)
        # With it `evaluate` can tell whether this version has seen what it is to be scored on.
        write_trained(trained_on(run), more)
        first, *further = golden_images()
        return registry.publish(
            card,
            run / WEIGHTS,
            first,
            more_golden_images=further,
            exports=more,
            weights_sha256=subject.weights_sha256,
        )


@cache
def golden_images() -> tuple[bytes, ...]:
    """Draw the lesions that every version is checked on at load, as PNG bytes."""
    return tuple(
        _png(draw_lesion(seed, height=192, width=256, size=size, contrast=contrast)[0])
        for seed, size, contrast in GOLDEN_LESIONS
    )


def _png(image: Image) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(image).save(out, format="PNG", optimize=True)
    return out.getvalue()


def _held_out_scores(
    run: Path, config: TrainConfig, subject: EvaluationSubject
) -> list[ScoreRecord]:
    """Read the scores, once it is sure that they are of what will be published."""
    path = scores_path(run, "test")
    if not path.is_file():
        raise GateError(f"{run} has no {path.name}: run `python -m trainer evaluate {run}` first")
    stored = read_json(path)
    try:
        scores = [ScoreRecord(**entry) for entry in stored["sets"]]
        seen_none: bool = stored["leak_checked"]
    except (KeyError, TypeError) as exc:
        raise GateError(f"{path} lacks {exc}: evaluate again") from exc
    if not seen_none or not scores or any(e.part not in ("test", "external") for e in scores):
        raise GateError(
            f"{path} is not of test or external images that these weights are known not to have "
            "seen: evaluate again"
        )
    subject.require_current(path, stored, again="evaluate")
    for entry in scores:
        dice = entry.summary["per_image"]["dice"]["mean"]
        if dice < config.gate_dice:
            raise GateError(
                f"{entry.dataset} {entry.part}: Dice {dice:.4f} is below the config's gate_dice "
                f"{config.gate_dice}"
            )
    return scores


def _engines(run: Path, subject: EvaluationSubject) -> list[EngineRecord]:
    """Read what `export` measured of other precisions; nothing where it did not run."""
    path = run / PRECISION
    if not path.is_file():
        return []
    report = read_json(path)
    subject.require_current(path, report, again="export")
    return [EngineRecord(part=report["part"], **entry) for entry in report["engines"]]


def _limits(
    config: TrainConfig,
    rules: PostprocessConfig,
    record: Mapping[str, Any],
    parents: Sequence[Mapping[str, Any]],
    compared: Mapping[str, Any],
) -> list[str]:
    """List what is true of every version, of this one's rules and data, and of its parents.

    What is true of another model, such as its encoder, is said with that one's name.
    """
    region = [ONE_REGION] if rules.largest_component else []
    own = [*LIMITS, *region, *config.limits]
    inherited = {
        limit: limit
        if parent["name"] == config.name or limit.startswith(_OF)
        else f"{_OF} {parent['name']}@{parent['version']}, which it learned from: {limit}"
        for parent in parents
        for limit in parent["limits"]
        if limit not in own
    }
    tuned = []
    if "finetuned" in record:
        made = record["finetuned"]
        sets = ", ".join(record["data"]["samples"])
        tuned = [
            f"Fine-tuned from {made['from']} on {made['photographs']} photographs of {sets}: made "
            "for photographs like these."
        ]
    if compared.get("loses_elsewhere"):
        tuned.append(f"Beside that version it loses on other photographs: {compared['why']}.")
    return list(dict.fromkeys([*own, *inherited.values(), *tuned]))


def _training(config: TrainConfig, record: dict[str, Any]) -> dict[str, Any]:
    """Record the config, every start of the run and the weights it came from, without local paths.

    The data's hash is in the card itself.
    """
    portable = {key: value for key, value in dump_config(config).items() if key != "data"}
    sources = {
        "initial": _without_versions(record.get("initial")),
        "teachers": [_without_versions(teacher) for teacher in record.get("teachers") or []],
    }
    return portable | sources | {"starts": starts(record)}


def _without_versions(source: dict[str, Any] | None) -> dict[str, Any] | None:
    """Leave out what a version's own card says."""
    return source and {key: value for key, value in source.items() if key != "versions"}
