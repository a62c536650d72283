"""Find the part of an image that holds all of a mask: what lies outside need not be looked at."""

import numpy as np

from model_core.arrays import Mask


def window_of(mask: Mask, margin: int = 0) -> tuple[slice, slice]:
    """Find rows and columns that hold all of a mask, and `margin` px more; none where it is empty.

    Example:
        >>> window_of(np.eye(5, dtype=bool)[2:4], margin=1)
        (slice(0, 3, None), slice(1, 5, None))
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )
