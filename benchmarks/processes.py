"""A server as a process of its own: started, waited for, weighed, ended with all its children."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from benchmarks.wires import FORM, WIRES, Wire

START_S = 300.0
"""Longest start: Ray brings up a cluster, and others may keep the machine busy."""
_STOP_S = 20.0
ROOT = Path(__file__).parent.parent


class ServerFailedError(Exception):
    """A server that did not start; the text has the end of what it wrote."""


@dataclass(frozen=True)
class Weight:
    """What a tree of processes has used so far.

    Attributes:
        cpu_s: Processor time of all that still live.
        resident_mb: Resident memory; a page that several share counts once where the system tells
            (Linux), else once each.
        processes: How many.
    """

    cpu_s: float
    resident_mb: float
    processes: int


class Server:
    """One server under test, between `with` and its end.

    Args:
        command: Its command line.
        environment: Added to ours.
        url: Where it takes photographs.
        log: File for all that it writes.
        wire: How it wants to be asked.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        url: str,
        log: Path,
        wire: Wire = WIRES[FORM],
    ) -> None:
        self.url, self._wire = url, wire
        self.start_s = 0.0
        self._command = list(command)
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._log = log

    def __enter__(self) -> Self:
        # A session of its own, so that whatever it starts can be ended with it.
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tree = self._tree()
        self._process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(tree, timeout=_STOP_S)
        for process in alive:
            process.kill()
        self._process.wait()
        # Children that it left behind have moved to another parent, not to another group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=_STOP_S)

    def wait(self, photograph: bytes) -> None:
        """Return once it has answered a photograph with a mask; `start_s` is then how long it took.

        Raises:
            ServerFailedError: it ended, or does not answer in time.
        """
        started = time.perf_counter()
        while reason := _refusal(self.url, self._wire, photograph):
            elapsed = time.perf_counter() - started
            if self._process.poll() is not None or elapsed > START_S:
                raise ServerFailedError(
                    f"no mask in {elapsed:.0f} s ({reason}): {self._last_words()}"
                )
            time.sleep(0.05)
        self.start_s = time.perf_counter() - started

    def weigh(self) -> Weight:
        """Add up what the process and all its children have used so far."""
        cpu_s = resident = 0.0
        tree = self._tree()
        for process in tree:
            try:
                times = process.cpu_times()
                cpu_s += times.user + times.system
                memory = process.memory_full_info()
                resident += getattr(memory, "pss", memory.rss)
            except psutil.NoSuchProcess:
                continue
        return Weight(cpu_s, resident / 1e6, len(tree))

    def rss_mb(self) -> float:
        """Resident memory of it and all its children; what they share counts for each."""
        held: float = sum(process.memory_info().rss for process in self._tree()) / 1e6
        return held

    def logged(self, begin: str) -> list[str]:
        """List, each once, the rest of the lines of its log that begin so."""
        lines = self._log.read_text(errors="replace").split("\n")
        return sorted({line.removeprefix(begin) for line in lines if line.startswith(begin)})

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return " | ".join(line.strip() for line in lines[-6:] if line.strip())[-500:]


@contextmanager
def serving(
    command: Sequence[str],
    environment: Mapping[str, str],
    url: str,
    log: Path,
    photograph: bytes,
    wire: Wire = WIRES[FORM],
) -> Iterator[Server]:
    """A server that has answered its first photograph.

    Raises:
        ServerFailedError: it never did.
    """
    with Server(command, environment, url, log, wire) as server:
        server.wait(photograph)
        yield server


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _refusal(url: str, wire: Wire, photograph: bytes) -> str:
    """Why a server gives no mask yet; empty where it does."""
    call = wire.call(photograph)
    request = urllib.request.Request(url, data=call.body, headers=dict(call.headers))
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            wire.mask(response.headers, response.read())
            return ""
    except ValueError as exc:
        return str(exc)
    except urllib.error.HTTPError as exc:
        return f"{exc.code} {exc.read()[:300]!r}"
    except OSError as exc:  # not listening yet
        return str(exc)
