"""The page with a real service behind it, and a real browser before it."""

import base64
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from service.settings import PREFIX
from tests.conftest import REPOSITORY
from tests.fixtures.browser import chromium
from tests.fixtures.service.process import free_port, service

EXAMPLE, TRUTH = REPOSITORY / "docs" / "example.png", REPOSITORY / "docs" / "example_truth.png"
START_S = 90
# A busy machine takes its time to load a version.
PATIENT = {"LESION_DEADLINE_SECONDS": "60", "LESION_BACKEND": "auto"}
expect.set_options(timeout=60_000)


@contextmanager
def demo(url: str, log: Path) -> Iterator[str]:
    """Address of the page, started as `make demo` does; its service too, where none answers."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, "DEMO_"))}
    environment |= {"LESION_CLIENT_URL": url, "DEMO_PORT": str(port)}
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "demo"], cwd=REPOSITORY, env=environment,
            stderr=stderr, stdout=stderr,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/_stcore/health", process, log)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_S)


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx2.get(url).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    pytest.fail(f"{url} does not answer: {log.read_text()}")


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service with the shipped versions."""
    port = free_port()
    log = tmp_path_factory.mktemp("service") / "log"
    with service(port, REPOSITORY / "models", log, PATIENT):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def address(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with demo(url, tmp_path_factory.mktemp("demo") / "log") as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A new visit; nothing that it does may ask another machine for anything."""
    outside: list[str] = []
    visit = browser.new_context(viewport={"width": 1280, "height": 1100})
    visit.set_default_timeout(30_000)
    page = visit.new_page()
    page.on("request", lambda request: outside.append(request.url))
    yield page
    visit.close()
    local = ("http://127.0.0.1:", "data:", "blob:")
    assert [address for address in outside if not address.startswith(local)] == []


def upload(page: Page, label: str, *files: Path) -> None:
    page.get_by_test_id("stFileUploader").filter(has_text=label).locator("input").set_input_files(
        files
    )


def picture(page: Page) -> Locator:
    """The viewer's picture, once the outline is drawn over it."""
    expect(page.locator(".lv-line[d]")).to_have_count(1)
    return page.get_by_role("group", name="with the lesion's outline")


def open_settings(page: Page) -> None:
    page.get_by_test_id("stExpandSidebarButton").click()
    expect(page.get_by_role("slider", name="Threshold")).to_be_visible()


def pdf_text(report: bytes) -> str:
    """The texts of a PDF by reportlab, one after the other."""
    streams = re.findall(rb"stream\r?\n(.*?~>)endstream", report, re.DOTALL)
    texts = []
    for stream in streams:
        try:
            texts.append(zlib.decompress(base64.a85decode(stream, adobe=True)))
        except zlib.error:  # the picture
            continue
    drawn = b"".join(texts).decode("latin-1")
    return "".join(re.findall(r"\((.*?)(?<!\\)\) Tj", drawn))


def download(page: Page, label: str) -> bytes:
    with page.expect_download() as event:
        page.get_by_role("button", name=label).click()
    return Path(event.value.path()).read_bytes()
