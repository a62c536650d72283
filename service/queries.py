"""Query parameters; one that is not here is an error, so that a misspelt one is not overlooked."""

import math
import re
import reprlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from model_core.distances import Spacing

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?|\.[0-9]{1,12}")

MaskFormat = Literal["png", "png1", "rle"]
EvaluationFormat = Literal["json", "png"]


class _ModelQuery(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Probability above which a pixel is lesion; by default the model card's.",
        examples=[0.5],
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Version or alias, or `name@version`; by default the production version.",
        examples=["production"],
    )


class SegmentQuery(_ModelQuery):
    """Parameters of `/segment`."""

    format: MaskFormat | None = Field(
        default=None,
        description="8-bit PNG (0 and 255), 1-bit PNG, or JSON with a COCO RLE mask; by default "
        "`Accept` decides.",
        examples=["png"],
    )


class EvaluateQuery(_ModelQuery):
    """Parameters of `/evaluate`; `threshold` and `model` only with photographs."""

    format: EvaluationFormat | None = Field(
        default=None,
        description="Scores as JSON, or a picture of one pair; by default `Accept` decides.",
        examples=["json"],
    )
    spacing_mm: str | None = Field(
        default=None,
        description="Height and width of a pixel in mm, `row,col`; adds distances in mm.",
        examples=["0.02,0.02"],
    )

    @field_validator("spacing_mm")
    @classmethod
    def _two_sizes(cls, value: str | None) -> str | None:
        if value is not None:
            parse_spacing(value)
        return value


def parse_spacing(text: str) -> Spacing:
    """Height and width of `row,col`, mm.

    Raises:
        ValueError: not two finite numbers above 0.

    Example:
        >>> parse_spacing("0.02,0.025")
        (0.02, 0.025)
    """
    sizes = [float(part) if _NUMBER.fullmatch(part) else 0.0 for part in text.split(",")]
    if len(sizes) != 2 or not all(0 < size < math.inf for size in sizes):
        raise ValueError(
            f"found {reprlib.repr(text)}, expected the height and width of a pixel in mm, both "
            "above 0, such as 0.02,0.02"
        )
    return sizes[0], sizes[1]
