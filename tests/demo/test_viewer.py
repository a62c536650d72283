"""The viewer in a real browser: by mouse, by touch and by keyboard."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Page, expect

from model_core.arrays import Mask
from model_core.masks.png import decode_mask
from service.client import Client
from tests.conftest import REPOSITORY
from tests.demo.conftest import EXAMPLE, PATIENT, demo, download, picture, upload
from tests.fixtures.service.process import free_port, service
from trainer.data.drawn import draw_lesion

pytest.importorskip("streamlit", reason="streamlit is not installed (make demo installs it)")
pytestmark = pytest.mark.foreign

WIDTH, HEIGHT = 512, 384
"""Of the example, px."""


@pytest.fixture
def shown(page: Page, address: str) -> Page:
    """The page with the example in the viewer."""
    page.goto(address)
    upload(page, "Photographs", EXAMPLE)
    expect(picture(page)).to_be_visible()
    page.wait_for_timeout(500)
    return page


def frame(page: Page) -> FloatRect:
    box = page.locator(".lv-box").bounding_box()
    assert box is not None
    return box


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where on the screen a pixel of the whole photograph is."""
    box = frame(page)
    return box["x"] + x * box["width"] / WIDTH, box["y"] + y * box["height"] / HEIGHT


def stroke(page: Page, *points: tuple[float, float]) -> None:
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*place(page, *point))
    page.mouse.up()


def area(page: Page) -> str:
    return page.locator(".lv-area").inner_text()


def zoomed(page: Page) -> float:
    """How many times as large as in the whole picture it is shown."""
    page.wait_for_timeout(700)
    transform = page.locator(".lv-cut > g").get_attribute("transform") or ""
    scale = float(transform.removeprefix("matrix(").split()[0])
    return scale / (frame(page)["width"] / WIDTH)


def saved(page: Page) -> Mask:
    page.get_by_label("Your pseudonym").fill("reader-1")
    page.get_by_role("button", name="Save correction").click()
    return decode_mask(download(page, "Corrected mask (PNG)"))


def near(x: float, y: float, radius: float) -> Mask:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return np.hypot(columns + 0.5 - x, rows + 0.5 - y) <= radius


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_the_picture_comes_first_and_fills_the_width(
    page: Page, address: str, width: int, height: int
) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(address)
    upload(page, "Photographs", EXAMPLE)
    expect(picture(page)).to_be_visible()
    box = frame(page)
    assert box["width"] > 0.93 * width
    assert box["y"] < 0.4 * height
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    canvas = page.locator(".lv-box canvas").first.bounding_box()
    assert canvas is not None
    assert canvas["width"] == pytest.approx(box["width"], abs=1)


def test_a_mouse_zooms_paints_and_takes_back(shown: Page, url: str) -> None:
    with Client(url) as client:
        model = client.segment(EXAMPLE).mask
    before = area(shown)
    assert before == f"Model's outline: {model.sum():,} px²"
    shown.get_by_role("button", name="Brush").click()
    stroke(shown, (60, 60), (60, 60))
    radius = 18 * WIDTH / frame(shown)["width"]
    dot = near(60, 60, radius)
    painted = int(area(shown).removeprefix("Corrected outline: ").split()[0].replace(",", ""))
    assert painted == pytest.approx((model | dot).sum(), abs=8)  # whole pixels of the screen
    shown.get_by_role("button", name="Undo").click()
    assert area(shown) == before
    shown.get_by_role("button", name="Redo").click()
    shown.get_by_role("button", name="Erase").click()
    stroke(shown, (240, 200), (240, 200))
    mask = saved(shown)
    wanted = (model | dot) & ~near(240, 200, radius)
    assert (mask != wanted).sum() <= 16
    expect(shown.get_by_text("this service keeps no corrections")).to_be_visible()

    shown.get_by_role("button", name="Move", exact=True).click()
    shown.mouse.move(*place(shown, 240, 200))
    assert zoomed(shown) == pytest.approx(1, abs=0.01)
    shown.mouse.wheel(0, -200)
    factor = zoomed(shown)
    assert factor > 1.2
    line = shown.locator(".lv-line")
    first = line.bounding_box()
    stroke(shown, (240, 200), (280, 220))
    shown.wait_for_timeout(700)
    second = line.bounding_box()
    assert first is not None
    assert second is not None
    assert second["x"] - first["x"] > 20  # a drag moves the picture, and no mask
    assert mask.sum() == (decode_mask(download(shown, "Corrected mask (PNG)"))).sum()


