"""Runs without their pictures, which take longer to draw than a tiny network takes to train."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import MagicMock

import pytest

from trainer import calibrate, loop, scores

_DRAWN_BY = {
    loop: ("Board", "draw_curves"),
    calibrate: ("draw_reliability",),
    scores: ("draw_triptychs", "draw_reliability", "draw_coverage"),
}


@contextmanager
def undrawn() -> Iterator[None]:
    """Train and score without TensorBoard's files, curves and pictures, until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for module, names in _DRAWN_BY.items():
            for name in names:
                patch.setattr(module, name, MagicMock())
        yield
