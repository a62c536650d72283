"""What the page draws, and whom it imports."""

import ast
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from demo.pictures import (
    encode_png,
    grey_levels,
    icon,
    is_dicom,
    on_screen,
    outlined,
    screen_size,
    thumbnail,
    with_probability,
)
from tests.conftest import REPOSITORY
from tests.fixtures.pictures import encode

SKIN = Image.new("RGB", (120, 90), (230, 180, 160))


def square() -> np.ndarray:
    mask = np.zeros((90, 120), bool)
    mask[30:60, 40:80] = True
    return mask


def test_a_picture_of_the_service_is_scaled_to_the_page_and_to_a_small_one() -> None:
    assert on_screen(encode(SKIN)).size == (1200, 900)
    with Image.open(io.BytesIO(thumbnail(encode(SKIN.resize((1200, 900)), "JPEG")))) as small:
        assert (small.format, small.size) == ("JPEG", (200, 150))
    with Image.open(io.BytesIO(thumbnail(encode(SKIN, "JPEG")))) as same:
        assert same.size == (120, 90)


def test_probabilities_go_from_dark_blue_to_yellow() -> None:
    grey = encode(Image.fromarray(np.array([[0, 255]], np.uint8)))
    picture = np.asarray(with_probability(SKIN, grey, opacity=1))
    assert picture.shape == (90, 120, 3)
    assert tuple(picture[45, 0]) == (0, 32, 77)
    assert tuple(picture[45, -1]) == (255, 234, 70)
    assert with_probability(SKIN, grey, opacity=0).getpixel((5, 5)) == (230, 180, 160)


def test_an_outline_is_drawn_along_the_edge_of_a_mask_and_nowhere_else() -> None:
    picture = np.asarray(outlined(SKIN, square()))
    assert picture.shape == (900, 1200, 3)
    drawn = (picture != SKIN.getpixel((0, 0))).any(axis=2)
    assert drawn[450, 395:405].any()
    assert not drawn[450, 420:780].any()
    assert not drawn[450, :380].any()


def test_levels_are_those_of_a_grey_png_of_the_photographs_size() -> None:
    grey = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (90, 1))
    deep = (grey.astype(np.uint16) * 257).astype("<u2")
    for picture in (grey, deep):
        found = grey_levels(encode(Image.fromarray(picture)), (90, 120))
        assert found is not None
        assert np.array_equal(found, grey)
    for other in (encode(SKIN), encode(Image.fromarray(grey), "JPEG"), b"no picture", b""):
        assert grey_levels(other, (90, 120)) is None
    assert grey_levels(encode(Image.fromarray(grey)), (120, 90)) is None


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
    for path in (REPOSITORY / "demo").rglob("*.py"):
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