def test_a_point_moves_the_outline_between_its_neighbours_alone(shown: Page, url: str) -> None:
    with Client(url) as client:
        model = client.segment(EXAMPLE).mask
    shown.get_by_role("button", name="Points").click()
    points = shown.get_by_role("button", name="arrow keys move it, Delete removes it")
    count = points.count()
    assert 8 <= count <= 24
    box = points.nth(2).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.mouse.move(x, y)
    shown.mouse.down()
    shown.mouse.move(x - 60, y - 40, steps=4)
    shown.mouse.up()
    assert points.count() == count
    mask = saved(shown)
    changed = np.argwhere(mask != model)
    assert len(changed) > 50
    assert np.ptp(changed, axis=0).max() < 200  # the rest is the model's to the pixel


def test_the_keyboard_alone_mends_an_outline(shown: Page, url: str) -> None:
    with Client(url) as client:
        model = client.segment(EXAMPLE).mask
    picture(shown).focus()
    outline = shown.locator(".lv-line")
    shown.keyboard.press("o")
    expect(outline).to_be_hidden()
    shown.keyboard.press("o")
    expect(outline).to_be_visible()
    assert outline.get_attribute("fill-opacity") == "0"  # no tint unless asked for
    shown.keyboard.press("t")
    expect(outline).to_have_attribute("fill-opacity", "0.3")
    shown.keyboard.press("+")
    assert zoomed(shown) > 1.2
    shown.keyboard.press("0")
    assert zoomed(shown) == pytest.approx(1, abs=0.01)

    shown.keyboard.press("p")
    shown.keyboard.press("Tab")
    name = "document.activeElement.getAttribute('aria-label')"
    while not str(shown.evaluate(name)).startswith("Point 1 of"):
        shown.keyboard.press("Tab")
    for _ in range(3):
        shown.keyboard.press("Shift+ArrowLeft")
    assert area(shown) != f"Model's outline: {model.sum():,} px²"
    for _ in range(3):
        shown.keyboard.press("Control+z")
    assert area(shown) == f"Model's outline: {model.sum():,} px²"
    shown.keyboard.press("Control+y")
    assert area(shown).startswith("Corrected outline")


def test_the_slider_puts_the_original_beside_the_outline(shown: Page) -> None:
    slider = shown.get_by_role("slider", name="Original up to here")
    slider.focus()
    slider.press("End")
    assert shown.locator(".lv-cut").evaluate("e => e.style.clipPath") == "inset(0px 0px 0px 100%)"
    slider.fill("50")
    assert shown.locator(".lv-cut").evaluate("e => e.style.clipPath") == "inset(0px 0px 0px 50%)"


def test_two_clicks_on_a_ruler_give_millimetres(shown: Page, url: str) -> None:
    shown.keyboard.press("l")
    for x in (120, 220):
        shown.mouse.click(*place(shown, x, 370))
        shown.wait_for_timeout(400)
    shown.get_by_label("Millimetres between the marks").fill("5")
    shown.get_by_role("button", name="Set the scale").click()
    with Client(url) as client:
        area_px = client.segment(EXAMPLE).area_px
    expect(shown.locator(".lv-scale")).to_contain_text("mm")
    assert area(shown).endswith(" mm²")
    millimetres = float(area(shown).split()[-2])
    assert millimetres == pytest.approx(area_px * (5 / 100) ** 2, rel=0.02)
    expect(shown.get_by_test_id("stMetricValue").first).to_contain_text("mm²")


