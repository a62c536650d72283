"""What the page draws, and whom it imports."""

import ast
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from demo.pictures import (
    LINE,
    RIM,
    encode_png,
    icon,
    is_dicom,
    outlined,
    screen_size,
    upright,
    with_probability,
)
from tests.conftest import REPOSITORY
from tests.fixtures.pictures import encode, lesion, turned

SKIN = Image.new("RGB", (120, 90), (230, 180, 160))


def square() -> np.ndarray:
    mask = np.zeros((90, 120), bool)
    mask[30:60, 40:80] = True
    return mask


def test_the_outline_runs_along_the_edge_and_the_tint_fills_it() -> None:
    plain = np.asarray(outlined(SKIN, square(), opacity=0))
    tinted = np.asarray(outlined(SKIN, square(), opacity=0.5))
    assert tuple(plain[45, 60]) == (230, 180, 160)
    between = np.mean([LINE, (230, 180, 160)], axis=0)
    assert np.allclose(tinted[45, 60], between, atol=1)
    assert tuple(plain[45, 40]) == tuple(plain[45, 39]) == LINE
    assert tuple(plain[45, 42]) == tuple(plain[45, 37]) == RIM
    assert tuple(plain[10, 10]) == tuple(tinted[10, 10]) == (230, 180, 160)


@pytest.mark.parametrize("mask", [np.zeros((90, 120), bool), np.ones((90, 120), bool)])
def test_nothing_and_everything_can_be_outlined(mask: np.ndarray) -> None:
    picture = np.asarray(outlined(SKIN, mask, opacity=0))
    assert tuple(picture[45, 60]) == (230, 180, 160)
    assert (tuple(picture[0, 60]) == LINE) == bool(mask.all())


def test_a_photograph_is_shown_upright_and_only_in_the_mask_s_shape() -> None:
    photograph = lesion(30, 40)
    for data in (encode(photograph), encode(photograph, "JPEG"), turned(photograph, 6)):
        picture = upright(data, (30, 40))
        assert picture is not None
        assert picture.size == (1200, 900)
    assert upright(encode(photograph), (40, 30)) is None
    assert upright(encode(Image.fromarray(np.zeros((30, 40), np.uint16))), (30, 40)) is None
    assert upright(b"no photograph", (30, 40)) is None


def test_probabilities_go_from_dark_blue_to_yellow() -> None:
    grey = encode(Image.fromarray(np.array([[0, 255]], np.uint8)))
    picture = np.asarray(with_probability(None, grey, opacity=1))
    assert picture.shape == (600, 1200, 3)
    assert tuple(picture[300, 0]) == (0, 32, 77)
    assert tuple(picture[300, -1]) == (255, 234, 70)
    assert with_probability(SKIN, grey, opacity=0).getpixel((5, 5)) == (230, 180, 160)


def test_files_are_what_they_say() -> None:
    mask = square()
    assert np.array_equal(
        np.asarray(Image.open(io.BytesIO(encode_png(mask)))), mask * np.uint8(255)
    )
    assert is_dicom(bytes(128) + b"DICM")
    assert not is_dicom(encode_png(mask))
    assert screen_size((1, 5000)) == (1200, 1)
    assert icon().size == (64, 64)


def test_the_page_knows_nothing_but_the_client() -> None:
    names = set()
    for path in (REPOSITORY / "demo").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names.add(node.module)
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
    ours = {
        name
        for name in names
        if name and name.split(".")[0] in ("service", "model_core", "trainer")
    }
    assert ours == {"service.client"}


def test_the_page_needs_no_torch() -> None:
    pytest.importorskip("streamlit")
    code = "import sys; sys.modules['torch'] = None; import demo.views, demo.__main__"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_file_that_the_page_need_not_read_is_left_to_the_service() -> None:
    gif, huge = io.BytesIO(), io.BytesIO()
    SKIN.save(gif, "GIF")
    Image.new("1", (8_000, 7_000)).save(huge, "PNG")
    assert upright(gif.getvalue(), (90, 120)) is None
    assert upright(huge.getvalue(), (7_000, 8_000)) is None
