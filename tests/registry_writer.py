"""A process that writes to registries, and can be killed at any step of it.

`python -m tests.registry_writer` reads lists of jobs from stdin, one JSON line each. It does the
jobs of a list at the same time, each in a child of its own (a fork, so that torch is imported
once), and answers with a JSON list of what became of them: `done`, `killed`, or the error's name.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import s3fs  # type: ignore[import-untyped]

from model_core import errors
from model_core.registry import Registry
from tests.models import CARD, NAME
from tests.pictures import encode, lesion

REPOSITORY = Path(__file__).parent.parent
PICTURE = encode(lesion(48, 64))
STEPS = {"storage.py", "object_storage.py", "version.py", "aliases.py"}
EVENTS = ("os.", "shutil.", "tempfile.", "fcntl.", "open")
TRACERS: list["subprocess.Popen[str]"] = []
ERRORS: list[type[Exception]] = [
    errors.VersionExistsError,
    errors.VersionNotFoundError,
    errors.ModelError,
]
ERROR = 10
"""Exit code of the first of them."""


class Writer:
    """The process, seen from a test."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def start(self, *jobs: dict[str, Any]) -> None:
        """Let it start jobs, all at once."""
        assert self._process.stdin is not None
        print(json.dumps(jobs), file=self._process.stdin, flush=True)

    def answers(self) -> list[str]:
        """What became of them, once they have ended."""
        assert self._process.stdout is not None
        answers: list[str] = json.loads(self._process.stdout.readline())
        return answers


@contextmanager
def running_writer() -> Iterator[Writer]:
    """The process, until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.registry_writer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        yield Writer(process)
        assert process.stdin is not None
        process.stdin.close()


def do(registry: Registry, job: dict[str, Any]) -> None:
    """Do one job: publish, promote or roll back."""
    if job["do"] == "publish":
        card = replace(CARD, version=job["version"], licence=job.get("licence", "Apache-2.0"))
        registry.publish(card, Path(job["weights"]), PICTURE)
    elif job["do"] == "promote":
        registry.promote(NAME, job["version"], alias=job.get("alias", "production"))
    else:
        registry.rollback(NAME)


def _main() -> None:
    for line in sys.stdin:
        gate, starter = os.pipe()
        children = [_start(job, gate, starter) for job in json.loads(line)]
        os.close(gate)
        os.close(starter)
        outcomes = [_outcome(child) for child in children]
        while TRACERS:
            TRACERS.pop().communicate()
        print(json.dumps(outcomes), flush=True)


def _start(job: dict[str, Any], gate: int, starter: int) -> int:
    if child := os.fork():
        if "kill_at_call" in job:
            _trace(child, job["kill_at_call"])
        return child
    os.close(starter)
    os.read(gate, 1)  # until all have been started
    status = 0
    try:
        registry = Registry(job["root"], cache=Path(job["cache"]))
        if job.get("kill_at"):
            _kill_at(job["kill_at"], requests="://" in job["root"])
        do(registry, job)
    except Exception as exc:
        sys.settrace(None)
        status = ERROR + ERRORS.index(type(exc)) if type(exc) in ERRORS else 1
        if status == 1:
            print(repr(exc), file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _trace(child: int, inject: str) -> None:
    """Let strace kill a child that waits at the gate, at a system call that it has yet to make."""
    calls = inject.partition(":")[0]
    command = ["strace", "-p", str(child), "-e", f"trace={calls}", "-e", f"inject={inject}"]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    assert "attached" in tracer.stderr.readline()
    # Nobody reads the rest: it is too short to fill the pipe, and ends with the child.
    TRACERS.append(tracer)


def _outcome(child: int) -> str:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code >= ERROR:
        return ERRORS[code - ERROR].__name__
    return {0: "done", -signal.SIGKILL: "killed"}.get(code, "failed")


def _kill_at(step: int, *, requests: bool) -> None:
    """Die at a step of the work: before or after a request to S3, else a line of ours or a call."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    if requests:
        call = s3fs.S3FileSystem._call_s3

        async def counted(*args: Any, **kwargs: Any) -> Any:
            count()
            answer = await call(*args, **kwargs)
            count()
            return answer

        s3fs.S3FileSystem._call_s3 = counted
        return

    def trace(frame: Any, event: str, _: object) -> Any:
        if Path(frame.f_code.co_filename).name not in STEPS:
            return None
        if event == "line":
            count()
        return trace

    sys.settrace(trace)
    sys.addaudithook(lambda event, _: count() if event.startswith(EVENTS) else None)


if __name__ == "__main__":
    _main()
