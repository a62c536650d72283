import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from model_core.arrays import Logits
from model_core.processing.resample import enlarge, enlarge_above

sides = st.integers(1, 40)
frames = st.integers(1, 300)


def grid_of(height: int, width: int, seed: int) -> Logits:
    return np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)


@given(sides, sides, frames, frames, st.integers(0, 99))
def test_it_is_pytorch_s_bilinear_interpolation(
    rows: int, columns: int, height: int, width: int, seed: int
) -> None:
    grid = grid_of(rows, columns, seed)
    theirs = functional.interpolate(
        torch.from_numpy(grid)[None, None],
        size=(height, width),
        mode="bilinear",
        align_corners=False,
    )[0, 0].numpy()
    ours = enlarge(grid, height, width)
    assert ours.dtype == np.float32
    assert np.allclose(ours, theirs, atol=1e-4)


@given(sides, sides, frames, frames, st.integers(0, 99), st.floats(-3, 3))
@settings(max_examples=200)
def test_the_mask_is_exactly_where_the_enlarged_grid_exceeds_the_cut(
    rows: int, columns: int, height: int, width: int, seed: int, cut: float
) -> None:
    grid = grid_of(rows, columns, seed)
    mask = enlarge_above(grid, cut, height, width)
    assert np.array_equal(mask, enlarge(grid, height, width) > np.float32(cut))


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_all_of_it_or_nothing_of_it(value: float) -> None:
    grid = np.full((5, 4), value, np.float32)
    assert np.array_equal(enlarge_above(grid, 0, 70, 30), np.full((70, 30), value > 0))


@pytest.mark.parametrize("frame", [(1, 5_000_000), (5_000_000, 1)])
def test_a_frame_of_one_row_or_column_takes_little_memory(frame: tuple[int, int]) -> None:
    grid = grid_of(16, 16, seed=0)
    tracemalloc.start()
    mask = enlarge_above(grid, 0, *frame)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mask.any()
    assert peak < 20_000_000
