"""Brush masks of Label Studio: golden bytes, round trips, and hostile lists."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model_core.errors import ImageTooLargeError, InvalidRleError
from model_core.masks.brush import decode_brush, encode_brush


def decode(rle: object, shape: tuple[int, int]) -> np.ndarray:
    height, width = shape
    return decode_brush(rle, height=height, width=width, max_pixels=10_000_000)


@given(arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_what_is_written_is_read(mask: np.ndarray) -> None:
    assert np.array_equal(decode(encode_brush(mask), mask.shape), mask)


def test_runs_longer_than_a_count_are_several() -> None:
    mask = np.zeros((300, 400), np.bool_)
    mask[100:] = True
    assert np.array_equal(decode(encode_brush(mask), mask.shape), mask)


def test_lists_of_values_and_half_covered_edges_are_read() -> None:
    # As a browser writes a pixel of a red stroke: 8 values in one list, alpha 127 and 128.
    bits = f"{8:032b}{7:05b}{2:04b}{3:04b}{7:04b}{15:04b}" + "0" + "00" + f"{7:03b}"
    bits += "".join(f"{value:08b}" for value in (255, 0, 0, 127, 255, 0, 0, 128))
    rle = [int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8)]
    assert decode(rle, (1, 2)).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("rle", "said"),
    [
        ("text", "no list of bytes"),
        ([1, 2, True], "no list of bytes"),
        ([-1], "no list of bytes"),
        ([], "0 bytes, expected a header"),
        ([255] * 7, "expected 16 of 8"),
        (encode_brush(np.ones((2, 3), np.bool_)), "holds 24 values of 8 bits, expected 16 of 8"),
        (encode_brush(np.eye(2, dtype=bool))[:9], "ends in the middle of a run"),
        ([0, 0, 0, 16, 57, 27, 255, 255, 255, 255, 255], "more than the 16 values"),
    ],
)
def test_a_list_that_is_no_mask_is_refused(rle: object, said: str) -> None:
    with pytest.raises(InvalidRleError, match=said):
        decode(rle, (2, 2))


def test_a_photograph_above_the_limit_is_refused_before_anything_is_read() -> None:
    with pytest.raises(ImageTooLargeError):
        decode_brush([], height=10_000, width=10_000, max_pixels=1_000)


def test_the_bytes_are_those_of_label_studio_s_own_converter() -> None:
    # label-studio-sdk 2.1.2, converter.brush.mask2rle, of the same masks with 255 for True.
    small = np.zeros((3, 5), np.bool_)
    small[1, 1:4] = small[2, 2] = True
    expected = [0, 0, 0, 60, 57, 27, 254, 23, 0, 183, 255, 108, 2, 63, 249, 192, 0]
    assert encode_brush(small) == expected
    large = np.zeros((200, 300), np.bool_)
    large[150:] = large[20:40, 30:50] = True
    digest = sha256(bytes(encode_brush(large))).hexdigest()
    assert digest == "7fa094a7908254174e84ae41a68cbdf22e841eb15eba88e2fd644fc80de07f1e"
