"""The page in a real browser, with a real service behind it."""

import csv
import io
import json
import threading
import time
import zipfile
from http.server import ThreadingHTTPServer
from pathlib import Path

import highdicom
import httpx2
import numpy as np
import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import Page, expect

from model_core.masks.png import decode_mask, encode_mask
from model_core.masks.rle import decode_rle
from service.access.keys import new_key
from service.client import Client
from tests.conftest import REPOSITORY
from tests.demo.conftest import (
    EXAMPLE,
    PATIENT,
    START_S,
    TRUTH,
    demo,
    download,
    open_settings,
    pdf_text,
    picture,
    upload,
)
from tests.demo.test_main import Welcoming
from tests.fixtures.browser import weak_texts
from tests.fixtures.dicom_files import INSTANCE_UID, dicom
from tests.fixtures.service.process import free_port, service
from trainer.data.drawn import draw_lesion

pytest.importorskip("streamlit", reason="streamlit is not installed (make demo installs it)")
pytestmark = pytest.mark.foreign


def metric(page: Page, label: str) -> str:
    box = page.get_by_test_id("stMetric").filter(has_text=label)
    return box.get_by_test_id("stMetricValue").inner_text()


def view(page: Page, name: str) -> None:
    page.get_by_test_id("stButtonGroup").get_by_text(name, exact=True).click()


def settle(page: Page) -> None:
    """Wait until the page has answered the last change."""
    page.wait_for_timeout(300)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)


def test_from_a_photograph_to_its_mask_its_scores_and_its_files(
    page: Page, address: str, url: str
) -> None:
    page.goto(address)
    upload(page, "Photographs", EXAMPLE)
    expect(picture(page)).to_be_visible()
    with Client(url) as client:
        found, lower = client.segment(EXAMPLE), client.segment(EXAMPLE, threshold=0.4)
        scores = client.evaluate([TRUTH], images=[EXAMPLE]).items[0]
    assert metric(page, "Lesion") == f"{found.area_px:,} px²"
    assert metric(page, "Expected Jaccard") == f"{found.score:.2f}"

    assert np.array_equal(decode_mask(download(page, "Mask (PNG)")), found.mask)
    annotation = json.loads(download(page, "COCO RLE (JSON)"))
    assert np.array_equal(decode_rle(annotation["segmentation"], max_pixels=10**6), found.mask)
    outlined = Image.open(io.BytesIO(download(page, "Outlined photograph (PNG)")))
    assert outlined.size == (512, 384)
    assert json.loads(download(page, "GeoJSON"))["type"] == "FeatureCollection"

    open_settings(page)
    threshold = page.get_by_role("slider", name="Threshold")
    threshold.focus()
    threshold.press("ArrowLeft")  # from 0.45 to 0.40: more is lesion
    expect(page.get_by_text(f"Model's outline: {lower.area_px:,} px²")).to_be_visible()
    threshold.press("ArrowRight")
    expect(page.get_by_text(f"Model's outline: {found.area_px:,} px²")).to_be_visible()

    view(page, "Expert's mask")
    upload(page, "Expert's mask", TRUTH)
    expect(page.get_by_text("IoU (Jaccard)")).to_be_visible()
    assert metric(page, "Dice") == f"{scores.dice:.4f}"
    assert metric(page, "IoU (Jaccard)") == f"{scores.jaccard:.4f}"
    expect(page.get_by_alt_text("agree and differ")).to_be_visible()

    view(page, "Probability")
    expect(page.get_by_alt_text("Probability of lesion")).to_be_visible()

    view(page, "Two versions")
    expect(page.get_by_text("two masks with each other")).to_be_visible(timeout=60_000)
    assert 0.5 < float(metric(page, "two masks with each other")) < 1


