"""Several server processes on one port, and the one that looks after them.

The parent starts the workers and answers nothing itself. Each worker listens on a socket of its
own, and the system deals new connections out among them (SO_REUSEPORT): from one socket for all,
the quickest would take a whole burst, and the others would stand idle.

Each worker also holds one end of a socket whose other end is the parent's: through it a worker says
that it is ready, and each of the two learns at once when the other has ended, in whatever way.
"""

import logging
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_core.errors import ConfigError
from service.server.worker import READY, arguments
from service.telemetry.shared_metrics import too_long_for_sockets

_LONGEST_PAUSE_S = 30.0
"""Between two starts of a worker that never gets ready."""

logger = logging.getLogger("service.workers")


@dataclass
class _Place:
    """One worker's place; whoever takes it after a death has the same number."""

    index: int
    due: float
    process: subprocess.Popen[bytes] | None = None
    line: socket.socket | None = None
    ready: bool = False
    failures: int = 0


def supervise(count: int) -> int:
    """Keep `count` workers serving until told to stop (SIGTERM, SIGINT), and then let them finish.

    The first worker starts alone: what keeps it from serving would keep the others too. Told a
    second time, the workers are killed.

    Args:
        count: Workers.

    Returns:
        0; what the first worker ended with, where it never was ready.

    Raises:
        ConfigError: there is no temporary folder for the workers' sockets, or its path is too long.
    """
    try:
        private = tempfile.TemporaryDirectory(prefix="lesion-workers-")
    except OSError as exc:
        raise ConfigError(
            f"LESION_WORKERS needs a temporary folder that can be written to (TMPDIR): {exc}"
        ) from exc
    with private as folder, _told() as told:
        if too_long_for_sockets(Path(folder)):
            raise ConfigError(
                f"the folder for temporary files (TMPDIR) has the path {tempfile.gettempdir()}, "
                "too long for the sockets through which the workers of LESION_WORKERS meet; "
                "name a shorter one"
            )
        return _Supervisor(count, Path(folder), told).run()


class _Supervisor:
    def __init__(self, count: int, folder: Path, told: socket.socket) -> None:
        never = float("inf")  # until the first is ready
        self._places = [_Place(index, due=never if index else 0.0) for index in range(count)]
        self._folder, self._told = folder, told
        self._served = self._stopping = False
        self._code = 0

    def run(self) -> int:
        while True:
            for place in self._places:
                if place.process is None and not self._stopping and place.due <= time.monotonic():
                    self._start(place)
            running = [place for place in self._places if place.line is not None]
            if self._stopping and not running:
                return self._code
            lines = [place.line for place in running if place.line is not None]
            heard, _, _ = select.select([self._told, *lines], [], [], self._until_due())
            for place in running:
                if place.line in heard:
                    self._hear(place)
            if self._told in heard:
                self._told.recv(64)
                self._stop()

    def _start(self, place: _Place) -> None:
        place.ready = False
        try:
            ours, theirs = socket.socketpair()
        except OSError as exc:
            self._could_not_start(place, exc)
            return
        mine = arguments(place.index, len(self._places), self._folder, theirs)
        with theirs:
            try:
                place.process = subprocess.Popen(
                    [sys.executable, "-m", "service", *mine], pass_fds=(theirs.fileno(),)
                )
            except OSError as exc:
                ours.close()
                self._could_not_start(place, exc)
                return
        place.line = ours

    def _could_not_start(self, place: _Place, exc: OSError) -> None:
        """No memory, process or file is left: the others serve on, and it is tried again."""
        logger.error("worker=%d cannot start: %s", place.index, exc.strerror)
        self._replace(place, 1)

    def _until_due(self) -> float | None:
        """Seconds until the next start; None where none is planned."""
        due = min((place.due for place in self._places if place.process is None), default=None)
        if self._stopping or due is None or due == float("inf"):
            return None
        return max(0.0, due - time.monotonic())

    def _hear(self, place: _Place) -> None:
        line, process = place.line, place.process
        if line is None or process is None:
            return
        try:
            said = line.recv(1)
        except ConnectionError:
            said = b""
        if said == READY:
            place.ready, place.failures = True, 0
            if not self._served:
                self._served = True
                for other in self._places:
                    other.due = 0.0
            return
        line.close()
        code = process.wait()
        place.line = place.process = None
        if not self._stopping:
            self._replace(place, code)

    def _replace(self, place: _Place, code: int) -> None:
        """Plan another start in the place of a worker that has ended by itself."""
        if not self._served:
            self._code = code if code > 0 else 1
            self._stop()
            return
        place.failures += not place.ready
        pause_s = min(_LONGEST_PAUSE_S, 2.0**place.failures) if place.failures else 0.0
        place.due = time.monotonic() + pause_s
        logger.error("worker=%d ended=%d restart_s=%.0f", place.index, code, pause_s)

    def _stop(self) -> None:
        again, self._stopping = self._stopping, True
        for place in self._places:
            if place.process is not None:
                place.process.send_signal(signal.SIGKILL if again else signal.SIGTERM)


@contextmanager
def _told() -> Iterator[socket.socket]:
    """A socket that can be read once the process is told to stop."""
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT)
    former = {number: signal.signal(number, lambda *_: None) for number in numbers}
    signal.set_wakeup_fd(writing.fileno())
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in former.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()
