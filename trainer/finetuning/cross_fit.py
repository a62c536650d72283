"""Train a version on from folds, so that every photograph is answered by weights that never saw it.

    OUT/folds/fold-N/data, OUT/folds/fold-N/run

is each fold's run; the fold is its validation part, by which nothing is steered.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from model_core.backends.protocol import Backend
from model_core.backends.pytorch import PyTorchBackend
from model_core.network.unet import UNet
from model_core.network.unet_config import UNetConfig
from model_core.predictor import Predictor
from model_core.processing.postprocess import PostprocessConfig
from model_core.processing.preprocess import PreprocessConfig
from trainer.config import TrainConfig
from trainer.data.folds import assign_folds
from trainer.data.samples import Sample, write_samples
from trainer.evaluation.fit import Case, Fit, fit_cases, read_cases
from trainer.finetuning.recipe import FOLDS
from trainer.training.loop import train

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Unseen:
    """Photographs, and a network that never saw them."""

    network: Backend
    samples: list[Sample]


def train_folds(
    config: TrainConfig, samples: Sequence[Sample], numbers: Sequence[int], home: Path
) -> list[tuple[Path, list[Sample]]]:
    """Train the runs that are kept from some folds; those that have ended stay as they are.

    Args:
        config: Of each run, but for its data.
        samples: All photographs.
        numbers: Of these folds, from 1 to `FOLDS`.
        home: Folder for all of them.

    Returns:
        For each fold the run's folder, and the photographs that it is kept from.
    """
    dealt = assign_folds(samples, FOLDS)
    trained = []
    for number in numbers:
        folder = home / f"fold-{number}"
        parted = [
            replace(sample, part="val" if dealt[sample.group] == number else "train")
            for sample in samples
        ]
        write_samples(parted, folder / "data")
        kept_out = [sample for sample in parted if sample.part == "val"]
        print(f"fold {number} of {FOLDS}: learns from {len(samples) - len(kept_out)}, kept from "
              f"{len(kept_out)}", flush=True)  # fmt: skip
        train(replace(config, data=folder / "data"), folder / "run", resume=True)
        shutil.rmtree(folder / "data" / "cache", ignore_errors=True)
        trained.append((folder / "run", kept_out))
    return trained


def load(path: Path) -> dict[str, Tensor]:
    """Read weights in float32, as they are computed with; counters stay whole numbers."""
    weights = load_file(path)
    return {n: v.float() if v.is_floating_point() else v for n, v in weights.items()}


def mean_weights(several: Sequence[Weights]) -> dict[str, Tensor]:
    """Average weights; counters are those of the first.

    Networks that began with the same weights lie in one basin, where the mean of several does at
    least as well as each (Wortsman et al. 2022, arXiv:2203.05482).
    """
    first = several[0]
    return {
        name: torch.stack([weights[name] for weights in several]).mean(0)
        if first[name].is_floating_point()
        else first[name]
        for name in first
    }


def open_network(weights: Weights, shape: UNetConfig, preprocess: PreprocessConfig) -> Backend:
    """Open weights on PyTorch in float32, as `evaluate` opens a run's."""
    model = UNet(shape)
    model.load_state_dict(dict(weights))
    return PyTorchBackend(model, preprocess)


def divided(unseen: Sequence[Unseen]) -> list[Unseen]:
    """Divide what one network alone has not seen, so that each part has others to be fitted on."""
    if len(unseen) > 1:
        return list(unseen)
    (only,) = unseen
    count = min(FOLDS, len({sample.group for sample in only.samples}))
    dealt = assign_folds(only.samples, count)
    return [
        Unseen(only.network, [s for s in only.samples if dealt[s.group] == number])
        for number in range(1, count + 1)
    ]


def fit_apart(
    parts: Sequence[Unseen],
    preprocess: PreprocessConfig,
    start: PostprocessConfig,
    *,
    most_least_score: float,
) -> tuple[Fit, list[Case], list[Predictor]]:
    """Fit calibration and threshold on all photographs, and for each part on all others.

    Args:
        parts: At least two.
        preprocess: Of the version.
        start: Its component rules.
        most_least_score: As `fit_cases`.

    Returns:
        The fit on all, their cases, and for each part a predictor of its own network whose
        calibration and threshold were chosen without it.
    """
    cases = [read_cases(Predictor(part.network, preprocess, start), part.samples) for part in parts]

    def fit(but: int | None) -> Fit:
        chosen = [case for place, own in enumerate(cases) if place != but for case in own]
        return fit_cases(chosen, start, keep_components=True, most_least_score=most_least_score)

    fits = [fit(place) for place in range(len(parts))]
    predictors = [
        Predictor(part.network, preprocess, own.rules, own.calibration)
        for part, own in zip(parts, fits, strict=True)
    ]
    return fit(None), [case for own in cases for case in own], predictors
