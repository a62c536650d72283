"""As many requests are seen as were sent, however their heads and bodies are spelt and cut."""

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.access.keys import SCOPES, new_key
from service.app import create_app
from service.settings import Settings
from tests.fixtures.service.framings import (
    AMBIGUOUS,
    BROKEN,
    CHUNKED,
    CLEAR,
    HIDDEN,
    LAST,
    PNG,
    chunks,
    framed,
    length,
    post,
    seen,
    upgrading,
)
from tests.fixtures.service.raw import Raw, raw
from tests.fixtures.service.reloading import served
from tests.fixtures.service.waiting import wait_until

CURL_HAS_HTTP2 = shutil.which("curl") is not None and b"HTTP2" in (
    subprocess.run(["curl", "--version"], capture_output=True, check=True).stdout
)
WAYS = ["whole", "head first", "in pieces"]
EACH_WAY = list(zip(WAYS, ["length", "chunked", "length"], strict=True))
OK, BAD = HTTPStatus.OK, HTTPStatus.BAD_REQUEST


@contextmanager
def serving(registry: Path, **changes: object) -> Iterator[tuple[str, FastAPI]]:
    settings = {"model_registry": registry, "max_body_bytes": 100_000, **changes}
    app = create_app(Settings.model_validate(settings))
    with served(app, plain=False) as url:
        yield url, app


@pytest.fixture(scope="module")
def server(registry_root: Path) -> Iterator[tuple[str, FastAPI]]:
    with serving(registry_root) as server:
        yield server


def send(caller: Raw, data: bytes, way: str) -> None:
    end = data.find(b"\r\n\r\n") + 4
    if way == "in pieces":
        caller.trickle(data[:end], 9)
        caller.trickle(data[end:], 3)
    elif way == "head first":
        caller.send(data[:end])
        time.sleep(0.01)
        caller.send(data[end:])
    else:
        caller.send(data)


