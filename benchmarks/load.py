"""The load generator: a process of its own that asks one server for masks, and prints what it saw.

    python -m benchmarks.load http://127.0.0.1:8000/segment --callers 8 --seconds 10 --bodies FOLDER

Closed loop (`--callers n`): n callers, each asks again as soon as it has its answer. Open loop
(`--rate r`): a request is due every 1/r s whatever became of those before, and its latency counts
from when it was due, so that the time in which a slow server keeps callers from asking is seen
("coordinated omission": Gil Tene, How NOT to Measure Latency, 2015; github.com/giltene/wrk2).
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from benchmarks.latency import arrivals, percentile
from benchmarks.side_by_side import side_by_side
from benchmarks.wires import FORM, WIRES, Wire

TIMEOUT_S = 60.0

T = TypeVar("T")
Ask = Callable[[], Awaitable[None]]
"""Sends one request; raises a `WrongAnswerError` or what the client raises."""


class WrongAnswerError(Exception):
    """An answer that holds no mask; the text is what is counted."""


@dataclass(frozen=True)
class Seen:
    """What the callers saw in one round.

    Attributes:
        seconds: How long was measured.
        requests: Masks that came back in that time.
        requests_per_s: The same, per second.
        p50_ms: Latency; in an open loop from when the request was due.
        p95_ms: The same.
        p99_ms: The same.
        answered: Masks that came back at all, in the warm-up and after the end too.
        errors: How often what went wrong.
        generator_cpu: Processor time of the generator itself, in cores.
        backends: The `X-Backend` headers that came back; an empty one where there was none.
        latencies_s: Each, in the order of the answers.
    """

    seconds: float
    requests: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answered: int
    errors: dict[str, int]
    generator_cpu: float
    backends: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)


def _seen(latencies_s: Sequence[float], *, seconds: float, **more: Any) -> Seen:
    p50, p95, p99 = (1000 * percentile(latencies_s, each) for each in (50, 95, 99))
    return Seen(
        seconds=seconds,
        requests=len(latencies_s),
        requests_per_s=len(latencies_s) / seconds,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        latencies_s=list(latencies_s),
        **more,
    )


class Record:
    """Collects answers while a window of time is open."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.errors: Counter[str] = Counter()
        self.backends: set[str] = set()
        self.answered = 0
        self._wall = self._cpu = 0.0

    def open(self) -> None:
        """Begin to measure: what came before was the warm-up."""
        self.latencies_s.clear()
        self.errors.clear()
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def close(self) -> Seen:
        """Sum up what was seen since `open`."""
        seconds = time.perf_counter() - self._wall
        return _seen(
            self.latencies_s,
            seconds=seconds,
            answered=self.answered,
            errors=dict(self.errors),
            generator_cpu=(time.process_time() - self._cpu) / seconds,
            backends=sorted(self.backends),
        )

    async def answer(self, ask: Ask, due: float) -> None:
        """Wait for one answer, and note how long after `due` (s, `perf_counter`) it came."""
        try:
            await ask()
        except WrongAnswerError as exc:
            self.errors[str(exc)] += 1
        except (aiohttp.ClientError, TimeoutError) as exc:
            self.errors[type(exc).__name__] += 1
        else:
            self.answered += 1
            self.latencies_s.append(time.perf_counter() - due)


async def closed_loop(
    ask: Ask, record: Record, *, callers: int, seconds: float, warmup_s: float = 0
) -> Seen:
    """Keep `callers` requests under way, and measure for `seconds` once the warm-up is over."""

    over = asyncio.Event()

    async def call() -> None:
        while not over.is_set():
            await record.answer(ask, time.perf_counter())

    tasks = [asyncio.create_task(call()) for _ in range(callers)]
    await asyncio.sleep(warmup_s)
    record.open()
    await asyncio.sleep(seconds)
    seen = record.close()
    over.set()
    # What is under way comes to its end, so that the next load finds the server idle.
    await asyncio.gather(*tasks)
    return replace(seen, answered=record.answered)


async def open_loop(ask: Ask, record: Record, *, rate: float, seconds: float) -> Seen:
    """Send a request every 1 / rate s, and measure until the last is answered or given up."""
    record.open()
    await send_on_time(lambda due: record.answer(ask, due), rate=rate, seconds=seconds)
    return record.close()


