"""What the client's calls return.

What a newer service adds to an answer is ignored here, and kept in `Segmentation.annotation`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from model_core.arrays import Mask
from model_core.errors import InputError
from model_core.masks.rle import decode_rle
from service.client.errors import UnexpectedAnswerError

T = TypeVar("T")
Json = Mapping[str, Any]

_MAX_PIXELS = 2**28
"""Of an answer's mask, px: above any that the service makes, and no machine dies of it."""


@dataclass(frozen=True)
class ModelRef:
    """The version that answered.

    Attributes:
        name: Such as `lesion-unet`.
        version: Such as `1.0.0`.
        sha256: Of its card.
    """

    name: str
    version: str
    sha256: str

    @property
    def label(self) -> str:
        """Name and version, as a request's `model` takes them: `lesion-unet@1.0.0`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The lesion of one photograph.

    Attributes:
        mask: bool (H, W), True = lesion, in the frame of the upright photograph.
        lesion_found: Whether the mask holds any pixel.
        area_px: Pixels of the lesion.
        bbox_px: (x, y, width, height) of the lesion, px; zeros where none was found.
        score: Jaccard with an expert's mask to expect, 0 to 1; None where the version is not
            calibrated.
        threshold: Probability above which a pixel is lesion.
        model: The version that answered.
        annotation: The whole answer, a COCO annotation; what the service says beyond the fields
            here (`measurements`, `quality` where it offers them) is in it.
    """

    mask: Mask
    lesion_found: bool
    area_px: int
    bbox_px: tuple[int, int, int, int]
    score: float | None
    threshold: float
    model: ModelRef
    annotation: Json


@dataclass(frozen=True)
class PairScores:
    """Scores of one pair; `docs/metrics.md` has the formulas.

    Attributes:
        index: Position in the request, from 0.
        hausdorff_95_px: 95th percentile of the distances between both outlines, px; None where
            either mask is empty.
        assd_px: Mean of those distances, px.
        hausdorff_95_mm: In mm, where the spacing was given.
        assd_mm: In mm, where the spacing was given.
    """

    index: int
    dice: float
    jaccard: float
    threshold_jaccard: float
    sensitivity: float
    specificity: float
    accuracy: float
    precision: float
    hausdorff_95_px: float | None
    assd_px: float | None
    hausdorff_95_mm: float | None = None
    assd_mm: float | None = None


@dataclass(frozen=True)
class Interval:
    """A mean over images with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Scores of the whole set, by three kinds of mean.

    Attributes:
        n: Number of pairs.
        failure_rate: Share of pairs with a Jaccard below 0.65.
        per_image: Mean of the images' scores, by metric; None where no pair has one.
        pooled: From one table of all pixels, by metric.
        batch_of_4: Each four pairs in a row pooled, then their mean, by metric.
    """

    n: int
    failure_rate: float
    per_image: Mapping[str, Interval | None]
    pooled: Mapping[str, float]
    batch_of_4: Mapping[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Scores of every pair and of the set.

    Attributes:
        items: One a pair, in the order sent.
        summary: Of the whole set.
        model: None where masks were sent, not photographs.
        threshold: None where masks were sent, not photographs.
        body: The whole answer.
    """

    items: tuple[PairScores, ...]
    summary: Summary
    model: ModelRef | None
    threshold: float | None
    body: Json


@dataclass(frozen=True)
class VersionEntry:
    """One published version.

    Attributes:
        name: Such as `lesion-unet`.
        version: Such as `1.0.0`.
        aliases: Names that stand for it, such as `production`.
        loaded: Whether it is in the service's memory now.
        backend: Engine and precision that run it; None while it is not loaded.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    loaded: bool
    backend: str | None


@dataclass(frozen=True)
class VersionList:
    """Everything the service's registry holds.

    Attributes:
        models: All versions.
        serving: The one that answers where a request names none.
        reload_error: Why the promoted version is not the one that serves; None while it is.
    """

    models: tuple[VersionEntry, ...]
    serving: ModelRef | None
    reload_error: str | None


@dataclass(frozen=True)
class VersionDetail(VersionEntry):
    """One published version with its card.

    Attributes:
        sha256: Of the card as stored.
        card: What it is, what made it, how good it is, what it is for.
    """

    sha256: str
    card: Json


@dataclass(frozen=True)
class Health:
    """How the service is.

    Attributes:
        alive: It answers.
        ready: A model is loaded: it can segment.
        detail: Why it is not ready; empty where it is.
    """

    alive: bool
    ready: bool
    detail: str = ""


def segmentation_of(body: Json) -> Segmentation:
    """A `Segmentation` from the JSON of `/segment`."""
    return _read(lambda: _segmentation(body))


def evaluation_of(body: Json) -> Evaluation:
    """An `Evaluation` from the JSON of `/evaluate`."""
    return _read(lambda: _evaluation(body))


def version_list_of(body: Json) -> VersionList:
    """A `VersionList` from the JSON of `/models`."""
    return _read(lambda: _version_list(body))


def version_detail_of(body: Json) -> VersionDetail:
    """A `VersionDetail` from the JSON of `/models/{version}`."""
    return _read(lambda: _pick(VersionDetail, {**body, "aliases": tuple(body["aliases"])}))


def _read(parse: Callable[[], T]) -> T:
    try:
        return parse()
    except (KeyError, TypeError, ValueError, AttributeError, InputError) as exc:
        raise UnexpectedAnswerError(f"the answer is not what this API promises: {exc!r}") from exc


def _pick(kind: type[T], values: Json) -> T:
    """A dataclass from those of the values that it has fields for."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in known})


def _model(value: Any) -> ModelRef | None:
    return _pick(ModelRef, value) if value is not None else None


def _segmentation(body: Json) -> Segmentation:
    x, y, width, height = body["bbox"]
    return Segmentation(
        mask=decode_rle(body["segmentation"], max_pixels=_MAX_PIXELS),
        lesion_found=body["lesion_found"],
        area_px=body["area"],
        bbox_px=(x, y, width, height),
        score=body["score"],
        threshold=body["threshold"],
        model=_pick(ModelRef, body["model"]),
        annotation=body,
    )


def _evaluation(body: Json) -> Evaluation:
    summary = body["summary"]
    per_image = {
        name: _pick(Interval, value) if value is not None else None
        for name, value in summary["per_image"].items()
    }
    return Evaluation(
        items=tuple(_pick(PairScores, item) for item in body["items"]),
        summary=_pick(Summary, {**summary, "per_image": per_image}),
        model=_model(body.get("model")),
        threshold=body.get("threshold"),
        body=body,
    )


def _version_list(body: Json) -> VersionList:
    return VersionList(
        models=tuple(
            _pick(VersionEntry, {**entry, "aliases": tuple(entry["aliases"])})
            for entry in body["models"]
        ),
        serving=_model(body["serving"]),
        reload_error=body["reload"]["error"] if body["reload"] else None,
    )
