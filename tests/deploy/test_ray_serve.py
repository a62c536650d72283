"""The application on Ray Serve: its config, and real replicas that are killed and replaced."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.client import Client, Retries
from service.settings import PREFIX, Settings
from tests.fixtures.models import NAME, dark_predictor, tiny_registry
from tests.fixtures.pictures import encode, lesion

yaml = pytest.importorskip("yaml")
pytest.importorskip("ray.serve", reason="the extra `ray` is not installed", exc_type=ImportError)
from deploy.ray_serve import WITHOUT_EFFECT  # noqa: E402
from tests.deploy.ray_cluster import CONFIG, RayCluster, ray_cluster  # noqa: E402

PHOTO = encode(lesion(300, 400))
OLD, NEW = "1.0.0", "1.1.0"
PATIENT = Retries(attempts=8, first_wait_s=0.5)
"""A killed replica's place may be empty for seconds on a busy machine."""


def config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(CONFIG.read_text("utf-8"))
    return found


def deployment() -> dict[str, Any]:
    (found,) = config()["applications"][0]["deployments"]
    return dict(found)


def test_ray_reads_the_config() -> None:
    from ray.serve.schema import ServeDeploySchema

    ServeDeploySchema.model_validate(config())


def test_every_variable_of_the_config_is_a_setting_that_has_an_effect() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert known >= WITHOUT_EFFECT
    assert set(config()["applications"][0]["runtime_env"]["env_vars"]) <= known - WITHOUT_EFFECT


def test_the_service_itself_refuses_what_is_too_much_and_ends_what_it_began() -> None:
    settings, found = Settings(), deployment()
    assert found["max_ongoing_requests"] > settings.max_queue
    assert found["graceful_shutdown_timeout_s"] > settings.evaluation_seconds
    assert found["max_surge_percent"] == 100
    assert config()["logging_config"]["enable_access_log"] is False


class Callers:
    """Threads that ask for the mask of one photograph until told to stop.

    Attributes:
        versions: The version that gave each answer.
        seconds: How long each took, retries included.
        lost: What no retry helped against.
    """

    def __init__(self, url: str, threads: int = 4) -> None:
        self.versions: list[str] = []
        self.seconds: list[float] = []
        self.lost: list[Exception] = []
        self._url, self._threads = url, threads
        self._stop = threading.Event()
        self._expected = dark_predictor().predict(PHOTO).mask
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> "Callers":
        self._calls = [self._pool.submit(self._call) for _ in range(self._threads)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for call in self._calls:
            call.result()

    def _call(self) -> None:
        with Client(self._url, retries=PATIENT, timeout_s=120) as client:
            while not self._stop.is_set():
                began = time.perf_counter()
                try:
                    found = client.segment(PHOTO)
                except Exception as exc:
                    self.lost.append(exc)
                    continue
                assert np.array_equal(found.mask, self._expected)
                self.seconds.append(time.perf_counter() - began)
                self.versions.append(found.model.version)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_registry(tmp_path_factory.mktemp("registry"), NEW, OLD).root


@pytest.fixture(scope="module")
def settings(root: Path) -> dict[str, str]:
    return {
        "LESION_MODEL_REGISTRY": str(root),
        "LESION_MODEL_VERSION": OLD,
        "LESION_BACKEND": "pytorch-fp32",
    }


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, settings: dict[str, str]
) -> Iterator[RayCluster]:
    with ray_cluster(tmp_path_factory.mktemp("ray")) as found:
        found.deploy(replicas=2, settings=settings)
        found.wait_until(lambda: found.is_running(2))
        yield found


@pytest.mark.foreign
def test_a_request_gets_the_service_s_own_answer_with_one_id(cluster: RayCluster) -> None:
    headers = {"X-Request-Id": "chosen-by-the-caller"}
    answer = httpx.post(f"{cluster.url}/segment", files={"image": PHOTO}, headers=headers)
    assert answer.headers["X-Model-Version"] == f"{NAME}@{OLD}"
    assert answer.headers.get_list("X-Request-Id") == ["chosen-by-the-caller"]
    problem = httpx.post(f"{cluster.url}/segment", files={"image": b"nothing"})
    assert (problem.status_code, problem.headers["content-type"]) == (
        415,
        "application/problem+json",
    )
    assert problem.headers.get_list("X-Request-Id") == [problem.json()["request_id"]]


@pytest.mark.foreign
def test_a_replica_killed_under_load_loses_no_request_of_a_client_that_asks_again(
    cluster: RayCluster,
) -> None:
    with Callers(cluster.url) as callers:
        cluster.wait_until(lambda: len(callers.versions) > 20)
        first = min(cluster.replicas())
        os.kill(first, signal.SIGKILL)
        done = len(callers.versions)
        cluster.wait_until(lambda: len(callers.versions) > done + 40)
        cluster.wait_until(lambda: first not in cluster.replicas() and cluster.is_running(2))
    assert callers.lost == []


@pytest.mark.foreign
def test_another_version_is_rolled_out_and_no_caller_notices(
    cluster: RayCluster, settings: dict[str, str]
) -> None:
    with Callers(cluster.url) as callers:
        cluster.wait_until(lambda: callers.versions)
        cluster.deploy(replicas=2, settings=settings | {"LESION_MODEL_VERSION": NEW})
        cluster.wait_until(lambda: NEW in callers.versions and cluster.is_running(2))
        cluster.wait_until(lambda: set(callers.versions[-20:]) == {NEW})
    assert callers.lost == []
    assert set(callers.versions) == {OLD, NEW}


@pytest.mark.foreign
def test_a_version_that_cannot_be_loaded_leaves_the_former_one_serving(
    cluster: RayCluster, settings: dict[str, str]
) -> None:
    before = cluster.replicas()
    with Callers(cluster.url) as callers:
        cluster.deploy(replicas=2, settings=settings | {"LESION_MODEL_VERSION": "9.9.9"})
        cluster.wait_until(lambda: "9.9.9" in cluster.deployment().get("message", ""))
        done = len(callers.versions)
        cluster.wait_until(lambda: len(callers.versions) > done + 20)
    assert callers.lost == []
    assert before <= cluster.replicas()
