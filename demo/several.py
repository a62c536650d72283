"""Several photographs at once: a line each, and all of it as one file."""

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from demo import asking, corrections, results
from demo.asking import Photograph
from demo.pictures import encode_png
from service.client import ClientError, Segmentation

Answers = Sequence[tuple[Photograph, Segmentation | ClientError]]


def overview(answers: Answers) -> None:
    """List the photographs, one a line."""
    failed = sum(isinstance(answer, ClientError) for _, answer in answers)
    st.subheader(
        f"{len(answers)} photographs" + (f", {failed} could not be used" if failed else "")
    )
    results.download("Download all: masks and table (ZIP)", lambda: pack(answers), "lesions.zip")
    # A table that wraps its lines, so that no reason is cut off.
    st.table([_line(photograph, answer) for photograph, answer in answers], border="horizontal")


def _line(photograph: Photograph, answer: Segmentation | ClientError) -> dict[str, str]:
    line = {"photograph": photograph.name}
    if isinstance(answer, ClientError):
        return line | {"lesion": "", "expected Jaccard": "", "advice": "could not be used",
                       "why": asking.in_a_word(answer)}  # fmt: skip
    return line | {
        "lesion": results.area(answer),
        "expected Jaccard": "unknown" if answer.score is None else f"{answer.score:.2f}",
        "advice": answer.annotation["quality"]["advice"],
        "why": results.reasons(answer),
    }


def pack(answers: Answers) -> bytes:
    """Make a ZIP of every mask, the corrected ones beside the model's, and a table of figures.

    Masks are named after their photographs; where two have one name, a number tells them apart.
    """
    out, lines, used = io.BytesIO(), [], set[str]()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for photograph, answer in answers:
            if isinstance(answer, ClientError):
                lines.append({"photograph": photograph.name, "error": asking.in_a_word(answer)})
                continue
            name = _unused(Path(photograph.name).stem, used)
            file.writestr(f"masks/{name}.png", encode_png(answer.mask))
            corrected = corrections.corrected(photograph, answer)
            if corrected is not None:
                file.writestr(f"corrected/{name}.png", encode_png(corrected))
            lines.append(
                {"photograph": photograph.name, "mask": f"masks/{name}.png"}
                | {"corrected": "" if corrected is None else f"corrected/{name}.png"}
                | _figures(answer)
            )
        file.writestr("lesions.csv", _csv(lines))
    return out.getvalue()


def _unused(name: str, used: set[str]) -> str:
    number, unused = 1, name
    while unused.casefold() in used:  # some file systems do not tell A from a
        number += 1
        unused = f"{name}-{number}"
    used.add(unused.casefold())
    return unused


def _figures(answer: Segmentation) -> dict[str, Any]:
    low, high = answer.score_interval or ("", "")
    quality = answer.annotation["quality"]
    figures = {
        "model": answer.model.label,
        "model_sha256": answer.model.sha256,
        "threshold": answer.threshold,
        "lesion_found": answer.lesion_found,
        "expected_jaccard": answer.score,
        "expected_jaccard_low": low,
        "expected_jaccard_high": high,
        "advice": quality["advice"],
        "reasons": " ".join(quality["reasons"]),
    }
    for name, value in answer.annotation["measurements"].items():
        several = value if isinstance(value, list | tuple) else None
        parts = {f"{name}_{i}": part for i, part in enumerate(several or (), 1)}
        figures |= parts if several else {name: value}
    return figures


def _csv(lines: Sequence[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for line in lines for name in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns)
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()
