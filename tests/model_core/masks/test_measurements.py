import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import measure as reference

from model_core.arrays import Mask
from model_core.masks.measurements import Shape, measure, perimeter
from tests.fixtures.drawing import draw


def shape_of(mask: Mask, spacing: tuple[float, float] = (1.0, 1.0)) -> Shape:
    shape = measure(mask, spacing)
    assert shape is not None
    return shape


def ellipse(
    major: float, minor: float, degrees: float = 0.0, spacing: tuple[float, float] = (1.0, 1.0)
) -> Mask:
    """Half axes in the unit of the spacing; turned counter-clockwise as seen."""
    turn = math.radians(degrees)
    rows, columns = np.indices((700, 700))
    x, y = (columns - 350) * spacing[1], (350 - rows) * spacing[0]
    along, aside = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    mask: Mask = np.hypot(along / major, aside / minor) < 1
    return mask


def circumference(a: float, b: float) -> float:
    """Of an ellipse, by Ramanujan's second formula."""
    h = ((a - b) / (a + b)) ** 2
    return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))


def test_a_rectangle_is_known_by_hand() -> None:
    mask = np.zeros((50, 60), bool)
    mask[10:40, 5:45] = True  # 30 high, 40 wide
    shape = shape_of(mask)
    assert shape.area == 1200
    assert list(shape.bbox) == [5, 10, 40, 30]
    assert shape.feret_diameter == pytest.approx(50)
    assert shape.equivalent_diameter == pytest.approx(2 * math.sqrt(1200 / math.pi))
    assert shape.orientation_deg == pytest.approx(0)
    assert shape.solidity == pytest.approx(1)
    assert list(shape.asymmetry) == [0, 0]
    assert shape.border_irregularity == pytest.approx(1)
    assert shape.perimeter == pytest.approx(140, rel=0.06)


def test_no_rectangle_fills_more_than_its_convex_hull() -> None:
    # Qhull's area of one is a little short for some of these, and no answer may say over 1.
    sizes = [(86, 40), *((height, width) for height in range(1, 40) for width in range(1, 40))]
    assert all(shape_of(np.ones(size, bool)).solidity <= 1 for size in sizes)


@pytest.mark.parametrize("degrees", [0, 17, 45, 72, 90, -30, -89])
def test_an_ellipse_at_any_angle(degrees: float) -> None:
    shape = shape_of(ellipse(200, 110, degrees))
    assert shape.area == pytest.approx(math.pi * 200 * 110, rel=0.002)
    assert shape.perimeter == pytest.approx(circumference(200, 110), rel=0.01)
    assert shape.feret_diameter == pytest.approx(400, abs=2)
    assert shape.orientation_deg == pytest.approx(degrees, abs=0.2)
    assert shape.compactness == pytest.approx(
        4 * math.pi**2 * 200 * 110 / circumference(200, 110) ** 2, rel=0.02
    )
    assert shape.solidity == pytest.approx(1, abs=0.01)
    assert max(shape.asymmetry) < 0.01
    assert shape.border_irregularity == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("spacing", [(0.02, 0.02), (0.05, 0.02), (0.01, 0.03)])
