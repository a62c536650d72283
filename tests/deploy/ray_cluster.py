"""A Ray cluster of one node on free ports of this machine, with our Serve config on it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from service.settings import PREFIX
from tests.conftest import REPOSITORY
from tests.fixtures.service.process import free_port

yaml = pytest.importorskip("yaml")

CONFIG = REPOSITORY / "deploy" / "ray_serve.yaml"
START_S = 300
"""Ray starts a dozen processes, and on a busy machine each takes its time."""
_BIN = Path(sys.executable).parent


class RayCluster:
    """A running cluster.

    Attributes:
        url: Address of the service, once something is deployed.
    """

    def __init__(self, folder: Path, dashboard: str) -> None:
        self._folder = folder
        self._dashboard = dashboard
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def deploy(self, *, replicas: int, settings: dict[str, str]) -> None:
        """Put our config into effect with so many replicas and these settings, as operators do."""
        config = yaml.safe_load(CONFIG.read_text("utf-8"))
        config["http_options"]["port"] = self._port
        (application,) = config["applications"]
        application["runtime_env"]["env_vars"] |= settings
        (deployment,) = application["deployments"]
        deployment["autoscaling_config"] |= {"min_replicas": replicas, "max_replicas": replicas}
        file = self._folder / "serve.yaml"
        file.write_text(yaml.safe_dump(config), "utf-8")
        command = [str(_BIN / "serve"), "deploy", "-a", self._dashboard, str(file)]
        run = subprocess.run(command, env=_environment(), capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr

    def application(self) -> dict[str, Any]:
        """What Ray says of the application."""
        answer = httpx.get(f"{self._dashboard}/api/serve/applications/", timeout=60).json()
        found: dict[str, Any] = answer.get("applications", {}).get("lesion", {})
        return found

    def deployment(self) -> dict[str, Any]:
        """What Ray says of the application's one deployment."""
        found: dict[str, Any] = self.application().get("deployments", {}).get("Segmentation", {})
        return found

    def replicas(self) -> set[int]:
        """Process IDs of the replicas that can answer."""
        found = self.deployment().get("replicas", [])
        return {each["pid"] for each in found if each["state"] == "RUNNING"}

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Come back once the condition holds."""
        deadline = time.monotonic() + START_S
        while not condition():
            assert time.monotonic() < deadline, self.application()
            time.sleep(0.2)

    def is_running(self, replicas: int) -> bool:
        """Whether the last deployment is whole."""
        running = self.application().get("status") == "RUNNING"
        return running and len(self.replicas()) == replicas


@contextmanager
def ray_cluster(folder: Path) -> Iterator[RayCluster]:
    """A cluster of its own beside any other on this machine; all its processes end with it."""
    dashboard = free_port()
    # Paths of sockets may have 107 letters, and those that Ray makes below this folder are long.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as own:
        command = [
            str(_BIN / "ray"), "start", "--head", "--block", "--num-cpus=4", "--num-gpus=0",
            f"--temp-dir={own}", f"--port={free_port()}", f"--dashboard-port={dashboard}",
            f"--dashboard-agent-listen-port={free_port()}", "--object-store-memory=100000000",
            f"--ray-client-server-port={free_port()}", "--dashboard-host=127.0.0.1",
            "--node-ip-address=127.0.0.1",
        ]  # fmt: skip
        with (folder / "ray.log").open("wb") as log:
            process = subprocess.Popen(
                command, cwd=REPOSITORY, env=_environment(), stdout=log, stderr=log
            )
        try:
            cluster = RayCluster(folder, f"http://127.0.0.1:{dashboard}")
            cluster.wait_until(lambda: process.poll() is not None or _answers(cluster))
            assert process.poll() is None, (folder / "ray.log").read_text()
            yield cluster
        finally:
            _end(process)


def _answers(cluster: RayCluster) -> bool:
    try:
        cluster.application()
    except (httpx.HTTPError, ValueError):
        return False
    return True


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return environment | {
        "PYTHONPATH": str(REPOSITORY),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
    for each in started:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(started, timeout=60)
    process.wait()
