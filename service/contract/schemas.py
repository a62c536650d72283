"""Schemas of the JSON answers, as clients parse them and /openapi.json promises them.

Those of an evaluation are in `service.contract.evaluation`.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from model_core.processing.advice import Advice, Reason

SHA256_EXAMPLE = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
Score = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[float, Field(ge=0)]
Pixels = Annotated[int, Field(ge=1, examples=[2])]
Name = Annotated[str, Field(examples=["lesion-unet"])]
Version = Annotated[str, Field(examples=["1.2.0"])]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=[SHA256_EXAMPLE])]
Threshold = Annotated[
    float,
    Field(gt=0, lt=1, description="Probability above which a pixel is lesion.", examples=[0.5]),
]
Index = Annotated[int, Field(ge=0, description="Position in the request, from 0.", examples=[0])]


class Strict(BaseModel):
    """A schema that has no other members than its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRef(Strict):
    """The version that answered."""

    name: Name
    version: Version
    sha256: Sha256 = Field(description="Of its card.json, which lists all other files' hashes.")

    @property
    def label(self) -> str:
        """Name and version, as a request's `model` takes them: `lesion-unet@1.0.0`."""
        return f"{self.name}@{self.version}"


class ImageRef(Strict):
    """The image that was segmented."""

    height: Pixels = Field(description="Rows of the upright image, px.")
    width: Pixels = Field(description="Columns of the upright image, px.")
    sha256: Sha256 = Field(description="Of the bytes that were sent.")


class RleMask(Strict):
    """A mask as COCO writes it: compressed, column by column."""

    size: tuple[int, int] = Field(description="[height, width], px.", examples=[[2, 2]])
    counts: str = Field(description="Compressed run lengths.", examples=["22"])


class Measurements(Strict):
    """Geometry of the lesion, no diagnosis: docs/measurements.md has the formulas.

    All but the spacing is null where no lesion was found, and what is in mm without a spacing. With
    one, what has no unit is of the shape in mm, which differs where pixels are not square.
    """

    spacing_mm: tuple[float, float] | None = Field(
        description="Height and width of a pixel, mm.", examples=[[0.02, 0.02]]
    )
    area_px: int | None = Field(ge=0, description="Number of pixels.", examples=[45596])
    area_mm2: Length | None = Field(examples=[18.24])
    perimeter_px: Length | None = Field(description="Of all outlines.", examples=[812.4])
    perimeter_mm: Length | None = Field(examples=[16.25])
    equivalent_diameter_px: Length | None = Field(
        description="Of a disc with the same area.", examples=[240.9]
    )
    equivalent_diameter_mm: Length | None = Field(examples=[4.82])
    feret_diameter_px: Length | None = Field(
        description="Largest distance between two points of it.", examples=[279.1]
    )
    feret_diameter_mm: Length | None = Field(examples=[5.58])
    bbox_px: tuple[float, float, float, float] | None = Field(
        description="[x, y, width, height].", examples=[[124, 57, 233, 273]]
    )
    bbox_mm: tuple[float, float, float, float] | None = Field(examples=[[2.48, 1.14, 4.66, 5.46]])
    orientation_deg: float | None = Field(
        ge=-90,
        le=90,
        description="Of the longer axis: 0 is horizontal, positive turns counter-clockwise as "
        "seen; null too where neither axis is longer.",
        examples=[72.5],
    )
    compactness: Length | None = Field(
        description="4 pi area / perimeter squared: 1 for a disc, else less.", examples=[0.87]
    )
    solidity: Score | None = Field(description="Area over its convex hull's.", examples=[0.96])
    asymmetry: tuple[Score, Score] | None = Field(
        description="Share that its mirror image misses: about the longer axis, about the shorter.",
        examples=[[0.06, 0.09]],
    )
    border_irregularity: Length | None = Field(
        description="Perimeter over that of the convex hull: 1 for a convex shape, else more.",
        examples=[1.04],
    )
    colour_spread: Length | None = Field(
        description="Root mean square distance of its colours from their mean, CIELAB units.",
        examples=[11.8],
    )


