"""Pairs of masks, or of photographs and masks, and their scores."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from model_core.registry.registry import LoadedVersion
from model_core.scores.metrics import ImageScores, score_image
from model_core.scores.summary import summarise
from service.answers.annotations import model_ref
from service.answers.overlay import draw_overlay
from service.answers.pictures import encode_picture
from service.api.multipart import Form
from service.contract.errors import Fault, InvalidRequestError, TooManyPixelsError
from service.contract.evaluation import Evaluation, PairScores, ScoreSummary
from service.pipeline.engine import Engine
from service.telemetry.prometheus import Stages

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """An expert's mask and what is compared with it, both as the bytes that were sent.

    Attributes:
        index: Position in the request, from 0.
        truth: The expert's mask.
        other: The photograph to segment, or the mask to compare.
    """

    index: int
    truth: bytes
    other: bytes

    @property
    def pixels(self) -> int:
        """Height times width that both announce, together."""
        return announced_pixels(self.truth) + announced_pixels(self.other)


def pairs_of(form: Form, *, max_pairs: int) -> list[Pair]:
    """The pairs of a form: its first `truth` with its first `image` or `pred`, and so on.

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
        found = f"found {len(truths)} beside {len(others)} {name}, expected as many"
        raise InvalidRequestError(Fault("truth", found))
    if len(truths) > max_pairs:
        raise InvalidRequestError(Fault("truth", f"found {len(truths)}, the limit is {max_pairs}"))
    return [Pair(i, *both) for i, both in enumerate(zip(truths, others, strict=True))]


def without_unchosen(form: Form) -> Form:
    """A form without `image` or `pred` where that is empty and the other is not.

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
        ImageTooLargeError: a photograph or mask announces more than `max_image_pixels`.
        TooManyPixelsError: all of them together announce more than `max_pixels`.
    """
    for pair in pairs:
        for name, data in (("truth", pair.truth), ("its partner", pair.other)):
            if (size := announced_pixels(data)) > max_image_pixels:
                found = f"pair {pair.index}: {name} has {size} pixels"
                raise ImageTooLargeError(f"{found}, the limit is {max_image_pixels}")
    pixels = sum(pair.pixels for pair in pairs)
    if pixels > max_pixels:
        raise TooManyPixelsError(
            f"the request has {pixels} pixels in all, the limit is {max_pixels}"
        )


@dataclass(frozen=True)
class Evaluator:
    """Compares pairs, one after the other, so that memory holds only one of them decoded.

    Attributes:
        engine: Runs the network, and all else that blocks.
        version: Segments the photographs; None where masks were sent.
        threshold: Overrides the card's.
        max_pixels: Limit on a mask or photograph.
        spacing_mm: Height and width of a pixel in mm, where the caller knows them; otherwise a
            DICOM photograph's own.
    """

    engine: Engine
    version: LoadedVersion | None
    threshold: float | None
    max_pixels: int
    spacing_mm: Spacing | None = None

    async def scores(self, pairs: Sequence[Pair]) -> tuple[bytes, Stages]:
        """JSON of an `Evaluation`: scores of every pair and of the set.

        Raises:
            InputError: of a pair; its text begins with the pair's index.
        """
        items: list[ImageScores] = []
        total = Stages()
        for pair in pairs:
            scored, stages = await self._compare(pair, _score)
            items.append(scored)
            total.add(stages)
        summary = await self.engine.score(summarise, items)
        evaluation = Evaluation(
            items=[
                PairScores.model_validate({"index": i, **item.metrics, **item.distances})
                for i, item in enumerate(items)
            ],
            summary=ScoreSummary.model_validate(summary),
            model=model_ref(self.version) if self.version else None,
            threshold=self._threshold_used(),
        )
        return evaluation.model_dump_json(exclude_unset=True).encode(), total

    async def picture(self, pair: Pair) -> tuple[bytes, Stages]:
        """PNG of one pair: true and false positives and false negatives, as `overlay`.

        Raises:
            InputError: as `scores`.
        """

        def draw(truth: Mask, pred: Mask, _: Spacing | None) -> bytes:
            photograph = None
            if self.version is not None:
                decoded = decode_image(pair.other, max_pixels=self.max_pixels)
                photograph = np.asarray(decoded.picture)
            return encode_picture(draw_overlay(truth, pred, photograph))

        return await self._compare(pair, draw)

    async def _compare(
        self, pair: Pair, then: Callable[[Mask, Mask, Spacing | None], T]
    ) -> tuple[T, Stages]:
        """What `then` makes of a pair's truth and prediction, and the size of a pixel in mm."""

        def against_truth(pred: Mask, spacing_mm: Spacing | None = None) -> T:
            truth = self._decode("truth", pair.truth, pred.shape)
            if truth.shape != pred.shape:
                other = "pred" if self.version is None else "the upright photograph"
                raise ShapeMismatchError(f"truth is {truth.shape}, {other} is {pred.shape}")
            return then(truth, pred, self.spacing_mm or spacing_mm)

        def with_sent_mask() -> T:
            return against_truth(self._decode("pred", pair.other, announced_shape(pair.truth)))

        try:
            if self.version is None:
                return await self.engine.score(with_sent_mask), Stages()
            (mask, spacing_mm), stages = await self.engine.predict(
                self.version,
                pair.other,
                lambda prediction: (prediction.mask, prediction.geometry.spacing_mm),
                threshold=self.threshold,
            )
            return await self.engine.score(against_truth, mask, spacing_mm), stages
        except InputError as exc:
            raise type(exc)(f"pair {pair.index}: {exc}") from exc

    def _decode(self, field: str, data: bytes, shape: tuple[int, int] | None) -> Mask:
        try:
            return decode_sent_mask(data, max_pixels=self.max_pixels, shape=shape)
        except InputError as exc:
            raise type(exc)(f"{field}: {exc}") from exc

    def _threshold_used(self) -> float | None:
        if self.version is None or self.threshold is not None:
            return self.threshold
        return self.version.predictor.postprocess_config.threshold


def _score(truth: Mask, pred: Mask, spacing_mm: Spacing | None) -> ImageScores:
    return score_image(truth, pred, spacing_mm=spacing_mm)


def decode_sent_mask(data: bytes, *, max_pixels: int, shape: tuple[int, int] | None = None) -> Mask:
    """The mask of a form field: PNG, or COCO JSON with run lengths or polygons.

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
