"""Models of the query parameters; an unknown one is an error, so that none is misspelt unseen."""

from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from model_core.decimals import decimal, parse_spacing
from model_core.errors import ConfigError
from model_core.processing.postprocess import Margin, PostprocessConfig
from service.contract.errors import Fault, InvalidRequestError

MaskFormat = Literal[
    "png",
    "png1",
    "rle",
    "polygon",
    "geojson",
    "image-jpeg",
    "overlay",
    "overlay-jpeg",
    "probability",
    "dicom-seg",
    "dicom-sc",
    "dicom-sr",
]
AnswerFormat = Literal[MaskFormat, "zip"]
EvaluationFormat = Literal["json", "png"]
_FORMATS: tuple[MaskFormat, ...] = get_args(MaskFormat)


REFERENCE = (
    r"^([a-z0-9][a-z0-9-]{0,62}@)?([a-z0-9][a-z0-9-]{0,62}"
    r"|(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?)$"
)
"""What `split_reference` takes, for the document alone: its own errors say more than a pattern."""


def _checked_spacing(text: str) -> str:
    parse_spacing(text)
    return text


def _number(value: object) -> object:
    return decimal(value) if isinstance(value, str) else value


_DECIMAL = BeforeValidator(_number)
Probability = Annotated[float, Field(gt=0, lt=1), _DECIMAL]
"""What `decimal` reads; bounds before the validator, or the document does not show them."""
Pixels = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False), _DECIMAL]
SpacingText = Annotated[str, AfterValidator(_checked_spacing)]
"""What `parse_spacing` reads."""