class UncertainBand(Strict):
    """Where the outline could as well lie: probability 0.25 to 0.75, in the lesion or near it."""

    area_px: Length = Field(description="Its area, in pixels of the image.", examples=[4923.0])
    share: Length = Field(description="Its area over the lesion's.", examples=[0.108])
    width_px: Length = Field(
        description="Its area over the outline's length: its width, px.", examples=[6.3]
    )


class QualityReport(Strict):
    """Whether to trust the mask: docs/quality.md says what each reason means and how often."""

    advice: Advice = Field(
        description="`accept` it, let a person `review` it, or `reject` it and take another image.",
        examples=["accept"],
    )
    reasons: tuple[Reason, ...] = Field(
        description="What was seen; `cut_by_frame` alone changes no advice.", examples=[[]]
    )
    uncertainty: UncertainBand | None = Field(description="Null where nothing was found.")


class Annotation(Strict):
    """A COCO annotation of the lesion; COCO tools read it as it stands."""

    id: int = Field(1, description="1; in a batch the number of the image, from 1.", examples=[1])
    image_id: int = Field(default=1, description="The same as `id`.", examples=[1])
    category_id: int = Field(default=1, description="1 is lesion.", examples=[1])
    iscrowd: Literal[0] = Field(default=0, examples=[0])
    segmentation: RleMask | list[list[float]] = Field(
        description="In the frame of the upright image: run lengths, or with `polygon` lists "
        "of x, y, x, y ... whose union is the mask.",
    )
    tolerance_px: Length | None = Field(
        None,
        description="Error limit of the polygons, px; null with run lengths.",
        examples=[None],
    )
    area: int = Field(ge=0, description="Pixels of the lesion; 0 without a lesion.", examples=[2])
    bbox: tuple[int, int, int, int] = Field(
        description="[x, y, width, height] of the lesion, px; zeros where none was found.",
        examples=[[1, 0, 1, 2]],
    )
    score: Score | None = Field(
        None,
        description="Jaccard to expect with an expert's mask; under about 0.7, let a person look.",
        examples=[0.87],
    )
    score_interval: tuple[Score, Score] | None = Field(
        None,
        description="Holds the true Jaccard of 90 % of images like those of calibration.",
        examples=[[0.78, 0.96]],
    )
    image: ImageRef
    model: ModelRef
    threshold: Threshold
    lesion_found: bool = Field(description="Whether the mask holds any pixel.", examples=[True])
    quality: QualityReport
    measurements: Measurements | None = Field(None, description="Null unless `measurements=true`.")


class RleAnnotation(Annotation):
    """A COCO annotation whose mask is run lengths."""

    segmentation: RleMask


class PolygonAnnotation(Annotation):
    """A COCO annotation whose mask is polygons."""

    segmentation: list[list[float]] = Field(
        description="Lists of x, y, x, y ... whose union is the mask, in the frame of the upright "
        "image.",
        examples=[[[1.0, 0.0, 2.0, 0.0, 2.0, 2.0, 1.0, 2.0]]],
    )
    tolerance_px: Length = Field(
        description="Farthest that they may lie from the mask's own outline, px.", examples=[1.0]
    )


class BatchLine(Annotation):
    """One image's line of a batch: its annotation, and where it stood."""

    index: Index


class Geometry(Strict):
    """The outline as RFC 7946 has it: exteriors have a positive area in [x, y], holes a negative.

    x counts pixels to the right, y downwards, both from the image's upper left corner.
    """

    type: Literal["Polygon", "MultiPolygon"] = Field(examples=["Polygon"])
    coordinates: list[Any] = Field(
        description="Rings of [x, y], px, the first point repeated at the end.",
        examples=[[[[1.0, 0.0], [2.0, 0.0], [2.0, 2.0], [1.0, 2.0], [1.0, 0.0]]]],
    )


class FeatureProperties(Strict):
    """Properties of the lesion."""

    category: Literal["lesion"] = Field(default="lesion", examples=["lesion"])
    area: int = Field(ge=1, description="Pixels of the mask.", examples=[2])
    score: Score | None = Field(description="As in the annotation.", examples=[0.87])


class Feature(Strict):
    """The lesion."""

    type: Literal["Feature"] = Field(default="Feature", examples=["Feature"])
    geometry: Geometry
    properties: FeatureProperties


