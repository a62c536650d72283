import inspect

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import model_core.errors
import service.contract.errors
from model_core.errors import (
    DatasetError,
    GateError,
    InputError,
    SegmentationError,
    UnreadableImageError,
    VersionExistsError,
)
from service.contract.problems import BY_SLUG, INTERNAL, PROBLEMS, problem_of
from tests.fixtures.service.problems import assert_problem


def leaves() -> list[type[SegmentationError]]:
    """Error classes of both packages that no other one specialises."""
    classes = [
        kind
        for module in (model_core.errors, service.contract.errors)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, SegmentationError)
    ]
    return [kind for kind in classes if not any(kind in other.__bases__ for other in classes)]


@pytest.mark.parametrize("kind", leaves())
def test_every_error_class_has_its_problem(kind: type[SegmentationError]) -> None:
    only_the_trainer_raises = {DatasetError, GateError, VersionExistsError}
    assert (kind in PROBLEMS) == (kind not in only_the_trainer_raises)


def test_an_error_of_a_more_special_class_is_answered_as_its_base() -> None:
    class TornImageError(UnreadableImageError):
        pass

    assert problem_of(TornImageError()) is PROBLEMS[UnreadableImageError]
    assert problem_of(InputError()) is INTERNAL


def test_a_slug_stands_for_one_problem_only() -> None:
    assert len(BY_SLUG) == len({*PROBLEMS.values(), INTERNAL})


@pytest.mark.parametrize("slug", BY_SLUG)
def test_the_type_of_a_problem_is_the_address_of_its_page(client: TestClient, slug: str) -> None:
    page = client.get(f"/problems/{slug}")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert BY_SLUG[slug].title in page.text


def test_all_problems_are_on_one_page(client: TestClient) -> None:
    page = client.get("/problems").text
    assert all(f'id="{slug}"' in page for slug in BY_SLUG)


@pytest.mark.parametrize(
    "path", ["/nothing", "/segment/", "/models/a/b", "/problems/nix", "/docs/nix.js", "/%00%22%3C"]
)
def test_a_path_without_a_route_is_a_problem(client: TestClient, path: str) -> None:
    assert_problem(client.get(path), 404, "no-such-route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/segment", "POST"),
        ("DELETE", "/models", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
        ("BREW", "/docs", "GET, HEAD"),
    ],
)
def test_a_method_that_a_route_does_not_know_is_a_problem(
    client: TestClient, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)
    problem = assert_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == allowed
    assert problem.detail == f"this path does not take that method, it takes {allowed}"


def test_what_nobody_foresaw_is_a_plain_500_and_the_log_says_why(
    app: FastAPI, caplog: pytest.LogCaptureFixture
) -> None:
    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError("name of a patient")

    with TestClient(app) as client:
        response = client.get("/crash", headers={"X-Request-Id": "crash-1"})
        assert_problem(response, 500, "internal-error")
        assert "patient" not in response.text
        assert client.get("/healthz").status_code == 200
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "crash-1" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


def test_a_detail_may_hold_what_utf8_cannot(app: FastAPI) -> None:
    @app.get("/surrogate")
    async def surrogate() -> None:
        raise UnreadableImageError("half a character: \ud800")

    with TestClient(app) as client:
        response = client.get("/surrogate")
    assert response.status_code == 422
    assert response.json()["detail"] == "half a character: \ud800"
