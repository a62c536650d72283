"""The training loop, from a config to a run folder.

    python -m trainer train trainer/configs/default.toml --data data/skin --out runs/first

leaves in the run folder: config.json, run.json, log.jsonl, checkpoint.safetensors (to resume),
model.safetensors (what `publish` takes) and curves.png. A killed run goes on with `--resume`.
"""

import json
import math
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from model_core.errors import ConfigError, DatasetError
from model_core.losses import LOSSES
from model_core.metrics import Confusion
from model_core.preprocess import normalise
from model_core.unet import UNet, channels_last
from model_core.weights import load_weights, save_weights
from trainer.augment import Augment
from trainer.cache import Cache, open_cache
from trainer.checkpoint import Progress, TrainState, load_checkpoint, save_checkpoint
from trainer.config import OptimConfig, Stage, TrainConfig, dump_config
from trainer.datasets import Sample, count_parts, digest, read_samples
from trainer.ema import Ema
from trainer.report import draw_curves

CHECKPOINT = "checkpoint.safetensors"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
RUN = "run.json"
LOG = "log.jsonl"


def train(config: TrainConfig, run: Path, *, resume: bool = False) -> None:
    """Train to the end of the config's stages, or from the last checkpoint on.

    Args:
        config: Everything that decides the weights.
        run: The run folder; made where absent.
        resume: Go on from the run's checkpoint where there is one.

    Raises:
        ConfigError: the folder holds another run, or the loss is no longer a number.
        DatasetError: nothing to train on.
    """
    samples = _samples(config)
    _open_run(config, samples, run, resume=resume)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)

    model = UNet(config.model)
    if config.initial:
        load_weights(Path(config.initial) / WEIGHTS, model)
    channels_last(model, device)
    optimiser = _optimiser(model, config.optim)
    state = TrainState(model, Ema(model, config.optim.ema), optimiser, Progress())
    if (run / CHECKPOINT).exists():
        load_checkpoint(run / CHECKPOINT, state)
        _rewind_log(run / LOG, state.progress.total_steps)

    train_samples = [sample for sample in samples if sample.part == "train"]
    val_samples = [sample for sample in samples if sample.part == "val"]
    total = sum(stage.epochs * _steps(stage, len(train_samples)) for stage in config.stages)
    augment, loss_of, progress = Augment(config.augment), LOSSES[config.loss], state.progress
    for epoch, stage in _epochs(config):
        if epoch < progress.epoch:
            continue
        sized = replace(config.preprocess, size=stage.size)
        cache = open_cache(train_samples, sized, config.data / "cache")
        began, seen = time.monotonic(), 0
        model.train()
        bar = tqdm(
            total=_steps(stage, len(cache)), initial=progress.step, desc=f"epoch {epoch + 1}"
        )
        for images, masks in _batches(cache, stage, config, epoch, progress.step, device):
            _set_rate(optimiser, config.optim, progress.total_steps, total)
            images, masks = augment(images, masks)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.optim.bf16):
                logits = model(normalise(images.permute(0, 2, 3, 1) * 255, sized))
            loss = loss_of(logits.float(), masks)
            value = loss.item()
            if not math.isfinite(value):
                raise ConfigError(
                    f"the loss is {value} at step {progress.total_steps}: lower optim.lr; "
                    f"the last good checkpoint is {run / CHECKPOINT}"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            progress.step += 1
            progress.total_steps += 1
            progress.loss_sum += value
            state.ema.update(model, step=progress.total_steps)

            seen += len(images)
            rate = seen / (time.monotonic() - began)
            bar.set_postfix(loss=f"{value:.4f}", images_per_s=f"{rate:.1f}", refresh=False)
            bar.update()
            if progress.total_steps % config.checkpoint_steps == 0:
                save_checkpoint(run / CHECKPOINT, state)
        bar.close()

        progress.val_dice = _validate(config, val_samples, stage, state.ema, device)
        _log(run / LOG, _entry(progress, epoch, stage, optimiser, seconds=time.monotonic() - began))
        progress.epoch, progress.step, progress.loss_sum = epoch + 1, 0, 0.0
        save_weights(state.ema.weights, run / WEIGHTS)
        save_checkpoint(run / CHECKPOINT, state)
        draw_curves(read_log(run), run / "curves.png")


def load_run(run: Path) -> dict[str, Any]:
    """The parsed `config.json` of a run folder.

    Raises:
        DatasetError: the folder holds no finished epoch.
    """
    if not (run / WEIGHTS).is_file() or not (run / CONFIG).is_file():
        raise DatasetError(
            f"{run} holds no {CONFIG} and {WEIGHTS}: not a run with a finished epoch"
        )
    config: dict[str, Any] = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    return config


def read_log(run: Path) -> list[dict[str, Any]]:
    """The entries of `log.jsonl`, one an epoch."""
    return [json.loads(line) for line in (run / LOG).read_text(encoding="utf-8").splitlines()]


def _samples(config: TrainConfig) -> list[Sample]:
    samples = [
        sample
        for sample in read_samples(config.data)
        if sample.part != "external" and (not config.datasets or sample.dataset in config.datasets)
    ]
    parts = {sample.part for sample in samples}
    if not {"train", "val"} <= parts:
        raise DatasetError(f"{config.data} has parts {sorted(parts)}, training needs train and val")
    return samples


def _open_run(config: TrainConfig, samples: list[Sample], run: Path, *, resume: bool) -> None:
    dumped = dump_config(config)
    if (run / CONFIG).exists():
        if not resume:
            raise ConfigError(f"{run} already holds a run: add --resume, or choose another --out")
        if json.loads((run / CONFIG).read_text(encoding="utf-8")) != dumped:
            raise ConfigError(f"{run} was made with another config: choose another --out")
        if json.loads((run / RUN).read_text(encoding="utf-8"))["data"]["sha256"] != digest(samples):
            raise DatasetError(f"{run} was trained on other data than {config.data} holds now")
        return
    run.mkdir(parents=True, exist_ok=True)
    counts = {name: dict(parts) for name, parts in count_parts(samples).items()}
    record = {
        "git_commit": _git_commit(),
        "torch": torch.__version__,
        "data": {"sha256": digest(samples), "samples": counts},
    }
    _write_json(run / RUN, record)
    _write_json(run / CONFIG, dumped)  # last: where it is, the run has been opened whole


def _write_json(path: Path, value: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    beside.replace(path)


def _git_commit() -> str:
    """The commit this code is at, with `-dirty` where files differ from it; empty outside git."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()


def _optimiser(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    kernels = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr)


def _epochs(config: TrainConfig) -> Iterator[tuple[int, Stage]]:
    stages = (stage for stage in config.stages for _ in range(stage.epochs))
    return enumerate(stages)


def _steps(stage: Stage, samples: int) -> int:
    return max(1, samples // stage.batch)


def _batches(
    cache: Cache, stage: Stage, config: TrainConfig, epoch: int, done: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images (N, 3, S, S) and masks (N, 1, S, S), both float32 0 to 1, after `done`.

    The order depends on seed and epoch alone, so that a resumed epoch goes on where it stopped.
    """
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = torch.randperm(len(cache), generator=generator)
    for step in range(done, _steps(stage, len(cache))):
        rows = order[step * stage.batch : (step + 1) * stage.batch].sort().values.numpy()
        images = torch.from_numpy(cache.images[rows]).to(device)
        masks = torch.from_numpy(cache.masks[rows]).to(device)
        yield images.permute(0, 3, 1, 2) / 255, masks[:, None].float()


def _set_rate(optimiser: torch.optim.Optimizer, config: OptimConfig, step: int, total: int) -> None:
    warm = config.warmup * total
    rate = config.lr
    if step < warm:
        rate *= (step + 1) / warm
    elif config.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))
    for group in optimiser.param_groups:
        group["lr"] = rate