class FeatureCollection(Strict):
    """GeoJSON (RFC 7946) in pixels of the image; further members as in `Annotation`."""

    type: Literal["FeatureCollection"] = Field("FeatureCollection", examples=["FeatureCollection"])
    features: list[Feature] = Field(description="The lesion; empty where none was found.")
    tolerance_px: Length = Field(
        description="Farthest that the polygons may lie from the mask's own outline, px.",
        examples=[1.0],
    )
    image: ImageRef
    model: ModelRef
    threshold: Threshold
    score: Score | None = Field(examples=[0.87])
    score_interval: tuple[Score, Score] | None = Field(default=None, examples=[[0.78, 0.96]])
    lesion_found: bool = Field(examples=[True])
    quality: QualityReport
    measurements: Measurements | None = Field(default=None)


class VersionEntry(Strict):
    """One published version."""

    name: Name
    version: Version
    aliases: list[str] = Field(description="Names that stand for it.", examples=[["production"]])
    loaded: bool = Field(description="Whether it is in memory now.", examples=[True])
    backend: str | None = Field(
        description="Engine and precision that run it; null while it is not loaded.",
        examples=["pytorch-cpu-fp32"],
    )
    passed_over: dict[str, str] = Field(
        description="Why each faster engine does not run it, by engine; empty while it is not "
        "loaded, or where the engine was named.",
        examples=[{"openvino-bf16": "this processor only emulates bfloat16"}],
    )


class ReloadFailure(Strict):
    """Why the version that an alias points to is not the one that serves."""

    alias: str = Field(examples=["production"])
    wanted: str | None = Field(
        description="Version that the alias points to; null where that cannot be read.",
        examples=["1.2.0"],
    )
    error: str = Field(
        description="What was found and what was expected.",
        examples=["lesion-unet/1.2.0 lacks the file model.safetensors"],
    )
    since: datetime = Field(
        description="When this was first found, UTC.", examples=["2026-01-01T12:00:00Z"]
    )


class VersionList(Strict):
    """Everything the registry holds, and what serves of it."""

    models: list[VersionEntry] = Field(description="Empty while the registry cannot be read.")
    serving: ModelRef | None = Field(
        description="Answers where a request names no version; null until it is loaded."
    )
    reload: ReloadFailure | None = Field(
        description="Null while the alias `production` and the version that serves agree."
    )


class VersionDetail(VersionEntry):
    """One published version with its card."""

    sha256: Sha256 = Field(description="Of card.json as stored.")
    card: dict[str, Any] = Field(
        description="What it is, what made it, how good it is, what it is for.",
        examples=[{"name": "lesion-unet", "version": "1.2.0", "licence": "CC-BY-NC-4.0"}],
    )


class ProbeStatus(Strict):
    """Answer of a probe."""

    status: Literal["ok"] = Field(default="ok", examples=["ok"])


class FieldFault(Strict):
    """One thing that is wrong with a request."""

    place: Literal["query", "path", "body"] = Field(alias="in", examples=["query"])
    field: str = Field(examples=["threshold"])
    detail: str = Field(examples=["Input should be less than 1"])


class ProblemDetails(Strict):
    """An error, as RFC 9457 describes it."""

    type: str = Field(
        description="The kind of problem; a page at this path explains it.",
        examples=["/problems/unreadable-image"],
    )
    title: str = Field(examples=["Unreadable image"])
    status: int = Field(ge=400, le=599, examples=[422])
    detail: str | None = Field(
        None,
        description="What was found and what was expected.",
        examples=["the JPEG file is truncated or damaged and cannot be decoded"],
    )
    instance: str | None = Field(
        None, description="Path of the route; absent where there is none.", examples=["/segment"]
    )
    request_id: str = Field(
        description="As in `X-Request-Id`, and in the service's log.", examples=["a1b2c3"]
    )
    errors: list[FieldFault] | None = Field(
        default=None, description="Each fault of an invalid request; absent from other problems."
    )


class BatchProblem(ProblemDetails):
    """The line of an image that cannot be used, or the last line of a request that cannot."""

    index: int | None = Field(
        ge=0,
        description="Position in the request, from 0; null where no image is meant.",
        examples=[1],
    )
