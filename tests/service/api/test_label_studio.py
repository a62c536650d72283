"""What Label Studio asks of a backend, against a stand-in for its files."""

import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from model_core.errors import ConfigError
from model_core.masks.brush import decode_brush
from model_core.masks.coco_json import decode_segmentation
from model_core.masks.png import decode_mask
from service.settings import load_settings
from tests.fixtures.models import NAME
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem
from tests.service.access.test_auth import Keys

Json = dict[str, Any]
Make = Callable[..., FastAPI]
PHOTO = encode(lesion(48, 64))
BRUSH = """<View><Image name="image" value="$photo"/>
<BrushLabels name="tag" toName="image"><Label value="Lesion"/><Label value="hair"/></BrushLabels>
</View>"""
POLYGON = BRUSH.replace("BrushLabels", "PolygonLabels")
TOKEN = "0123456789abcdef"
PERSONAL = "aaa.bbb.ccc"


class Studio:
    """A stand-in for Label Studio: files for whoever has the token, and a list of what was asked.

    Attributes:
        url: Its address.
        asked: Path and Authorization of every request.
        files: Content by path.
        moved: Where a path redirects to.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.files: dict[str, bytes] = {"/data/upload/1/a.png": PHOTO}
        self.moved: dict[str, str] = {}
        self.tokens = {f"Token {TOKEN}", "Bearer short"}
        studio = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._note()
                if self.path in studio.moved:
                    self._answer(302, b"", Location=studio.moved[self.path])
                elif self.headers.get("Authorization", "") not in studio.tokens:
                    self._answer(401, b"{}")
                elif self.path in studio.files:
                    self._answer(200, studio.files[self.path])
                else:
                    self._answer(404, b"")

            def do_POST(self) -> None:
                self._note()
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                right = self.path == "/api/token/refresh/" and sent == {"refresh": PERSONAL}
                self._answer(200 if right else 401, b'{"access": "short"}' if right else b"{}")

            def _note(self) -> None:
                studio.asked.append((self.path, self.headers.get("Authorization", "")))

            def _answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def studio() -> Iterator[Studio]:
    studio = Studio()
    thread = threading.Thread(target=studio.server.serve_forever, daemon=True)
    thread.start()
    yield studio
    studio.server.shutdown()
    thread.join()
    studio.server.server_close()


@pytest.fixture
def backend(make: Make, studio: Studio) -> Iterator[TestClient]:
    """A client of an application that predicts for the stand-in."""
    with TestClient(make(label_studio_url=studio.url, label_studio_token=TOKEN)) as client:
        yield client


def ask(client: TestClient, *names: str, config: str = BRUSH, **more: Any) -> httpx2.Response:
    tasks = [{"id": 10 + i, "project": 1, "data": {"photo": name}} for i, name in enumerate(names)]
    body = {"tasks": tasks, "project": "1.1", "label_config": config, "params": {}}
    return client.post("/label-studio/predict", content=json.dumps(body), **more)


def test_a_prediction_is_the_mask_as_a_brush_with_score_and_version(
    backend: TestClient, studio: Studio
) -> None:
    response = ask(backend, "/data/upload/1/a.png")
    assert response.status_code == 200, response.text
    (prediction,) = response.json()["results"]
    assert (prediction["model_version"], prediction["score"]) == (f"{NAME}@1.0.0", None)
    (region,) = prediction["result"]
    assert region["type"] == "brushlabels"
    assert (region["from_name"], region["to_name"]) == ("tag", "image")
    assert region["value"]["brushlabels"] == ["Lesion"]
    assert (region["original_width"], region["original_height"]) == (64, 48)
    found = decode_brush(region["value"]["rle"], height=48, width=64, max_pixels=10_000)
    own = decode_mask(backend.post("/segment", files={"image": PHOTO}).content)
    assert np.array_equal(found, own)
    assert studio.asked == [("/data/upload/1/a.png", f"Token {TOKEN}")]


def test_where_the_project_has_polygons_they_are_in_percent(backend: TestClient) -> None:
    (prediction,) = ask(backend, "/data/upload/1/a.png", config=POLYGON).json()["results"]
    (region,) = prediction["result"]
    assert (region["type"], region["value"]["polygonlabels"]) == ("polygonlabels", ["Lesion"])
    assert region["value"]["closed"] is True
    ring = [side for x, y in region["value"]["points"] for side in (x * 0.64, y * 0.48)]
    found = decode_segmentation([ring], max_pixels=10_000, shape=(48, 64))
    own = decode_mask(backend.post("/segment", files={"image": PHOTO}).content)
    assert (found ^ own).sum() < 0.05 * own.sum()


def test_skin_without_a_lesion_is_a_prediction_without_regions(
    backend: TestClient, studio: Studio
) -> None:
    bright = np.full((48, 64, 3), 250, np.uint8)

    studio.files["/data/b.png"] = encode(Image.fromarray(bright))
    (prediction,) = ask(backend, "/data/b.png").json()["results"]
    assert prediction["result"] == []
    assert prediction["model_version"] == f"{NAME}@1.0.0"


def test_a_personal_access_token_buys_a_short_one_once_a_request(
    make: Make, studio: Studio
) -> None:
    app = make(label_studio_url=studio.url, label_studio_token=PERSONAL)
    with TestClient(app) as client:
        assert ask(client, *["/data/upload/1/a.png"] * 3).status_code == 200
    paths = [path for path, _ in studio.asked]
    assert paths.count("/api/token/refresh/") == 1
    assert {key for path, key in studio.asked if path.startswith("/data")} == {"Bearer short"}


def test_a_photograph_in_a_bucket_comes_through_label_studio(
    backend: TestClient, studio: Studio
) -> None:
    name = "s3://clinic/a.png"
    path = f"/tasks/10/resolve/?fileuri={urlsafe_b64encode(name.encode()).decode()}"
    studio.files[path] = PHOTO
    assert ask(backend, name).json()["results"][0]["result"]


@pytest.mark.parametrize(
    "name",
    [
        "{other}/data/upload/1/a.png",
        "//{other_host}/data/upload/1/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1:{port}/data/upload/1/a.png",
        "http://user@127.0.0.1:{port}/data/upload/1/a.png",
        "http://127.0.0.1:{port}@{other_host}/data/a.png",
        "http://localhost:{port}/data/upload/1/a.png",
        "/api/current-user/token",
        "/data/../api/current-user/token",
        "/data/%2e%2e/api/current-user/token",
        "/user/logout",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "/\\\\{other_host}/data/a.png",
        "http://[::1",
        "s3://bucket/\ud800.png",  # half a character, which JSON can write
        "",
    ],
)
def test_a_photograph_that_is_elsewhere_is_never_asked_for(
    backend: TestClient, studio: Studio, name: str
) -> None:
    other = Studio()  # listens, and would note whoever asks
    thread = threading.Thread(target=other.server.serve_forever, daemon=True)
    thread.start()
    host = other.url.removeprefix("http://")
    sent = name.format(other=other.url, other_host=host, port=studio.url.rpartition(":")[2])
    response = ask(backend, sent)
    other.server.shutdown()
    thread.join()
    other.server.server_close()
    problem = assert_problem(response, 422, "invalid-request")
    assert "photograph" in (problem.detail or "")
    assert sent[1:] not in (problem.detail or "") or not sent[1:]
    assert studio.asked == other.asked == []


@pytest.mark.parametrize("where", ["http://127.0.0.1:1/data/x", "/data/upload/1/a.png", "//x/y"])
def test_no_redirect_is_followed(backend: TestClient, studio: Studio, where: str) -> None:
    studio.moved["/data/upload/1/moved.png"] = where
    problem = assert_problem(ask(backend, "/data/upload/1/moved.png"), 422, "invalid-request")
    assert "Label Studio sends elsewhere" in (problem.detail or "")
    assert len(studio.asked) == 1


def test_one_bad_task_harms_no_other_and_gets_no_prediction(
    backend: TestClient, studio: Studio, caplog: pytest.LogCaptureFixture
) -> None:
    studio.files["/data/text.png"] = b"no photograph"
    names = ["/data/upload/1/a.png", "/data/text.png", "/data/gone.png", "http://x/Jane.png"]
    results = ask(backend, *names).json()["results"]
    assert [isinstance(result, dict) for result in results] == [True, False, False, False]
    assert results[1:] == [[], [], []]
    assert "label_studio_task=11" in caplog.text
    assert "Label Studio has no such photograph (404)" in caplog.text
    assert "Jane" not in caplog.text


def test_a_photograph_larger_than_a_body_may_be_is_not_read_to_its_end(
    make: Make, studio: Studio
) -> None:
    app = make(label_studio_url=studio.url, label_studio_token=TOKEN, max_body_bytes=20_000)
    studio.files["/data/large.png"] = bytes(30_000)
    with TestClient(app) as client:
        assert_problem(ask(client, "/data/large.png"), 413, "body-too-large")


@pytest.mark.parametrize(
    ("token", "detail"),
    [("wrong", "refuses the photograph (401): is LESION_LABEL_STUDIO_TOKEN a token of a user"),
     ("x.y.z", "refuses the photograph (401)"), (None, "refuses the photograph (401)")],
)  # fmt: skip
def test_a_token_that_label_studio_refuses_is_said(
    make: Make, studio: Studio, token: str | None, detail: str
) -> None:
    with TestClient(make(label_studio_url=studio.url, label_studio_token=token)) as client:
        response = ask(client, *["/data/upload/1/a.png"] * 50)
    assert len(studio.asked) <= 8, "not once for each task"
    problem = assert_problem(response, 503, "label-studio-unavailable")
    assert detail in (problem.detail or "")


def test_a_label_studio_that_is_away_is_said(make: Make, studio: Studio) -> None:
    with TestClient(make(label_studio_url="http://127.0.0.1:1")) as client:
        response = ask(client, "/data/upload/1/a.png")
    problem = assert_problem(response, 503, "label-studio-unavailable")
    assert problem.detail == "Label Studio does not answer: ConnectError"


def test_health_setup_versions_and_webhooks_answer_as_label_studio_expects(
    backend: TestClient,
) -> None:
    assert backend.get("/label-studio/health").json() == {"status": "UP", "model_class": NAME}
    assert backend.get("/label-studio/versions").json() == {"versions": [f"{NAME}@1.0.0"]}
    body = {"project": "1.1", "schema": BRUSH, "hostname": "http://x", "access_token": "t"}
    answer = backend.post("/label-studio/setup", json=body)
    assert answer.json() == {"model_version": f"{NAME}@1.0.0"}
    assert backend.post("/label-studio/webhook", json={"action": "START_TRAINING"}).json() == {}


@pytest.mark.parametrize(
    ("config", "detail"),
    [
        (None, "expected a labelling configuration"),
        ("<View>", "is not XML"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><View>&b;</View>", "declares entities"),
        ("<View/>", "has no BrushLabels and no PolygonLabels"),
        (BRUSH.replace("</View>", "<BrushLabels name='b' toName='image'/></View>"), "has 2 BrushL"),
        (BRUSH.replace("Lesion", "Jane"), "several labels, expected one, or one that is called"),
        (BRUSH.replace('toName="image"', 'toName="other"'), "belongs to no <Image"),
        (BRUSH.replace("$photo", "photo"), "belongs to no <Image"),
        ("<" * 2_000_000, "expected a labelling configuration"),
    ],
)
def test_a_project_without_a_place_for_an_outline_is_told_so_when_it_connects(
    backend: TestClient, config: object, detail: str
) -> None:
    response = backend.post("/label-studio/setup", json={"schema": config})
    problem = assert_problem(response, 422, "invalid-request")
    assert detail in (problem.detail or "")
    assert "Jane" not in response.text


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b'{"tasks": 1}'])
def test_a_body_that_is_not_label_studio_s_is_refused(backend: TestClient, body: bytes) -> None:
    assert_problem(backend.post("/label-studio/predict", content=body), 422, "invalid-request")


@pytest.mark.parametrize(
    "tasks",
    [[], {}, [1], [{"id": 1}], [{"id": 1, "data": {}}], [{"id": "1", "data": {"photo": "/data/a"}}],
     [{"id": 1, "data": {"photo": 3}}], [{"id": 1}] * 10_001],
)  # fmt: skip
def test_tasks_that_are_none_are_refused(backend: TestClient, tasks: object) -> None:
    body = {"tasks": tasks, "label_config": BRUSH}
    response = backend.post("/label-studio/predict", json=body)
    assert assert_problem(response, 422, "invalid-request").errors[0].field == "tasks"  # type: ignore[index]


def test_a_key_is_taken_as_the_password_of_basic_authentication_here_alone(
    make: Make, studio: Studio, tmp_path: Path
) -> None:
    keys = Keys(tmp_path / "keys.json")
    app = make(label_studio_url=studio.url, label_studio_token=TOKEN, api_keys_file=keys.path)
    right, other = keys.texts["segment"], keys.texts["evaluate"]
    with TestClient(app) as client:
        for path in ("health", "versions"):
            url = f"/label-studio/{path}"
            assert_problem(client.get(url), 401, "invalid-key")
            assert_problem(client.get(url, auth=("label-studio", "lsk_x")), 401, "invalid-key")
            assert_problem(client.get(url, auth=("label-studio", other)), 403, "missing-scope")
            assert client.get(url, auth=("label-studio", right)).status_code == 200
            assert client.get(url, headers=keys.bearer("segment")).status_code == 200
        assert ask(client, "/data/upload/1/a.png", auth=("x", right)).status_code == 200
        assert_problem(ask(client, "/data/upload/1/a.png"), 401, "invalid-key")
        response = client.post("/segment", files={"image": PHOTO}, auth=("x", right))
        assert_problem(response, 401, "invalid-key")


def test_without_its_address_there_are_no_such_routes(client: TestClient) -> None:
    assert_problem(client.get("/label-studio/health"), 404, "no-such-route")
    assert "/label-studio/health" not in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    "url", ["label-studio:8080", "ftp://x", "http://", "http://a@b", "http://x?y"]
)
def test_an_address_that_is_none_stops_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("LESION_LABEL_STUDIO_URL", url)
    with pytest.raises(ConfigError, match="LESION_LABEL_STUDIO_URL is "):
        load_settings()
