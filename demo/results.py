"""Figures, advice, files and measurements of one photograph's answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from demo import asking, report
from demo.asking import Photograph, Wish
from demo.pictures import encode_png, is_dicom
from service.client import Segmentation

_ADVICE = {
    "accept": (st.success, "Nothing speaks against using the outline as it is."),
    "review": (
        st.warning,
        "Look at the outline before you use it. Where it is wrong, mend it with Points or Brush, "
        "or take another photograph.",
    ),
    "reject": (
        st.error,
        "Do not use this outline. Take another photograph, or draw the outline with the brush.",
    ),
}
_REASONS = {
    "nothing_found": "no lesion was found",
    "not_skin": "this does not look like skin",
    "underexposed": "the photograph is too dark",
    "overexposed": "large parts of the photograph are white",
    "blurred": "the photograph is blurred",
    "several_lesions": "there are several lesions, and the largest is outlined",
    "low_score": "the expected Jaccard is low",
    "not_calibrated": "this version cannot tell how good its outlines are",
    "cut_by_frame": "the lesion is cut by the frame, and what is measured is the visible part",
}
_UNITS = {"px": " px", "mm2": " mm²", "mm": " mm", "deg": "°"}


def figures(answer: Segmentation) -> None:
    """Show area, share, expected Jaccard and model."""
    height, width = answer.mask.shape
    columns = st.columns(4)
    share = answer.area_px / (height * width)
    columns[0].metric("Lesion", area(answer), border=True, help=f"{answer.area_px:,} pixels.")
    columns[1].metric("Share of the photograph", f"{share:.1%}", border=True)
    score = "unknown" if answer.score is None else f"{answer.score:.2f}"
    columns[2].metric(
        "Expected Jaccard", score, border=True,
        help="How well the mask is expected to agree with an expert's, 0 to 1.",
    )  # fmt: skip
    columns[3].metric("Model", answer.model.version, border=True, help=answer.model.label)
    if meaning := expectation(answer):
        st.caption(
            meaning + " Two experts do not agree fully either: to about 80 % where it was counted."
        )


def area(answer: Segmentation) -> str:
    """Return the lesion's area, in mm² where the size of a pixel is known."""
    mm2 = answer.annotation["measurements"]["area_mm2"]
    return f"{answer.area_px:,} px²" if mm2 is None else f"{number(mm2)} mm²"


def advice(answer: Segmentation) -> None:
    """Say whether the mask can be used, and why not."""
    quality = answer.annotation["quality"]
    box, text = _ADVICE[quality["advice"]]
    why = reasons(answer)
    box(f"**{quality['advice'].capitalize()}.** {text}" + (f" Why: {why}." if why else ""))


def reasons(answer: Segmentation) -> str:
    """Return in words what speaks against using the mask; empty where nothing does."""
    found = answer.annotation["quality"]["reasons"]
    return "; ".join(_REASONS.get(reason, reason.replace("_", " ")) for reason in found)


def expectation(answer: Segmentation) -> str:
    """Say in a sentence what the expected Jaccard of an answer means; empty where it has none."""
    if answer.score is None:
        return ""
    text = (
        f"Expected Jaccard {answer.score:.2f}: of the area that this outline and an expert's cover "
        f"together, {answer.score:.0%} is expected to lie in both."
    )
    if answer.score_interval is not None:
        low, high = answer.score_interval
        text += (
            f" For nine in ten photographs like those that the version was calibrated on it is "
            f"{low:.0%} to {high:.0%}."
        )
    return text


def downloads(photograph: Photograph, answer: Segmentation, wish: Wish) -> None:
    """Offer the answer as files."""
    stem = Path(photograph.name).stem
    st.subheader("Download")
    download("Mask (PNG)", encode_png(answer.mask), f"{stem}_mask.png")
    download("COCO RLE (JSON)", json.dumps(answer.annotation), f"{stem}.json")
    download(
        "Outlined photograph (PNG)",
        lambda: asking.made(photograph, wish, "overlay"),
        f"{stem}_outline.png",
    )
    download("Report to print (PDF)", lambda: report.pdf(photograph, answer), f"{stem}.pdf")
    download("GeoJSON", lambda: asking.made(photograph, wish, "geojson"), f"{stem}.geojson")
    if is_dicom(photograph.data):
        download("DICOM SEG", lambda: asking.made(photograph, wish, "dicom-seg"), f"{stem}_seg.dcm")


def download(label: str, data: str | bytes | Callable[[], bytes], name: str) -> None:
    """Offer a file."""
    st.download_button(label, data, name, on_click="ignore", width="stretch")


def measurements(answer: Segmentation) -> None:
    """Show what the service measured, in a table."""
    st.subheader("Measurements")
    st.table(
        [
            {"measurement": name, "value": text}
            for name, text in measured(answer.annotation["measurements"])
        ],
        border="horizontal",
    )
    st.caption("Geometry only, no diagnosis. docs/measurements.md has each formula.")


def measured(values: dict[str, Any]) -> list[tuple[str, str]]:
    """Return each measurement's name and its value with its unit, in mm first where both are known.

    Example:
        >>> measured({"area_px": 4500, "area_mm2": 1.8, "feret_diameter_px": 81.4})
        [('Area', '1.800 mm² (4,500 px²)'), ('Feret diameter', '81.40 px')]
    """
    lines: dict[str, str] = {}
    for name, value in values.items():
        if value is None or name.startswith(("spacing", "bbox")):
            continue
        words, unit = name.replace("_", " "), ""
        for ending, written in _UNITS.items():
            if words.endswith(f" {ending}"):
                words, unit = words.removesuffix(f" {ending}"), written
                break
        words = words.capitalize()
        numbers = value if isinstance(value, list | tuple) else [value]
        text = ", ".join(number(n) for n in numbers) + unit
        if words == "Area" and unit == " px":
            text += "²"
        lines[words] = f"{text} ({lines[words]})" if words in lines else text
    return list(lines.items())


def number(value: float) -> str:
    """Write a number with the digits that mean something.

    Example:
        >>> number(45977), number(812.44), number(0.9612)
        ('45,977', '812.4', '0.961')
    """
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3}f}"
