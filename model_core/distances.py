"""How far the outline of a prediction is from an expert's: distances between two boundaries."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from model_core.arrays import Mask
from model_core.errors import ShapeMismatchError

Spacing = tuple[float, float]
"""Height and width of a pixel, in the unit that distances shall have."""

PIXELS: Spacing = (1.0, 1.0)
_MANY = 1_000_000
"""Boundary pixels above which a distance map of the whole frame is cheaper than a search tree:
real outlines stay far below, noise of 50 Mpx would need gigabytes for its tree."""


@dataclass(frozen=True)
class BoundaryDistances:
    """Distances between the boundaries of two masks.

    Attributes:
        hausdorff_95: Of the two directed sets of distances, from each boundary pixel of one mask
            to the nearest of the other, the larger 95th percentile (linear interpolation).
        assd: Average symmetric surface distance: the mean over all distances of both sets.
    """

    hausdorff_95: float
    assd: float


def boundary_distances(
    truth: Mask, pred: Mask, *, spacing: Spacing = PIXELS
) -> BoundaryDistances | None:
    """Distances between the boundaries of two masks.

    A boundary pixel is a lesion pixel with at least one of its four neighbours outside the lesion;
    what lies beyond the frame counts as outside, so that a lesion cut by the frame ends there.
    Distances are Euclidean, between pixel centres, and every boundary pixel weighs the same.

    Args:
        truth: Reference mask, bool (H, W), True = lesion.
        pred: Predicted mask, bool (H, W), same H and W as `truth`.
        spacing: Height and width of a pixel: (1, 1) gives pixels, mm per pixel give mm.

    Returns:
        The distances, at least 0; None where either mask is empty, for then there are none.

    Raises:
        ShapeMismatchError: the masks differ in height or width.

    Example:
        >>> truth, pred = np.zeros((2, 8, 8), bool)
        >>> truth[2:5, 2:5] = pred[2:5, 3:6] = True  # one pixel to the right
        >>> boundary_distances(truth, pred)
        BoundaryDistances(hausdorff_95=1.0, assd=0.5)

    Source: Heimann et al. 2009, doi:10.1109/TMI.2009.2013851 (average symmetric surface distance);
    Huttenlocher, Klanderman and Rucklidge 1993, doi:10.1109/34.232073, with the percentile of
    MICCAI's challenges in place of the maximum. Boundary pixels as in MedPy and MONAI.
    """
    if truth.shape != pred.shape:
        raise ShapeMismatchError(f"truth is {truth.shape}, pred is {pred.shape}")
    if not truth.any() or not pred.any():
        return None
    window = _window(truth | pred)
    outlines = _boundary(truth[window]), _boundary(pred[window])
    there = _nearest(*outlines, spacing)
    back = _nearest(*outlines[::-1], spacing)
    return BoundaryDistances(
        hausdorff_95=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        assd=float((there.sum() + back.sum()) / (there.size + back.size)),
    )


def _window(mask: Mask) -> tuple[slice, slice]:
    """The smallest window with all of a mask that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _boundary(mask: Mask) -> Mask:
    padded = np.pad(mask, 1)
    within = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    boundary: Mask = mask & ~within
    return boundary


def _nearest(start: Mask, goal: Mask, spacing: Spacing) -> npt.NDArray[np.float64]:
    """Distance from each pixel of one boundary to the nearest of the other."""
    if np.count_nonzero(start) + np.count_nonzero(goal) > _MANY:
        away: npt.NDArray[np.float64] = ndimage.distance_transform_edt(~goal, sampling=spacing)
        return away[start]
    tree = cKDTree(np.argwhere(goal) * spacing)
    distances: npt.NDArray[np.float64] = tree.query(np.argwhere(start) * spacing)[0]
    return distances
