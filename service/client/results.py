"""Results of the client's calls: the contract's own models, and a mask as an array.

What a newer service adds to an answer is ignored, and kept in `Segmentation.annotation`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from model_core.arrays import Mask
from model_core.errors import InputError
from model_core.masks.rle import decode_rle
from service.client.errors import UnexpectedAnswerError
from service.contract.schemas import ModelRef, RleAnnotation

Model = TypeVar("Model", bound=BaseModel)
Json = Mapping[str, Any]

_MAX_PIXELS = 2**28
"""Limit on an answer's mask, px: above any that the service makes, and small enough to decode."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The lesion of one image.

    Attributes:
        mask: bool (H, W), True = lesion, in the frame of the upright image.
        lesion_found: Whether the mask holds any pixel.
        area_px: Pixels of the lesion.
        bbox_px: (x, y, width, height) of the lesion, px; zeros where none was found.
        score: Jaccard with an expert's mask to expect, 0 to 1; None where the version is not
            calibrated.
        score_interval: Where the true Jaccard lies for 90 % of photographs like those that the
            version was calibrated on; None where it was not, and without a lesion.
        threshold: Probability above which a pixel is lesion.
        model: The version that answered.
        annotation: The whole answer as it came, a COCO annotation with `quality` and, where asked
            for, `measurements`.
    """

    mask: Mask
    lesion_found: bool
    area_px: int
    bbox_px: tuple[int, int, int, int]
    score: float | None
    score_interval: tuple[float, float] | None
    threshold: float
    model: ModelRef
    annotation: Json


@dataclass(frozen=True)
class Health:
    """State of the service.

    Attributes:
        alive: It answers.
        ready: A model is loaded: it can segment.
        detail: Why it is not ready; empty where it is.
    """

    alive: bool
    ready: bool
    detail: str = ""


def segmentation_of(body: Json) -> Segmentation:
    """Read the JSON of `/segment?format=rle`.

    Raises:
        UnexpectedAnswerError: it is not what the contract promises.
    """
    answer = parse(RleAnnotation, body)
    try:
        mask = decode_rle(body["segmentation"], max_pixels=_MAX_PIXELS)
    except InputError as exc:
        raise UnexpectedAnswerError(f"the answer's mask cannot be decoded: {exc}") from exc
    return Segmentation(
        mask=mask,
        lesion_found=answer.lesion_found,
        area_px=answer.area,
        bbox_px=answer.bbox,
        score=answer.score,
        score_interval=answer.score_interval,
        threshold=answer.threshold,
        model=answer.model,
        annotation=body,
    )


def parse(model: type[Model], body: Json) -> Model:
    """Read an answer's JSON as a model of the contract, without what that model lacks.

    Raises:
        UnexpectedAnswerError: a field is missing, or is not what the contract promises.
    """
    try:
        return model.model_validate(body, extra="ignore")
    except ValidationError as exc:
        faults = exc.errors(include_url=False, include_input=False)
        text = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults)
        raise UnexpectedAnswerError(f"the answer is not what this API promises: {text}") from exc
