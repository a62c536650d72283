"""Schemas of corrections: what is kept of one, and how many there are."""

from datetime import datetime

from pydantic import Field

from service.contract.schemas import SHA256_EXAMPLE, ImageRef, ModelRef, Strict, Threshold

ANNOTATOR = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
MAX_SECONDS = 86_400
_ID = f"{SHA256_EXAMPLE}-20261129T101500000000Z"


class Correction(Strict):
    """One correction of a photograph's mask, as its folder's `correction.json` keeps it."""

    id: str = Field(
        description="Name of its folder: the photograph's SHA-256, and the time.", examples=[_ID]
    )
    created: datetime = Field(
        description="When it was kept, UTC.", examples=["2026-11-29T10:15:00.000000Z"]
    )
    annotator: str = Field(
        pattern=ANNOTATOR, description="Pseudonym of who corrected.", examples=["reader-1"]
    )
    seconds: float | None = Field(
        ge=0,
        le=MAX_SECONDS,
        description="Time spent on it, s; null where it was not sent.",
        examples=[41.5],
    )
    key: str | None = Field(
        description="ID of the API key; null without keys.", examples=["clinic-page"]
    )
    image: ImageRef
    model: ModelRef
    threshold: Threshold
    files: dict[str, str] = Field(
        description="SHA-256 of each file that is kept, by name: the photograph as it was sent, "
        "the model's mask and the corrected one.",
        examples=[
            {
                "photograph.jpg": SHA256_EXAMPLE,
                "model.png": SHA256_EXAMPLE,
                "corrected.png": SHA256_EXAMPLE,
            }
        ],
    )


class CorrectionCount(Strict):
    """Size of what is kept."""

    photographs: int = Field(
        ge=0, description="Photographs of which a correction is kept.", examples=[50]
    )
