"""Measure the geometry of a mask; it is no diagnosis.

docs/measurements.md has every formula with its source.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from model_core.arrays import PIXELS, Mask, Spacing
from model_core.masks.window import window_of

_SAMPLES = 40_000
"""Pixels that are mirrored at most: more change the asymmetry by less than 0.005."""
_ROWS = 256
"""Rows summed up at a time, so that a large mask takes no more memory than a small one."""
_ROUND = 1e-9
"""Relative difference of the two second moments below which neither axis is the longer one."""

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """The geometry of one mask; lengths in the unit of the spacing that was given.

    Attributes:
        area: Of all pixels.
        perimeter: Length of all outlines, holes' too.
        equivalent_diameter: Of the disc with that area.
        feret_diameter: Largest distance between two points of the mask.
        bbox: x, y, width, height.
        orientation_deg: Of the longer axis: 0 is horizontal, positive turns counter-clockwise as
            seen, in (-90, 90]; None where no axis is longer.
        compactness: 1 for a disc, less for anything else; a little over 1 for a few pixels.
        solidity: Share of the convex hull that is lesion, in (0, 1].
        asymmetry: Share of the mask that its mirror image misses, about the longer axis and about
            the shorter one; each 0 to 1.
        border_irregularity: Length of the outline over that of the convex hull's; 1 for a convex
            shape, more for any other.
    """

    area: float
    perimeter: float
    equivalent_diameter: float
    feret_diameter: float
    bbox: tuple[float, float, float, float]
    orientation_deg: float | None
    compactness: float
    solidity: float
    asymmetry: tuple[float, float]
    border_irregularity: float


def measure(mask: Mask, spacing: Spacing = PIXELS) -> Shape | None:
    """Measure a mask, whose regions count as one shape; None where it is empty.

    Args:
        mask: bool (H, W), True = lesion.
        spacing: Height and width of a pixel: (1, 1) gives pixels, mm per pixel give mm.

    Example:
        >>> square = measure(np.ones((10, 10), bool), spacing=(0.5, 0.5))
        >>> square.area, round(square.feret_diameter, 3), square.solidity, square.asymmetry
        (25.0, 7.071, 1.0, (0.0, 0.0))
    """
    window = window_of(mask)
    shape = mask[window]
    pixels = int(np.count_nonzero(shape))
    if not pixels:
        return None
    down, across = spacing
    area = pixels * down * across
    length = perimeter(shape, spacing)
    hull = _hull(shape)
    corners = hull.points[hull.vertices]  # x, y
    angle, centre = _principal_axis(shape, spacing)
    height, width = shape.shape
    return Shape(
        area=area,
        perimeter=length,
        equivalent_diameter=2 * math.sqrt(area / math.pi),
        feret_diameter=_farthest(corners * (across, down)),
        bbox=(window[1].start * across, window[0].start * down, width * across, height * down),
        orientation_deg=None if angle is None else _seen(angle),
        compactness=4 * math.pi * area / length**2,
        solidity=min(1.0, pixels / float(hull.volume)),  # a rectangle's hull is a bit off
        asymmetry=_asymmetry(shape, spacing, angle or 0.0, centre),
        border_irregularity=length / _hull_perimeter(corners, spacing),
    )


def perimeter(mask: Mask, spacing: Spacing = PIXELS) -> float:
    """Measure the outlines of a mask by the formula of Cauchy and Crofton in four directions.

    What lies beyond the image counts as outside.

    Example:
        >>> rows, columns = np.ogrid[:101, :101]
        >>> disc = np.hypot(rows - 50, columns - 50) < 40
        >>> round(perimeter(disc) / (2 * np.pi * 40), 2)
        1.0
    """
    padded = np.pad(mask, 1)
    crossings = (
        np.count_nonzero(padded[:, 1:] != padded[:, :-1]),
        np.count_nonzero(padded[1:] != padded[:-1]),
        np.count_nonzero(padded[1:, 1:] != padded[:-1, :-1]),
        np.count_nonzero(padded[1:, :-1] != padded[:-1, 1:]),
    )
    lines = zip(crossings, _weights(spacing), strict=True)
    return float(0.5 * sum(count * weight for count, weight in lines))


def _weights(spacing: Spacing) -> tuple[float, float, float, float]:
    """Give the angle that each direction stands for, times the distance between its lines.

    The directions are those of rows, columns and both diagonals of pixels.
    """
    down, across = spacing
    diagonal = math.atan2(down, across)
    apart = down * across / math.hypot(down, across)
    quarter = math.pi / 4 * apart
    return diagonal * down, (math.pi / 2 - diagonal) * across, quarter, quarter


def _hull(mask: Mask) -> ConvexHull:
    """Find the convex hull of all pixels' corners, (x, y) in px."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    corners = [(x, y) for x in (first, last) for y in (rows, rows + 1)]
    return ConvexHull(np.concatenate([np.column_stack(corner) for corner in corners]))