async def send_on_time(
    send: Callable[[float], Coroutine[None, None, T]], *, rate: float, seconds: float
) -> list[T]:
    """Begin a request every 1 / rate s whatever became of those before; wait for all of them.

    Args:
        send: Sends one, told when it was due (s, `perf_counter`).
        rate: Requests/s.
        seconds: How long requests are begun.
    """
    loop = asyncio.get_running_loop()
    # A second clock is read once, so that arrivals do not drift with each sleep.
    started, looped = time.perf_counter(), loop.time()
    tasks = []
    for due in arrivals(rate, seconds):
        await asyncio.sleep(max(0.0, looped + due - loop.time()))
        tasks.append(asyncio.create_task(send(started + due)))
    return list(await asyncio.gather(*tasks))


def asking(
    session: aiohttp.ClientSession,
    url: str,
    photographs: Sequence[bytes],
    backends: set[str],
    wire: Wire = WIRES[FORM],
) -> Ask:
    """A function that posts the photographs in turn."""
    turn = cycle([wire.call(photograph) for photograph in photographs])

    async def ask() -> None:
        call = next(turn)
        async with session.post(url, data=call.body, headers=call.headers) as response:
            content = await response.read()
            if response.status != 200:
                raise WrongAnswerError(f"status {response.status}")
            try:
                wire.mask(response.headers, content)
            except ValueError as exc:
                raise WrongAnswerError(str(exc)) from exc
            backends.add(response.headers.get("X-Backend", ""))

    return ask


async def generate(arguments: argparse.Namespace) -> Seen:
    """Run one load against one server."""
    photographs = [path.read_bytes() for path in sorted(arguments.bodies.iterdir())]
    record = Record()
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        wire = WIRES[arguments.wire]
        ask = asking(session, arguments.url, photographs, record.backends, wire)
        if arguments.rate:
            return await open_loop(ask, record, rate=arguments.rate, seconds=arguments.seconds)
        return await closed_loop(
            ask,
            record,
            callers=arguments.callers,
            seconds=arguments.seconds,
            warmup_s=arguments.warmup,
        )


def in_processes(arguments: argparse.Namespace) -> Seen:
    """Share the callers, or the rate, out among processes: one alone is soon busy itself."""
    count = min(arguments.processes, arguments.callers or arguments.processes)
    parts = [argparse.Namespace(**vars(arguments)) for _ in range(count)]
    for number, part in enumerate(parts):
        part.callers = arguments.callers // count + (number < arguments.callers % count)
        part.rate = arguments.rate / count
    timeout_s = arguments.warmup + arguments.seconds + 2 * TIMEOUT_S
    seen = side_by_side(_share, [(part,) for part in parts], timeout_s=timeout_s)
    errors: Counter[str] = Counter()
    for each in seen:
        errors.update(each.errors)
    return _seen(
        [latency for each in seen for latency in each.latencies_s],
        seconds=max(each.seconds for each in seen),
        answered=sum(each.answered for each in seen),
        errors=dict(errors),
        generator_cpu=sum(each.generator_cpu for each in seen),
        backends=sorted({name for each in seen for name in each.backends}),
    )


def _share(start: Any, arguments: argparse.Namespace) -> Seen:
    start.wait()
    return run(generate(arguments))


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.load", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--bodies", type=Path, required=True, help="folder of photographs")
    parser.add_argument("--wire", default=FORM, choices=WIRES, help="what the server wants")
    parser.add_argument("--callers", type=int, default=1, help="callers of a closed loop")
    parser.add_argument("--rate", type=float, default=0, help="requests/s of an open loop")
    parser.add_argument("--processes", type=int, default=1, help="that share the callers")
    parser.add_argument("--seconds", type=float, default=10, help="how long to measure")
    parser.add_argument("--warmup", type=float, default=1, help="s before that, closed loop only")
    return parser.parse_args(words)


def main() -> int:
    """Print one JSON object, a `Seen`."""
    arguments = parse()
    seen = in_processes(arguments) if arguments.processes > 1 else run(generate(arguments))
    found = asdict(seen)
    del found["latencies_s"]
    json.dump(found, sys.stdout)
    return 0


def run(work: Coroutine[None, None, T]) -> T:
    """Run as `asyncio.run` does, on the fastest loop that the system has."""
    if os.name == "posix":
        import uvloop

        return uvloop.run(work)
    return asyncio.run(work)


if __name__ == "__main__":
    sys.exit(main())
