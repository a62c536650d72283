"""Define the card of a published version: what it is, what made it, how good it is, what for."""

import re
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from model_core.errors import ConfigError, CorruptVersionError
from model_core.network.unet_config import UNetConfig
from model_core.processing.calibration import Calibration
from model_core.processing.postprocess import PostprocessConfig
from model_core.processing.preprocess import PreprocessConfig

# Names become folders: nothing that a path could climb with.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# Semantic Versioning 2.0.0: three numbers without leading zeros, an optional pre-release.
_VERSION = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """What a version was trained and scored on.

    Attributes:
        sha256: Hash of the prepared samples: IDs, sides of the split, and hashes of all files.
        samples: Number of samples, by dataset and side.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    sha256: str
    samples: dict[str, dict[str, int]]


@dataclass(frozen=True, kw_only=True)
class ScoreRecord:
    """Scores on one set, with the conditions they hold under.

    Attributes:
        dataset: Name of the set.
        part: Side of the split: `test` is held out, `external` was never trained or tuned on; or
            `out of fold`: each image scored by weights that were kept from it.
        conditions: Resolution, masks and preprocessing of the scoring, in words.
        summary: As `model_core.scores.metrics.summarise` gives it.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    dataset: str
    part: str
    conditions: str
    summary: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class GapRecord:
    """The largest difference in mean Dice between two groups of one kind, such as `sex`.

    Attributes:
        kind: What the images are grouped by.
        best: Group with the highest mean Dice.
        worst: Group with the lowest.
        n: Images of the two.
        dice: Mean of the best less that of the worst, with its 95 % interval: `mean`, `low`,
            `high`.
        within_sets: The same within each data set, averaged by the sets' weights; null where no set
            has both groups. Where it is far smaller, the data sets differ, and not the groups.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    kind: str
    best: str
    worst: str
    n: tuple[int, int]
    dice: dict[str, float]
    within_sets: dict[str, float] | None


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """What a precision costs in quality: `trainer export` measured it.

    Attributes:
        engine: Name of the backend, such as `openvino-int8`.
        part: Side of the split.
        n: Images.
        dice: Mean per image.
        jaccard: The same.
        threshold_jaccard: The same.
        lost_dice: Mean of float32 on the same images, less this one's.
        lost_threshold_jaccard: The same.
        agreement: Jaccard between its mask and float32's: `median` and `first_percentile`.
        admitted: Whether it may answer in float32's place.
        overflow_safe: Whether the sums of an int8 network fit in 16 bits, so that processors
            without VNNI compute what others do; False where it was not recorded.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    engine: str
    part: str
    n: int
    dice: float
    jaccard: float
    threshold_jaccard: float
    lost_dice: float
    lost_threshold_jaccard: float
    agreement: dict[str, float]
    admitted: bool
    overflow_safe: bool = False


