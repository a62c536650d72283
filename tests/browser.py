"""A real Chromium, driven by Playwright; the test skips, saying so, where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # continuous integration runs as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# WCAG 2.1's contrast of every piece of text that can be seen, against the nearest background.
CONTRASTS = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    const d = canvas.getImageData(0, 0, 1, 1).data;
    return [d[0], d[1], d[2], d[3] / 255];
  };
  const over = (top, below) => below.map((v, i) => i > 2 ? 1 : top[i] * top[3] + v * (1 - top[3]));
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
    const v = c[i] / 255;
    return sum + weight * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!text || box.width < 2 || box.height < 2 || style.visibility !== "visible") continue;
    if (element.closest("[disabled], [aria-hidden=true], noscript, style, script")) continue;
    let back = [255, 255, 255, 1], opacity = 1;
    const layers = [];
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    for (let e = element; e; e = e.parentElement) {
      const b = e.getBoundingClientRect();  // a label may hang outside of what it belongs to
      if (b.left <= x && x <= b.right && b.top <= y && y <= b.bottom)
        layers.push(rgba(getComputedStyle(e).backgroundColor));
      opacity *= parseFloat(getComputedStyle(e).opacity);
    }
    if (opacity < 0.05) continue;
    for (const layer of layers.reverse()) back = over(layer, back);
    const colour = rgba(style.color); colour[3] *= opacity;
    const [a, b] = [light(over(colour, back)), light(back)];
    found.push([text.slice(0, 60), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)]);
  }
  return found;
}
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield browser
        browser.close()


def weak_texts(page: Page, *, at_least: float = 4.5) -> list[tuple[str, float]]:
    """Texts on a page whose contrast is below WCAG's level AA, once nothing fades any more."""
    weak: list[tuple[str, float]] = []
    for _ in range(10):
        weak = [(text, ratio) for text, ratio in page.evaluate(CONTRASTS) if ratio < at_least]
        if not weak:
            break
        page.wait_for_timeout(1_000)
    return weak
