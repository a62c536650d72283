"""Test a version on its golden images: drawn ones, and the masks that its weights made of them."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from model_core.arrays import Mask
from model_core.errors import CorruptVersionError, InputError
from model_core.images.decode import MAX_PIXELS
from model_core.masks.rle import decode_rle, encode_rle
from model_core.predictor import Predictor
from model_core.scores.metrics import jaccard

FILE = "golden.json"
MIN_JACCARD = 0.99
"""Float arithmetic differs between machines by a few outline pixels, never by more."""
MIN_JACCARD_INT8 = 0.97
"""Eight bits move the outline a little further."""


def dump_golden(golden: Sequence[tuple[bytes, Mask]]) -> bytes:
    """Encode golden images and their masks as `golden.json` stores them.

    The first stands where versions of one golden image have it, so that their readers find it.

    Args:
        golden: PNG bytes and mask, bool (H, W), True = lesion, of each image; at least one.
    """
    first, *more = [
        {"image_png": base64.b64encode(image).decode(), "mask": encode_rle(mask)}
        for image, mask in golden
    ]
    return json.dumps(first | {"more": more}, indent=2).encode() + b"\n"


def parse_golden(data: bytes) -> list[tuple[bytes, Mask]]:
    """Decode the images and masks of a `golden.json`, as `dump_golden` takes them.

    Raises:
        CorruptVersionError: it is no such file.
    """
    try:
        stored = json.loads(data)
        return [
            (base64.b64decode(entry["image_png"]), decode_rle(entry["mask"], max_pixels=MAX_PIXELS))
            for entry in (stored, *stored.get("more", []))
        ]
    except (AttributeError, ValueError, KeyError, TypeError, InputError) as exc:
        raise CorruptVersionError(f"{FILE} cannot be used: {exc}") from exc


def check_golden(path: Path, predictor: Predictor) -> None:
    """Predict the golden images, and compare with the stored masks.

    Every image is predicted once and every compiled form of the network predicts: they take turns,
    which keeps the start short.

    Raises:
        CorruptVersionError: the file cannot be used, or the masks do not agree.
    """
    golden, forms = parse_golden(path.read_bytes()), predictor.backend.forms
    least = MIN_JACCARD_INT8 if predictor.backend.name.endswith("int8") else MIN_JACCARD
    for turn in range(max(len(golden), len(forms))):
        image, expected = golden[turn % len(golden)]
        try:
            prepared = predictor.prepare(image)
            logits = forms[turn % len(forms)](prepared.pixels[None])
            score = jaccard(expected, predictor.finish(logits[0], prepared.geometry).mask)
        except InputError as exc:
            raise CorruptVersionError(f"{FILE} cannot be used: {exc}") from exc
        if score < least:
            raise CorruptVersionError(
                f"the golden image's mask has Jaccard {score:.3f} with the stored one, "
                f"expected at least {least} (image {turn % len(golden) + 1} of {len(golden)})"
            )
