""" "Try it out" on /docs, in a real browser, against a real process."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from model_core.masks.png import encode_mask
from service.client import Client
from tests.fixtures.browser import chromium
from tests.fixtures.pictures import encode, lesion

pytestmark = pytest.mark.foreign


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, served: str) -> Iterator[Page]:
    """/docs, which must ask no other machine for anything, nor break a rule of its own policy."""
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 1200})
    page.set_default_timeout(30_000)
    page.on("request", lambda r: None if r.url.startswith((served, "data:", "blob:")) else
            wrong.append(r.url))  # fmt: skip
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.goto(f"{served}/docs")
    yield page
    page.close()
    assert wrong == []


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo.png").write_bytes(encode(lesion(48, 64)))
    return tmp_path / "photo.png"


def opened(page: Page, path: str) -> Locator:
    """A route's panel, ready to be filled in."""
    panel = page.locator(".opblock").filter(has=page.locator(f"[data-path='{path}']"))
    panel.locator(".opblock-summary").click()
    panel.get_by_role("button", name="Try it out").click()
    return panel


def answer(panel: Locator) -> Locator:
    panel.get_by_role("button", name="Execute").click()
    live = panel.locator(".live-responses-table")
    expect(live.locator("tbody .response-col_status")).to_have_text("200", timeout=30_000)
    return live


def test_a_photograph_s_mask_is_shown(page: Page, photo: Path) -> None:
    panel = opened(page, "/segment")
    panel.locator("input[type=file]").set_input_files(photo)
    picture = answer(panel).locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [64, 48]


@pytest.mark.parametrize("path", ["/segment", "/evaluate", "/segment/geojson"])
def test_a_panel_shows_the_file_first_and_is_not_thousands_of_pixels_tall(
    page: Page, path: str
) -> None:
    panel = opened(page, path)
    file = panel.locator(".opblock-section-request-body").bounding_box()
    parameter = panel.locator("tr[data-param-name='threshold']").bounding_box()
    whole = panel.bounding_box()
    assert file
    assert parameter
    assert whole
    assert file["y"] < parameter["y"]
    assert whole["height"] < 2_500


def test_scores_are_shown(page: Page, served: str, photo: Path, tmp_path: Path) -> None:
    with Client(served) as client:
        (tmp_path / "truth.png").write_bytes(encode_mask(client.segment(photo).mask))
    panel = opened(page, "/evaluate")
    for name, file in (("image", photo), ("truth", tmp_path / "truth.png")):
        row = panel.locator(f"tr[data-property-name='{name}']")
        row.get_by_role("button", name="Add").click()
        row.locator("input[type=file]").set_input_files(file)
    shown = answer(panel).locator(".highlight-code pre").last.inner_text()
    assert json.loads(shown)["items"][0]["dice"] == 1.0


@pytest.mark.parametrize("path", ["/models", "/healthz", "/readyz", "/metrics"])
def test_a_question_without_a_body_is_answered(page: Page, path: str) -> None:
    expect(answer(opened(page, path)).locator("pre").first).to_be_visible()


def test_a_version_s_card_is_shown(page: Page) -> None:
    panel = opened(page, "/models/{version}")
    panel.locator("tr[data-param-name='version'] input").fill("production")
    expect(answer(panel)).to_contain_text("Knows only dark from light")
