"""Takes the pictures of docs/page.md: the page in a real browser, with drawn lesions.

    python -m docs.take_screenshots http://127.0.0.1:8501

needs the page running (`make demo`) and Chromium; writes docs/page_*.png.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from trainer.data.drawn import draw_lesion

DOCS = Path(__file__).parent
_ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
_SEEDS = (0, 1, 3, 4, 5, 7)
_COLOURS = 256
"""Of a palette: a third of the bytes, and nobody sees it."""


def main(address: str) -> None:
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        page = visit(browser, address, 1280, 1290, [DOCS / "example.png"])
        take(page, "page_outline.png")
        page.get_by_role("button", name="Points").click()
        page.get_by_role("slider", name="Original up to here").fill("35")
        take(page, "page_mend.png")
        page.get_by_role("radio", name="Expert's mask").click()
        page.get_by_text("Drop the expert's mask").wait_for()
        page.locator("input[type=file]").first.set_input_files(DOCS / "example_truth.png")
        page.get_by_alt_text("agree and differ").wait_for()
        take(page, "page_expert.png")
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"lesion_{seed}.png" for seed in _SEEDS]
            for seed, file in zip(_SEEDS, files, strict=True):
                Image.fromarray(draw_lesion(seed)[0]).save(file)
            page = visit(browser, address, 1280, 1290, files)
            page.get_by_text("Download all").wait_for()
            take(page, "page_many.png")
        page = visit(browser, address, 390, 760, [DOCS / "example.png"])
        take(page, "page_phone.png", share=1)
        browser.close()


def visit(browser: Browser, address: str, width: int, height: int, files: list[Path]) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(60_000)
    page.goto(address)
    page.get_by_text("Drop one photograph").wait_for()
    page.locator("input[type=file]").first.set_input_files(files)
    page.locator(".lv-line[d]").wait_for(state="attached")
    return page


def take(page: Page, name: str, *, share: float = 0.75) -> None:
    page.wait_for_timeout(2_500)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    size = round(picture.width * share), round(picture.height * share)
    small = picture.resize(size, Image.Resampling.LANCZOS)
    # Most of the picture is skin: by area alone the lines would lose their colours.
    small.quantize(_COLOURS, Image.Quantize.FASTOCTREE).save(DOCS / name, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