def assert_seen(
    server: tuple[str, FastAPI], data: bytes, expected: list[int], way: str = "whole"
) -> None:
    """Each of these is answered once and in this order, and no other request is seen."""
    url, app = server
    before = seen(app.state.parts.telemetry)
    with raw(url) as caller:
        send(caller, data + LAST, way)
        statuses = [answer.status for answer in caller.answers()]
    assert statuses == expected
    wait_until(lambda: (seen(app.state.parts.telemetry) - before).total() >= len(expected))
    assert seen(app.state.parts.telemetry) - before == Counter(str(int(each)) for each in expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.0, foo/2", b"*"])
def test_a_wish_for_another_protocol_changes_nothing(
    server: tuple[str, FastAPI], protocol: bytes, framing: str, way: str
) -> None:
    wish = upgrading(protocol)
    data = framed(PNG, framing, *wish) + framed(HIDDEN, framing, *wish) + framed(PNG, framing)
    assert_seen(server, data, [200, 415, 200, 200], way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(
    ("path", "field", "status"),
    [
        (b"/segment", b"image", 200),
        (b"/segment/batch", b"images", 200),
        (b"/evaluate", b"image", 422),
        (b"/nowhere", b"image", 404),
        (b"/models", b"image", 405),
    ],
)
def test_no_route_loses_its_body_to_an_upgrade(
    server: tuple[str, FastAPI], path: bytes, field: bytes, status: int, framing: str, way: str
) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="a.png"\r\n\r\n' % field
    body = part + PNG + b"\r\n--b--\r\n" + HIDDEN
    form = b"Content-Type: multipart/form-data; boundary=b"
    data = framed(body, framing, *upgrading(b"h2c"), form, path=path)
    assert_seen(server, data, [status, 200], way)


def test_many_upgrades_in_one_packet_are_as_many_requests(
    server: tuple[str, FastAPI],
) -> None:
    wish = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n"
    assert_seen(server, wish * 200, [200] * 201)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_an_upgrade_on_a_connection_that_is_to_close_is_one_request(
    server: tuple[str, FastAPI], version: bytes
) -> None:
    wish = (b"Connection: close, upgrade", b"Upgrade: h2c")
    assert_seen(server, post(*wish, length(PNG), version=version) + PNG, [200])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_read_after_it(
    server: tuple[str, FastAPI], data: bytes, way: str
) -> None:
    assert_seen(server, data, [BAD], way)
    assert_seen(server, framed(PNG, "length") + data, [OK, BAD], way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("data", "status"), CLEAR.values(), ids=CLEAR)
def test_what_can_be_read_in_one_way_is_one_request(
    server: tuple[str, FastAPI], data: bytes, status: int, way: str
) -> None:
    assert_seen(server, data, [status, 200], way)
    assert_seen(server, data + data, [status, status, 200], way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_chunks_are_one_request_and_its_last(
    server: tuple[str, FastAPI], body: bytes, way: str
) -> None:
    assert_seen(server, post(CHUNKED) + body, [BAD], way)
    assert_seen(server, framed(PNG, "length") + post(CHUNKED) + body, [OK, BAD], way)


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_chunks_that_break_after_the_answer_get_no_second_one(
    server: tuple[str, FastAPI], body: bytes
) -> None:
    with raw(server[0]) as caller:
        caller.send(post(CHUNKED, path=b"/nowhere"))
        assert caller.problem() == (404, "no-such-route")
        caller.send(body)
        caller.send(LAST)
        assert caller.answers() == []


def test_lines_of_a_batch_whose_chunks_break_end_with_the_reason(
    server: tuple[str, FastAPI],
) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\n' + PNG + b"\r\n--b"
    form = b"Content-Type: multipart/form-data; boundary=b"
    with raw(server[0]) as caller:
        caller.send(post(CHUNKED, form, path=b"/segment/batch"))
        caller.send(b"%x\r\n%s\r\n" % (len(part), part))
        assert b'"index":0' in caller.socket.recv(65_536)
        caller.send(b"zz\r\n")
        rest = b""
        while data := caller.socket.recv(65_536):
            rest += data
    assert b'"/problems/malformed-request"' in rest.splitlines()[1]


@pytest.mark.parametrize("name", [b"Content-Type: text/plain", b"X-Request-Id: trailer"])
def test_a_trailer_is_no_header(server: tuple[str, FastAPI], name: bytes) -> None:
    with raw(server[0]) as caller:
        caller.send(post(CHUNKED) + chunks(PNG)[:-2] + name + b"\r\n\r\n" + LAST)
        first, _ = caller.answers()
    assert first.status == 200
    assert first.headers["X-Request-Id"] != "trailer"


@pytest.mark.parametrize("wish", [(), upgrading(b"h2c")], ids=["plain", "upgrading"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_caller_who_waits_for_leave_gets_it_once(
    server: tuple[str, FastAPI], framing: str, wish: tuple[bytes, ...]
) -> None:
    data = framed(PNG, framing, *wish, b"Expect: 100-continue")
    end = data.index(b"\r\n\r\n") + 4
    with raw(server[0]) as caller:
        caller.send(data[:end])
        assert caller.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send(data[end:] + LAST)
        assert [answer.status for answer in caller.answers()] == [200, 200]


def test_a_body_that_was_kept_back_after_a_refusal_is_not_waited_for(
    server: tuple[str, FastAPI],
) -> None:
    head = post(b"Expect: 100-continue", length(HIDDEN), path=b"/nowhere")
    with raw(server[0]) as caller:
        caller.send(head)
        status, headers, _ = caller.answer()
        assert (status, headers["connection"]) == (404, "close")
        assert caller.is_closed()


def test_http_1_0_is_given_no_leave(server: tuple[str, FastAPI]) -> None:
    with raw(server[0]) as caller:
        caller.send(post(b"Expect: 100-continue", length(PNG), version=b"1.0"))
        caller.send(PNG)
        assert caller.socket.recv(13) == b"HTTP/1.1 200 "


@pytest.mark.parametrize("query", [b"", b"?format=zip"], ids=["lines", "zip"])
def test_an_answer_to_http_1_0_ends_with_its_connection(
    server: tuple[str, FastAPI], query: bytes
) -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="images"\r\n\r\n' + PNG + b"\r\n--b"
    form = b"Content-Type: multipart/form-data; boundary=b"
    path, body, bodies = b"/segment/batch" + query, part * 2 + b"--", {}
    for version in (b"1.0", b"1.1"):
        with raw(server[0]) as caller:
            head = post(form, length(body), b"Connection: close", path=path, version=version)
            caller.send(head + body)
            (answer,) = caller.answers()
            bodies[version] = answer.content
            assert ("transfer-encoding" in answer.headers) == (version == b"1.1")
    assert bodies[b"1.0"] == bodies[b"1.1"]


@pytest.mark.parametrize(("way", "framing"), EACH_WAY)
def test_refused_for_its_key_or_rate_a_body_is_still_a_body(
    registry_root: Path, tmp_path: Path, framing: str, way: str
) -> None:
    _, key = new_key("a", frozenset(SCOPES))
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [key.model_dump(mode="json")]}))
    with serving(registry_root, api_keys_file=path, rate_limit=0.01, rate_burst=1) as server:
        assert_seen(server, framed(HIDDEN, framing) * 3, [401, 429, 429, 200], way)


@pytest.mark.parametrize(("way", "framing"), EACH_WAY)
def test_refused_for_the_load_a_body_is_thrown_away_with_all_after_it(
    registry_root: Path, framing: str, way: str
) -> None:
    with serving(registry_root, max_connections=1) as server, raw(server[0]) as idle:
        idle.send(b"G")
        assert_seen(server, framed(HIDDEN, framing) * 2, [503], way)


@pytest.mark.skipif(not CURL_HAS_HTTP2, reason="no curl with HTTP/2 is installed")
@pytest.mark.parametrize("body", [PNG, PNG + bytes(90_000)], ids=["small", "after asking"])
def test_curl_may_offer_http_2(server: tuple[str, FastAPI], tmp_path: Path, body: bytes) -> None:
    """It asks with Upgrade: h2c; for the larger body it waits for leave as well."""
    (tmp_path / "a.png").write_bytes(body)
    command = ["curl", "-sS", "--http2", "-H", "Expect: 100-continue", "-w", "%{http_code}"]
    command += ["-o", os.devnull, "-F", "image=@a.png", f"{server[0]}/segment"]
    done = subprocess.run([*command, "--next", *command[1:]], cwd=tmp_path, capture_output=True)
    assert (done.stdout, done.stderr) == (b"200200", b"")


JAVA = """
import java.net.URI; import java.net.http.*; import java.nio.file.Path;
class Post {
    public static void main(String[] args) throws Exception {
        var body = HttpRequest.BodyPublishers.ofFile(Path.of(args[1]));
        var request = HttpRequest.newBuilder(URI.create(args[0])).POST(body).build();
        var client = HttpClient.newHttpClient();
        var bytes = HttpResponse.BodyHandlers.ofByteArray();
        for (int i = 0; i < 2; i++) System.out.print(client.send(request, bytes).statusCode());
    }
}
"""


@pytest.mark.foreign
@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK is installed")
def test_javas_own_client_may_offer_http_2(server: tuple[str, FastAPI], tmp_path: Path) -> None:
    (tmp_path / "Post.java").write_text(JAVA)
    (tmp_path / "a.png").write_bytes(PNG)
    command = ["java", "Post.java", f"{server[0]}/segment", "a.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == b"200200"
