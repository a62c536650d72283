"""Who may ask: every route by every kind of key."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model_core.errors import ConfigError
from service.access.keys import SCOPES, ApiKey, new_key
from service.app import create_app
from service.contract.problems import BY_SLUG
from service.settings import Settings, load_settings
from tests.conftest import REPOSITORY
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.problems import assert_problem

PNG = encode(lesion(48, 64))
OPEN = {"/healthz", "/readyz"}
"""Paths of the document that need no key."""


class Keys:
    """One key for each scope, one for all, and an expired one; and the file of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[str, str] = {}
        entries = [self._made(scope, {scope}) for scope in SCOPES]
        entries += [self._made("all", set(SCOPES)), self._made("expired", set(SCOPES))]
        entries[-1] = entries[-1].model_copy(update={"expires": datetime(2020, 1, 1, tzinfo=UTC)})
        listed = [entry.model_dump(mode="json") for entry in entries]
        path.write_text(json.dumps({"keys": listed}))

    def _made(self, name: str, scopes: set[str]) -> ApiKey:
        self.texts[name], entry = new_key(
            name.replace(":", "-"), frozenset(scopes), lifetime=timedelta(days=1)
        )
        return entry

    def bearer(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.texts[name]}"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def guarded(settings: Settings, keys: Keys) -> Iterator[TestClient]:
    with TestClient(create_app(settings.model_copy(update={"api_keys_file": keys.path}))) as client:
        yield client


def operations(client: TestClient) -> list[tuple[str, str, list[str]]]:
    """Method, path (its parameters filled in) and scope of every documented operation."""
    return [
        (method, re.sub(r"\{\w+\}", "production", path), operation.get("security", []))
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method, operation in methods.items()
    ]


def scope_of(security: list[dict[str, list[str]]]) -> str:
    scopes = {tuple(scopes) for way in security for scopes in way.values()}
    ((scope,),) = scopes
    return scope


def test_every_route_wants_a_key_but_the_probes_and_pages(guarded: TestClient) -> None:
    for method, path, security in operations(guarded):
        response = guarded.request(method, path)
        if path in OPEN:
            assert (response.status_code, security) == (200, []), path
        else:
            assert_problem(response, 401, "invalid-key")
            assert response.headers["www-authenticate"] == 'Bearer realm="lesion-segmentation"'
            assert scope_of(security) in SCOPES  # type: ignore[arg-type]
    for page in ("/", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/problems"):
        assert guarded.get(page).status_code == 200


def test_every_route_takes_its_scope_and_refuses_the_others(
    guarded: TestClient, keys: Keys
) -> None:
    for method, path, security in operations(guarded):
        if path in OPEN:
            continue
        needed = scope_of(security)  # type: ignore[arg-type]
        for scope in SCOPES:
            response = guarded.request(method, path, headers=keys.bearer(scope))
            if scope == needed:
                assert response.status_code not in (401, 403), (path, scope)
            else:
                problem = assert_problem(response, 403, "missing-scope")
                assert (
                    problem.detail == f"the key has the scopes {scope}, this route needs {needed}"
                )
                assert f'scope="{needed}"' in response.headers["www-authenticate"]


def test_a_key_is_taken_in_either_header(guarded: TestClient, keys: Keys) -> None:
    text = keys.texts["segment"]
    both = keys.bearer("segment") | {"X-API-Key": text}
    for headers in (keys.bearer("segment"), {"X-API-Key": text}, both):
        assert guarded.post("/segment", files={"image": PNG}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-API-Key": "nonsense"}, id="nonsense"),
        pytest.param({"X-API-Key": "lsk_" + "A" * 43}, id="well-formed and unknown"),
        pytest.param({"X-API-Key": "x" * 5_000}, id="very long"),
        pytest.param({"Authorization": "Bearer"}, id="scheme alone"),
        pytest.param({"Authorization": "Basic bGVzaW9uOmxlc2lvbg=="}, id="another scheme"),
    ],
)
def test_any_other_key_is_refused(guarded: TestClient, headers: dict[str, str]) -> None:
    assert_problem(guarded.post("/segment", files={"image": PNG}, headers=headers), 401,
                   "invalid-key")  # fmt: skip


def test_two_keys_at_once_are_refused(guarded: TestClient, keys: Keys) -> None:
    headers = keys.bearer("all") | {"X-API-Key": keys.texts["segment"]}
    problem = assert_problem(guarded.post("/segment", headers=headers), 401, "invalid-key")
    assert problem.detail == "the request has two API keys, expected one"


