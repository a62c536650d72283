"""Near-duplicates: photographs that are the same picture, however they were saved."""

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow
from scipy import fft

NEAR_BITS = 36
"""Largest number of differing bits (of 255) between two near-duplicates. Among 7,195 photographs
of four public sets, 21 pairs of different IDs are this close: 17 were known duplicates, and the
other four, when looked at, were too. At 40 come the first pairs that are not; the photographs of
one lesion that differ more in light or framing stay unseen."""

_SIDE, _LOW = 64, 16
_BITS = _LOW * _LOW - 1
_BLOCK = 2048


def perceptual_hash(picture: Pillow.Image) -> str:
    """Hash how a picture's light is spread: 255 bits, hexadecimal.

    Whether each of the 16 x 16 lowest cosine frequencies of the picture, as 64 x 64 grey values,
    is above their median; the mean grey is left out. Scaling, re-encoding and brightness hardly
    change it; cropping and turning do.

    Source: Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions.
    """
    grey = picture.convert("L").resize((_SIDE, _SIDE), Pillow.Resampling.BOX)
    low = fft.dctn(np.asarray(grey, np.float64), norm="ortho")[:_LOW, :_LOW].ravel()[1:]
    return np.packbits(low > np.median(low)).tobytes().hex()


def near_pairs(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int, int]]:
    """Find all near-duplicates: (index in `first`, index in `second`, differing bits).

    Hashes are of `perceptual_hash`; an empty one is near to none. Both lists may be the same.
    """
    left, right = _signs(first), _signs(second)
    pairs: list[tuple[int, int, int]] = []
    for start in range(0, len(left), _BLOCK):
        # The product of +-1 vectors counts agreeing less differing bits.
        differing = (_BITS - left[start : start + _BLOCK] @ right.T) / 2
        for row, column in np.argwhere(differing <= NEAR_BITS):
            pairs.append((start + int(row), int(column), int(differing[row, column])))
    return pairs


def _signs(hashes: Sequence[str]) -> np.ndarray:
    signs = np.zeros((len(hashes), _BITS), np.float32)
    for row, text in enumerate(hashes):
        if text:
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:_BITS]
            signs[row] = bits.astype(np.float32) * 2 - 1
    return signs
