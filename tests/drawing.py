"""Masks drawn as text, so that a test's expected values can be counted by eye."""

import numpy as np

from model_core.arrays import Mask


def draw(rows: str) -> Mask:
    """The mask of a drawing: one word a row, `#` is lesion.

    Example:
        >>> draw("##. ...").astype(int)
        array([[1, 1, 0],
               [0, 0, 0]])
    """
    return np.array([[pixel == "#" for pixel in row] for row in rows.split()])
