"""The service as a real process on a free port of this machine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2

from service.settings import PREFIX

START_S = 60
REPOSITORY = Path(__file__).parents[2]


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def service(
    port: int, registry: Path, log: Path, settings: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A real process, ready to answer; killed at the end if it still runs.

    Args:
        port: Free.
        registry: Folder of its models.
        log: File for its standard error.
        settings: More of its environment.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
    environment |= {"LESION_PORT": str(port), "LESION_MODEL_REGISTRY": str(registry)}
    environment |= {"LESION_DRAIN_SECONDS": "0"}  # no load balancer has to notice
    environment |= {"LESION_DEADLINE_SECONDS": "120"}  # the machine may be busy
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=REPOSITORY,
            env=environment | dict(settings or {}),
            stderr=stderr,
        )
    try:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.1)
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        process.kill()
        process.wait()
