"""Encode pictures as PNG or JPEG, and probabilities as PNG."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from model_core.arrays import Image

_JPEG_QUALITY = 90
_ROWS = 256
"""Probabilities become integers so many rows at a time: they take enough memory as they are."""


def encode_picture(picture: Image) -> bytes:
    """Encode an RGB picture, uint8 (H, W, 3), as PNG."""
    return _encode(picture, "PNG", compress_level=1)


def encode_jpeg(picture: Image) -> bytes:
    """Encode an RGB picture as JPEG, with colours at full resolution: thin lines keep theirs."""
    return _encode(picture, "JPEG", quality=_JPEG_QUALITY, subsampling=0)


def encode_probability(probability: npt.NDArray[np.float32], bits: int) -> bytes:
    """Encode probabilities (H, W) in [0, 1] as a grey PNG.

    Args:
        probability: float32 (H, W).
        bits: 8 or 16; white, 255 or 65535, is 1.

    Example:
        >>> png = encode_probability(np.array([[0.0, 1.0]], np.float32), 16)
        >>> np.asarray(Pillow.open(io.BytesIO(png))).tolist()
        [[0, 65535]]
    """
    levels = np.empty(probability.shape, np.uint16 if bits == 16 else np.uint8)
    for top in range(0, len(levels), _ROWS):
        rows = slice(top, top + _ROWS)
        levels[rows] = np.rint(probability[rows] * np.float32(2**bits - 1))
    return _encode(levels, "PNG", compress_level=1)


def _encode(pixels: npt.NDArray[np.uint8 | np.uint16], kind: str, **options: int) -> bytes:
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, format=kind, **options)
    return out.getvalue()
