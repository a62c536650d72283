"""Score pairs of masks, or of images and masks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeVar

import numpy as np

from model_core.arrays import Mask, Spacing
from model_core.errors import (
    ImageTooLargeError,
    InputError,
    ShapeMismatchError,
    UnreadableImageError,
)
from model_core.images.announced_size import announced_pixels, announced_shape
from model_core.images.decode import decode_image
from model_core.masks.coco_json import decode_coco
from model_core.masks.png import decode_mask
from model_core.predictor import Prediction
from model_core.registry.registry import LoadedVersion
from model_core.scores.metrics import ImageScores, score_image
from model_core.scores.summary import summarise
from service.answers.annotations import model_ref
from service.answers.overlay import draw_overlay
from service.answers.pictures import encode_picture
from service.contract.errors import Fault, InvalidRequestError, TooManyPixelsError
from service.contract.evaluation import Evaluation, PairScores, ScoreSummary
from service.contract.queries import AnswerQuery
from service.pipeline.pipeline import Pipeline
from service.telemetry.ticket import Ticket

T = TypeVar("T")
Form = Mapping[str, list[bytes]]
"""The parts of a form by the name of their field, in the order sent."""


@dataclass(frozen=True)
class Pair:
    """An expert's mask and what is compared with it, both as the bytes that were sent.

    Attributes:
        index: Position in the request, from 0.
        truth: The expert's mask.
        other: The image to segment, or the mask to compare.
    """

    index: int
    truth: bytes
    other: bytes

    @property
    def pixels(self) -> int:
        """Sum of height times width that both announce."""
        return announced_pixels(self.truth) + announced_pixels(self.other)


def pairs_of(form: Form, *, max_pairs: int) -> list[Pair]:
    """Make the pairs of a form: its first `truth` with its first `image` or `pred`, and so on.

    Raises:
        InvalidRequestError: a field is missing, both `image` and `pred` are there, their numbers
            differ, or there are more than `max_pairs`.
    """
    truths, images, preds = (form.get(name, []) for name in ("truth", "image", "pred"))
    if images and preds:
        raise InvalidRequestError(Fault("pred", "sent together with image, expected one of them"))
    others, name = (preds, "pred") if preds else (images, "image")
    if not others:
        raise InvalidRequestError(Fault("image", "missing, and so is pred: expected one of them"))
    if len(truths) != len(others):
        detail = f"found {len(truths)} beside {len(others)} {name}, expected as many"
        raise InvalidRequestError(Fault("truth", detail))
    if len(truths) > max_pairs:
        raise InvalidRequestError(Fault("truth", f"found {len(truths)}, the limit is {max_pairs}"))
    return [Pair(i, *both) for i, both in enumerate(zip(truths, others, strict=True))]


def without_unchosen(form: Form) -> Form:
    """Drop `image` or `pred` from a form where that is empty and the other is not.

    A browser sends an empty part for each field in which no file was chosen.

    Example:
        >>> without_unchosen({"image": [b"JPEG"], "pred": [b""], "truth": [b"PNG"]})
        {'image': [b'JPEG'], 'truth': [b'PNG']}
    """
    for name, other in (("pred", "image"), ("image", "pred")):
        if any(form.get(other, [])) and not any(form.get(name, [])):
            return {field: parts for field, parts in form.items() if field != name}
    return form


def check_pixels(pairs: Sequence[Pair], *, max_pixels: int, max_image_pixels: int) -> None:
    """Refuse pairs whose comparison would take too long, before the first is worked on.

    Raises:
        ImageTooLargeError: an image or mask announces more than `max_image_pixels`.
        TooManyPixelsError: all of them together announce more than `max_pixels`.
    """
    for pair in pairs:
        for name, data in (("truth", pair.truth), ("its partner", pair.other)):
            if (size := announced_pixels(data)) > max_image_pixels:
                raise ImageTooLargeError(
                    f"pair {pair.index}: {name} has {size} pixels, the limit is {max_image_pixels}"
                )
    pixels = sum(pair.pixels for pair in pairs)
    if pixels > max_pixels:
        raise TooManyPixelsError(
            f"the request has {pixels} pixels in all, the limit is {max_pixels}"
        )


@dataclass(frozen=True)
class Evaluator:
    """Compare pairs, one after the other, so that memory holds only one of them decoded.

    Attributes:
        pipeline: Runs the network, and all else that blocks.
        ticket: The request's.
        version: Segments the images; None where masks were sent.
        threshold: Overrides the card's.
        max_pixels: Limit on a mask or image.
        spacing_mm: Height and width of a pixel in mm, where the caller knows them; otherwise a
            DICOM image's own.
    """

    pipeline: Pipeline
    ticket: Ticket
    version: LoadedVersion | None
    threshold: float | None
    max_pixels: int
    spacing_mm: Spacing | None = None

    async def scores(self, pairs: Sequence[Pair]) -> bytes:
        """Score every pair and the set: JSON of an `Evaluation`.

        Raises:
            InputError: of a pair; its text begins with the pair's index.
        """
        items = [await self._compare(pair, self._score) for pair in pairs]
        summary = await self.pipeline.score(summarise, items)
        evaluation = Evaluation(
            items=[
                PairScores.model_validate({"index": i, **item.metrics, **item.distances})
                for i, item in enumerate(items)
            ],
            summary=ScoreSummary.model_validate(summary),
            model=model_ref(self.version) if self.version else None,
            threshold=self._threshold_used(),
        )
        return evaluation.model_dump_json(exclude_unset=True).encode()

    async def picture(self, pair: Pair) -> bytes:
        """Draw one pair as PNG: true and false positives and false negatives, as `overlay`.

        Raises:
            InputError: as `scores`.
        """
        return await self._compare(pair, self._draw)

    async def _compare(self, pair: Pair, judge: Callable[[Pair, Prediction | None], T]) -> T:
        """Segment a pair's image, where it has one, and judge it beside the truth."""
        prediction = None
        try:
            if self.version is not None:
                query = AnswerQuery(threshold=self.threshold)
                image = await self.pipeline.predict(self.version, pair.other, query)
                prediction = await self.pipeline.encode(
                    image, self.ticket, attrgetter("prediction")
                )
            return await self.pipeline.score(judge, pair, prediction)
        except InputError as exc:
            raise type(exc)(f"pair {pair.index}: {exc}") from exc

    def _score(self, pair: Pair, prediction: Prediction | None) -> ImageScores:
        truth, pred = self._masks(pair, prediction)
        own = prediction.geometry.spacing_mm if prediction else None
        return score_image(truth, pred, spacing_mm=self.spacing_mm or own)

    def _draw(self, pair: Pair, prediction: Prediction | None) -> bytes:
        truth, pred = self._masks(pair, prediction)
        picture = None
        if prediction:
            picture = np.asarray(decode_image(pair.other, max_pixels=self.max_pixels).picture)
        return encode_picture(draw_overlay(truth, pred, picture))

    def _masks(self, pair: Pair, prediction: Prediction | None) -> tuple[Mask, Mask]:
        """Decode what was sent of a pair: truth and prediction, of one size."""
        if prediction is not None:
            pred, other = prediction.mask, "the upright image"
        else:
            pred, other = self._decode("pred", pair.other, announced_shape(pair.truth)), "pred"
        truth = self._decode("truth", pair.truth, pred.shape)
        if truth.shape != pred.shape:
            raise ShapeMismatchError(f"truth is {truth.shape}, {other} is {pred.shape}")
        return truth, pred

    def _decode(self, field: str, data: bytes, shape: tuple[int, int] | None) -> Mask:
        try:
            return decode_sent_mask(data, max_pixels=self.max_pixels, shape=shape)
        except InputError as exc:
            raise type(exc)(f"{field}: {exc}") from exc

    def _threshold_used(self) -> float | None:
        if self.version is None or self.threshold is not None:
            return self.threshold
        return self.version.predictor.postprocess_config.threshold


def decode_sent_mask(data: bytes, *, max_pixels: int, shape: tuple[int, int] | None = None) -> Mask:
    """Decode the mask of a form field: PNG, or COCO JSON with run lengths or polygons.

    Args:
        data: The field's content, file or text.
        max_pixels: Limit on height times width.
        shape: Height and width of polygons that do not say it themselves.

    Raises:
        InputError: as `decode_mask` and `decode_coco`.

    Example:
        >>> decode_sent_mask(b'{"size": [1, 2], "counts": [1, 1]}', max_pixels=2)
        array([[False,  True]])
    """
    if not data:
        raise UnreadableImageError("the mask is empty (0 bytes), expected PNG or COCO JSON")
    if not data[:64].lstrip().startswith((b"{", b"[")):
        return decode_mask(data, max_pixels=max_pixels)
    return decode_coco(data, max_pixels=max_pixels, shape=shape)
