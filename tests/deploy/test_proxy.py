"""nginx with the rules of `deploy/proxy`, in front of the real service."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from service.app import create_app
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from tests.conftest import REPOSITORY
from tests.fixtures.models import tiny_registry
from tests.fixtures.pictures import encode, lesion
from tests.fixtures.service.framings import (
    AMBIGUOUS,
    BROKEN,
    CHUNKED,
    CLEAR,
    LAST,
    framed,
    post,
    seen,
    upgrading,
)
from tests.fixtures.service.process import free_port
from tests.fixtures.service.raw import raw
from tests.fixtures.service.reloading import served
from tests.fixtures.service.waiting import wait_until

RULES = REPOSITORY / "deploy" / "proxy" / "nginx.conf"
PNG = encode(lesion(48, 64))
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
pytestmark = [
    pytest.mark.foreign,
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed (apt install nginx-light)"),
]


@dataclass(frozen=True)
class Proxy:
    """A running nginx.

    Attributes:
        url: Where it listens.
        log: What it printed.
        folder: All that it may write to.
        telemetry: Of the service behind it.
    """

    url: str
    log: Path
    folder: Path
    telemetry: Telemetry


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The committed rules, but for addresses, folders and a shorter wait for a head."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    registry = tiny_registry(tmp_path_factory.mktemp("registry")).root
    app = create_app(Settings(model_registry=registry))
    with served(app, plain=False) as url:
        rules = RULES.read_text(encoding="utf-8")
        rules = rules.replace("server service:8000;", f"server {urlsplit(url).netloc};")
        rules = rules.replace("include /etc/nginx/lesion/listen.conf;", f"listen 127.0.0.1:{port};")
        rules = rules.replace("/tmp/", f"{folder}/")
        rules = rules.replace("client_header_timeout 10s;", "client_header_timeout 1s;")
        if os.geteuid() == 0:  # its workers could not write the folder of this test
            rules = f"user root;\n{rules}"
        conf, log = folder / "nginx.conf", folder / "log"
        conf.write_text(rules, encoding="utf-8")
        assert NGINX is not None
        command = [NGINX, "-p", str(folder), "-c", str(conf), "-e", "stderr"]
        check = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert check.returncode == 0, check.stderr
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*command, "-g", "daemon off;"], stdout=sink, stderr=subprocess.STDOUT
            )
            try:
                wait_until(lambda: _answers(f"http://127.0.0.1:{port}/healthz"))
                yield Proxy(f"http://127.0.0.1:{port}", log, folder, app.state.parts.telemetry)
            finally:
                process.terminate()
                process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


def test_a_photograph_goes_through_with_its_headers(proxy: Proxy) -> None:
    answer = httpx2.post(
        f"{proxy.url}/segment?format=rle", content=PNG, headers={"X-Request-Id": "case-7"}
    )
    assert answer.status_code == 200
    assert answer.headers["X-Request-Id"] == "case-7"
    assert "Server-Timing" in answer.headers
    assert answer.json()["lesion_found"] is True


def test_the_service_itself_says_that_a_body_is_too_large(proxy: Proxy) -> None:
    answer = httpx2.post(f"{proxy.url}/segment", content=b"\xff\xd8\xff" + bytes(20_100_000))
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/body-too-large")


def test_lines_of_a_batch_come_before_it_has_all_arrived(proxy: Proxy) -> None:
    part = (
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n%s\r\n'
        % PNG
    )
    with raw(proxy.url) as caller:
        caller.head(
            "/segment/batch",
            "Content-Type: multipart/form-data; boundary=x",
            "Transfer-Encoding: chunked",
        )
        caller.send(b"%x\r\n%s\r\n" % (len(part) * 2, part * 2))
        came = b""
        while b'"index":0' not in came:
            piece = caller.socket.recv(65_536)
            assert piece, came
            came += piece
        caller.send(b"5\r\n--x--\r\n0\r\n\r\n")
        while b"\r\n0\r\n\r\n" not in came:
            came += caller.socket.recv(65_536)
    assert b'"index":1' in came


def test_a_head_that_never_ends_is_cut_off_at_the_proxy(proxy: Proxy) -> None:
    with raw(proxy.url) as caller:
        caller.send(b"POST /segment HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert caller.is_closed()
    with raw(proxy.url) as caller:
        caller.send(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\n", *[b"X-Long: %s\r\n" % (b"a" * 7000)] * 6
        )
        caller.send(b"\r\n")
        status, _, _ = caller.answer()
    assert status == 400


ONCE = {
    **{name: data for name, (data, _) in CLEAR.items()},
    **{
        f"{each} upgrading": framed(PNG, each, *upgrading(b"h2c")) for each in ("length", "chunked")
    },
}


@pytest.mark.parametrize("data", ONCE.values(), ids=ONCE)
def test_the_service_sees_one_request_where_one_was_sent(proxy: Proxy, data: bytes) -> None:
    before = seen(proxy.telemetry, "route")
    with raw(proxy.url) as caller:
        caller.send(data + LAST)
        answers = caller.answers()
    assert [answer.status for answer in answers][1:] in ([], [200])
    assert_routes(proxy, before)


REFUSED = {name: data for name, data in AMBIGUOUS.items() if name != "HTTP/0.9"}  # has no head
REFUSED |= {f"broken: {name}": post(CHUNKED) + body for name, body in BROKEN.items()}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_no_body_becomes_a_request_behind_the_proxy(proxy: Proxy, data: bytes) -> None:
    before = seen(proxy.telemetry, "route")
    with raw(proxy.url) as caller:
        caller.send(data + LAST)
        assert len(caller.answers()) <= 2
    assert_routes(proxy, before)


def assert_routes(proxy: Proxy, before: Counter[str]) -> None:
    """The first request is seen once at most, the last too, and what stands in a body never."""
    wait_until(
        lambda: not proxy.telemetry.registry.get_sample_value("lesion_http_requests_in_flight")
    )
    counts = seen(proxy.telemetry, "route") - before
    assert not counts["/models"]
    assert max(counts.values(), default=0) <= 1
    assert sum(counts.values()) <= 2


def test_metrics_are_not_for_callers(proxy: Proxy) -> None:
    assert httpx2.get(f"{proxy.url}/metrics").status_code == 404


def test_nothing_of_a_photograph_or_its_name_is_written_anywhere(proxy: Proxy) -> None:
    marker = b"PATIENT-DOE-1970"
    files = {"image": ("PATIENT-DOE-1970.png", PNG + marker)}
    answer = httpx2.post(f"{proxy.url}/segment?note=PATIENT-DOE-1970", files=files)
    assert answer.status_code in (200, 422)
    wait_until(lambda: b" POST " in proxy.log.read_bytes())
    written = b"".join(each.read_bytes() for each in proxy.folder.rglob("*") if each.is_file())
    assert marker not in written