@torch.no_grad()
def _validate(
    config: TrainConfig, samples: list[Sample], stage: Stage, ema: Ema, device: torch.device
) -> float:
    """Mean Dice per image at the stage's size, by the averaged weights, without augmentation."""
    sized = replace(config.preprocess, size=stage.size)
    cache = open_cache(samples, sized, config.data / "cache")
    model = channels_last(UNet(config.model), device).eval()
    model.load_state_dict(ema.weights)
    scores: list[float] = []
    for start in range(0, len(cache), stage.batch):
        images = torch.from_numpy(cache.images[start : start + stage.batch].copy()).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=config.optim.bf16):
            logits = model(normalise(images, sized))
        found = (logits[:, 0] > 0).cpu().numpy()
        truths = cache.masks[start : start + stage.batch].astype(bool)
        scores += [
            Confusion.of(truth, pred).dice for truth, pred in zip(truths, found, strict=True)
        ]
    return sum(scores) / len(scores)


def _entry(
    progress: Progress,
    epoch: int,
    stage: Stage,
    optimiser: torch.optim.Optimizer,
    *,
    seconds: float,
) -> dict[str, Any]:
    return {
        "epoch": epoch + 1,
        "total_steps": progress.total_steps,
        "size_px": stage.size,
        "loss": progress.loss_sum / progress.step,
        "val_dice": progress.val_dice,
        "lr": optimiser.param_groups[0]["lr"],
        "seconds": round(seconds, 1),
    }


def _log(path: Path, entry: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _rewind_log(path: Path, total_steps: int) -> None:
    """Drop entries of epochs that the checkpoint does not know, which will be run again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # Without its line end the last entry was cut off by the kill, and its epoch comes again.
    whole = [line for line in lines if line.endswith("\n")]
    kept = [line for line in whole if json.loads(line)["total_steps"] <= total_steps]
    path.write_text("".join(kept), encoding="utf-8")