@pytest.mark.parametrize("degrees", [0, 30, 60])
def test_pixels_that_are_not_square_measure_the_same_ellipse(
    spacing: tuple[float, float], degrees: float
) -> None:
    shape = shape_of(ellipse(3.0, 2.0, degrees, spacing), spacing)
    assert shape.area == pytest.approx(math.pi * 6, rel=0.005)
    assert shape.perimeter == pytest.approx(circumference(3, 2), rel=0.04)
    assert shape.feret_diameter == pytest.approx(6, abs=0.06)
    assert shape.equivalent_diameter == pytest.approx(2 * math.sqrt(6), rel=0.005)
    assert shape.orientation_deg == pytest.approx(degrees, abs=0.5)
    assert max(shape.asymmetry) < 0.02
    assert shape.border_irregularity == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(ellipse(150, 90, 25), id="ellipse"),
        pytest.param(ellipse(150, 90, 25) & ~ellipse(60, 30, -40), id="with a hole"),
        pytest.param(ellipse(200, 50, 70) | ellipse(120, 60, 10), id="two crossed"),
    ],
)
def test_scikit_image_agrees(mask: Mask) -> None:
    shape = shape_of(mask)
    (theirs,) = reference.regionprops(mask.astype(np.uint8))  # type: ignore[no-untyped-call]
    assert shape.area == theirs.area
    crofton = reference.perimeter_crofton(mask, 4)  # type: ignore[no-untyped-call]
    assert shape.perimeter == pytest.approx(crofton)
    assert shape.equivalent_diameter == pytest.approx(theirs.equivalent_diameter_area)
    assert shape.feret_diameter == pytest.approx(theirs.feret_diameter_max, abs=1)
    assert shape.solidity == pytest.approx(theirs.solidity, abs=0.01)
    assert shape.orientation_deg is not None
    # Theirs begins at the rows' axis.
    assert math.remainder(
        shape.orientation_deg - math.degrees(theirs.orientation) - 90, 180
    ) == pytest.approx(0, abs=0.01)


def test_asymmetry_counts_what_the_mirror_image_misses() -> None:
    # The centre of these 24 pixels is 1.67 rows down. About the horizontal axis through it, rows
    # 0 and 2 meet in 4 pixels each, row 1 meets itself in 8, and row 3 meets nothing: 16 of 24.
    shape = shape_of(draw("######## ######## ..####.. ..####.."))
    assert shape.orientation_deg == pytest.approx(0)
    assert shape.asymmetry == pytest.approx((1 / 3, 0))


def test_a_half_disc_is_symmetric_about_one_axis_alone() -> None:
    half = ellipse(200, 200)
    half[:, 350:] = False
    about_longer, about_shorter = shape_of(half).asymmetry
    assert about_shorter < 0.01
    assert about_longer > 0.1


def test_notches_make_the_border_irregular_and_the_shape_less_solid() -> None:
    smooth = ellipse(200, 200)
    notched = smooth.copy()
    notched[::40] = False
    assert shape_of(notched).border_irregularity > 2
    assert shape_of(notched).solidity < shape_of(smooth).solidity
    assert shape_of(notched).compactness < shape_of(smooth).compactness / 4


def test_a_disc_has_no_direction() -> None:
    shape = shape_of(ellipse(100, 100))
    assert shape.orientation_deg is None
    assert shape.compactness == pytest.approx(1, abs=0.01)


def test_an_empty_mask_has_no_shape() -> None:
    assert measure(np.zeros((5, 6), bool)) is None


@pytest.mark.parametrize("drawing", ["#", "##", "# #", "#. .#", "##########"])
def test_the_smallest_shapes_can_be_measured(drawing: str) -> None:
    shape = shape_of(draw(drawing))
    assert shape.area == drawing.count("#")
    assert 0 < shape.solidity <= 1 + 1e-9
    assert shape.perimeter > 0
    assert all(0 <= share <= 1 for share in shape.asymmetry)


@given(size=st.floats(0.001, 10))
def test_a_scale_changes_lengths_and_nothing_else(size: float) -> None:
    mask = draw("..##. .#### ####. .##..")
    px, mm = shape_of(mask), shape_of(mask, (size, size))
    assert mm.area == pytest.approx(px.area * size**2)
    assert mm.perimeter == pytest.approx(px.perimeter * size)
    assert mm.bbox == pytest.approx([side * size for side in px.bbox])
    assert mm.feret_diameter == pytest.approx(px.feret_diameter * size)
    assert (mm.solidity, *mm.asymmetry) == pytest.approx((px.solidity, *px.asymmetry))
    assert mm.compactness == pytest.approx(px.compactness)


def test_a_mask_cut_by_the_frame_ends_there() -> None:
    assert perimeter(np.ones((40, 40), bool)) == pytest.approx(
        perimeter(np.pad(np.ones((40, 40), bool), 5))
    )
