"""Encode answers as DICOM objects, which only a DICOM image can have."""

from model_core.dicom.derived import Author
from model_core.dicom.secondary_capture import write_secondary_capture
from model_core.dicom.segmentation import write_segmentation
from model_core.images.file_types import sniff
from model_core.masks.outline import draw_outline
from service.answers.segmented import Segmented
from service.contract.errors import Fault, InvalidRequestError


def segmentation_of(answer: Segmented) -> bytes:
    """Encode the mask as a DICOM segmentation.

    Raises:
        InvalidRequestError: the image is not DICOM.
        InputError: as `model_core.dicom.segmentation.write_segmentation`.
    """
    _refuse_others(answer, "dicom-seg")
    limit, mask = answer.version.predictor.max_pixels, answer.prediction.mask
    return write_segmentation(answer.data, mask, _author(answer), max_pixels=limit)


def capture_of(answer: Segmented) -> bytes:
    """Encode the image with the outline as a DICOM secondary capture.

    Raises:
        InvalidRequestError: the image is not DICOM.
        InputError: as `model_core.dicom.secondary_capture.write_secondary_capture`.
    """
    _refuse_others(answer, "dicom-sc")
    limit, mask = answer.version.predictor.max_pixels, answer.prediction.mask
    picture = draw_outline(answer.full_image(), mask)
    return write_secondary_capture(answer.data, picture, _author(answer), max_pixels=limit)


def _author(answer: Segmented) -> Author:
    card = answer.version.card
    threshold = answer.prediction.threshold
    return Author(card.name, card.version, answer.version.sha256, threshold)


def _refuse_others(answer: Segmented, format: str) -> None:
    kind = sniff(answer.data)
    if kind != "DICOM":
        other = f"a {kind} file has none; ask for png, rle or another format"
        detail = f"{format} belongs to the patient and study of a DICOM image, {other}"
        raise InvalidRequestError(Fault("format", detail, place="query"))
