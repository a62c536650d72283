"""The run folder: what a training run leaves behind, and how it is opened again.

| file | what |
| --- | --- |
| config.json | the `TrainConfig`, whole |
| run.json | what it started from: commits, torch, data, initial weights |
| trained_on.csv | fingerprints of the photographs that steered it |
| log.jsonl | one line an epoch |
| checkpoint.safetensors | all that `--resume` needs |
| model.safetensors | the weights that `evaluate` and `publish` take |
| exports/ | what else `publish` freezes with them |
| calibration.json | threshold, component rules and calibration, chosen on validation images |
| precision.json | what fp32, bf16 and int8 score on the same images |
| tensorboard/ | how it goes |
| curves.png | how it went, drawn at the end |
| scores_PART.json, .csv, triptychs_PART.png, report.html | how good it is |
| strata_val.json, .md, worst_val.png, .html | on what kind of image it fails, and the worst ones |
| protocol.json, .md | the evaluation of record |
| comparison.json, .md | of `finetune`: new beside the version that it came from |
"""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from model_core.errors import ConfigError, DatasetError, SegmentationError
from model_core.network.unet_config import UNetConfig
from model_core.registry.local_store import CARD, file_sha256
from trainer.config import TrainConfig, dump_config, parse_config
from trainer.data.leaks import TRAINED_CSV, Fingerprint, fingerprint, read_trained, write_trained
from trainer.data.samples import Sample, count_parts, digest, read_samples
from trainer.data.tables import replace_text
from trainer.training.pretrained import pretrained_record

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
RUN = "run.json"
LOG = "log.jsonl"
EXPORTS = "exports"
PRECISION = "precision.json"
CALIBRATION = "calibration.json"
COMPARISON = "comparison.json"

_NOT_IN_WEIGHTS = ("name", "data", "gate_dice", "limits", "checkpoint_steps", "postprocess")
"""Config entries that may change between two starts of a run: they leave its weights alone."""


class RunStoppedError(SegmentationError):
    """A run that could not go on; what it had saved is whole."""


def open_run(
    config: TrainConfig,
    samples: Sequence[Sample],
    run: Path,
    *,
    resume: bool,
    device: str,
    precision: str,
) -> None:
    """Make the run folder, or check that it is this config's and that it may go on.

    Args:
        config: Of the run.
        samples: All that may steer it, and its test part.
        run: The folder.
        resume: Whether it may hold the run already.
        device: Where this start trains, for the record.
        precision: In what arithmetic, for the record.

    Raises:
        ConfigError: it holds a run and `resume` is not set, or another config's run.
        DatasetError: it was trained on other data.
    """
    if (run / CONFIG).exists():
        if not resume:
            raise ConfigError(f"{run} already holds a run: add --resume, or choose another --out")
        record = _check_same(config, samples, run)
    else:
        run.mkdir(parents=True, exist_ok=True)
        counts = {name: dict(parts) for name, parts in count_parts(samples).items()}
        record = {
            "data": {"sha256": digest(samples), "samples": counts},
            "initial": _initial_record(config),
            "teachers": [_weights_record(teacher) for teacher in config.teachers],
            "starts": [],
        }
    if not (run / TRAINED_CSV).exists():
        seen = [fingerprint(sample) for sample in samples]
        for source in filter(None, (config.initial, *config.teachers)):
            seen += trained_on(Path(source))
        write_trained(seen, run)
    start = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": _git_commit(),
        "torch": torch.__version__,
        "device": device,
        "precision": precision,
    }
    record["starts"] = [*starts(record), start]
    write_json(run / RUN, record)
    write_json(run / CONFIG, dump_config(config))  # last: where it is, the run is opened whole


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder that one process at a time may write to; a kill frees it.

    Raises:
        ConfigError: another process is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ConfigError(f"another process is writing to {folder}: wait, or stop it") from exc
        yield


def load_run(run: Path) -> TrainConfig:
    """Read the config of a run folder.

    Raises:
        DatasetError: the folder holds no finished epoch.
        ConfigError: its config is damaged.
    """
    if not (run / WEIGHTS).is_file() or not (run / CONFIG).is_file():
        raise DatasetError(
            f"{run} holds no {CONFIG} and {WEIGHTS}: not a run with a finished epoch"
        )
    return _read_config(run)


def _read_config(run: Path) -> TrainConfig:
    table = read_json(run / CONFIG)
    one = table.pop("teacher", "")  # of runs of before there could be several
    return parse_config(table | ({"teachers": [one]} if one else {}), str(run / CONFIG))


def load_record(run: Path) -> dict[str, Any]:
    """Read the `run.json` of a run folder."""
    record = read_json(run / RUN)
    one = record.pop("teacher", None)
    return record | ({"teachers": [one]} if one else {})


def starts(record: dict[str, Any]) -> list[dict[str, str]]:
    """List every start of a run; the first runs noted only one, without its time."""
    if "starts" in record:
        noted: list[dict[str, str]] = record["starts"]
        return noted
    return [{"git_commit": record["git_commit"], "torch": record["torch"]}]


def trained_on(run: Path) -> list[Fingerprint]:
    """Read the fingerprints of the photographs that steered a run.

    Raises:
        DatasetError: an old run did not note them, and its data is no longer as it was.
    """
    noted = read_trained(run)
    if noted is not None:
        return noted
    config, record = _read_config(run), load_record(run)
    samples = training_samples(config)
    if digest(samples) != record["data"]["sha256"] or config.initial or config.teachers:
        raise DatasetError(
            f"{run} does not say which photographs it was trained on, and {config.data} is not "
            "the data it was trained with"
        )
    return [fingerprint(sample) for sample in samples]


