"""One TOML file describes one training run; unknown keys and impossible values are errors."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from model_core.card import check_name
from model_core.errors import ConfigError
from model_core.network.losses import LOSSES
from model_core.network.unet_config import UNetConfig
from model_core.processing.postprocess import PostprocessConfig
from model_core.processing.preprocess import PreprocessConfig

Share: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Size: TypeAlias = Annotated[int, Field(ge=16, le=2048)]
Positive: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(ge=1)]


class _Strict:
    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Stage(_Strict):
    """Epochs at one resolution; later stages usually see larger images.

    Attributes:
        size: Side of the square training images, px, 16 to 2048.
        epochs: Passes over the training samples, or `passes` of them each.
        batch: Images a step; what is left over at an epoch's end waits for the next shuffle.
        passes: Passes of one epoch: of a few images a single one is too short to be validated and
            saved after each.
    """

    size: Size = 256
    epochs: Count = 5
    batch: Count = 8
    passes: Count = 1


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
        bf16: Forward and backward pass in bfloat16 where the device has arithmetic for it, else in
            float32.
        clip_norm: Longest gradient, as the norm over all weights; 0 leaves gradients as they are.
        freeze_norm: Keep the statistics of batch norm as the initial weights have them: those of a
            few photographs are another network's to all others.
        encoder_lr: Highest learning rate of an EfficientNet encoder, which begins with weights that
            a rate fit for a new decoder would destroy; 0 takes `lr`.
    """

    name: Literal["adam", "adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0, le=10)] = 1e-3
    weight_decay: NotNegative = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Share = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bf16: bool = False
    clip_norm: NotNegative = 0.0
    freeze_norm: bool = False
    encoder_lr: Annotated[float, Field(ge=0, le=10)] = 0.0


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
        aspect: Largest ratio by which width and height are stretched apart, either way; 1 is off.
            It imitates squashed frames of other shapes.
        elastic: Standard deviation of smooth random displacements, as a share of the side.
        brightness: Largest relative change of brightness.
        contrast: Largest relative change of contrast.
        saturation: Largest relative change of saturation.
        hue: Largest turn of the colour circle, as a share of it.
        tint: Largest relative change of each colour channel, as other lamps give.
        grey: Probability of no colour at all.
        gamma: Largest relative change of the tone curve's exponent.
        coarse: Probability of a reduction to a quarter to half of the size, and back.
        blur: Probability of a Gaussian blur.
        noise: Probability of Gaussian noise.
        hair: Probability of drawn hair.
        marks: Probability of a drawn ruler or pen stroke.
        sticker: Probability of a round coloured sticker on the border.
        occlude: Probability of a dark vignette or border, as many dermatoscopes give.
        fade: Probability that the lesion loses some of its difference from the skin around it.
        bare: Probability of a piece of the photograph that shows no lesion, where there is one.
    """

    hflip: Share = 0.0
    vflip: Share = 0.0
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    translate: Share = 0.0
    shear_deg: Annotated[float, Field(ge=0, lt=90)] = 0.0
    aspect: Annotated[float, Field(ge=1, le=4)] = 1.0
    elastic: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    tint: Share = 0.0
    grey: Share = 0.0
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    coarse: Share = 0.0
    blur: Share = 0.0
    noise: Share = 0.0
    hair: Share = 0.0
    marks: Share = 0.0
    sticker: Share = 0.0
    occlude: Share = 0.0
    fade: Share = 0.0
    bare: Share = 0.0

    def __post_init__(self) -> None:
        if self.scale[0] > self.scale[1]:
            raise ConfigError(
                f"augment.scale is {self.scale}, expected the smallest zoom first: "
                f"{self.scale[::-1]}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Strict):
    """Everything that decides the weights, saved whole with the run.

    Attributes:
        name: Name under which the run's version is published.
        data: Folder that `prepare` wrote.
        datasets: Datasets to train and validate on; empty means all that are not external.
        seed: Seed of weights, order and augmentation.
        loss: A key of `model_core.network.losses.LOSSES`.
        initial: Folder of a run or of a published version whose weights are the starting point;
            empty starts with random ones.
        pretrained: Whether an EfficientNet encoder starts with ImageNet weights, which the extra
            `pretrained` installs.
        teachers: Folders of runs or of published versions whose mean probability map is learned
            beside the masks; empty learns the masks alone.
        teacher_share: Share of the loss that compares with the teachers, 0 to 1.
        shares: Share of a dataset in what an epoch sees, by name; the other datasets fill the rest
            in proportion to their images. Empty shows every image once.
        gate_dice: Lowest mean Dice on every held-out set at which `publish` takes the run.
        limits: What the card must say of the training data's limits, one sentence each.
        checkpoint_steps: Steps between two checkpoints.
        patience: Epochs without a better validation Dice after which the run stops; then, and
            whenever it is set, its weights are those of its best epoch. 0 goes on to the end and
            takes the last.
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
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    loss: str = "bce"
    initial: str = ""
    pretrained: bool = False
    teachers: tuple[str, ...] = ()
    teacher_share: Share = 0.5
    shares: dict[str, Share] = field(default_factory=dict)
    gate_dice: Share = 0.8
    limits: tuple[str, ...] = ()
    checkpoint_steps: Count = 200
    patience: Annotated[int, Field(ge=0)] = 0
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
        if self.pretrained and self.model.encoder == "plain":
            raise ConfigError("pretrained is true, and there are weights for EfficientNet encoders")
        if self.pretrained and self.initial:
            raise ConfigError("pretrained and initial are both set, expected one of them")
        if sum(self.shares.values()) > 1:
            raise ConfigError(f"shares add up to {sum(self.shares.values())}, expected at most 1")
        check_name(self.name)


_ADAPTER = TypeAdapter(TrainConfig)


def load_config(path: Path, **overrides: Any) -> TrainConfig:
    """Read the training config of a TOML file.

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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, OSError) as exc:
        raise ConfigError(f"{path} is not a TOML file: {exc}") from exc
    table |= {key: value for key, value in overrides.items() if value is not None}
    return parse_config(table, str(path))


def parse_config(table: dict[str, Any], source: str) -> TrainConfig:
    """Validate the training config of a parsed table; `source` names it in errors."""
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
    except ConfigError as exc:
        raise ConfigError(f"{source}: {exc}") from exc


def dump_config(config: TrainConfig) -> dict[str, Any]:
    """Dump the config as plain JSON values, such that `parse_config` gives it back."""
    dumped: dict[str, Any] = _ADAPTER.dump_python(config, mode="json")
    return dumped