def test_many_photographs_one_of_them_bad(page: Page, address: str, tmp_path: Path) -> None:
    for seed in range(5):
        Image.fromarray(draw_lesion(seed)[0]).save(tmp_path / f"lesion_{seed}.png")
    (tmp_path / "bad.jpg").write_bytes(b"no photograph")
    page.goto(address)
    upload(page, "Photographs", *sorted(tmp_path.iterdir()))
    expect(page.get_by_text("6 photographs, 1 could not be used")).to_be_visible()
    expect(page.get_by_text("found bytes of no image type we know, expected JPEG")).to_be_visible()
    page.get_by_role("navigation").get_by_role("button", name="lesion_3.png").click()
    settle(page)
    assert decode_mask(download(page, "Mask (PNG)")).shape == (384, 512)
    with zipfile.ZipFile(io.BytesIO(download(page, "Download all"))) as file:
        lines = list(csv.DictReader(io.StringIO(file.read("lesions.csv").decode())))
        masks = {name: decode_mask(file.read(name)) for name in file.namelist() if ".png" in name}
    assert [line["photograph"] for line in lines] == sorted(
        path.name for path in tmp_path.iterdir()
    )
    bad, *good = lines
    assert bad["error"].startswith("found bytes of no image type")
    for line in good:
        assert int(line["area_px"]) == masks[line["mask"]].sum()
        assert line["advice"] in ("accept", "review", "reject")
        assert line["model"].startswith("lesion-unet@")
    text = pdf_text(download(page, "Report to print (PDF)"))
    for words in ("research only", "lesion_3.png", "lesion-unet@", "Feret"):
        assert words in text


def test_what_cannot_be_used_is_explained(page: Page, address: str, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no photograph")
    (tmp_path / "small.png").write_bytes(encode_mask(np.ones((3, 4), bool)))
    page.goto(address)
    upload(page, "Photographs", tmp_path / "bad.png")
    expect(page.get_by_text("Unsupported image type")).to_be_visible()
    expect(page.get_by_role("link", name="what this means")).to_be_visible()
    page.reload()
    upload(page, "Photographs", EXAMPLE)
    view(page, "Expert's mask")
    upload(page, "Expert's mask", tmp_path / "small.png")
    expect(page.get_by_text("truth is (3, 4), the upright image is (384, 512)")).to_be_visible()


def test_an_experts_mask_of_many_levels_is_cut_at_half_where_that_is_wanted(
    page: Page, address: str, url: str, tmp_path: Path
) -> None:
    truth = Image.open(TRUTH).convert("L")
    truth.filter(ImageFilter.GaussianBlur(2)).save(tmp_path / "blurred.png")
    page.goto(address)
    upload(page, "Photographs", EXAMPLE)
    expect(picture(page)).to_be_visible()
    view(page, "Expert's mask")
    upload(page, "Expert's mask", tmp_path / "blurred.png")
    expect(page.get_by_text("lie between black and white")).to_be_visible()
    half = np.asarray(Image.open(tmp_path / "blurred.png")) > 127
    page.get_by_text(f"Cut at half: {half.sum():,} px are lesion").click()
    expect(page.get_by_text("IoU (Jaccard)")).to_be_visible()
    with Client(url) as client:
        scores = client.evaluate([encode_mask(half)], images=[EXAMPLE]).items[0]
    assert metric(page, "Dice") == f"{scores.dice:.4f}"


def test_a_dicom_photograph_goes_out_as_a_segmentation_of_it(
    page: Page, address: str, url: str, tmp_path: Path
) -> None:
    photograph = tmp_path / "lesion.dcm"
    photograph.write_bytes(dicom(Image.open(EXAMPLE).convert("RGB")))
    page.goto(address)
    upload(page, "Photographs", photograph)
    expect(picture(page)).to_be_visible()
    with Client(url) as client:
        found = client.segment(photograph)
    assert metric(page, "Lesion") == f"{found.area_px:,} px²"
    written = highdicom.seg.segread(io.BytesIO(download(page, "DICOM SEG")))
    pixels = written.get_pixels_by_source_instance([INSTANCE_UID], combine_segments=True)[0]
    assert np.array_equal(pixels.astype(bool), found.mask)
    view(page, "Probability")
    expect(page.get_by_alt_text("Probability of lesion")).to_be_visible()


def test_a_service_with_keys_is_opened_by_the_visitors_own(page: Page, tmp_path: Path) -> None:
    key, entry = new_key("page", frozenset({"segment", "models:read"}))
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [entry.model_dump(mode="json")]}))
    port, settings = free_port(), PATIENT | {"LESION_API_KEYS_FILE": str(keys)}
    running = service(port, REPOSITORY / "models", tmp_path / "log", settings)
    with running, demo(f"http://127.0.0.1:{port}", tmp_path / "demo-log") as address:
        page.goto(address)
        expect(page.get_by_text("A key is needed.")).to_be_visible()
        page.get_by_test_id("stExpandSidebarButton").click()
        page.get_by_test_id("stExpander").get_by_text("Connection").click()
        field = page.locator("input[type=password]")
        field.fill("no such key")
        field.press("Enter")
        expect(page.get_by_text("A key is needed.")).to_be_visible()
        field.fill(key)
        field.press("Enter")
        expect(page.get_by_text("Drop one photograph")).to_be_visible()
        upload(page, "Photographs", EXAMPLE)
        expect(picture(page)).to_be_visible()
        assert key not in (tmp_path / "log").read_text() + (tmp_path / "demo-log").read_text()


