"""The client that waits for each answer; programs import it from `service.client`."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import httpx

from service.client.calls import (
    DEFAULT_URL,
    Call,
    SentImage,
    SentMask,
    Spacing,
    correction_form,
    file_bytes,
    form,
    httpx_options,
    read_content,
    read_json,
    read_ready,
    unhealthy,
)
from service.client.errors import ProblemError, ServiceUnreachableError
from service.client.results import Health, Segmentation, parse, segmentation_of
from service.client.retries import ONCE, Retries
from service.contract.corrections import Correction, CorrectionCount
from service.contract.evaluation import Evaluation
from service.contract.schemas import VersionDetail, VersionList

T = TypeVar("T")
READY = Call("GET", "readyz", read_ready)


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
        self._http = httpx.Client(**httpx_options(url, api_key, timeout_s))
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
        """Close all connections."""
        self._http.close()

    def segment(
        self,
        /,  # `AsyncClient` takes this signature over
        image: SentImage,
        *,
        threshold: float | None = None,
        model: str | None = None,
        **more: str | float | None,
    ) -> Segmentation:
        """Segment the lesion of an image.

        Args:
            image: The file's bytes, or its path.
            threshold: Probability above which a pixel is lesion, 0 < threshold < 1; by default
                the model card's.
            model: Version, alias or `name@version`; by default the production version.
            more: Any other query parameter of `/segment`, such as `margin`.
        """
        params = {"format": "rle", "threshold": threshold, "model": model, **more}
        content = file_bytes(image)
        return self._ask(
            Call("POST", "segment", lambda r: segmentation_of(read_json(r)), params, content)
        )

    def segment_as(
        self,
        /,  # `AsyncClient` takes this signature over
        image: SentImage,
        format: str,  # as the API calls it
        *,
        threshold: float | None = None,
        model: str | None = None,
        **more: str | float | None,
    ) -> bytes:
        """Segment an image and return the file of any format that `/segment` offers.

        Args:
            image: The file's bytes, or its path.
            format: `png`, `png1`, `rle` …: docs/api.md lists them.
            threshold: As in `segment`.
            model: As in `segment`.
            more: Any other query parameter of `/segment`.
        """
        params = {"format": format, "threshold": threshold, "model": model, **more}
        content = file_bytes(image)
        return self._ask(Call("POST", "segment", read_content, params, content, accept="*/*"))

    def evaluate(
        self,
        truths: Sequence[SentMask],
        *,
        images: Sequence[SentImage] = (),
        preds: Sequence[SentMask] = (),
        threshold: float | None = None,
        model: str | None = None,
        spacing_mm: Spacing | None = None,
    ) -> Evaluation:
        """Score images, or masks by any other model, against experts' masks.

        Args:
            truths: The experts' masks.
            images: Images to segment, one a truth; these or `preds`.
            preds: Masks to score, one a truth.
            threshold: As in `segment`; only with images.
            model: As in `segment`; only with images.
            spacing_mm: Height and width of a pixel, mm: adds distances in mm.
        """
        spacing = f"{spacing_mm[0]},{spacing_mm[1]}" if spacing_mm else None
        params = {
            "format": "json",
            "threshold": threshold,
            "model": model,
            "spacing_mm": spacing,
        }
        files = form(truths, images, preds)
        return self._ask(
            Call("POST", "evaluate", lambda r: parse(Evaluation, read_json(r)), params, files=files)
        )

    def evaluation_picture(
        self,
        truth: SentMask,
        *,
        image: SentImage | None = None,
        pred: SentMask | None = None,
        threshold: float | None = None,
        model: str | None = None,
    ) -> bytes:
        """Draw one pair: true positives blue, false positives orange, false negatives purple.

        Arguments are as in `evaluate`, one of each; the bytes are a PNG file's.
        """
        params = {"format": "png", "threshold": threshold, "model": model}
        images = [] if image is None else [image]
        files = form([truth], images, [] if pred is None else [pred])
        return self._ask(
            Call("POST", "evaluate", read_content, params, files=files, accept="image/png")
        )

    def correct(
        self,
        /,  # `AsyncClient` takes this signature over
        image: SentImage,
        mask: SentMask,
        *,
        annotator: str,
        seconds: float | None = None,
        model: str | None = None,
        threshold: float | None = None,
        **more: str | float | None,
    ) -> Correction:
        """Have the service keep a photograph with its corrected mask.

        Args:
            image: The photograph's bytes, or its path; it is kept as it is.
            mask: The corrected mask, of the upright photograph's size.
            annotator: Pseudonym of who corrected it: 1 to 64 of A-Z a-z 0-9 . _ -
            seconds: Time spent on it.
            model: Version whose mask was corrected, as in `segment`.
            threshold: As that mask was cut at.
            more: Any other query parameter of `/segment/mask`, such as `margin`.

        Raises:
            RefusedError: 404 `corrections-off` where the service keeps none.
            FailedError: 507 `storage-full` where it has no room; nothing was kept.
        """
        params = {"threshold": threshold, "model": model, **more}
        files = correction_form(image, mask, annotator, seconds)
        return self._ask(Call("POST", "corrections", _read_correction, params, files=files))

    def corrections(self) -> CorrectionCount:
        """Count the corrected photographs; RefusedError `corrections-off` where none is kept."""
        return self._ask(Call("GET", "corrections", lambda r: parse(CorrectionCount, read_json(r))))

    def models(self) -> VersionList:
        """List every published version, and which one serves."""
        return self._ask(Call("GET", "models", lambda r: parse(VersionList, read_json(r))))

    def model(self, reference: str = "production") -> VersionDetail:
        """Read a version's card, by version, alias or `name@version`."""
        path = f"models/{quote(reference, safe='@')}"
        return self._ask(Call("GET", path, lambda r: parse(VersionDetail, read_json(r))))

    def health(self) -> Health:
        """Ask once, without retries, whether the service answers and has a model loaded."""
        try:
            self._ask(READY, ONCE)
        except (ServiceUnreachableError, ProblemError) as exc:
            return unhealthy(exc)
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
            wait = retries.wait_s(attempt, response=response, error=error)
            if wait is None:
                return call.result(response, error, self._http.base_url)
            time.sleep(wait)


def _read_correction(response: httpx.Response) -> Correction:
    return parse(Correction, read_json(response))
