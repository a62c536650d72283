"""The training loop, from a config to a run folder (`trainer/training/run.py` lists its files).

    python -m trainer train trainer/configs/default.toml --data data/skin --out runs/first

A killed run goes on with `--resume`. On one CPU it then ends with the very weights of a run that
was never killed; on a GPU, whose sums have no fixed order, only nearly so. Under `torchrun` many
processes share each batch (`trainer/training/distributed.py`); only the first one writes.
"""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from tqdm import tqdm

from model_core.errors import ConfigError, CorruptVersionError
from model_core.network.losses import LOSSES, bce, deep_supervised
from model_core.network.narrow import narrowed
from model_core.network.normalise import normalise
from model_core.network.unet import UNet, channels_last
from model_core.network.weights import load_weights, save_weights
from model_core.processing.preprocess import preprocess
from trainer.config import Stage, TrainConfig
from trainer.data.cache import Cache, open_cache
from trainer.data.samples import Sample, read_photo
from trainer.plots.pictures import draw_curves
from trainer.training.augment import Augment
from trainer.training.batches import batches, steps
from trainer.training.checkpoint import Progress, TrainState, load_checkpoint, save_checkpoint
from trainer.training.distributed import SINGLE_PROCESS, Network, Team
from trainer.training.optimiser import Ema, clip_gradient, freeze_norm, new_optimiser, set_rate
from trainer.training.pretrained import load_pretrained
from trainer.training.run import (
    CHECKPOINT,
    WEIGHTS,
    RunStoppedError,
    append_log,
    held,
    initial_network,
    open_run,
    read_log,
    training_samples,
)
from trainer.training.teacher import teacher_maps
from trainer.training.tensorboard import TensorBoard
from trainer.training.validate import Validation, validate

_FIT_IMAGES = 256
"""Photographs on which a narrowed network is fitted to the wide one."""


@dataclass(frozen=True)
class Job:
    """What the steps of a run have in common.

    Attributes:
        config: Of the run.
        run: The run folder.
        state: What the steps change.
        team: The processes that share each batch.
        network: The model as the team calls it.
        bf16: Whether it runs in bfloat16.
        total: Steps of the whole run.
    """

    config: TrainConfig
    run: Path
    state: TrainState
    team: Team
    network: Network
    bf16: bool
    total: int


def train(
    config: TrainConfig, run: Path, *, resume: bool = False, team: Team = SINGLE_PROCESS
) -> None:
    """Train to the end of the config's stages, or from the last checkpoint on.

    Args:
        config: Everything that decides the weights.
        run: The run folder; made where absent. Every process of the team must see it.
        resume: Go on from the run's checkpoint where there is one.
        team: The processes that share each batch.

    Raises:
        ConfigError: the folder holds another run, the initial weights do not fit, or a batch has
            fewer images than the team has processes.
        DatasetError: nothing to train on, or the data is gone.
        RunStoppedError: the loss is no number, or the disk is full; the last checkpoint is whole.
    """
    for teacher in config.teachers:
        if not (Path(teacher) / WEIGHTS).is_file():
            raise ConfigError(f"a teacher is {teacher!r}, and there is no {WEIGHTS} in it")
    samples = training_samples(config)
    count = sum(sample.part == "train" for sample in samples)
    _require_enough(config, count, team)
    torch.manual_seed(config.seed)
    fresh = not (run / CHECKPOINT).exists()
    state = new_state(config, team.device, samples if fresh else None)
    bf16 = team.in_bf16(config.optim.bf16)
    with ExitStack() as stack:
        if team.is_main:
            stack.enter_context(held(run))
            precision = "bf16" if bf16 else "fp32"
            open_run(config, samples, run, resume=resume, device=team.label, precision=precision)
            if config.optim.bf16 and not bf16:
                print("bf16 is asked for; this device only emulates it, so: float32")
        team.wait()
        if (run / CHECKPOINT).exists():
            load_checkpoint(run / CHECKPOINT, state)
        _require_same(state.progress, run, team)
        total = sum(stage.epochs * steps(stage, count) for stage in config.stages)
        job = Job(config, run, state, team, team.network(state.model), bf16, total)
        try:
            tensorboard = (
                stack.enter_context(TensorBoard(run, state.progress.epoch))
                if team.is_main
                else None
            )
            _run_epochs(job, samples, tensorboard)
            if team.is_main and read_log(run):
                draw_curves(read_log(run), run / "curves.png")
        except (OSError, SafetensorError, MemoryError, torch.OutOfMemoryError) as exc:
            raise RunStoppedError(
                f"stopped at step {state.progress.total_steps}: {exc or 'out of memory'}; what "
                f"{run} holds is whole: put that right and go on with --resume"
            ) from exc