def _hull_perimeter(corners: Points, spacing: Spacing) -> float:
    """Measure the hull as `perimeter` would count it, so that its bias cancels out."""
    x, y = corners.T
    # Lines run through the middles of pixels: as many as there are rows, columns and diagonals.
    lines = (np.ptp(y), np.ptp(x), np.ptp(y - x) - 1, np.ptp(y + x) - 1)
    return float(sum(n * weight for n, weight in zip(lines, _weights(spacing), strict=True)))


def _farthest(points: Points) -> float:
    # Row by row: the hull of a large mask has thousands of corners.
    return float(max(np.hypot(*(points - point).T).max() for point in points))


def _principal_axis(mask: Mask, spacing: Spacing) -> tuple[float | None, tuple[float, float]]:
    """Find the direction of the longer axis from x towards y, radians, and the centre (x, y)."""
    down, across = spacing
    x = (np.arange(mask.shape[1]) + 0.5) * across
    y = (np.arange(mask.shape[0]) + 0.5) * down
    in_column, in_row = mask.sum(axis=0), mask.sum(axis=1)
    area = float(in_row.sum())
    centre = float(in_column @ x) / area, float(in_row @ y) / area
    # A pixel is no point but a small rectangle.
    spread_x = float(in_column @ x**2) / area - centre[0] ** 2 + across**2 / 12
    spread_y = float(in_row @ y**2) / area - centre[1] ** 2 + down**2 / 12
    tops = range(0, len(mask), _ROWS)
    sum_xy = sum(float(y[top : top + _ROWS] @ (mask[top : top + _ROWS] @ x)) for top in tops)
    together = sum_xy / area - centre[0] * centre[1]
    difference = math.hypot(spread_x - spread_y, 2 * together)
    if difference < _ROUND * (spread_x + spread_y):
        return None, centre
    return 0.5 * math.atan2(2 * together, spread_x - spread_y), centre


def _seen(angle: float) -> float:
    """Turn an angle into degrees counter-clockwise as seen, in (-90, 90]: y points downwards."""
    degrees = -math.degrees(angle)
    return degrees + 180 if degrees <= -90 else degrees + 0.0


def _asymmetry(
    mask: Mask, spacing: Spacing, angle: float, centre: tuple[float, float]
) -> tuple[float, float]:
    step = max(1, math.ceil(math.sqrt(np.count_nonzero(mask) / _SAMPLES)))
    rows, columns = (at * step for at in np.nonzero(mask[::step, ::step]))
    if not rows.size:  # thinner than the step
        rows, columns = np.nonzero(mask)
    down, across = spacing
    x, y = (columns + 0.5) * across - centre[0], (rows + 0.5) * down - centre[1]
    cos, sin = math.cos(angle), math.sin(angle)
    along, aside = x * cos + y * sin, y * cos - x * sin
    shares = []
    for u, v in ((along, -aside), (-along, aside)):
        column = np.floor((u * cos - v * sin + centre[0]) / across).astype(np.int64)
        row = np.floor((u * sin + v * cos + centre[1]) / down).astype(np.int64)
        within = (row >= 0) & (row < mask.shape[0]) & (column >= 0) & (column < mask.shape[1])
        met = np.count_nonzero(mask[row[within], column[within]])
        shares.append(float(1 - met / rows.size))
    return shares[0], shares[1]
