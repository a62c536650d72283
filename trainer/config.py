"""One TOML file describes one training run; unknown keys and impossible values are errors."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter, ValidationError

from model_core.errors import ConfigError
from model_core.losses import LOSSES
from model_core.postprocess import PostprocessConfig
from model_core.preprocess import PreprocessConfig
from model_core.unet import UNetConfig


class _Strict:
    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Stage(_Strict):
    """Epochs at one resolution; later stages usually see larger images.

    Attributes:
        size: Side of the square training images, px.
        epochs: Passes over the training samples.
        batch: Images a step.
    """

    size: int = 256
    epochs: int = 5
    batch: int = 8


@dataclass(frozen=True, kw_only=True)
class OptimConfig(_Strict):
    """Optimiser, schedule and weight average.

    Attributes:
        name: `adam`, or `adamw` with decoupled weight decay.
        lr: Highest learning rate.
        weight_decay: For convolution weights; biases and normalisation are spared.
        schedule: `constant`, or `cosine` down to zero over the whole run.
        warmup: Share of all steps with a linearly rising rate, 0 to 1.
        ema: Decay of the exponential moving average that is published; 0 publishes the last
            weights themselves.
        bf16: Forward and backward pass in bfloat16 where the device has it.
    """

    name: Literal["adam", "adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: float = 0.0
    ema: float = 0.0
    bf16: bool = False


@dataclass(frozen=True, kw_only=True)
class AugmentConfig(_Strict):
    """Random changes of a training batch; 0 (or a scale of 1 to 1) switches one off.

    Attributes:
        hflip: Probability of a left-right mirror.
        vflip: Probability of an up-down mirror.
        rotate_deg: Largest rotation either way, degrees.
        scale: Smallest and largest zoom; above 1 shows less of the photograph.
        translate: Largest shift, as a share of the side.
        shear_deg: Largest shear, degrees.
        brightness: Largest relative change of brightness.
        contrast: Largest relative change of contrast.
        saturation: Largest relative change of saturation.
        hue: Largest turn of the colour circle, as a share of it.
        gamma: Largest relative change of the tone curve's exponent.
        blur: Probability of a Gaussian blur.
        noise: Probability of Gaussian noise.
        occlude: Probability of a dark vignette or border, as many dermatoscopes give.
    """

    hflip: float = 0.0
    vflip: float = 0.0
    rotate_deg: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    translate: float = 0.0
    shear_deg: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    occlude: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Strict):
    """Everything that decides the weights, saved whole with the run.

    Attributes:
        name: Name under which the run's version is published.
        data: Folder that `prepare` wrote.
        datasets: Datasets to train and validate on; empty means all that are not external.
        seed: Seed of weights, order and augmentation.
        loss: A key of `model_core.losses.LOSSES`.
        initial: A run folder whose published weights are the starting point; empty starts anew.
        gate_dice: Lowest mean Dice on every held-out set at which `publish` takes the run.
        limits: What the card must say of the training data's limits, one sentence each.
        checkpoint_steps: Steps between two checkpoints.
        stages: Resolutions in order.
        model: Shape of the network.
        preprocess: Size and fit that the version will serve with.
        postprocess: Threshold and component rules that the version will serve with.
        optim: Optimiser and schedule.
        augment: Augmentation of training batches; validation sees none.
    """

    name: str = "lesion-unet"
    data: Path
    datasets: tuple[str, ...] = ()
    seed: int = 0
    loss: str = "bce"
    initial: str = ""
    gate_dice: float = 0.8
    limits: tuple[str, ...] = ()
    checkpoint_steps: int = 200
    stages: tuple[Stage, ...] = (Stage(),)
    model: UNetConfig = field(default_factory=UNetConfig)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    postprocess: PostprocessConfig = field(default_factory=PostprocessConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ConfigError(f"loss is {self.loss!r}, expected one of {sorted(LOSSES)}")
        if not self.stages:
            raise ConfigError("stages is empty, expected at least one [[stages]] table")
        for stage in self.stages:
            if stage.size < 16 or stage.epochs < 1 or stage.batch < 1:
                raise ConfigError(f"{stage}: size is at least 16, epochs and batch at least 1")
        if not 0 <= self.optim.ema < 1 or not 0 <= self.optim.warmup <= 1 or self.optim.lr <= 0:
            raise ConfigError("optim: expected 0 <= ema < 1, 0 <= warmup <= 1 and lr > 0")


_ADAPTER = TypeAdapter(TrainConfig)


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """Training config of a TOML file.

    Args:
        path: The file; its tables are named as the dataclasses' fields.
        overrides: Top-level fields given on the command line; None leaves the file's.

    Raises:
        ConfigError: no such file, not TOML, an unknown key or an impossible value, by name.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise ConfigError(f"no config file at {path}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path} is not TOML: {exc}") from exc
    table |= {key: value for key, value in overrides.items() if value is not None}
    return parse_config(table, str(path))


def parse_config(table: dict[str, Any], source: str) -> TrainConfig:
    """Training config of a parsed table; `source` names it in errors."""
    try:
        return _ADAPTER.validate_python(table)
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(entry.name for entry in fields(TrainConfig))
        hint = (
            f" (top-level keys are {known})"
            if first["type"] == "unexpected_keyword_argument"
            else ""
        )
        raise ConfigError(f"{source}: {where}: {first['msg']}{hint}") from exc


def dump_config(config: TrainConfig) -> dict[str, Any]:
    """The config as plain JSON values, such that `parse_config` gives it back."""
    dumped: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    return dumped
