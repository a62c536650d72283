"""What a prediction becomes on its way out: a PNG, a COCO annotation, and the headers."""

import hashlib

from model_core.mask_png import encode_mask
from model_core.predictor import Prediction
from model_core.registry import LoadedVersion
from model_core.rle import area_and_bbox, encode_rle
from service.queries import MaskFormat
from service.schemas import Annotation, ImageRef, ModelRef, RleMask
from service.telemetry import Stages


def encode_prediction(
    prediction: Prediction, form: MaskFormat, version: LoadedVersion, data: bytes
) -> bytes:
    """A predicted mask as a file.

    Args:
        prediction: The mask and its threshold.
        form: 8-bit PNG, 1-bit PNG, or a COCO annotation as JSON.
        version: The version that predicted it.
        data: The photograph's bytes, for their hash.
    """
    if form == "rle":
        return _annotation(prediction, version, data).model_dump_json().encode()
    return encode_mask(prediction.mask, bits=1 if form == "png1" else 8)


def model_ref(version: LoadedVersion) -> ModelRef:
    """How an answer names the version that made it."""
    return ModelRef(name=version.card.name, version=version.card.version, sha256=version.sha256)


def model_headers(version: LoadedVersion, stages: Stages) -> dict[str, str]:
    """Which version and engine answered, and where the time went."""
    return {
        "X-Model-Version": version.label,
        "X-Backend": version.predictor.backend.name,
        "Server-Timing": stages.header(),
    }


def _annotation(prediction: Prediction, version: LoadedVersion, data: bytes) -> Annotation:
    rle = encode_rle(prediction.mask)
    area, (x, y, across, down) = area_and_bbox(rle)
    height, width = prediction.mask.shape
    return Annotation(
        segmentation=RleMask(size=(height, width), counts=rle["counts"]),
        area=area,
        bbox=(x, y, across, down),
        image=ImageRef(height=height, width=width, sha256=hashlib.sha256(data).hexdigest()),
        model=model_ref(version),
        threshold=prediction.threshold,
        score=prediction.score,
        lesion_found=area > 0,
    )