def test_fingers_zoom_paint_and_scroll(browser: Browser, address: str) -> None:
    visit = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = visit.new_page()
    page.goto(address)
    upload(page, "Photographs", EXAMPLE)
    expect(picture(page)).to_be_visible()
    page.wait_for_timeout(500)
    fingers = visit.new_cdp_session(page)

    def touch(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(30)

    x, y = place(page, 250, 200)
    touch("touchStart", (x, y))
    for step in range(1, 8):
        touch("touchMove", (x, y - 25 * step))
    touch("touchEnd")
    scrolled = "document.querySelector('[data-testid=stMain]').scrollTop"
    assert page.evaluate(scrolled) > 50  # over a whole picture one finger scrolls the page
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTop = 0")

    x, y = place(page, 250, 200)
    touch("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 8):
        touch("touchMove", (x - 20 - 8 * step, y), (x + 20 + 8 * step, y))
    touch("touchEnd")
    assert zoomed(page) > 1.5

    page.get_by_role("button", name="Fit").tap()
    page.get_by_role("button", name="Brush").tap()
    page.wait_for_timeout(500)
    before = area(page)
    x, y = place(page, 60, 60)
    touch("touchStart", (x, y))
    touch("touchMove", (x + 15, y))
    touch("touchEnd")
    assert area(page) != before
    page.get_by_role("button", name="Undo").tap()
    assert area(page) == before
    page.get_by_role("button", name="Points").tap()
    box = page.get_by_role("button", name="Point 2 of").bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 24  # WCAG 2.2, 2.5.8
    x, y = box["x"] + 3, box["y"] + box["height"] / 2
    touch("touchStart", (x, y))
    touch("touchMove", (x - 20, y))
    touch("touchEnd")
    assert area(page) != before
    visit.close()


def test_edits_outlive_a_look_at_another_photograph_and_at_another_view(
    page: Page, address: str, tmp_path: Path
) -> None:
    for seed in range(3):
        Image.fromarray(draw_lesion(seed)[0]).save(tmp_path / f"lesion_{seed}.png")
    page.goto(address)
    upload(page, "Photographs", *sorted(tmp_path.iterdir()))
    expect(picture(page)).to_be_visible()
    first = page.get_by_role("navigation").get_by_role("button", name="lesion_0.png")
    expect(first).to_have_attribute("aria-current", "true")
    page.get_by_role("button", name="Brush").click()
    stroke(page, (60, 60), (70, 60))
    mended = area(page)
    assert mended.startswith("Corrected outline")
    page.get_by_role("radio", name="Probability").click()
    expect(page.get_by_alt_text("Probability of lesion")).to_be_visible()
    page.get_by_role("radio", name="Outline").click()
    expect(page.locator(".lv-area")).to_have_text(mended)
    picture(page).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".lv-area")).to_contain_text("Model's outline")
    page.keyboard.press("ArrowLeft")
    expect(first).to_have_attribute("aria-current", "true")
    expect(page.locator(".lv-area")).to_have_text(mended)


def test_a_correction_is_kept_by_a_service_that_has_a_place_for_it(
    page: Page, tmp_path: Path
) -> None:
    place_of_theirs = tmp_path / "corrections"
    port, settings = free_port(), PATIENT | {"LESION_CORRECTIONS": str(place_of_theirs)}
    running = service(port, REPOSITORY / "models", tmp_path / "log", settings)
    with running, demo(f"http://127.0.0.1:{port}", tmp_path / "demo-log") as address:
        page.goto(address)
        upload(page, "Photographs", EXAMPLE)
        expect(picture(page)).to_be_visible()
        page.get_by_role("button", name="Brush").click()
        stroke(page, (60, 60), (70, 60))
        page.get_by_role("button", name="Save correction").click()
        expect(page.get_by_text("expected a pseudonym")).to_be_visible()
        mask = saved(page)
        expect(page.get_by_text("The service keeps the photograph")).to_be_visible()
    manifest = (place_of_theirs / "MANIFEST.csv").read_text(encoding="utf-8")
    (line,) = csv.DictReader(manifest.splitlines())
    assert line["annotator"] == "reader-1"
    assert float(line["seconds"]) > 0
    assert np.array_equal(decode_mask((place_of_theirs / line["mask"]).read_bytes()), mask)
