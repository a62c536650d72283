"""Trace masks as polygons: their exact outline, simplified by no more than a tolerance.

Coordinates are [x, y] in pixels of the image, from the upper left corner of its first pixel:
that pixel is the square from [0, 0] to [1, 1], as pycocotools fills polygons too. At a tolerance
of 0 the polygons cover exactly the mask's pixels.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry import MultiPolygon, Polygon, box

from model_core.arrays import Mask
from model_core.masks.window import window_of

TOLERANCE_PX = 1.0
"""Half of it is lost in the pixels anyway."""
_FINEST_PX = 0.05
"""Corners are whole pixels, so that a smaller tolerance removes nothing but points on a line."""


def polygons_of(mask: Mask, tolerance_px: float = TOLERANCE_PX) -> MultiPolygon:
    """Trace a mask as polygons, holes and all, simplified (Douglas and Peucker 1973).

    Args:
        mask: bool (H, W), True = lesion.
        tolerance_px: Farthest that the outline may move anywhere, at least 0; where rings would
            cross or touch at that, half of it is tried, and so on.

    Returns:
        Valid by OGC's rules; empty where the mask is. Exteriors have a positive area by the
        shoelace formula in [x, y], holes a negative one, as RFC 7946 asks.

    Example:
        >>> polygons_of(np.ones((2, 3), bool)).wkt
        'MULTIPOLYGON (((0 0, 3 0, 3 2, 0 2, 0 0)))'
    """
    exact = _trace(mask)
    while tolerance_px >= _FINEST_PX:
        simpler = MultiPolygon([_simplified(part, tolerance_px) for part in exact.geoms])
        if simpler.is_valid:
            return simpler
        tolerance_px /= 2
    return exact


def coco_polygons(polygons: MultiPolygon) -> list[list[float]]:
    """Write polygons as COCO has them: flat lists x, y, x, y ...

    COCO knows no holes, and its tools fill whatever a list goes round; so a polygon with holes is
    cut into pieces without any, which touch along vertical lines.
    """
    pieces = [piece for part in polygons.geoms for piece in _without_holes(part)]
    return [
        np.round(np.asarray(piece.exterior.coords)[:-1], 3).ravel().tolist() for piece in pieces
    ]


def geojson_geometry(polygons: MultiPolygon) -> dict[str, Any]:
    """Write polygons as RFC 7946 has them, a Polygon where there is one, else a MultiPolygon."""
    parts = [
        [np.asarray(ring.coords).tolist() for ring in (part.exterior, *part.interiors)]
        for part in polygons.geoms
    ]
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _simplified(polygon: Polygon, tolerance_px: float) -> Polygon:
    rings = [
        _simplified_ring(np.asarray(ring.coords), tolerance_px)
        for ring in (polygon.exterior, *polygon.interiors)
    ]
    return _wound(Polygon(rings[0], rings[1:]))


def _simplified_ring(ring: npt.NDArray[np.float64], tolerance_px: float) -> npt.NDArray[np.float64]:
    """Simplify a closed ring between its first corner and the one farthest from that.

    GEOS would move these two as well, and then lies up to twice the tolerance away.
    """
    first = np.lexsort(ring.T)[0]  # the leftmost of the highest: tracing may begin anywhere
    ring = np.concatenate([ring[first:-1], ring[: first + 1]])
    middle = int(np.argmax(np.hypot(*(ring - ring[0]).T)))
    halves = shapely.linestrings(ring[: middle + 1]), shapely.linestrings(ring[middle:])
    there, back = shapely.simplify(halves, tolerance_px, preserve_topology=False)
    simpler = np.concatenate([shapely.get_coordinates(there)[:-1], shapely.get_coordinates(back)])
    return simpler if len(simpler) > 3 else ring  # smaller than the tolerance: it stays


def _without_holes(polygon: Polygon) -> list[Polygon]:
    if not polygon.interiors:
        return [_wound(polygon)]
    left, top, right, bottom = polygon.bounds
    holes = sorted(ring.bounds for ring in polygon.interiors)
    hole = holes[len(holes) // 2]  # the middle one: a thousand in a row are ten cuts deep
    middle = (hole[0] + hole[2]) // 2
    if middle == hole[0]:  # one pixel wide; a fifth of a pixel is as fine as COCO's tools fill
        middle += 0.2
    halves = [box(left, top, middle, bottom), box(middle, top, right, bottom)]
    parts = [part for half in halves for part in shapely.get_parts(polygon.intersection(half))]
    return [piece for part in parts if part.area > 0 for piece in _without_holes(part)]


def _wound(polygon: Polygon) -> Polygon:
    return shapely.orient_polygons(polygon, exterior_cw=False)


def _trace(mask: Mask) -> MultiPolygon:
    """Trace the outlines along the pixels' edges, one polygon for each 4-connected region.

    No ring passes a corner twice: where pixels meet in a corner alone, rings touch there.
    """
    window = window_of(mask)
    inside = np.pad(mask[window], 1)
    upper, lower = inside[:-1], inside[1:]
    above_left, above_right = upper[:, :-1], upper[:, 1:]
    below_left, below_right = lower[:, :-1], lower[:, 1:]
    saddle = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    y, x = np.nonzero(above_left ^ above_right ^ below_left ^ below_right | saddle)
    # A corner ends one horizontal and one vertical edge, and two of each where two pixels meet in
    # it alone. So along each row, and each column, the 1st and 2nd are joined, the 3rd and 4th ...
    corners = np.repeat(np.column_stack([x, y]), 1 + saddle[y, x], axis=0)
    columns_first = np.lexsort(corners.T[::-1])
    edges = np.concatenate([corners.reshape(-1, 2, 2), corners[columns_first].reshape(-1, 2, 2)])
    lines = shapely.linestrings(np.add(edges, (window[1].start, window[0].start)))
    # Faces of this net are regions of lesion and of skin (in holes): a point within tells which.
    faces = shapely.get_parts(shapely.polygonize(lines))
    column, row = shapely.get_coordinates(shapely.point_on_surface(faces)).astype(int).T
    return MultiPolygon([_wound(face) for face in faces[mask[row, column]]])
