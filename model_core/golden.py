"""The golden test of a version: a drawn image, and the mask that its weights made of it."""

import base64
import json
from pathlib import Path

from model_core.arrays import Mask
from model_core.errors import CorruptVersionError, InputError
from model_core.image_io import MAX_PIXELS
from model_core.metrics import jaccard
from model_core.predictor import Predictor
from model_core.rle import decode_rle, encode_rle

FILE = "golden.json"
MIN_JACCARD = 0.99
"""Float arithmetic differs between machines by a few outline pixels, never by more."""
MIN_JACCARD_INT8 = 0.97
"""Eight bits move the outline a little further."""


def dump_golden(image: bytes, mask: Mask) -> bytes:
    """`golden.json` as stored.

    Args:
        image: PNG bytes.
        mask: Its mask, bool (H, W), True = lesion.
    """
    golden = {"image_png": base64.b64encode(image).decode(), "mask": encode_rle(mask)}
    return json.dumps(golden, indent=2).encode() + b"\n"


def check_golden(path: Path, predictor: Predictor) -> None:
    """Predict the golden image and compare with the stored mask.

    Raises:
        CorruptVersionError: the file cannot be used, or the masks do not agree.
    """
    try:
        golden = json.loads(path.read_bytes())
        image, rle = base64.b64decode(golden["image_png"]), golden["mask"]
        truth = decode_rle(rle, max_pixels=MAX_PIXELS)
        score = jaccard(truth, predictor.predict(image).mask)
    except (ValueError, KeyError, TypeError, InputError) as exc:
        raise CorruptVersionError(f"{FILE} cannot be used: {exc}") from exc
    least = MIN_JACCARD_INT8 if predictor.backend.name.endswith("int8") else MIN_JACCARD
    if score < least:
        raise CorruptVersionError(
            f"the golden image's mask has Jaccard {score:.3f} with the stored one, "
            f"expected at least {least}"
        )
