"""One of several server processes: what `workers` gives it on its way, and how it ends."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

READY = b"r"
WORD = "worker"
"""The first argument of a process that is a worker."""

_LAST_S = 30.0
"""How much longer than it is given a worker whose parent has died may take to end."""


def arguments(index: int, count: int, folder: Path, line: socket.socket) -> list[str]:
    """The command line's arguments for a worker, which inherits the socket."""
    return [str(each) for each in (WORD, index, count, folder, line.fileno())]


class Worker:
    """What a worker knows of itself and the others.

    Args:
        arguments: As `arguments` made them.
        grace_s: How long it is given to end, once its parent has died.

    Attributes:
        index: Its number, from 0.
        count: How many there are.
        folder: Where each of them has its socket, for the others' eyes alone.
    """

    def __init__(self, arguments: Sequence[str], *, grace_s: float = 0.0) -> None:
        self._grace_s = grace_s
        index, count, folder, line_fd = arguments
        self.index, self.count, self.folder = int(index), int(count), Path(folder)
        self._line = socket.socket(fileno=int(line_fd))
        threading.Thread(target=self._outlive_nobody, daemon=True).start()

    def ready(self) -> None:
        """Tell the parent that requests can come."""
        self._line.send(READY)

    def _outlive_nobody(self) -> None:
        """End once the parent has, as if it had said so."""
        with contextlib.suppress(ConnectionError):  # a parent killed before it heard `ready`
            while self._line.recv(1):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(self._grace_s + _LAST_S)
        os._exit(1)
