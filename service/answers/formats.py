"""What a segmented photograph becomes on its way out: a file of one form, or several in a ZIP."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from model_core.masks.outline import draw_outline
from model_core.masks.png import encode_mask
from model_core.registry.registry import LoadedVersion
from service.answers.annotations import annotation_of, features_of
from service.answers.dicom import capture_of, segmentation_of
from service.answers.pictures import encode_jpeg, encode_picture, encode_probability
from service.answers.zip import zip_of
from service.contract.queries import AnswerFormat, MaskFormat
from service.pipeline.segmented import Segmented
from service.telemetry.prometheus import Stages

ZIP = "application/zip"
DICOM = "application/dicom"


class Form(NamedTuple):
    """One form that an answer can have.

    Attributes:
        media_type: Of the file.
        file: Its name within a ZIP; never anything of the caller's.
        encode: Makes it.
    """

    media_type: str
    file: str
    encode: Callable[[Segmented], bytes]


def _outlined(answer: Segmented) -> bytes:
    return encode_picture(draw_outline(answer.photograph(), answer.prediction.mask))


def _outlined_jpeg(answer: Segmented) -> bytes:
    return encode_jpeg(draw_outline(answer.photograph(), answer.prediction.mask))


def _probability(answer: Segmented) -> bytes:
    return encode_probability(answer.prediction.probability(), answer.query.bits or 8)


FORMS: Mapping[MaskFormat, Form] = {
    "png": Form("image/png", "mask.png", lambda answer: encode_mask(answer.prediction.mask)),
    "png1": Form(
        "image/png", "mask-1bit.png", lambda answer: encode_mask(answer.prediction.mask, bits=1)
    ),
    "rle": Form(
        "application/json",
        "annotation.json",
        lambda answer: annotation_of(answer).model_dump_json().encode(),
    ),
    "polygon": Form(
        "application/json",
        "polygons.json",
        lambda answer: annotation_of(answer, polygons=True).model_dump_json().encode(),
    ),
    "geojson": Form(
        "application/geo+json",
        "lesion.geojson",
        lambda answer: features_of(answer).model_dump_json().encode(),
    ),
    "overlay": Form("image/png", "overlay.png", _outlined),
    "overlay-jpeg": Form("image/jpeg", "overlay.jpg", _outlined_jpeg),
    "probability": Form("image/png", "probability.png", _probability),
    "dicom-seg": Form(DICOM, "segmentation.dcm", segmentation_of),
    "dicom-sc": Form(DICOM, "outlined.dcm", capture_of),
}


def encode_answer(answer: Segmented, form: AnswerFormat) -> bytes:
    """The file of one form, or a ZIP of all that the caller wants included."""
    return zip_of(files_of(answer)) if form == "zip" else FORMS[form].encode(answer)


def files_of(answer: Segmented) -> dict[str, bytes]:
    """The files that the caller wants in a ZIP, by name."""
    forms = [FORMS[name] for name in answer.query.included]
    return {form.file: form.encode(answer) for form in forms}


def media_type_of(form: AnswerFormat) -> str:
    """The `Content-Type` of a form."""
    return ZIP if form == "zip" else FORMS[form].media_type


def version_headers(version: LoadedVersion) -> dict[str, str]:
    """Name the version and the engine that answered."""
    return {
        "X-Model-Version": version.label,
        "X-Model-Digest": version.sha256,
        "X-Backend": version.predictor.backend.name,
    }


def model_headers(version: LoadedVersion, stages: Stages) -> dict[str, str]:
    """Name the version and the engine that answered, and where the time went."""
    return {**version_headers(version), "Server-Timing": stages.header()}
