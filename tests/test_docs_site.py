"""docs/ as a site: the menu, the parts that come from the code, and the site in a real browser."""

import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from docs.navigation import DOCS, _files, on_config, on_page_markdown
from docs.reference import card, problems, routes, settings
from service.contract.problems import BY_SLUG
from service.settings import Settings
from tests.conftest import REPOSITORY
from tests.fixtures.browser import chromium

yaml = pytest.importorskip("yaml")


SEARCHES = {
    "Hausdorff": "metrics.html",
    "privacy": "privacy.html",
    "java": "languages.html",
    "fine-tune": "training.html",
}
"""What a reader looks for, and the page that has it."""


class Page:
    """What mkdocs gives a hook of a page, as far as ours look."""

    class file:  # noqa: N801
        src_uri = "training.md"


def test_every_page_is_in_the_menu_and_every_entry_is_a_page() -> None:
    config = {"nav": [{"Quick start": "index.md"}]}
    listed = _files(on_config(config)["nav"])
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    menu = _files(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"])
    assert [name for name in menu if not (DOCS / name).is_file()] == []


def test_files_of_the_repository_are_named_and_dead_links_stay() -> None:
    text = "[loop](../trainer/training/loop.py) [gone](../trainer/gone.py) [errors](errors.md#a)"
    found = on_page_markdown(text, page=Page)
    assert found == "loop [gone](../trainer/gone.py) [errors](errors.md#a)"


def test_the_routes_name_every_problem_that_they_can_answer_with() -> None:
    text = routes()
    assert "### `POST /segment`" in text
    assert "### `GET /models/{version}`" in text
    named = set(re.findall(r"\(errors\.md#([a-z-]+)\)", text))
    assert named <= BY_SLUG.keys()
    assert {"invalid-request", "unreadable-image", "queue-full", "shape-mismatch"} <= named


def test_the_page_of_errors_explains_each_under_its_own_heading() -> None:
    text = problems()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(BY_SLUG)
    assert all(problem.meaning in text and problem.example in text for problem in BY_SLUG.values())


def test_the_page_of_settings_has_each_with_its_values_default_and_meaning() -> None:
    rows = settings().splitlines()
    assert len(rows) == 2 + len(Settings.model_fields)
    assert "| `LESION_PORT` |  | 1 to 65535 | `8000` | TCP port to listen on. |" in rows
    assert any("`LESION_DEADLINE_SECONDS` | s | above 0, to 3600 | `10`" in row for row in rows)
    assert any("`LESION_DEVICE` |  | `auto`, `cpu`, `cuda` | `auto`" in row for row in rows)


def test_the_card_page_holds_what_must_be_said_of_a_model() -> None:
    text = card()
    assert "Not a medical device" in text
    assert "| PH2" in text or "ISIC" in text
    assert "**Limits.**" in text


@pytest.mark.foreign
def test_the_site_is_whole_can_be_searched_and_asks_no_other_machine(tmp_path: Path) -> None:
    pytest.importorskip("material")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    run = subprocess.run(build, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with chromium() as browser:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            outside: list[str] = []
            page.on("request", lambda request: outside.append(request.url))
            for file in sorted(tmp_path.glob("*.html")):
                page.goto(f"{address}/{file.name}")
                expect(page.locator("h1").first).to_be_visible()
            for word, place in SEARCHES.items():
                page.goto(f"{address}/index.html")
                page.get_by_placeholder("Search").fill(word)
                link = page.locator(f".md-search-result__link[href*='{place}']")
                expect(link.first).to_be_visible(timeout=30_000)
            page.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [url for url in outside if not url.startswith((address, "data:", "blob:"))] == []
