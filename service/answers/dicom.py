"""Encode answers as DICOM objects, which only a DICOM image can have."""

from collections.abc import Iterator
from contextlib import contextmanager

from model_core.dicom.derived import Author
from model_core.dicom.report import MEASUREMENTS, Findings, write_report
from model_core.dicom.secondary_capture import write_secondary_capture
from model_core.dicom.segmentation import write_segmentation
from model_core.errors import ConfigError
from model_core.images.file_types import sniff
from model_core.masks.outline import draw_outline
from service.answers.measurements import measurements_of, quality_of
from service.answers.segmented import Segmented
from service.contract.errors import Fault, InvalidRequestError


def segmentation_of(answer: Segmented) -> bytes:
    """Encode the mask as a DICOM segmentation.

    Raises:
        InvalidRequestError: the image is not DICOM, or the extra `dicom` is not installed.
        InputError: as `model_core.dicom.segmentation.write_segmentation`.
    """
    with _writing(answer, "dicom-seg"):
        limit, mask = answer.version.predictor.max_pixels, answer.prediction.mask
        return write_segmentation(answer.data, mask, _author(answer), max_pixels=limit)


def capture_of(answer: Segmented) -> bytes:
    """Encode the image with the outline as a DICOM secondary capture.

    Raises:
        InvalidRequestError: the image is not DICOM, or the extra `dicom` is not installed.
        InputError: as `model_core.dicom.secondary_capture.write_secondary_capture`.
    """
    with _writing(answer, "dicom-sc"):
        limit, mask = answer.version.predictor.max_pixels, answer.prediction.mask
        picture = draw_outline(answer.full_image(), mask)
        return write_secondary_capture(answer.data, picture, _author(answer), max_pixels=limit)


def report_of(answer: Segmented) -> bytes:
    """Encode measurements, predicted Jaccard and advice as a DICOM structured report.

    Raises:
        InvalidRequestError: the image is not DICOM, or the extra `dicom` is not installed.
        InputError: as `model_core.dicom.report.write_report`.
    """
    with _writing(answer, "dicom-sr"):
        limit, mask = answer.version.predictor.max_pixels, answer.prediction.mask
        findings = _findings(answer)
        return write_report(answer.data, mask, _author(answer), findings, max_pixels=limit)


def _findings(answer: Segmented) -> Findings:
    """Take what the JSON answer says: sizes in mm where there is a spacing, else in pixels."""
    values = measurements_of(answer).model_dump()
    other = "_px" if values["spacing_mm"] else ("_mm", "_mm2")
    values["asymmetry_longer"], values["asymmetry_shorter"] = values["asymmetry"] or (None, None)
    values["score"] = answer.prediction.score
    quality = quality_of(answer)
    numbers = {
        name: values[name]
        for name in MEASUREMENTS
        if values[name] is not None and not name.endswith(other)
    }
    return Findings(numbers, quality.advice, quality.reasons)


def _author(answer: Segmented) -> Author:
    card = answer.version.card
    threshold = answer.prediction.threshold
    return Author(card.name, card.version, answer.version.sha256, threshold)


@contextmanager
def _writing(answer: Segmented, format: str) -> Iterator[None]:
    """Refuse other files than DICOM, and name the extra where what writes it is not installed."""
    kind = sniff(answer.data)
    if kind != "DICOM":
        other = f"a {kind} file has none; ask for png, rle or another format"
        detail = f"{format} belongs to the patient and study of a DICOM image, {other}"
        raise InvalidRequestError(Fault("format", detail, place="query"))
    try:
        yield
    except ConfigError as exc:
        raise InvalidRequestError(Fault("format", f"{format}: {exc}", place="query")) from exc