def _require_enough(config: TrainConfig, samples: int, team: Team) -> None:
    least = min(min(stage.batch, samples) for stage in config.stages)
    if least < team.world_size:
        raise ConfigError(
            f"{team.world_size} processes share a batch of {least} images: take fewer processes, "
            "or larger batches"
        )


def _require_same(progress: Progress, run: Path, team: Team) -> None:
    steps = team.gather([progress.total_steps])
    if len(set(steps)) > 1:
        raise ConfigError(
            f"processes would go on from different steps, {steps}: {run} must be on a disk that "
            "all of them see"
        )


def new_state(
    config: TrainConfig, device: torch.device, samples: list[Sample] | None
) -> TrainState:
    """Set up a run before its first step.

    Args:
        config: Of the run; torch's global generator draws its weights.
        device: Where the network lives.
        samples: What it will train on, if it is to take the config's initial weights where the
            config names some; None leaves them out.

    Raises:
        ConfigError: they are not there, or do not fit.
    """
    model = UNet(config.model)
    if config.initial and samples is not None:
        _load_initial(model, config, samples)
    if config.pretrained and samples is not None:
        load_pretrained(model)
    channels_last(model, device)
    ema = Ema(model, config.optim.ema)
    return TrainState(model, ema, new_optimiser(model, config.optim), Progress())


