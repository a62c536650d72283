"""Takes the pictures of docs/page.md: the page in a real browser, with drawn lesions.

    python -m docs.take_screenshots http://127.0.0.1:8501

needs the page running (`make demo`) and Chromium; writes docs/page_*.png.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parent
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_COLOURS = 128
"""Of a palette: a third of the bytes, and nobody sees it."""


def main(address: str) -> None:
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 1130})
        page.set_default_timeout(60_000)
        page.goto(address)
        page.get_by_text("Drop one photograph").wait_for()
        page.locator("input[type=file]").first.set_input_files(DOCS / "example.png")
        page.get_by_alt_text("with the lesion's outline").wait_for()
        take(page, "page_outline.png")
        page.get_by_test_id("stButtonGroup").get_by_text("Expert's mask").click()
        page.get_by_text("Drop the expert's mask").wait_for()
        page.locator("input[type=file]").nth(1).set_input_files(DOCS / "example_truth.png")
        page.get_by_alt_text("agree and differ").wait_for()
        take(page, "page_expert.png")
        browser.close()


def take(page: Page, name: str) -> None:
    page.wait_for_timeout(2_500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    small = picture.resize((960, round(picture.height * 0.75)), Image.Resampling.LANCZOS)
    small.quantize(_COLOURS).save(DOCS / name, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
