import re

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.fixtures.pictures import encode, lesion

PNG = encode(lesion(48, 64))
SECRET = "Jane-Doe-1970"


def samples(client: TestClient) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of /metrics by name and sorted labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize("request_id", ["a", "Case_17.b-2", "x" * 64])
def test_a_good_request_id_is_taken_over(client: TestClient, request_id: str) -> None:
    response = client.get("/healthz", headers={"X-Request-Id": request_id})
    assert response.headers.get_list("x-request-id") == [request_id]


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "a\tb", "a=b", "ä"])
def test_any_other_request_id_is_replaced(client: TestClient, request_id: str) -> None:
    response = client.get("/healthz", headers=[(b"X-Request-Id", request_id.encode())])
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


def test_a_request_without_an_id_gets_its_own(client: TestClient) -> None:
    first, second = (client.get("/nothing").headers["x-request-id"] for _ in "ab")
    assert first != second


def test_requests_are_counted_by_route_method_and_status(app: FastAPI) -> None:
    with TestClient(app) as client:
        client.post("/segment", files={"image": PNG})
        client.get("/models/1.0.0")
        client.get("/models/9.9.9")
        client.get(f"/{SECRET}")
        client.request("BREW", "/healthz")
        found = samples(client)
    counts = {
        tuple(value for _, value in labels): int(count)
        for (name, labels), count in found.items()
        if name == "lesion_http_requests_total"
    }
    assert counts == {  # method, route, status
        ("POST", "/segment", "200"): 1,
        ("GET", "/models/{version}", "200"): 1,
        ("GET", "/models/{version}", "404"): 1,
        ("GET", "unmatched", "404"): 1,
        ("other", "/healthz", "405"): 1,
    }
    duration = (("method", "POST"), ("route", "/segment"))
    assert found["lesion_http_request_duration_seconds_count", duration] == 1
    for stage in ("decode", "queue", "infer", "encode"):
        assert found["lesion_stage_duration_seconds_count", (("stage", stage),)] == 1


def test_the_model_in_production_is_named(client: TestClient) -> None:
    (labels,) = [dict(labels) for name, labels in samples(client) if name == "lesion_model_info"]
    assert (labels["name"], labels["version"]) == ("lesion-unet", "1.0.0")
    assert labels["backend"].startswith("pytorch-")
    assert len(labels["sha256"]) == 64


def test_two_applications_count_apart(app: FastAPI, client: TestClient) -> None:
    client.get("/healthz")
    assert not any(name == "lesion_http_requests_total" for name, _ in samples(TestClient(app)))


def test_each_request_is_one_line_and_says_nothing_of_its_content(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    client.post(
        f"/segment?model={SECRET.lower()}",
        files={"image": (f"{SECRET}.png", PNG, "image/png")},
        headers={"X-Request-Id": "r-1"},
    )
    client.post("/segment", files={SECRET: (f"{SECRET}.png", SECRET.encode())})
    client.get(f"/models/{SECRET.lower()}")
    client.get(f"/{SECRET}?name={SECRET}", headers={"Referer": SECRET, "User-Agent": SECRET})
    lines = [record.getMessage() for record in caplog.records if record.name == "service.requests"]
    assert len(lines) == 4
    assert re.fullmatch(r"method=POST route=/segment status=404 ms=[\d.]+ request_id=r-1", lines[0])
    ours = [record for record in caplog.records if not record.name.startswith("http")]
    assert SECRET.lower() not in "\n".join(record.getMessage().lower() for record in ours)
    assert SECRET.lower() not in client.get("/metrics").text.lower()
