import re
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from service.app import create_app
from service.server.headers import HEADERS
from service.settings import Settings
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem
from tests.fixtures.service.process import free_port, service
from tests.fixtures.service.raw import raw
from tests.fixtures.service.reloading import served

PNG = encode(lesion(48, 64))
ORIGIN = "https://tool.example.org"


@pytest.mark.parametrize("path", ["/healthz", "/models", "/nothing", "/models/9.9.9", "/metrics"])
def test_every_answer_carries_the_security_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS


def test_masks_are_stored_by_nobody_on_the_way(client: TestClient) -> None:
    response = client.post("/segment", files={"image": PNG})
    assert response.headers.get_list("cache-control") == ["no-store"]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_a_crash_carries_them_too(app: FastAPI) -> None:
    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError

    with TestClient(app) as client:
        assert client.get("/crash").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("page", ["/docs", "/problems", "/problems/rate-limited"])
def test_a_page_runs_no_script_but_its_own_and_goes_into_no_frame(
    client: TestClient, page: str
) -> None:
    response = client.get(page)
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    scripts = re.search(r"script-src ([^;]*)", policy)
    assert scripts
    assert "unsafe" not in scripts[1]
    assert scripts[1].count("sha256-") == response.text.count("<script>")


def test_a_file_of_the_documentation_may_be_kept(client: TestClient) -> None:
    assert client.get("/docs/swagger-ui.css").headers["cache-control"] == "max-age=86400"


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/models", "/models/1.0.0", "/metrics", "/openapi.json",
             "/docs", "/problems"]
)  # fmt: skip
def test_head_answers_as_get_without_a_body(client: TestClient, path: str) -> None:
    get, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # it counts this very request
        assert head.headers["content-length"] == get.headers["content-length"]


def test_head_of_what_takes_none_is_a_problem_without_its_body(client: TestClient) -> None:
    response = client.head("/segment")
    assert (response.status_code, response.headers["allow"], response.content) == (405, "POST", b"")


def test_no_other_origin_may_read_answers_by_default(client: TestClient) -> None:
    assert not cors(client.get("/healthz", headers={"Origin": ORIGIN}))
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    response = client.options("/segment", headers=preflight)
    assert_problem(response, 405, "method-not-allowed")
    assert not cors(response)


def test_the_origins_of_the_setting_may_and_no_others(settings: Settings) -> None:
    origins = f"https://other.example.org, {ORIGIN}"
    with TestClient(create_app(settings.model_copy(update={"cors_origins": origins}))) as client:
        preflight = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, x-api-key",
        }
        response = client.options("/segment", headers=preflight)
        assert response.status_code == 204
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "x-api-key" in response.headers["access-control-allow-headers"].lower()
        answer = client.post("/segment", files={"image": PNG}, headers={"Origin": ORIGIN})
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert set(re.split(", ?", answer.headers["vary"])) == {"Accept", "Origin"}
        problem = client.post("/segment", headers={"Origin": ORIGIN})
        assert problem.headers["access-control-allow-origin"] == ORIGIN
        stranger = client.options(
            "/segment", headers=preflight | {"Origin": "https://evil.example.org"}
        )
        assert_problem(stranger, 405, "method-not-allowed")
        assert not cors(stranger)


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("cache-control,x-requested-with", True),
        ("accept, content-type, pragma, if-modified-since", True),
        ("content-disposition,x-file-name,x-file-size,x-file-type,x-mime-type", True),
        ("baggage,sentry-trace,traceparent,tracestate", True),
        ("x-http-method-override", False),
        ("x-forwarded-for", False),
    ],
)
def test_upload_widgets_may_send_what_carries_no_authority(
    settings: Settings, asked: str, allowed: bool
) -> None:
    app = create_app(settings.model_copy(update={"cors_origins": ORIGIN}))
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    response = TestClient(app).options("/segment", headers=preflight)  # its lifespan is not needed
    offered = re.split(", ?", response.headers["access-control-allow-headers"].lower())
    assert set(re.split(", ?", asked)) <= set(offered) or not allowed
    assert allowed or asked not in offered


def test_what_is_refused_at_the_connection_or_crashes_can_be_read_by_their_pages_too(
    settings: Settings,
) -> None:
    app = create_app(settings.model_copy(update={"cors_origins": ORIGIN}))

    @app.get("/crash")
    async def crash() -> None:
        raise RuntimeError

    with served(app, plain=False) as url:
        with raw(url) as caller:
            caller.head("/segment", f"Origin: {ORIGIN}", "X-A: " + "a" * 40_000)
            status, headers, _ = caller.answer()
        crashed = httpx2.get(f"{url}/crash", headers={"Origin": ORIGIN})
        stranger = httpx2.get(f"{url}/crash", headers={"Origin": "https://evil.example.org"})
    assert (status, crashed.status_code, stranger.status_code) == (431, 500, 500)
    for each in (headers, crashed.headers):
        assert each["access-control-allow-origin"] == ORIGIN
        assert "X-Request-Id" in each["access-control-expose-headers"]
    assert not cors(stranger)
    assert stranger.headers["vary"] == "Origin"


def cors(response: object) -> list[str]:
    headers = getattr(response, "headers", {})
    return [name for name in headers if name.startswith("access-control")]


@pytest.mark.foreign
def test_swagger_draws_its_page_under_our_policy(registry_root: Path, tmp_path: Path) -> None:
    """A browser that obeys the policy still shows the routes."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    port = free_port()
    with service(port, registry_root, tmp_path / "log"):
        run = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000",
             f"--user-data-dir={tmp_path}/profile", "--enable-logging=stderr", "--dump-dom",
             f"http://127.0.0.1:{port}/docs"],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert "Segment the lesion of an image" in run.stdout
    assert "Content Security Policy" not in run.stderr
