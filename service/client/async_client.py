"""The client for programs that use asyncio; `service.client` is where to import it from."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

import service.client.calls as calls
from service.client.calls import DEFAULT_URL, Call, Photograph, SentMask, Spacing
from service.client.errors import ProblemError, ServiceUnreachableError
from service.client.results import Health, Segmentation
from service.client.retries import ONCE, Retries
from service.contract.schemas import Evaluation, VersionDetail, VersionList

T = TypeVar("T")


class AsyncClient:
    """`Client` for programs that use asyncio: the same arguments, results and errors.

    `asyncio.gather` over many calls keeps at most `connections` of them on the wire.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries | None = None,
        connections: int = 8,
    ) -> None:
        self._http = httpx.AsyncClient(**calls.options(url, api_key, timeout_s))
        self._retries = retries or Retries()
        # Not httpx's own limit: waiting for one of its connections counts as a timeout.
        self._wire = asyncio.Semaphore(connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections."""
        await self._http.aclose()

    async def segment(
        self,
        image: Photograph,
        *,
        threshold: float | None = None,
        model: str | None = None,
        **more: str | float | None,
    ) -> Segmentation:
        """As `Client.segment`."""
        return await self._ask(await _made(calls.segment, image, threshold, model, more))

    async def segment_as(
        self,
        image: Photograph,
        format: str,
        *,
        threshold: float | None = None,
        model: str | None = None,
        **more: str | float | None,
    ) -> bytes:
        """As `Client.segment_as`."""
        params = {"format": format, "threshold": threshold, "model": model, **more}
        return await self._ask(await _made(calls.segment_as, image, params))

    async def evaluate(
        self,
        truths: Sequence[SentMask],
        *,
        images: Sequence[Photograph] = (),
        preds: Sequence[SentMask] = (),
        threshold: float | None = None,
        model: str | None = None,
        spacing_mm: Spacing | None = None,
    ) -> Evaluation:
        """As `Client.evaluate`."""
        params = calls.evaluate_params(threshold, model, spacing_mm)
        return await self._ask(await _made(calls.evaluate, truths, images, preds, params))

    async def evaluation_picture(
        self,
        truth: SentMask,
        *,
        image: Photograph | None = None,
        pred: SentMask | None = None,
        threshold: float | None = None,
        model: str | None = None,
    ) -> bytes:
        """As `Client.evaluation_picture`."""
        params = calls.evaluate_params(threshold, model, None)
        return await self._ask(await _made(calls.evaluation_picture, truth, image, pred, params))

    async def models(self) -> VersionList:
        """As `Client.models`."""
        return await self._ask(calls.models())

    async def model(self, reference: str = "production") -> VersionDetail:
        """As `Client.model`."""
        return await self._ask(calls.model(reference))

    async def health(self) -> Health:
        """As `Client.health`."""
        try:
            await self._ask(calls.ready(), ONCE)
        except (ServiceUnreachableError, ProblemError) as exc:
            return calls.unwell(exc)
        return Health(alive=True, ready=True)

    async def _ask(self, call: Call[T], retries: Retries | None = None) -> T:
        retries, attempt = retries or self._retries, 0
        while True:
            attempt += 1
            response, error = None, None
            try:
                async with self._wire:
                    response = await self._http.send(call.request(self._http))
            except httpx.RequestError as exc:
                error = exc
            wait = None
            if response is None or response.is_error:
                wait = retries.wait_s(attempt, response=response, error=error)
            if wait is None:
                return calls.result(call, response, error, self._http.base_url)
            await asyncio.sleep(wait)


async def _made(make: Callable[..., Call[T]], *arguments: Any) -> Call[T]:
    """A call made in a thread: it may read files."""
    return await asyncio.to_thread(make, *arguments)
