"""The client for programs that use asyncio; `service.client` is where to import it from.

Each method is that of `Client` with the same name, signature and docstring: `Client` makes the
call, and here it is sent without blocking.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import update_wrapper
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

import httpx

from service.client.calls import DEFAULT_URL, Call, httpx_options, unhealthy
from service.client.client import READY, Client
from service.client.errors import ProblemError, ServiceUnreachableError
from service.client.results import Health
from service.client.retries import ONCE, Retries

P = ParamSpec("P")
T = TypeVar("T")


class _CallMaker(Client):
    """A `Client` that sends nothing: its methods return the `Call` that they would send."""

    def __init__(self) -> None:
        pass  # no connection is needed

    def _ask(self, call: Call[T], retries: Retries | None = None) -> T:
        return cast(T, call)


_CALLS = _CallMaker()


def _awaitable(
    method: Callable[Concatenate[Client, P], T],
) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    """Return a method of `Client` as one of `AsyncClient`."""

    async def ask(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        # In a thread: making the call may read files.
        call = await asyncio.to_thread(method, _CALLS, *args, **kwargs)
        return await self._ask(cast(Call[T], call))

    update_wrapper(ask, method)
    return ask


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
        self._http = httpx.AsyncClient(**httpx_options(url, api_key, timeout_s))
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
        """Close all connections."""
        await self._http.aclose()

    segment = _awaitable(Client.segment)
    segment_as = _awaitable(Client.segment_as)
    evaluate = _awaitable(Client.evaluate)
    evaluation_picture = _awaitable(Client.evaluation_picture)
    correct = _awaitable(Client.correct)
    corrections = _awaitable(Client.corrections)
    models = _awaitable(Client.models)
    model = _awaitable(Client.model)

    async def health(self) -> Health:
        """Ask once, without retries, whether the service answers and has a model loaded."""
        try:
            await self._ask(READY, ONCE)
        except (ServiceUnreachableError, ProblemError) as exc:
            return unhealthy(exc)
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
            wait = retries.wait_s(attempt, response=response, error=error)
            if wait is None:
                return call.result(response, error, self._http.base_url)
            await asyncio.sleep(wait)  # without a place on the wire
