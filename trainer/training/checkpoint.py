"""Everything a killed run needs to go on, in one safetensors file, replaced atomically."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model_core.atomic import replacing
from model_core.errors import DatasetError
from model_core.network.unet import UNet
from trainer.training.optimiser import Ema


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Epochs finished, over all stages.
        step: Steps finished within the current epoch.
        total_steps: Steps finished since the start.
        loss_sum: Sum of the losses of the current epoch's steps.
        best_dice: Best validation Dice of a finished epoch; below 0 before the first.
        stale_epochs: Epochs finished since that one.
    """

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss_sum: float = 0.0
    best_dice: float = -1.0
    stale_epochs: int = 0


@dataclass(frozen=True)
class TrainState:
    """The live objects of a run that a checkpoint captures and restores."""

    model: UNet
    ema: Ema
    optimiser: torch.optim.Optimizer
    progress: Progress


def save_checkpoint(path: Path, state: TrainState) -> None:
    """Write the state to `path`, in one step."""
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in state.ema.weights.items()}
    tensors |= _optimiser_tensors(state.optimiser)
    tensors["rng.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with replacing(path) as beside:
        save_file(plain, beside, metadata={"progress": json.dumps(asdict(state.progress))})


def load_checkpoint(path: Path, state: TrainState) -> None:
    """Restore in place what `save_checkpoint` wrote, random generators included.

    Raises:
        DatasetError: the file is damaged or belongs to a run of another shape.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state.model.load_state_dict(_under(tensors, "model."))
        state.ema.weights = {
            name: value.to(state.ema.weights[name].device)
            for name, value in _under(tensors, "ema.").items()
        }
        _restore_optimiser(state.optimiser, _under(tensors, "optim."))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise DatasetError(f"{path} is not a checkpoint of this run: {exc}") from exc
    for entry in fields(Progress):
        if entry.name in progress:  # a checkpoint of an older code has fewer
            setattr(state.progress, entry.name, progress[entry.name])
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    state: dict[int, dict[str, Any]] = optimiser.state_dict()["state"]
    return {
        f"optim.{index}.{name}": torch.as_tensor(value)
        for index, entries in state.items()
        for name, value in entries.items()
    }


def _restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    # The groups hold only settings, which the config and the schedule set again.
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