def test_an_expired_key_is_refused_with_the_date(guarded: TestClient, keys: Keys) -> None:
    problem = assert_problem(guarded.get("/models", headers=keys.bearer("expired")), 401,
                             "invalid-key")  # fmt: skip
    assert problem.detail == "the API key expired on 2020-01-01"


def test_a_refused_caller_is_answered_before_the_body_is_read(guarded: TestClient) -> None:
    sent = []

    def body() -> Iterator[bytes]:
        for number in range(100):
            sent.append(number)
            yield b"\0" * 1_000_000

    response = guarded.post("/segment", content=body(), headers={"Content-Type": "image/png"})
    assert_problem(response, 401, "invalid-key")


def test_a_refusal_never_shows_the_key(
    guarded: TestClient, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for name in ("segment", "expired"):
        response = guarded.get("/models", headers=keys.bearer(name))
        assert keys.texts[name] not in response.text + str(response.headers) + caplog.text


def test_the_document_says_how_to_send_a_key(guarded: TestClient, client: TestClient) -> None:
    document = guarded.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {(s["type"], s.get("scheme") or s["name"]) for s in schemes.values()} == {
        ("http", "bearer"),
        ("apiKey", "X-API-Key"),
    }
    assert document["paths"]["/segment"]["post"]["security"] == [
        {"bearer": ["segment"]},
        {"header": ["segment"]},
    ]
    anonymous = client.get("/openapi.json").json()
    assert {} in anonymous["paths"]["/segment"]["post"]["security"]


def test_keys_let_the_service_listen_to_other_machines(
    monkeypatch: pytest.MonkeyPatch, keys: Keys
) -> None:
    monkeypatch.setenv("LESION_HOST", "0.0.0.0")
    with pytest.raises(ConfigError, match="set LESION_API_KEYS_FILE"):
        load_settings()
    monkeypatch.setenv("LESION_API_KEYS_FILE", str(keys.path))
    assert load_settings().api_keys_file == keys.path


def test_keys_are_needed_even_where_anonymous_callers_were_allowed(
    settings: Settings, keys: Keys
) -> None:
    update = {"api_keys_file": keys.path, "allow_anonymous": True}
    client = TestClient(create_app(settings.model_copy(update=update)))
    assert_problem(client.get("/models"), 401, "invalid-key")


def test_a_file_of_keys_that_cannot_be_used_stops_the_start(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="nowhere cannot be read"):
        create_app(settings.model_copy(update={"api_keys_file": tmp_path / "nowhere"}))


def test_a_caller_over_its_rate_is_told_when_to_come_back(settings: Settings) -> None:
    update = {"rate_limit": 0.1, "rate_burst": 2}
    with TestClient(create_app(settings.model_copy(update=update))) as client:
        first = client.get("/models")
        assert first.headers["ratelimit-policy"] == '"caller";q=2;w=20'
        assert first.headers["ratelimit"] == '"caller";r=1;t=10'
        client.get("/models")
        response = client.get("/models")
        problem = assert_problem(response, 429, "rate-limited")
        assert response.headers["retry-after"] == "10"
        assert "try again in 10 s" in (problem.detail or "")
        for probe in ("/healthz", "/readyz", "/docs", "/problems"):
            assert client.get(probe).status_code == 200


def test_each_key_has_a_rate_of_its_own_and_guesses_share_that_of_their_address(
    settings: Settings, keys: Keys
) -> None:
    update = {"rate_limit": 0.1, "rate_burst": 1, "api_keys_file": keys.path}
    client = TestClient(create_app(settings.model_copy(update=update)))
    assert client.get("/models", headers=keys.bearer("models:read")).status_code == 200
    assert client.get("/models", headers=keys.bearer("models:read")).status_code == 429
    assert client.get("/models", headers=keys.bearer("all")).status_code == 200
    assert client.get("/models", headers={"X-API-Key": "a"}).status_code == 401
    assert client.get("/models", headers={"X-API-Key": "b"}).status_code == 429


def test_every_promise_names_a_test_that_exists() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text("utf-8")
    promises = text.partition("## Promises")[2].partition("\n## ")[0]
    file = ""
    named = re.findall(r"`(tests/[\w/]+\.py)?::(test_\w+)`", promises)
    assert len(named) > 15
    for path, name in named:
        file = path or file
        assert f"def {name}(" in (REPOSITORY / file).read_text("utf-8"), (file, name)


def test_every_limit_names_settings_that_exist() -> None:
    text = (REPOSITORY / "docs" / "security.md").read_text("utf-8")
    named = set(re.findall(r"`LESION_(\w+)[`=]", text))
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    slugs = re.findall(r"\b[45]\d\d `([\w-]+)`", text)
    assert set(slugs) <= set(BY_SLUG)
