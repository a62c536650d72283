"""Interpolate bilinearly from the network's square to an image's frame, on the CPU.

In NumPy, so that a service whose engine needs no PyTorch need not load it, and in tiles, so that
the mask of a large image takes no more memory than the mask itself. Pillow's `resize` gives the
same values in three to five times the time.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from model_core.arrays import Logits, Mask

_WIDTH = 4096
_PIXELS = 1 << 16
"""A tile's columns and pixels at most: it stays in a core's own cache, and an image of one row
and millions of columns takes no more memory than another."""


def enlarge(grid: Logits, height: int, width: int) -> Logits:
    """Resample a grid, float32 (h, w), to (height, width).

    Pixels are areas, and the border is continued outwards: the same as
    `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`.
    """
    result = np.empty((height, width), np.float32)
    for place, tile in _tiles(grid, slice(0, height), slice(0, width), height, width):
        result[place] = tile
    return result


def enlarge_above(grid: Logits, cut: float, height: int, width: int) -> Mask:
    """Compute `enlarge(grid, height, width) > cut`, and only where it can be true."""
    mask = np.zeros((height, width), bool)
    above = grid > np.float32(cut)
    rows, columns = _reach(above, 0, height), _reach(above, 1, width)
    for place, tile in _tiles(grid, rows, columns, height, width):
        np.greater(tile, np.float32(cut), out=mask[place])
    return mask


def _tiles(
    grid: Logits, rows: slice, columns: slice, height: int, width: int
) -> Iterator[tuple[tuple[slice, slice], Logits]]:
    """Yield the part of the result within some rows and columns, a tile at a time."""
    first = _cell_before(grid.shape[0], height, rows.start)
    last = _cell_before(grid.shape[0], height, rows.stop - 1) + 1
    needed = grid[first : last + 1]
    steps = _steps(needed, axis=1)
    for across in _split(columns, _WIDTH):
        height_of_tile = max(1, _PIXELS // (across.stop - across.start))
        before, share = _neighbours(grid.shape[1], width, across)
        wide = steps[:, before] * share + needed[:, before]
        step = _steps(wide, axis=0)
        for at in _split(rows, height_of_tile):
            before, share = _neighbours(grid.shape[0], height, at)
            tile = step[before - first]
            tile *= share[:, None]
            tile += wide[before - first]
            yield (at, across), tile


def _split(whole: slice, length: int) -> Iterator[slice]:
    for start in range(whole.start, whole.stop, length):
        yield slice(start, min(start + length, whole.stop))


def _steps(grid: Logits, axis: int) -> Logits:
    """Subtract each value from the next along an axis; 0 for the last."""
    return np.diff(grid, axis=axis, append=grid.take([-1], axis))


def _neighbours(
    count: int, wanted: int, pixels: slice
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Find the cell before each of some pixels, of `wanted` over `count` cells, and the rest."""
    centre = (np.arange(pixels.start, pixels.stop) + 0.5) * (count / wanted) - 0.5
    centre = np.clip(centre, 0, count - 1)
    before = centre.astype(np.intp)
    return before, (centre - before).astype(np.float32)


def _cell_before(count: int, wanted: int, pixel: int) -> int:
    return int(_neighbours(count, wanted, slice(pixel, pixel + 1))[0][0])


def _reach(above: Mask, axis: int, wanted: int) -> slice:
    """Find pixels along an axis that a cell above the cut touches: to its neighbours' centres."""
    cells = np.flatnonzero(above.any(axis=1 - axis))
    if not cells.size:
        return slice(0, 0)
    scale = wanted / above.shape[axis]
    start, stop = (cells[0] - 0.5) * scale - 1, (cells[-1] + 1.5) * scale + 1
    return slice(max(0, math.floor(start)), min(wanted, math.ceil(stop)))
