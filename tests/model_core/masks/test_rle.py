import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from model_core.arrays import Mask
from model_core.errors import ImageTooLargeError, InvalidRleError
from model_core.masks.rle import area_and_bbox, decode_rle, encode_rle
from tests.fixtures.drawing import draw

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(mask=MASKS)
def test_decoding_undoes_encoding(mask: Mask) -> None:
    assert np.array_equal(decode_rle(encode_rle(mask), max_pixels=1600), mask)


@given(mask=MASKS)
def test_pycocotools_reads_the_same_mask_area_and_box(mask: Mask) -> None:
    rle = encode_rle(mask)
    assert np.array_equal(coco.decode(rle).astype(bool), mask)
    area, box = area_and_bbox(rle)
    assert area == mask.sum()
    rows, columns = np.nonzero(mask)
    if area:
        top, left = rows.min(), columns.min()
        assert box == [left, top, columns.max() - left + 1, rows.max() - top + 1]
    else:
        assert box == [0, 0, 0, 0]


@given(mask=MASKS)
def test_masks_of_few_runs_encode_as_pycocotools_does(mask: Mask) -> None:
    large = mask.repeat(70, axis=0)  # a change in 70 pixels at most
    expected = coco.encode(np.asfortranarray(large.view(np.uint8)))["counts"].decode()
    assert encode_rle(large)["counts"] == expected


@given(mask=MASKS)
def test_uncompressed_counts_give_the_same_mask(mask: Mask) -> None:
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    counts = [0, *runs] if flat[0] else runs
    assert np.array_equal(
        decode_rle({"size": [*mask.shape], "counts": counts}, max_pixels=1600), mask
    )


@pytest.mark.parametrize(
    ("drawing", "counts"),
    [
        pytest.param(".# .#", "22", id="right column"),
        pytest.param("## ##", "04", id="all lesion"),
        pytest.param(".. ..", "4", id="no lesion"),
        pytest.param("#", "01", id="one pixel"),
    ],
)
def test_golden_strings(drawing: str, counts: str) -> None:
    mask = draw(drawing)
    assert encode_rle(mask)["counts"] == counts
    assert np.array_equal(decode_rle({"size": [*mask.shape], "counts": counts}, max_pixels=9), mask)


def test_a_mask_of_any_memory_layout_encodes_alike() -> None:
    mask = draw("##.. .#.. ....")
    assert encode_rle(np.asfortranarray(mask)) == encode_rle(mask)
    assert encode_rle(mask[::-1][::-1]) == encode_rle(mask)


def test_a_large_ragged_mask_survives() -> None:
    mask = np.random.default_rng(0).random((700, 900)) < 0.3
    rle = json.loads(json.dumps(encode_rle(mask)))
    assert np.array_equal(decode_rle(rle, max_pixels=mask.size), mask)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param([1, 2], "expected a JSON object", id="not an object"),
        pytest.param({"size": [2, 2]}, "expected a JSON object", id="no counts"),
        pytest.param({"size": [2], "counts": [4]}, "two positive integers", id="one side"),
        pytest.param({"size": [0, 4], "counts": []}, "two positive integers", id="no rows"),
        pytest.param(
            {"size": [-2, -2], "counts": [4]}, "two positive integers", id="negative size"
        ),
        pytest.param({"size": [2.0, 2], "counts": [4]}, "two positive integers", id="float size"),
        pytest.param(
            {"size": [True, 4], "counts": [4]}, "two positive integers", id="boolean size"
        ),
        pytest.param({"size": "22", "counts": [4]}, "two positive integers", id="text size"),
        pytest.param({"size": [2, 2], "counts": [3]}, "add up to 3", id="too few"),
        pytest.param({"size": [2, 2], "counts": [2, 3]}, "add up to 5", id="too many"),
        pytest.param({"size": [2, 2], "counts": [5, -1]}, "integers 0 to 4", id="negative"),
        pytest.param({"size": [2, 2], "counts": [2**63, 1]}, "integers 0 to 4", id="overflow"),
        pytest.param({"size": [2, 2], "counts": [2.0, 2]}, "integers 0 to 4", id="float"),
        pytest.param({"size": [2, 2], "counts": [float("nan")]}, "integers 0 to 4", id="NaN"),
        pytest.param({"size": [2, 2], "counts": [True, 3]}, "integers 0 to 4", id="boolean"),
        pytest.param({"size": [2, 2], "counts": [[4]]}, "integers 0 to 4", id="nested"),
        pytest.param({"size": [2, 2], "counts": ["4"]}, "integers 0 to 4", id="text in a list"),
        pytest.param({"size": [2, 2], "counts": [0] * 6}, "6 runs", id="more runs than pixels"),
        pytest.param({"size": [2, 2], "counts": []}, "add up to 0", id="empty list"),
        pytest.param({"size": [2, 2], "counts": ""}, "empty", id="empty text"),
        pytest.param({"size": [2, 2], "counts": None}, "text or a list", id="null"),
        pytest.param({"size": [2, 2], "counts": {"0": 4}}, "text or a list", id="object"),
        pytest.param({"size": [2, 2], "counts": b"22"}, "text or a list", id="bytes"),
        pytest.param({"size": [2, 2], "counts": 4.0}, "text or a list", id="a bare float"),
        pytest.param(
            {"size": [2, 2], "counts": [10**5000]}, "integers 0 to 4", id="count of 5,000 digits"
        ),
        pytest.param(
            {"size": [-(10**5000), 2], "counts": [4]}, "two positive", id="size of 5,000 digits"
        ),
        pytest.param({"size": [2, 2], "counts": "p4"}, "outside '0' to 'o'", id="character above"),
        pytest.param({"size": [2, 2], "counts": "/4"}, "outside '0' to 'o'", id="character below"),
        pytest.param({"size": [2, 2], "counts": "4é"}, "outside '0' to 'o'", id="not ASCII"),
        pytest.param({"size": [5, 3], "counts": "\ud800"}, "outside '0' to 'o'", id="surrogate"),
        pytest.param({"size": [2, 2], "counts": "4\x00"}, "outside '0' to 'o'", id="null byte"),
        pytest.param({"size": [2, 2], "counts": "2P"}, "middle of a number", id="unterminated"),
        pytest.param({"size": [2, 2], "counts": "oooooooo0"}, "over 30 bits", id="number too long"),
        pytest.param({"size": [2, 2], "counts": "4" * 31}, "31 characters", id="text too long"),
        pytest.param({"size": [2, 2], "counts": "5"}, "a run of 5", id="run larger than the mask"),
        pytest.param({"size": [2, 2], "counts": "5O"}, "negative", id="negative compressed"),
        pytest.param({"size": [2, 2], "counts": "23"}, "add up to 5", id="compressed too many"),
        pytest.param({"size": [2, 2], "counts": "000000"}, "6 runs", id="compressed empty runs"),
    ],
)
def test_hostile_counts_are_refused_with_the_reason(value: object, said: str) -> None:
    with pytest.raises(InvalidRleError, match=said):
        decode_rle(value, max_pixels=1000)


def written(number: int) -> str:
    """One number of compressed counts: 5 bits a character, lowest first, then the sign."""
    low, rest = number & 0x1F, number >> 5
    if rest == (-1 if low & 0x10 else 0):
        return chr(48 + low)
    return chr(48 + 0x20 + low) + written(rest)


def test_runs_whose_sum_wraps_around_in_64_bits_are_refused() -> None:
    # Two ramps of runs up to `top`, then runs near it, until all of them add up to 2**64 + pixels:
    # in int64 the right total. numpy's own code would write far past the mask.
    pixels, step, ramp = 1000 * 1000, 2**28, 150_000
    top = step * ramp
    left = 2**64 + pixels - step * ramp * (ramp + 1)
    level, extra = divmod(left, tail := round(left / top))
    ramps, drop = written(step) * (2 * ramp), written(level - top) * 2
    counts = "0" + ramps + drop + "0" * (tail - 3) + written(extra)
    with pytest.raises(InvalidRleError, match="a run of"):
        decode_rle({"size": [1000, 1000], "counts": counts}, max_pixels=pixels)


@given(runs=st.lists(st.integers(0, 5000) | st.just(0), min_size=1, max_size=60))
def test_any_valid_text_is_read_as_pycocotools_reads_it(runs: list[int]) -> None:
    size = [max(sum(runs), len(runs)), 1]
    runs = [*runs, size[0] - sum(runs)]
    text = coco.frPyObjects({"size": size, "counts": runs}, *size)["counts"].decode("ascii")
    for counts in (text, runs):
        mask = decode_rle({"size": size, "counts": counts}, max_pixels=size[0])
        assert np.array_equal(mask, coco.decode({"size": size, "counts": text}).astype(bool))


@given(
    counts=st.one_of(
        st.text(st.characters(min_codepoint=45, max_codepoint=114), max_size=30),
        st.lists(st.integers(-3, 9) | st.floats() | st.none(), max_size=8),
    )
)
def test_any_counts_either_fill_the_size_or_are_refused(counts: object) -> None:
    try:
        mask = decode_rle({"size": [3, 3], "counts": counts}, max_pixels=9)
    except InvalidRleError:
        return
    assert mask.shape == (3, 3)
    if isinstance(counts, str):
        assert np.array_equal(coco.decode({"size": [3, 3], "counts": counts}).astype(bool), mask)


def test_a_huge_size_is_refused_before_anything_is_allocated() -> None:
    with pytest.raises(ImageTooLargeError, match="the limit is 1000"):
        decode_rle({"size": [10**9, 10**9], "counts": [10**18]}, max_pixels=1000)
    with pytest.raises(ImageTooLargeError, match="the limit is 1000"):
        decode_rle({"size": [10**4000, 10**4000], "counts": [1]}, max_pixels=1000)
