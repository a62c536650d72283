"""Write the audit log: who asked for what and how it ended, one JSON object a line.

It holds what `ticket` may hold, and no more: no pixel, no file name, no text of a file.

Why not `logging`'s QueueListener and WatchedFileHandler: the handler opens files outside of its
`handleError`, so the listener's thread ends for good where the folder is away at a rotation; and
`logging.shutdown` waits for the lock of a handler that is writing, so a disk that hangs would keep
the process from ending.
"""

import json
import logging
import os
import queue
import sys
import threading
import time
from pathlib import Path

from model_core.errors import ConfigError
from service.telemetry.logs import utc_text
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import Ticket

STDOUT = "-"
_MAX_WAITING = 100_000
"""Lines that wait for the disk; beyond, they are lost and counted. Some 60 MB."""
_FLUSH_S = 10.0
"""How long the process's end may wait for the disk."""
_COMPLAINT_S = 60.0
"""Time between two lines in the log about an audit log that cannot be written."""

logger = logging.getLogger("service.audit")


class AuditLog:
    """Appends to a file, or to standard output.

    Each line is one write at the end of the file, so that a process that replaces another may share
    it. A file that is moved away (logrotate) is made again. A thread of its own writes: a disk may
    take a second.

    Args:
        target: A file's path, or `-` for standard output.
        telemetry: Where lines that could not be written are counted.

    Raises:
        ConfigError: the file cannot be opened.
    """

    def __init__(self, target: str, telemetry: Telemetry) -> None:
        self._target = target
        self._telemetry = telemetry
        self._complained_s = -_COMPLAINT_S
        try:
            self._file = _open(target)
        except OSError as exc:
            raise ConfigError(f"LESION_AUDIT_LOG is {target}: {exc.strerror}") from exc
        self._waiting: queue.Queue[bytes] = queue.Queue(_MAX_WAITING)
        threading.Thread(target=self._write_on, name="audit", daemon=True).start()

    def flush(self) -> None:
        """Come back once all lines are written, or have failed, or the disk hangs."""
        with self._waiting.all_tasks_done:
            self._waiting.all_tasks_done.wait_for(
                lambda: not self._waiting.unfinished_tasks, _FLUSH_S
            )

    def write(
        self, ticket: Ticket, *, method: str, route: str, status: int, seconds: float
    ) -> None:
        """Note a request that has ended, soon; a failure is counted, and stops nobody."""
        line = json.dumps(
            {
                "time": utc_text(time.time()),
                "request_id": ticket.id,
                "trace_id": ticket.trace_id,
                "key": ticket.caller,
                "method": method,
                "route": route,
                "status": status,
                "problem": ticket.problem,
                "model_sha256": ticket.model_sha256,
                "bytes_in": ticket.bytes_in,
                "bytes_out": ticket.bytes_out,
                "images": [{"height": height, "width": width} for height, width in ticket.sizes],
                "ms": round(seconds * 1000, 1),
                "stages_ms": {stage: round(s * 1000, 1) for stage, s in ticket.seconds.items()},
            }
        )
        try:
            self._waiting.put_nowait(f"{line}\n".encode())
        except queue.Full:
            self._fail("the disk is too slow")

    def _write_on(self) -> None:
        while True:
            line = self._waiting.get()
            try:
                self._append(line)
            except OSError as exc:
                self._fail(exc.strerror)
            finally:
                self._waiting.task_done()

    def _fail(self, reason: str | None) -> None:
        self._telemetry.audit_failures.inc()
        if time.monotonic() - self._complained_s >= _COMPLAINT_S:
            self._complained_s = time.monotonic()
            logger.error("audit=failed reason=%s", reason)

    def _append(self, line: bytes) -> None:
        if self._target != STDOUT and _moved(self._file, self._target):
            # In this order: a number that is closed already is soon another file's or caller's.
            former, self._file = self._file, _open(self._target)
            os.close(former)
        if os.write(self._file, line) != len(line):
            raise OSError(0, "only part of a line could be written")


def _open(target: str) -> int:
    if target == STDOUT:
        return sys.__stdout__.fileno() if sys.__stdout__ else 1
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _moved(file: int, target: str) -> bool:
    try:
        there = Path(target).stat()
    except FileNotFoundError:
        return True
    here = os.fstat(file)
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
