"""One scrape sees all workers, whichever of them it reaches: each asks the others.

Every sample has the label `worker` then, and so a worker that was restarted counts from zero under
its own number, as Prometheus expects of a process. With one worker there is no such label.
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from service.server.worker import Worker

_PATIENCE_S = 1.0
"""How long a worker may take to answer; without it, the scrape has the others."""
_MAX_PATH_BYTES = 103
"""Of a socket's path: 107 on Linux, 103 on macOS."""
_FAMILY = re.compile(r"^(?=# HELP )", re.MULTILINE)


class SharedMetrics:
    """The metrics of this process and of its fellow workers.

    Args:
        registry: Of this process.
        worker: None where it is the only one.
    """

    def __init__(self, registry: CollectorRegistry, worker: Worker | None) -> None:
        self._registry, self._worker = registry, worker

    async def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if self._worker is None:
            return generate_latest(self._registry)
        texts = await asyncio.gather(*map(self._text_of, range(self._worker.count)))
        return merged([text for text in texts if text]).encode()

    @asynccontextmanager
    async def offered(self) -> AsyncIterator[None]:
        """Answer the others meanwhile."""
        if self._worker is None:
            yield
            return
        path = self._path(self._worker, self._worker.index)
        path.unlink(missing_ok=True)  # of one that was killed
        async with await asyncio.start_unix_server(self._answer, str(path)):
            yield

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(self._own().encode())
            await writer.drain()
        writer.close()

    def _own(self) -> str:
        index = self._worker.index if self._worker else 0
        return labelled(generate_latest(self._registry).decode(), index)

    async def _text_of(self, index: int) -> str:
        worker = self._worker
        if worker is None or index == worker.index:
            return self._own()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = await asyncio.open_unix_connection(str(self._path(worker, index)))
                text = (await reader.read()).decode()
                writer.close()
                return text
        except (OSError, TimeoutError):  # it is being restarted
            return ""

    @staticmethod
    def _path(worker: Worker, index: int) -> Path:
        return worker.folder / f"{index}.sock"


def too_long_for_sockets(folder: Path) -> bool:
    """Whether the system cannot name a worker's socket in this folder."""
    return len(os.fsencode(folder / "00.sock")) > _MAX_PATH_BYTES


def labelled(text: str, worker: int) -> str:
    """Metrics with a worker's number at each sample.

    Example:
        >>> labelled('a 1.0', worker=3), labelled('a{b="c"} 2.0', worker=3)
        ('a{worker="3"} 1.0', 'a{worker="3",b="c"} 2.0')
    """
    lines = text.splitlines(keepends=True)
    return "".join(line if line.startswith("#") else _with_label(line, worker) for line in lines)


def merged(texts: list[str]) -> str:
    """The metrics of several workers, each family once, as the format wants it."""
    families: dict[str, list[str]] = {}
    for family in (part for text in texts for part in _FAMILY.split(text) if part):
        head, kind, *samples = family.splitlines(keepends=True)
        families.setdefault(head + kind, []).extend(samples)
    return "".join(head + "".join(samples) for head, samples in families.items())


def _with_label(sample: str, worker: int) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{worker="{worker}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'