def _load_initial(model: UNet, config: TrainConfig, samples: list[Sample]) -> None:
    """Fill a model with a run's or a version's weights, or with wider ones made narrow."""
    folder = Path(config.initial)
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"initial is {str(folder)!r}, and there is no {folder / WEIGHTS}")
    network = initial_network(folder, config.model)
    source = model if network == config.model else UNet(network)
    try:
        load_weights(folder / WEIGHTS, source)
    except CorruptVersionError as exc:
        raise ConfigError(f"initial is {str(folder)!r}: {exc}") from exc
    if source is model:
        return
    train_samples = [sample for sample in samples if sample.part == "train"]
    spread = train_samples[:: max(1, len(train_samples) // _FIT_IMAGES)][:_FIT_IMAGES]
    images = [preprocess(read_photo(sample), config.preprocess)[0] for sample in spread]
    inputs = normalise(torch.from_numpy(np.stack(images)), config.preprocess)
    model.load_state_dict(narrowed(source, config.model.width, inputs).state_dict())


def _run_epochs(job: Job, samples: list[Sample], tensorboard: TensorBoard | None) -> None:
    config, progress, team = job.config, job.state.progress, job.team
    train_samples = [sample for sample in samples if sample.part == "train"]
    val_samples = [sample for sample in samples if sample.part == "val"]
    for epoch, stage in _epochs(config):
        if epoch < progress.epoch:
            continue
        if config.patience and progress.stale_epochs >= config.patience:
            if team.is_main:
                print(f"stopped early: no better validation Dice for {config.patience} epochs")
            return
        began = time.monotonic()
        sized = replace(config.preprocess, size=stage.size)
        cache = open_cache(train_samples, sized, config.data / "cache")
        maps = [
            teacher_maps(
                train_samples,
                Path(teacher),
                size=stage.size,
                fit=sized.fit,
                cache=config.data / "cache",
            )
            for teacher in config.teachers
        ]
        cache = replace(cache, teachers=tuple(maps))
        _train_epoch(job, cache, epoch, stage)
        validation = validate(config, val_samples, job.state.ema.weights, team, bf16=job.bf16)
        _end_epoch(job, epoch, stage, validation, tensorboard, time.monotonic() - began)


def _train_epoch(job: Job, cache: Cache, epoch: int, stage: Stage) -> None:
    config, progress, team = job.config, job.state.progress, job.team
    augment = Augment(config.augment)
    began, seen = time.monotonic(), 0
    job.state.model.train()
    if config.optim.freeze_norm:
        freeze_norm(job.state.model)
    bar = tqdm(
        total=steps(stage, len(cache)),
        initial=progress.step,
        desc=f"epoch {epoch + 1}",
        disable=None if team.is_main else True,
    )
    with bar:
        for images, masks in batches(cache, stage, config, epoch, progress.step, team.device):
            value = train_step(job, augment, images, masks)
            seen += len(images)
            rate = seen / (time.monotonic() - began)
            bar.set_postfix(loss=f"{value:.4f}", images_per_s=f"{rate:.1f}", refresh=False)
            bar.update()
            if team.is_main and progress.total_steps % config.checkpoint_steps == 0:
                save_checkpoint(job.run / CHECKPOINT, job.state)


def train_step(job: Job, augment: Augment, images: Tensor, masks: Tensor) -> float:
    """Train on one batch, of which this process augments all and learns from its own rows.

    Args:
        job: The run; its progress and all else of its state move on by a step.
        augment: The run's augmentation.
        images: float32 (N, 3, S, S), 0 to 1: the whole batch, the same in every process.
        masks: float32 (N, 1 or 2, S, S): 0 or 1, and the teachers' probability where there are any.

    Returns:
        The loss, mean over the whole batch.

    Raises:
        RunStoppedError: the loss or its gradient is no number.
    """
    config, state, team = job.config, job.state, job.team
    progress, optimiser = state.progress, state.optimiser
    set_rate(optimiser, config.optim, progress.total_steps, job.total)
    images, masks = augment(images, masks)
    whole, mine = len(images), team.shard(len(images))
    images, masks = images[mine], masks[mine]
    with torch.autocast(team.device.type, torch.bfloat16, enabled=job.bf16):
        inputs = normalise(images.permute(0, 2, 3, 1) * 255, config.preprocess)
        outputs = job.network(inputs)
    logits = [head.float() for head in outputs]
    loss = _loss(config, logits, masks) * team.weight(whole)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = clip_gradient(state.model, config.optim)
    value = team.mean(loss)
    if not math.isfinite(value) or not math.isfinite(norm):
        raise RunStoppedError(
            f"the loss is {value} and its gradient's length {norm} at step "
            f"{progress.total_steps}: start again with a lower optim.lr or with "
            f"optim.clip_norm and another --out; {job.run} holds the state from before"
        )
    optimiser.step()
    progress.step += 1
    progress.total_steps += 1
    progress.loss_sum += value
    state.ema.update(state.model, step=progress.total_steps)
    return value


def _loss(config: TrainConfig, logits: list[Tensor], masks: Tensor) -> Tensor:
    """Compare logits with the expert's masks and, at full size, with the teachers' probability."""
    loss = deep_supervised(LOSSES[config.loss], logits, masks[:, :1])
    if not config.teachers:
        return loss
    share = config.teacher_share
    return (1 - share) * loss + share * bce(logits[0], masks[:, 1:])


def _end_epoch(
    job: Job,
    epoch: int,
    stage: Stage,
    validation: Validation,
    tensorboard: TensorBoard | None,
    seconds: float,
) -> None:
    """Note how the epoch went, and keep its weights if they are the run's.

    A kill between two of these files is put right by `--resume`, which runs the epoch's rest again.
    """
    progress = job.state.progress
    better = validation.dice > progress.best_dice
    entry = {
        "epoch": epoch + 1,
        "total_steps": progress.total_steps,
        "size_px": stage.size,
        "loss": progress.loss_sum / progress.step,
        "val_dice": validation.dice,
        "lr": job.state.optimiser.param_groups[0]["lr"],
        "seconds": round(seconds, 1),
    }
    if tensorboard:
        append_log(job.run, entry)
        # The bar is not for logs, and a bar does not know the Dice.
        print(
            f"epoch {epoch + 1}: loss {entry['loss']:.4f}, validation Dice {validation.dice:.4f}, "
            f"{seconds:.1f} s",
            flush=True,
        )
        tensorboard.add_epoch(entry, validation)
        if better or not job.config.patience:
            save_weights(job.state.ema.weights, job.run / WEIGHTS)
    progress.best_dice = max(progress.best_dice, validation.dice)
    progress.stale_epochs = 0 if better else progress.stale_epochs + 1
    progress.epoch, progress.step, progress.loss_sum = epoch + 1, 0, 0.0
    if tensorboard:
        save_checkpoint(job.run / CHECKPOINT, job.state)


def _epochs(config: TrainConfig) -> Iterator[tuple[int, Stage]]:
    stages = (stage for stage in config.stages for _ in range(stage.epochs))
    return enumerate(stages)
