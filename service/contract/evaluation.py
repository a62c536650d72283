"""Schemas of an evaluation's answer: scores of pairs, and of the whole set."""

from typing import Literal

from pydantic import Field

from service.contract.schemas import Index, Length, ModelRef, Score, Strict


class PairScores(Strict):
    """Scores of one pair of masks."""

    index: Index
    dice: Score = Field(examples=[0.89])
    jaccard: Score = Field(examples=[0.8])
    threshold_jaccard: Score = Field(
        description="Jaccard, or 0 where it is below 0.65 (ISIC 2018 Task 1).", examples=[0.8]
    )
    sensitivity: Score = Field(examples=[1.0])
    specificity: Score = Field(examples=[0.5])
    accuracy: Score = Field(examples=[0.83])
    precision: Score = Field(examples=[0.8])
    hausdorff_95_px: Length | None = Field(
        description="95th percentile of the distances between both outlines; null where either "
        "mask is empty.",
        examples=[3.2],
    )
    assd_px: Length | None = Field(
        description="Mean of those distances (average symmetric surface distance).", examples=[1.1]
    )
    hausdorff_95_mm: Length | None = Field(
        default=None, description="The same in mm; only with `spacing_mm`.", examples=[0.064]
    )
    assd_mm: Length | None = Field(
        default=None, description="The same in mm; only with `spacing_mm`.", examples=[0.022]
    )


_METRICS = [name for name, field in PairScores.model_fields.items() if field.annotation is float]
_SCORES = dict.fromkeys(_METRICS, 0.9)


class MeanWithInterval(Strict):
    """A mean over images with its 95 % bootstrap interval (2,000 resamples, seed 0)."""

    mean: Length = Field(examples=[0.87])
    low: Length = Field(examples=[0.85])
    high: Length = Field(examples=[0.89])


class ScoreSummary(Strict):
    """Scores of the whole set, by three kinds of mean."""

    n: int = Field(ge=1, description="Number of pairs.", examples=[1])
    n_distances: int = Field(
        ge=0,
        description="Number of pairs that have distances: no mask of them is empty.",
        examples=[1],
    )
    failure_rate: Score = Field(
        description="Share of pairs with a Jaccard below 0.65.", examples=[0.0]
    )
    per_image: dict[str, MeanWithInterval | None] = Field(
        description="Mean of the images' scores, by metric, and of their distances; null where no "
        "pair has one.",
        examples=[
            {name: {"mean": 0.87, "low": 0.85, "high": 0.89} for name in _METRICS}
            | {"hausdorff_95_px": {"mean": 3.2, "low": 2.9, "high": 3.6}}
            | {"assd_px": {"mean": 1.1, "low": 1.0, "high": 1.3}}
        ],
    )
    pooled: dict[str, Score] = Field(
        description="From one table of all pixels, by metric.",
        examples=[_SCORES],
    )
    batch_of_4: dict[str, Score] = Field(
        description="Each four pairs in a row pooled, then their mean, by metric.",
        examples=[_SCORES],
    )
    intervals: dict[Literal["pooled", "batch_of_4"], dict[str, MeanWithInterval]] = Field(
        description="95 % intervals of the two means above: images resampled for `pooled`, batches "
        "for `batch_of_4`.",
        examples=[{"pooled": {"dice": {"mean": 0.88, "low": 0.86, "high": 0.9}}, "batch_of_4": {}}],
    )


class Evaluation(Strict):
    """Scores of every pair and of the set."""

    items: list[PairScores]
    summary: ScoreSummary
    model: ModelRef | None = Field(description="Null where the masks were sent, not predicted.")
    threshold: float | None = Field(
        description="Null where the masks were sent, not predicted.", examples=[0.5]
    )
