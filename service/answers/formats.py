"""Encode a segmented image as a file of one format, or as several in a ZIP."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal, NamedTuple

from model_core.arrays import Image
from model_core.masks.outline import draw_outline
from model_core.masks.png import encode_mask
from model_core.registry.registry import LoadedVersion
from service.answers.annotations import annotation_of, features_of
from service.answers.dicom import capture_of, report_of, segmentation_of
from service.answers.pictures import encode_jpeg, encode_picture, encode_probability
from service.answers.segmented import Segmented
from service.answers.zip import zip_of
from service.contract.queries import AnswerFormat, MaskFormat
from service.contract.schemas import BatchLine
from service.telemetry.ticket import Ticket

PNG = "image/png"
JSON = "application/json"
ZIP = "application/zip"
DICOM = "application/dicom"


class FileFormat(NamedTuple):
    """One format of an answer.

    Attributes:
        media_type: Of the file.
        file: Its name within a ZIP; never anything of the caller's.
        encode: Makes the file's bytes.
    """

    media_type: str
    file: str
    encode: Callable[[Segmented], bytes]


def _annotation(answer: Segmented, *, polygons: bool = False) -> bytes:
    return annotation_of(answer, polygons=polygons).model_dump_json().encode()


def _features(answer: Segmented) -> bytes:
    return features_of(answer).model_dump_json().encode()


def _mask(answer: Segmented, *, bits: Literal[1, 8] = 8) -> bytes:
    return encode_mask(answer.prediction.mask, bits=bits)


def _upright(answer: Segmented) -> bytes:
    return encode_jpeg(answer.full_image())


def _outlined(answer: Segmented, *, encode: Callable[[Image], bytes] = encode_picture) -> bytes:
    return encode(draw_outline(answer.full_image(), answer.prediction.mask))


def _probability(answer: Segmented) -> bytes:
    return encode_probability(answer.prediction.probability(), answer.query.bits or 8)


FORMATS: Mapping[MaskFormat, FileFormat] = {
    "png": FileFormat(PNG, "mask.png", _mask),
    "png1": FileFormat(PNG, "mask-1bit.png", partial(_mask, bits=1)),
    "rle": FileFormat(JSON, "annotation.json", _annotation),
    "polygon": FileFormat(JSON, "polygons.json", partial(_annotation, polygons=True)),
    "geojson": FileFormat("application/geo+json", "lesion.geojson", _features),
    "image-jpeg": FileFormat("image/jpeg", "image.jpg", _upright),
    "overlay": FileFormat(PNG, "overlay.png", _outlined),
    "overlay-jpeg": FileFormat("image/jpeg", "overlay.jpg", partial(_outlined, encode=encode_jpeg)),
    "probability": FileFormat(PNG, "probability.png", _probability),
    "dicom-seg": FileFormat(DICOM, "segmentation.dcm", segmentation_of),
    "dicom-sc": FileFormat(DICOM, "outlined.dcm", capture_of),
    "dicom-sr": FileFormat(DICOM, "report.dcm", report_of),
}


def encode_answer(answer: Segmented, format: AnswerFormat) -> bytes:
    """Encode the file of one format, or a ZIP of all that the caller wants included."""
    return zip_of(files_of(answer)) if format == "zip" else FORMATS[format].encode(answer)


def files_of(answer: Segmented) -> dict[str, bytes]:
    """Encode the files that the caller wants in a ZIP, by name."""
    formats = [FORMATS[name] for name in answer.query.included]
    return {format.file: format.encode(answer) for format in formats}


def line_of(answer: Segmented) -> dict[str, bytes]:
    """Encode the line of JSON that an image of a batch is answered with."""
    line = BatchLine(index=answer.index, **dict(annotation_of(answer)))
    return {"line": line.model_dump_json().encode()}


def media_type_of(format: AnswerFormat) -> str:
    """Return the `Content-Type` of a format."""
    return ZIP if format == "zip" else FORMATS[format].media_type


def version_headers(version: LoadedVersion) -> dict[str, str]:
    """Return the headers that name the version and the engine that answered."""
    return {
        "X-Model-Version": version.label,
        "X-Model-Digest": version.sha256,
        "X-Backend": version.predictor.backend.name,
    }


def model_headers(version: LoadedVersion, ticket: Ticket) -> dict[str, str]:
    """Return the headers that name a version, and the time spent in each stage."""
    return {**version_headers(version), "Server-Timing": ticket.timing()}
