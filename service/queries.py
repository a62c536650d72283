"""Query parameters; one that is not here is an error, so that a misspelt one is not overlooked."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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