def training_samples(config: TrainConfig) -> list[Sample]:
    """Read the samples of a config's data for a run: train, val and test, never external.

    Raises:
        DatasetError: the folder is not prepared, lacks a named dataset, or has no train or val.
    """
    samples = own_samples(config)
    parts = {sample.part for sample in samples}
    if not {"train", "val"} <= parts:
        raise DatasetError(f"{config.data} has parts {sorted(parts)}, training needs train and val")
    return samples


def own_samples(config: TrainConfig) -> list[Sample]:
    """Read the samples of a config's data and datasets, of all parts but the external sets.

    Raises:
        DatasetError: the folder is not prepared, or lacks a named dataset.
    """
    samples = [sample for sample in read_samples(config.data) if sample.part != "external"]
    known = {sample.dataset for sample in samples}
    unknown = sorted(set(config.datasets) - known)
    if unknown:
        raise DatasetError(
            f"{config.data} has no dataset {', '.join(unknown)} to train on; it has "
            f"{', '.join(sorted(known))}"
        )
    samples = [s for s in samples if not config.datasets or s.dataset in config.datasets]
    return sorted(samples, key=lambda sample: sample.key)  # in any order of rows, the same weights


def read_log(run: Path) -> list[dict[str, Any]]:
    """Read the entries of `log.jsonl`, one an epoch; none where no epoch has ended."""
    path = run / LOG
    if not path.is_file():
        return []
    try:
        return _whole_entries(path.read_text(encoding="utf-8"))
    except ValueError as exc:
        raise ConfigError(f"{path} is damaged: {exc}") from exc


def append_log(run: Path, entry: dict[str, Any]) -> None:
    """Add an epoch's entry, dropping any of the same epoch or later, which are run again."""
    kept = [old for old in read_log(run) if old["epoch"] < entry["epoch"]]
    replace_text(run / LOG, "".join(json.dumps(line) + "\n" for line in [*kept, entry]))


def read_json(path: Path) -> dict[str, Any]:
    """Read the object that a JSON file holds.

    Raises:
        ConfigError: it cannot be read, is no JSON, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no JSON object")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object as JSON, replacing the file whole."""
    replace_text(path, json.dumps(value, indent=2) + "\n")


def _whole_entries(text: str) -> list[dict[str, Any]]:
    # Without its line end an entry was cut off by a kill, and its epoch comes again.
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [json.loads(line) for line in whole]


def _check_same(config: TrainConfig, samples: Sequence[Sample], run: Path) -> dict[str, Any]:
    stored = dump_config(_read_config(run))
    wanted = dump_config(config)
    differ = [key for key in wanted if key not in _NOT_IN_WEIGHTS and stored[key] != wanted[key]]
    if differ:
        shown = "; ".join(f"{key} was {stored[key]!r}, is {wanted[key]!r}" for key in differ)
        raise ConfigError(f"{run} was made with another config ({shown}): choose another --out")
    record = load_record(run)
    if record["data"]["sha256"] != digest(samples):
        raise DatasetError(f"{run} was trained on other data than {config.data} holds now")
    return record


def _initial_record(config: TrainConfig) -> dict[str, Any] | None:
    """Say what the weights were before the first step: of a run, a version, or ImageNet."""
    if config.pretrained:
        return pretrained_record(config.model.encoder)
    return _weights_record(config.initial)


def _weights_record(source: str) -> dict[str, Any] | None:
    """Say which weights a run's or a version's folder holds; None where no folder is named."""
    if not source:
        return None
    folder = Path(source)
    is_run = (folder / RUN).exists()
    record = load_record(folder) if is_run else read_json(folder / CARD)
    return {
        "weights_sha256": file_sha256(folder / WEIGHTS),
        "data_sha256": record["data"]["sha256"],
        "versions": came_from(record) if is_run else [_version_record(record, folder)],
    }


def came_from(record: dict[str, Any]) -> list[dict[str, Any]]:
    """List the versions that a run's weights began with or learned from, as its record has them.

    Each has `name`, `version`, `sha256` of its card, `licence` and `limits`. A run that began with
    another run has that one's versions.
    """
    sources = [record.get("initial"), *(record.get("teachers") or [])]
    versions = [version for source in sources if source for version in source.get("versions", [])]
    return list({version["sha256"]: version for version in versions}.values())


def _version_record(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    kept = {name: card[name] for name in ("name", "version", "licence", "limits")}
    return kept | {"sha256": file_sha256(folder / CARD)}


def initial_network(folder: Path, model: UNetConfig) -> UNetConfig:
    """Read which network a run's or a version's folder holds: a config's, or a wider one.

    Raises:
        ConfigError: it is another; the text has the keys of [model] that differ.
    """
    is_run = (folder / CONFIG).is_file()
    table = read_json(folder / (CONFIG if is_run else CARD))
    ours = asdict(model)
    # Keys that are younger than the folder have their defaults.
    theirs = asdict(UNetConfig()) | table["model" if is_run else "architecture"]
    narrower = ours["width"] < theirs["width"]
    differ = [key for key in ours if theirs[key] != ours[key] and not (key == "width" and narrower)]
    if differ:
        wanted, found = (
            ", ".join(f"{key} = {json.dumps(values[key])}" for key in differ)
            for values in (theirs, ours)
        )
        raise ConfigError(
            f"initial is {str(folder)!r}, whose network has {wanted}, and [model] of the config "
            f"says {found}: write the former into [model]"
        )
    return replace(model, width=theirs["width"])


def _git_commit() -> str:
    """Find the commit this code is at, with `-dirty` where files differ from it.

    Outside git, as in a container, what the environment says; empty where it says nothing.
    """
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("LESION_GIT_COMMIT", "")
    return described.stdout.strip()
