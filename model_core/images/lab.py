"""Convert sRGB to CIELAB, where distances are as large as they look."""

from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.arrays import Image, Mask

Lab = npt.NDArray[np.float32]
Plane = npt.NDArray[np.float32]

_STEPS = np.arange(256) / 255
_LINEAR = np.where(_STEPS <= 0.04045, _STEPS / 12.92, ((_STEPS + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)
"""Light of each sRGB value (IEC 61966-2-1)."""
_XYZ = np.array([
    [0.412453, 0.357580, 0.180423],
    [0.212671, 0.715160, 0.072169],
    [0.019334, 0.119193, 0.950227],
])  # fmt: skip
"""X, Y and Z of linear red, green and blue (ITU-R BT.709 primaries, D65)."""
_WHITE = np.array([0.95047, 1.0, 1.08883])
"""D65, 2 degrees."""
_SHARES = ((_XYZ / _WHITE[:, None])[..., None] * _LINEAR).astype(np.float32)
"""Of white's X, Y and Z: what each value of red, green and blue adds; (3, 3, 256)."""


def to_lab(rgb: npt.NDArray[np.uint8]) -> Lab:
    """Convert sRGB colours, uint8 (..., 3), to CIELAB (CIE 1976, D65).

    Returns:
        float32 (..., 3): L* 0 to 100, a* and b* about -128 to 128.

    Example:
        >>> to_lab(np.array([255, 255, 255], np.uint8)).round(1).tolist()[0]
        100.0
    """
    x, y, z = (_root(_white_share(rgb, row)) for row in _SHARES)
    lab: Lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
    return lab


def lightness(rgb: npt.NDArray[np.uint8]) -> Plane:
    """Compute L* of `to_lab` alone, float32 (...), in a third of its time."""
    return 116 * _root(_white_share(rgb, _SHARES[1])) - 16


def _white_share(rgb: npt.NDArray[np.uint8], shares: npt.NDArray[np.float32]) -> Plane:
    # By tables: a matrix product would wake as many threads as there are cores.
    red, green, blue = shares
    total: Plane = red[rgb[..., 0]] + green[rgb[..., 1]] + blue[rgb[..., 2]]
    return total


def _root(share: Plane) -> Plane:
    low = share * np.float32(7.787) + np.float32(16 / 116)
    root: Plane = np.where(share > np.float32(0.008856), np.cbrt(share), low)
    return root


def colour_spread(image: Image, mask: Mask) -> float | None:
    """Measure how much the colours within a mask differ from their mean, in units of CIELAB.

    Returns:
        Square root of the mean squared distance from the mean colour, at least 0; None where the
        mask is empty.

    Example:
        >>> one_black_one_white = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
        >>> round(colour_spread(one_black_one_white, np.ones((1, 2), bool)), 1)
        50.0
    """
    if not mask.any():
        return None
    colours: npt.NDArray[Any] = to_lab(image[mask]).astype(np.float64)
    return float(np.sqrt(colours.var(axis=0).sum()))
