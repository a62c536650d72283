"""The client that waits for each answer; programs import it from `service.client`."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar

import httpx

import service.client.calls as calls
from service.client.calls import DEFAULT_URL, Call, Photograph, SentMask, Spacing
from service.client.errors import (
    ProblemError,
    ServiceUnreachableError,
)
from service.client.results import Health, Segmentation
from service.client.retries import ONCE, Retries
from service.contract.schemas import Evaluation, VersionDetail, VersionList

T = TypeVar("T")


class Client:
    """Asks a service, and waits for its answers. Several threads may share one.

    Args:
        url: Address of the service; a path below which it lies is kept.
        api_key: Sent as `Authorization: Bearer`.
        timeout_s: Longest wait for any part of an answer, s.
        retries: When to ask again.

    Every call raises:
        ProblemError: the service said no; `slug`, `status` and `detail` say why.
        ServiceUnreachableError: it did not answer.
        UnexpectedAnswerError: something else answered.
        OSError: a path cannot be read.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
    ) -> None:
        self._http = httpx.Client(**calls.options(url, api_key, timeout_s))
        self._retries = retries or Retries()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._http.close()

    def segment(
        self,
        image: Photograph,
        *,
        threshold: float | None = None,
        model: str | None = None,
        **more: str | float | None,
    ) -> Segmentation:
        """The lesion of a photograph.

        Args:
            image: The file's bytes, or its path.
            threshold: Probability above which a pixel is lesion, 0 < threshold < 1; by default
                the model card's.
            model: Version, alias or `name@version`; by default the production version.
            more: Any other query parameter of `/segment`.
        """
        return self._ask(calls.segment(image, threshold, model, more))

    def segment_as(
        self,
        image: Photograph,
        format: str,  # as the API calls it
        *,
        threshold: float | None = None,
        model: str | None = None,
        **more: str | float | None,
    ) -> bytes:
        """The answer as a file's bytes, in any format that `/segment` offers.

        Args:
            image: The file's bytes, or its path.
            format: `png`, `png1`, `rle` …: docs/api.md lists them.
            threshold: As in `segment`.
            model: As in `segment`.
            more: Any other query parameter of `/segment`.
        """
        params = {"format": format, "threshold": threshold, "model": model, **more}
        return self._ask(calls.segment_as(image, params))

    def evaluate(
        self,
        truths: Sequence[SentMask],
        *,
        images: Sequence[Photograph] = (),
        preds: Sequence[SentMask] = (),
        threshold: float | None = None,
        model: str | None = None,
        spacing_mm: Spacing | None = None,
    ) -> Evaluation:
        """Scores against experts' masks: of photographs, or of masks by any other model.

        Args:
            truths: The experts' masks.
            images: Photographs to segment, one a truth; these or `preds`.
            preds: Masks to score, one a truth.
            threshold: As in `segment`; only with photographs.
            model: As in `segment`; only with photographs.
            spacing_mm: Height and width of a pixel, mm: adds distances in mm.
        """
        params = calls.evaluate_params(threshold, model, spacing_mm)
        return self._ask(calls.evaluate(truths, images, preds, params))

    def evaluation_picture(
        self,
        truth: SentMask,
        *,
        image: Photograph | None = None,
        pred: SentMask | None = None,
        threshold: float | None = None,
        model: str | None = None,
    ) -> bytes:
        """PNG of one pair: true positives blue, false positives orange, false negatives purple.

        Arguments are as in `evaluate`, one of each.
        """
        params = calls.evaluate_params(threshold, model, None)
        return self._ask(calls.evaluation_picture(truth, image, pred, params))

    def models(self) -> VersionList:
        """Everything the registry holds, and what serves of it."""
        return self._ask(calls.models())

    def model(self, reference: str = "production") -> VersionDetail:
        """A version with its card, by version, alias or `name@version`."""
        return self._ask(calls.model(reference))

    def health(self) -> Health:
        """Whether the service is there and has a model loaded; asked once, without retries."""
        try:
            self._ask(calls.ready(), ONCE)
        except (ServiceUnreachableError, ProblemError) as exc:
            return calls.unwell(exc)
        return Health(alive=True, ready=True)

    def _ask(self, call: Call[T], retries: Retries | None = None) -> T:
        retries, attempt = retries or self._retries, 0
        while True:
            attempt += 1
            response, error = None, None
            try:
                response = self._http.send(call.request(self._http))
            except httpx.RequestError as exc:
                error = exc
            wait = None
            if response is None or response.is_error:
                wait = retries.wait_s(attempt, response=response, error=error)
            if wait is None:
                return calls.result(call, response, error, self._http.base_url)
            time.sleep(wait)
