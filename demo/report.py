"""A page to print of one photograph: picture, outline, figures, version and date."""

import io
from datetime import datetime
from typing import TYPE_CHECKING

from PIL import Image

from demo import asking, corrections, results
from demo.asking import Photograph
from demo.pictures import outlined
from service.client import Segmentation

if TYPE_CHECKING:
    from reportlab.platypus import Flowable

_RESEARCH_ONLY = "Not a medical device: for research only. Geometry, no diagnosis."
_MARGIN_MM = 18
_PICTURE_MM = (174, 118)
"""Most width and height of the picture on the page."""


def pdf(photograph: Photograph, answer: Segmentation) -> bytes:
    """Make the report, A4, one page.

    The outline is the model's; where a person corrected it, theirs, and the report says so. The
    measurements are of the model's outline.
    """
    from reportlab.lib.pagesizes import A4  # only who prints a report waits for it
    from reportlab.lib.units import mm
    from reportlab.platypus import SimpleDocTemplate

    out = io.BytesIO()
    margin = _MARGIN_MM * mm
    document = SimpleDocTemplate(
        out, pagesize=A4, leftMargin=margin, rightMargin=margin, topMargin=margin,
        bottomMargin=margin, title="Report of a skin lesion's outline",
    )  # fmt: skip
    document.build(_content(photograph, answer))
    return out.getvalue()


def _content(photograph: Photograph, answer: Segmentation) -> "list[Flowable]":
    from xml.sax.saxutils import escape

    from reportlab.lib.styles import getSampleStyleSheet
    from reportlab.lib.units import mm
    from reportlab.platypus import Image as Picture
    from reportlab.platypus import Paragraph, Spacer, Table

    styles = getSampleStyleSheet()
    corrected = corrections.corrected(photograph, answer)
    mask = answer.mask if corrected is None else corrected
    with Image.open(io.BytesIO(asking.picture(photograph))) as file:
        picture = outlined(file.convert("RGB"), mask)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=92, subsampling=0)
    scale = min(_PICTURE_MM[0] / picture.width, _PICTURE_MM[1] / picture.height) * mm
    whose = "the model's" if corrected is None else f"corrected by hand, {corrected.sum():,} px²"
    quality = answer.annotation["quality"]
    lines = [
        ("Photograph", f"{photograph.name}, {answer.mask.shape[1]} x {answer.mask.shape[0]} px"),
        ("Made", f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}"),
        (
            "Model",
            f"{answer.model.label}, {answer.model.sha256[:16]}, threshold {answer.threshold:.2f}",
        ),
        ("Outline in the picture", whose),
        ("Advice", " - ".join(filter(None, [quality["advice"], results.reasons(answer)]))),
        *results.measured(answer.annotation["measurements"]),
    ]
    body = styles["BodyText"]
    table = Table(
        [[Paragraph(escape(_printable(text)), body) for text in line] for line in lines],
        colWidths=[52 * mm, 122 * mm],
        style=[
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, "#b0b8c0"),
            ("TOPPADDING", (0, 0), (-1, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ],
    )  # fmt: skip
    return [
        Paragraph("Outline of a skin lesion", styles["Heading2"]),
        Paragraph(f"<b>{_RESEARCH_ONLY}</b>", body),
        Spacer(1, 3 * mm),
        Picture(jpeg, picture.width * scale, picture.height * scale, hAlign="LEFT"),
        Spacer(1, 3 * mm),
        table,
        Paragraph(escape(_printable(results.expectation(answer))), body),
    ]


def _printable(text: str) -> str:
    """Return a text in the letters that the PDF's font has, with ? for every other."""
    return text.encode("cp1252", "replace").decode("cp1252")
