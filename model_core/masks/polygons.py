"""Masks as polygons: their exact outline, simplified by no more than a tolerance.

Coordinates are [x, y] in pixels of the photograph, from the upper left corner of its first pixel:
that pixel is the square from [0, 0] to [1, 1], as pycocotools fills polygons too. At a tolerance
of 0 the polygons cover exactly the mask's pixels.
"""

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from scipy import ndimage
from shapely.geometry import MultiPolygon, Polygon, box

from model_core.arrays import Mask
from model_core.masks.window import window_of

Ring = list[tuple[int, int]]
"""Corners (x, y) of a closed outline, the first one not repeated."""

TOLERANCE_PX = 1.0
"""Half of it is lost in the pixels anyway."""
_FINEST_PX = 0.05
"""Corners are whole pixels, so that a smaller tolerance removes nothing but points on a line."""


def polygons_of(mask: Mask, tolerance_px: float = TOLERANCE_PX) -> MultiPolygon:
    """The polygons of a mask, holes and all, simplified (Douglas and Peucker 1973).

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
    exact = MultiPolygon(_trace(mask))
    while tolerance_px >= _FINEST_PX:
        simpler = MultiPolygon([_simplified(part, tolerance_px) for part in exact.geoms])
        if simpler.is_valid:
            return simpler
        tolerance_px /= 2
    return exact


def coco_polygons(polygons: MultiPolygon) -> list[list[float]]:
    """Polygons as COCO has them: flat lists x, y, x, y ...

    COCO knows no holes, and its tools fill whatever a list goes round; so a polygon with holes is
    cut into pieces without any, which touch along vertical lines.
    """
    pieces = [piece for part in polygons.geoms for piece in _without_holes(part)]
    return [
        np.round(np.asarray(piece.exterior.coords)[:-1], 3).ravel().tolist() for piece in pieces
    ]


def geojson_geometry(polygons: MultiPolygon) -> dict[str, Any]:
    """The geometry object of RFC 7946, a Polygon where there is one, else a MultiPolygon."""
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
    """A closed ring, simplified between its first corner and the one farthest from that.

    GEOS would move these two as well, and then lies up to twice the tolerance away.
    """
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


def _trace(mask: Mask) -> list[Polygon]:
    """The outlines along the pixels' edges, one polygon for each 4-connected region.

    No ring passes a corner twice: where pixels meet in a corner alone, rings touch there.
    """
    window = window_of(mask)
    inside = np.pad(mask[window], 1)
    labels, count = ndimage.label(inside)
    outer: dict[int, Ring] = {}
    holes: dict[int, list[Ring]] = defaultdict(list)
    for label, loop in _loops(inside, labels):
        for ring in _simple(loop):
            ring = [(x + window[1].start, y + window[0].start) for x, y in ring]
            if _doubled_area(ring) > 0:
                outer[label] = ring
            else:
                holes[label].append(ring)
    return [Polygon(outer[label], holes[label]) for label in range(1, count + 1)]


def _loops(inside: Mask, labels: npt.NDArray[np.int32]) -> list[tuple[int, Ring]]:
    """Closed walks along the edges with the lesion on the right hand, and the label there.

    A corner ends one horizontal and one vertical edge; where two pixels meet in it alone, it
    counts twice. So along each row of corners the 1st and 2nd are joined, the 3rd and 4th ...,
    and along each column too.
    """
    upper, lower = inside[:-1], inside[1:]
    above_left, above_right = upper[:, :-1], upper[:, 1:]
    below_left, below_right = lower[:, :-1], lower[:, 1:]
    saddle = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    corner = above_left ^ above_right ^ below_left ^ below_right
    y, x = np.nonzero(corner | saddle)
    times = 1 + saddle[y, x]
    y, x = np.repeat(y, times), np.repeat(x, times)
    # Of a corner that counts twice, the first ends the edge from the left. It turns up where the
    # pixel above on the left is lesion, else down, so that each lesion pixel is walked round.
    second = np.arange(len(y)) > 0
    second[1:] = (y[1:] == y[:-1]) & (x[1:] == x[:-1])
    first = np.append(second[1:], False)
    twin = saddle[y, x] & ~above_left[y, x]
    rank = np.where(twin, first, second)
    order = np.lexsort((rank, y, x))
    vertical = np.empty_like(order)
    vertical[order[0::2]], vertical[order[1::2]] = order[1::2], order[0::2]
    left = np.arange(0, len(y), 2)
    down = below_right[y[left], x[left]]  # the lesion lies below this edge: go to the right
    start = np.where(down, left, left + 1)
    label = labels[y[left] + down, x[left] + 1]
    return _cycles(start.tolist(), label.tolist(), vertical.tolist(), x.tolist(), y.tolist())


def _cycles(
    starts: list[int], labels: list[int], vertical: list[int], x: list[int], y: list[int]
) -> list[tuple[int, Ring]]:
    loops, seen = [], set[int]()
    for start, label in zip(starts, labels, strict=True):
        if start in seen:
            continue
        ring, here = Ring(), start
        while here not in seen:
            seen.add(here)
            there = here ^ 1
            ring += [(x[here], y[here]), (x[there], y[there])]
            here = vertical[there]
        loops.append((label, ring))
    return loops


def _simple(loop: Ring) -> list[Ring]:
    """A closed walk in rings that pass no corner twice."""
    rings: list[Ring] = []
    walk: Ring = []
    place: dict[tuple[int, int], int] = {}
    for corner in loop:
        if corner in place:
            at = place[corner]
            rings.append(walk[at:])
            for passed in walk[at + 1 :]:
                del place[passed]
            del walk[at + 1 :]
        else:
            place[corner] = len(walk)
            walk.append(corner)
    return [*rings, walk]


def _doubled_area(ring: Ring) -> int:
    corners = zip(ring, ring[1:] + ring[:1], strict=True)
    return sum(x * below - right * y for (x, y), (right, below) in corners)