@dataclass(frozen=True, kw_only=True)
class ParentRecord:
    """A version that another one's weights began with, or learned from.

    Attributes:
        name: Its name.
        version: Its version.
        sha256: Hash of its card: its identity.
        licence: Its terms.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    version: str
    sha256: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class LineageRecord:
    """Where a version's weights came from, and whether that made them better.

    Attributes:
        parents: Versions that they began with or learned from.
        licence_because: Why the terms may be freer than a parent's; empty where they are not.
        verdict: Of `trainer finetune`, beside the parent: `better`, `worse` or `cannot tell`; null
            where the two were not compared.
        why: The figures that it rests on, in words.
        notes: How they were taken.
        sets: By set the means before and now, and their differences with intervals.
        worse_because: Why it was published though worse, on those or on other photographs.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    parents: list[ParentRecord]
    licence_because: str = ""
    verdict: str | None = None
    why: str = ""
    notes: list[str] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)
    worse_because: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything a user must know of a version, and everything needed to rebuild its network.

    Attributes:
        name: Model name, such as `lesion-unet`.
        version: Semantic version.
        created: Time of publishing, ISO 8601, UTC.
        git_commit: Commit of this repository that trained it; empty where it was not one.
        architecture: Shape of the network.
        preprocess: How images become its input.
        postprocess: How its answers become masks.
        calibration: What makes probabilities of its logits, and a score of its masks; null where
            it was never calibrated.
        accept_score: Least predicted Jaccard at which a mask needs no review, by `trainer quality`;
            null where none was chosen.
        training: The training config, whole.
        data: What it saw.
        scores: How good it is, set by set.
        gaps: Whom it fails: the largest difference of each kind of group, the widest first; empty
            where they were not measured.
        engines: What each precision costs; those without an entry are not admitted, but float32.
        licence: Terms of the weights.
        intended_use: What it is for.
        limits: What it is not for, and where it is known to be weak.
        lineage: Versions that its weights came from; null where they began anew.
        files: SHA-256 of every other file of the version, by name.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    version: str
    created: str
    git_commit: str
    architecture: UNetConfig
    preprocess: PreprocessConfig
    postprocess: PostprocessConfig
    calibration: Calibration | None = None
    accept_score: float | None = None
    training: dict[str, Any]
    data: DataRecord
    scores: list[ScoreRecord]
    licence: str
    intended_use: str
    limits: list[str]
    lineage: LineageRecord | None = None
    gaps: list[GapRecord] = field(default_factory=list)
    engines: list[EngineRecord] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_version(self.version)
        if self.accept_score is not None and not 0 <= self.accept_score <= 1:
            raise ConfigError(f"accept_score is {self.accept_score}, expected 0 to 1")

    def admits(self, precision: str) -> bool:
        """Tell whether every engine of a precision (`bf16`, `int8`) was measured and found good."""
        measured = [entry.admitted for entry in self.engines if entry.engine.endswith(precision)]
        return bool(measured) and all(measured)

    @property
    def overflow_safe(self) -> bool:
        """Whether the version's int8 network gives the same masks on processors without VNNI."""
        return any(entry.overflow_safe for entry in self.engines if entry.engine.endswith("int8"))


_ADAPTER = TypeAdapter(Card)
_NEW_FIELDS = ("lineage",)


def dump_card(card: Card) -> bytes:
    """Encode a card as `card.json` is stored: UTF-8, indented.

    A field that the format before lacks is written only where it says something: its reader refuses
    what it does not know, and reads all other versions (docs/compatibility.md).
    """
    unused = {name for name in _NEW_FIELDS if getattr(card, name) is None}
    return _ADAPTER.dump_json(card, indent=2, exclude=unused) + b"\n"


def parse_card(data: bytes) -> Card:
    """Parse a `card.json`.

    Raises:
        CorruptVersionError: not JSON, or a field is missing, unknown or impossible.
    """
    try:
        return _ADAPTER.validate_json(data)
    except (ValidationError, ConfigError) as exc:
        raise CorruptVersionError(f"card.json is not a model card: {exc}") from exc


def check_name(name: str) -> str:
    """Give a name back, or refuse it.

    Raises:
        ConfigError: not lower-case letters, digits and hyphens.
    """
    if not is_name(name):
        raise ConfigError(
            f"{name!r} is no name, expected 1-63 lower-case letters, digits and hyphens"
        )
    return name


def check_version(version: str) -> str:
    """Give a version back, or refuse it.

    Raises:
        ConfigError: not a semantic version.
    """
    if not is_version(version):
        raise ConfigError(f"{version!r} is no semantic version, expected one such as 1.2.0")
    return version


def is_name(text: str) -> bool:
    """Tell whether a text is a name, and so safe as a folder's."""
    return _NAME.fullmatch(text) is not None


def is_version(text: str) -> bool:
    """Tell whether a text is a semantic version."""
    return _VERSION.fullmatch(text) is not None


def version_order(version: str) -> tuple[Any, ...]:
    """Give a sorting key for semantic versions, by their rules of precedence.

    Example:
        >>> sorted(["1.10.0", "1.2.0", "1.2.0-rc.1"], key=version_order)
        ['1.2.0-rc.1', '1.2.0', '1.10.0']
    """
    numbers, _, prerelease = version.partition("-")
    parts = [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in prerelease.split(".") if p]
    # A release comes after all its pre-releases.
    return (*(int(number) for number in numbers.split(".")), not prerelease, parts)
