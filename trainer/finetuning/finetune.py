"""Fine-tune a version on a clinic's photographs, and tell whether that made it better.

    python -m trainer finetune production --data data/clinic --out runs/clinic

Small sets are cross-fitted: five runs, each kept from a fifth of the photographs. Calibration,
threshold and comparison are of the run that is kept from each photograph, and the mean of the five
runs' weights is the new version's. OUT is a run folder that `publish` takes, with, besides:

| file | what |
| --- | --- |
| comparison.json, .md | new beside old: paired scores, intervals, verdict |
| out_of_fold.csv | one row a photograph, scored by weights and threshold that never saw it |
| data/ | the prepared folder: all photographs, which the new weights have seen |
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from model_core.errors import ConfigError, DatasetError
from model_core.network.weights import save_weights
from model_core.registry.registry import LoadedVersion
from trainer.config import TrainConfig, dump_config
from trainer.data.leaks import drop_seen, fingerprint, read_trained, write_trained
from trainer.data.samples import Sample, count_parts, digest, write_samples
from trainer.data.split import COMMITTED_SPLIT, read_split
from trainer.finetuning.cross_fit import Unseen, load, mean_weights, open_network, train_folds
from trainer.finetuning.judge import Finetuned, judge, read_finetuned
from trainer.finetuning.recipe import FOLDS, LEAST_IMAGES, Recipe, config_for, recipe_for
from trainer.training.run import (
    COMPARISON,
    CONFIG,
    RUN,
    WEIGHTS,
    held,
    load_record,
    read_json,
    starts,
    write_json,
)

_FOLDS = "folds"


def usable_samples(
    everything: Sequence[Sample], loaded: LoadedVersion, *, skip_bad: bool
) -> tuple[list[Sample], list[str]]:
    """Select the photographs that a version can be fine-tuned on, and note what is left out.

    Whatever side a split put them on, all of them are used, but for external sets.

    Raises:
        ConfigError: the version does not say what it was trained on.
        DatasetError: too few photographs or groups, or some that the version has seen.
    """
    seen = read_trained(loaded.folder)
    if seen is None:
        raise ConfigError(
            f"{loaded.label} does not list the photographs it was trained on, so that no score of "
            "it could be told from a leak: take a version that has a trained_on.csv"
        )
    own = [replace(sample, part="train") for sample in everything if sample.part != "external"]
    notes = []
    if len(own) < len(everything):
        notes.append(f"{len(everything) - len(own)} photographs of external sets are left out")
    kept, leaks = drop_seen(own, seen)
    if leaks and not skip_bad:
        raise DatasetError(
            f"{len(leaks)} of {len(own)} photographs, such as {own[leaks[0].index].key} "
            f"({leaks[0].why}), were seen when {loaded.label} was trained, so that it cannot be "
            "compared on them: --skip-bad leaves them out"
        )
    if leaks:
        notes.append(f"{len(leaks)} photographs that {loaded.label} has seen are left out")
    groups = len({sample.group for sample in kept})
    if len(kept) < LEAST_IMAGES or groups < FOLDS:
        raise DatasetError(
            f"{len(kept)} photographs of {groups} lesions or patients can be used, expected at "
            f"least {LEAST_IMAGES} of at least {FOLDS}: correct some more outlines"
        )
    return sorted(kept, key=lambda sample: sample.key), notes


def committed_validation(
    public: Sequence[Sample], loaded: LoadedVersion, clinic: Sequence[Sample]
) -> list[Sample]:
    """Select the committed validation part, without what the version or the clinic's set has."""
    places = read_split(COMMITTED_SPLIT)
    validating = [
        sample
        for sample in public
        if sample.part == "val" and sample.id in places and places[sample.id].part == "val"
    ]
    seen = [*(read_trained(loaded.folder) or []), *map(fingerprint, clinic)]
    return drop_seen(validating, seen)[0]


def finetune(
    loaded: LoadedVersion,
    samples: Sequence[Sample],
    out: Path,
    *,
    public: Sequence[Sample] = (),
    notes: Sequence[str] = (),
    resume: bool = False,
) -> Finetuned:
    """Train a version on, calibrate it, and compare it with what it was.

    Args:
        loaded: The version, on PyTorch in float32.
        samples: Of `usable_samples`.
        out: Run folder to make.
        public: Of `committed_validation`; none where that data is not at hand.
        notes: Sentences for the comparison.
        resume: Go on with what `out` holds.

    Raises:
        ConfigError: `out` holds something and `resume` is not set, or the version is another.
        DatasetError: the photographs are others than before, or hardly any lesion is found.
        RunStoppedError: a run could not go on.
    """
    recipe = recipe_for(samples)
    config = config_for(loaded.card, loaded.folder, out / "data", len(samples), recipe)
    with held(out):
        done, begun = (out / COMPARISON).is_file(), (out / _FOLDS).is_dir()
        if (done or begun) and not resume:
            raise ConfigError(
                f"{out} already holds a fine-tuning: add --resume, or choose another --out"
            )
        if done:
            _require_same(loaded, samples, out)
            shutil.rmtree(out / _FOLDS, ignore_errors=True)  # of a kill between the two
            return read_finetuned(out)
        if (out / CONFIG).is_file() and not begun:
            raise ConfigError(f"{out} holds another run: choose another --out")
        folds = train_folds(config, samples, recipe.folds, out / _FOLDS)
        tuned = [load(run / WEIGHTS) for run, _ in folds]
        _write_run(config, recipe, samples, loaded, folds[0][0], out)
        save_weights(mean_weights(tuned), out / WEIGHTS)
        unseen = [
            Unseen(open_network(weights, config.model, config.preprocess), kept_out)
            for weights, (_, kept_out) in zip(tuned, folds, strict=True)
        ]
        finetuned = judge(loaded, unseen, config.postprocess, out, public=public, notes=notes)
        shutil.rmtree(out / _FOLDS)  # each as large as the version, and of no further use
        return finetuned


def _require_same(loaded: LoadedVersion, samples: Sequence[Sample], out: Path) -> None:
    parent = read_json(out / COMPARISON)["parent"]
    if parent["sha256"] != loaded.sha256:
        raise ConfigError(
            f"{out} was fine-tuned from {parent['name']}@{parent['version']}, not from "
            f"{loaded.label}: name that one, or choose another --out"
        )
    if load_record(out)["data"]["sha256"] != digest(samples):
        raise DatasetError(
            f"{out} was fine-tuned on other photographs than these: choose another --out"
        )


def _write_run(
    config: TrainConfig,
    recipe: Recipe,
    samples: Sequence[Sample],
    loaded: LoadedVersion,
    first: Path,
    out: Path,
) -> None:
    """Write what a run folder has besides its weights."""
    write_samples(samples, out / "data")
    seen = read_trained(loaded.folder) or []
    write_trained([*seen, *map(fingerprint, samples)], out)
    counts = {name: dict(parts) for name, parts in count_parts(samples).items()}
    begun = load_record(first)
    record = {
        "data": {"sha256": digest(samples), "samples": counts},
        "initial": begun["initial"],
        "teachers": [],
        "starts": starts(begun),
        "finetuned": {"from": loaded.label, "photographs": len(samples), **asdict(recipe)},
    }
    write_json(out / RUN, record)
    write_json(out / CONFIG, dump_config(config))