def test_the_page_brings_a_service_and_says_when_it_is_away(page: Page, tmp_path: Path) -> None:
    port = free_port()
    with demo(f"http://127.0.0.1:{port}", tmp_path / "log") as address:
        page.goto(address)
        away, again = (
            page.get_by_text("The service is away"),
            page.get_by_role("button", name="again"),
        )
        for _ in range(START_S):  # it starts beside the page, a few seconds later
            page.wait_for_timeout(1_000)
            if away.is_visible():
                again.click()
            elif page.get_by_text("Drop one photograph").is_visible():
                break
        upload(page, "Photographs", EXAMPLE)
        expect(picture(page)).to_be_visible()
    for _ in range(50):  # and ends with it
        try:
            httpx2.get(f"http://127.0.0.1:{port}/healthz")
        except httpx2.TransportError:
            return
        time.sleep(0.2)
    pytest.fail("the service outlives the page that started it")


def test_a_service_that_went_away_is_missed_and_found_again(page: Page, tmp_path: Path) -> None:
    port = free_port()
    running = service(port, REPOSITORY / "models", tmp_path / "log", PATIENT)
    with running as process, demo(f"http://127.0.0.1:{port}", tmp_path / "demo-log") as address:
        page.goto(address)
        expect(page.get_by_text("Drop one photograph")).to_be_visible()
        process.kill()
        process.wait()
        upload(page, "Photographs", EXAMPLE)
        expect(page.get_by_text("The service is away")).to_be_visible()
        expect(page.get_by_test_id("stAlert")).to_contain_text(f"http://127.0.0.1:{port}")
        with service(port, REPOSITORY / "models", tmp_path / "log", PATIENT):
            page.get_by_role("button", name="Try again").click()
            expect(picture(page)).to_be_visible()


def test_another_server_at_the_services_address_is_named(page: Page, tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    with service(port, REPOSITORY / "models", log, PATIENT) as process:
        running = demo(f"http://127.0.0.1:{port}", tmp_path / "demo-log")
        with running as address:
            process.kill()
            process.wait()
            other = ThreadingHTTPServer(("127.0.0.1", port), Welcoming)
            threading.Thread(target=other.serve_forever, daemon=True).start()
            page.goto(address)
            expect(page.get_by_text("is not this service")).to_be_visible()
            upload(page, "Photographs", EXAMPLE)
            expect(page.get_by_text("is not this service")).to_be_visible()
            other.shutdown()
            other.server_close()


def test_the_keyboard_alone_reaches_everything_and_shows_where_it_is(
    page: Page, address: str
) -> None:
    page.goto(address)
    upload(page, "Photographs", EXAMPLE)
    expect(picture(page)).to_be_visible()
    open_settings(page)
    page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    reached: list[str] = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => { const e = document.activeElement, s = getComputedStyle(e);
                return (e.getAttribute("aria-label") || e.innerText || e.tagName).trim()
                    + " | " + e.type + " | " + s.outlineStyle; }"""
            )
        )
    everything = "\n".join(reached)
    for name in ("Model version", "Threshold", "Points", "Tint", "lesion's outline", "Mask (PNG)"):
        assert name in everything
    sliders = [line for line in reached if "| range |" in line]
    assert sliders
    assert all(line.endswith("| solid") for line in sliders), sliders
    page.get_by_role("radio", name="Outline").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.get_by_alt_text("Probability of lesion")).to_be_visible()


def test_every_text_stands_out_from_what_is_behind_it(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_text("Drop one photograph")).to_be_visible()
    assert weak_texts(page) == []
    upload(page, "Photographs", EXAMPLE)
    expect(picture(page)).to_be_visible()
    assert weak_texts(page) == []