class MaskQuery(BaseModel):
    """Parameters of every route that may ask a version for masks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: Probability | None = Field(
        default=None,
        description="Probability above which a pixel is lesion; by default the model card's.",
        examples=[0.5],
    )
    margin: Margin | None = Field(
        default=None,
        description="How far outside the visible edge the outline lies: `tight` as tools that fill "
        "a region draw it, `loose` as experts draw by hand, `middle` between them; by default "
        "`middle`. `tight` and `loose` not with `threshold`, and only of a version that was "
        "calibrated for them.",
        examples=["middle"],
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Version or alias, or `name@version`; by default the production version.",
        examples=["production"],
        json_schema_extra={"pattern": REFERENCE},
    )

    @field_validator("margin")
    @classmethod
    def _instead_of_threshold(cls, value: Margin | None, info: ValidationInfo) -> Margin | None:
        if value in ("tight", "loose") and info.data.get("threshold") is not None:
            raise ValueError("found with threshold, expected one of the two")
        return value

    def threshold_of(self, rules: PostprocessConfig) -> float:
        """Return the probability to cut at: that of the request, or the version's for the margin.

        Raises:
            InvalidRequestError: the version was not calibrated for the margin.
        """
        if self.threshold is not None:
            return self.threshold
        try:
            return rules.threshold_for(self.margin or "middle")
        except ConfigError as exc:
            raise InvalidRequestError(Fault("margin", str(exc), place="query")) from exc


class AnnotationQuery(MaskQuery):
    """Parameters of a route that answers with one kind of JSON."""

    measurements: bool = Field(
        default=False,
        description="Add measurements of the lesion to the JSON.",
        examples=[True],
    )
    spacing_mm: SpacingText | None = Field(
        default=None,
        description="Height and width of a pixel in mm, `row,col`. Only with `measurements` or "
        "`dicom-sr`; adds them in mm.",
        examples=["0.02,0.02"],
    )


class PolygonQuery(AnnotationQuery):
    """Parameters of a route that answers with polygons."""

    tolerance_px: Pixels | None = Field(
        default=None,
        description="Farthest that an outline of `polygon` or `geojson` may lie from the mask's "
        "own, px; at 0 it follows every pixel; by default 1.",
        examples=[1.0],
    )


class AnswerQuery(PolygonQuery):
    """Parameters of an answer's content; each only with the formats that have it."""

    bits: Literal[8, 16] | None = Field(
        default=None,
        description="Depth of the probability's PNG. Only with `probability`; by default 8.",
        examples=[16],
    )
    include: str | None = Field(
        default=None,
        max_length=200,
        description="Formats within the ZIP, with commas between. Only with `zip`; by default "
        "`png,rle`.",
        examples=["png,rle,overlay"],
    )

    @field_validator("bits", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return int(value) if value in ("8", "16") else value  # a query holds only text

    @field_validator("include")
    @classmethod
    def _known_once(cls, value: str | None) -> str | None:
        names = [] if value is None else value.split(",")
        unknown = [name for name in names if name not in _FORMATS]
        if unknown or len(set(names)) < len(names):
            found = f"{len(unknown)} that is no format" if unknown else "a format twice"
            raise ValueError(f"found {found}, expected some of {','.join(_FORMATS)}")
        return value

    @property
    def included(self) -> list[MaskFormat]:
        """Return the formats within a ZIP, in order."""
        names = ("png,rle" if self.include is None else self.include).split(",")
        return [name for name in _FORMATS if name in names]


class SegmentQuery(AnswerQuery):
    """Parameters of `/segment`."""

    format: AnswerFormat | None = Field(
        default=None,
        description="`png`: the mask, 8-bit, 0 and 255. `png1`: 1-bit. `rle`: a COCO annotation as "
        "JSON, its mask as run lengths. `polygon`: the same with polygons. `geojson`: polygons "
        "with holes. `image-jpeg`: the image by itself, upright and in sRGB, as any browser shows "
        "it. `overlay`, `overlay-jpeg`: the image with the outline. `probability`: that of each "
        "pixel, grey. `dicom-seg`, `dicom-sc`, `dicom-sr`: of a DICOM image, a segmentation "
        "object, a secondary capture with the outline burned in, or a report of the measurements. "
        "`zip`: several, see `include`. By default `Accept` decides.",
        examples=["png"],
    )


def misplaced(query: AnswerQuery, format: AnswerFormat | Literal["ndjson"]) -> list[Fault]:
    """Return a fault for each parameter that the format of the answer has no use for.

    Args:
        query: Parameters of the request.
        format: As `format`, or else `Accept`, asks for it.
    """
    formats: set[str] = set(query.included) if format == "zip" else {format}
    if format == "ndjson":  # each line is one
        formats = {"rle"}
    needs: dict[str, set[str]] = {
        "tolerance_px": {"polygon", "geojson"},
        "bits": {"probability"},
        "measurements": {"rle", "polygon", "geojson", "dicom-sr"},
    }
    faults = [
        Fault(name, f"only with {' or '.join(sorted(users))}, found {format}", place="query")
        for name, users in needs.items()
        if getattr(query, name) not in (None, False) and not users & formats
    ]
    if query.include is not None and format != "zip":
        faults.append(Fault("include", f"only with zip, found {format}", place="query"))
    measured = query.measurements or "dicom-sr" in formats
    if query.spacing_mm is not None and not measured:
        faults.append(Fault("spacing_mm", "only with measurements=true", place="query"))
    return faults


class BatchQuery(AnswerQuery):
    """Parameters of `/segment/batch`."""

    format: Literal["ndjson", "zip"] | None = Field(
        default=None,
        description="`ndjson`: one line of JSON an image. `zip`: one folder an image, see "
        "`include`. By default `Accept` decides.",
        examples=["ndjson"],
    )


class ScoresQuery(MaskQuery):
    """Parameters of `/evaluate/scores`; how to segment, only with images."""

    spacing_mm: SpacingText | None = Field(
        default=None,
        description="Height and width of a pixel in mm, `row,col`; adds distances in mm. By "
        "default a DICOM image's own Pixel Spacing.",
        examples=["0.02,0.02"],
    )


class EvaluateQuery(ScoresQuery):
    """Parameters of `/evaluate`."""

    format: EvaluationFormat | None = Field(
        default=None,
        description="Scores as JSON, or a picture of one pair; by default `Accept` decides.",
        examples=["json"],
    )
