"""What the page writes: a ZIP of everything, a report to print, and figures in words."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("streamlit", reason="streamlit is not installed (make demo installs it)")

from demo import asking, corrections, report, results, several
from demo.asking import Photograph
from demo.corrections import Correction
from demo.viewer.component import counts_of
from model_core.masks.png import decode_mask
from service.client import ModelRef, RefusedError, Segmentation
from tests.demo.conftest import pdf_text
from tests.fixtures.pictures import encode

MASK = np.zeros((60, 80), bool)
MASK[20:40, 30:60] = True
MENDED = MASK.copy()
MENDED[20:40, 60:70] = True
MEASURED = {
    "spacing_mm": None, "area_px": 600, "area_mm2": None, "feret_diameter_px": 36.06,
    "bbox_px": [30, 20, 30, 20], "asymmetry": [0.0, 0.1], "orientation_deg": 0.0,
}  # fmt: skip


def found(**measured: object) -> Segmentation:
    return Segmentation(
        mask=MASK,
        lesion_found=True,
        area_px=600,
        bbox_px=(30, 20, 30, 20),
        score=0.91,
        score_interval=(0.8, 0.99),
        threshold=0.4,
        model=ModelRef(name="lesion-unet", version="1.2.0", sha256="ab" * 32),
        annotation={
            "quality": {"advice": "review", "reasons": ["blurred", "of_a_newer_service"]},
            "measurements": MEASURED | measured,
        },
    )


@pytest.fixture
def corrected(monkeypatch: pytest.MonkeyPatch) -> dict[str, Correction]:
    """Corrections of the visit, by the photograph's key."""
    received: dict[str, Correction] = {}
    monkeypatch.setattr(corrections, "_received", lambda: received)
    jpeg = encode(Image.new("RGB", (80, 60), (230, 180, 160)), "JPEG")
    monkeypatch.setattr(asking, "picture", lambda _: jpeg)
    return received


def test_the_zip_has_every_mask_once_and_a_line_for_every_photograph(
    corrected: dict[str, Correction],
) -> None:
    corrected["2"] = Correction(tuple(counts_of(MENDED)), 12.5, "reader-1")
    bad = RefusedError(
        status=415, slug="unsupported-image", title="Unsupported", detail="found no image"
    )
    packed = several.pack(
        [
            (Photograph("mole.png", "1", b""), found()),
            (Photograph("Mole.jpg", "2", b""), found(area_mm2=0.24)),
            (Photograph("bad, one.txt", "3", b""), bad),
        ]
    )
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        files = {name: file.read(name) for name in file.namelist()}
    names = ["masks/mole.png", "masks/Mole-2.png", "corrected/Mole-2.png", "lesions.csv"]
    assert list(files) == names
    assert np.array_equal(decode_mask(files["masks/mole.png"]), MASK)
    assert np.array_equal(decode_mask(files["corrected/Mole-2.png"]), MENDED)
    first, second, third = csv.DictReader(io.StringIO(files["lesions.csv"].decode()))
    assert (first["area_px"], first["corrected"], first["advice"]) == ("600", "", "review")
    assert (first["asymmetry_2"], first["expected_jaccard_low"]) == ("0.1", "0.8")
    assert (second["area_mm2"], second["corrected"]) == ("0.24", "corrected/Mole-2.png")
    assert (third["photograph"], third["error"]) == ("bad, one.txt", "found no image")


def test_the_report_says_whose_outline_it_shows_and_that_it_is_for_research(
    corrected: dict[str, Correction],
) -> None:
    photograph = Photograph("Łata <1>.png", "1", b"")
    text = pdf_text(report.pdf(photograph, found()))
    for part in (
        "research only",
        "?ata <1>.png, 80 x 60 px",
        "1.2.0",
        "abababab",
        "model",
        "600 px",
        "blurred",
    ):
        assert part in text
    corrected["1"] = Correction(tuple(counts_of(MENDED)), 1.0, "reader-1")
    assert "corrected by hand, 800 px" in pdf_text(report.pdf(photograph, found()))


def test_figures_come_in_mm_where_they_are_known_and_reasons_in_words() -> None:
    assert results.area(found()) == "600 px²"
    assert results.area(found(area_mm2=0.24)) == "0.240 mm²"
    measured = dict(results.measured(found(area_mm2=0.24).annotation["measurements"]))
    assert measured == {
        "Area": "0.240 mm² (600 px²)",
        "Feret diameter": "36.06 px",
        "Asymmetry": "0.000, 0.100",
        "Orientation": "0.000°",
    }
    assert results.reasons(found()) == "the photograph is blurred; of a newer service"
    meaning = results.expectation(found())
    assert "0.91" in meaning
    assert "91%" in meaning
    assert "80% to 99%" in meaning
