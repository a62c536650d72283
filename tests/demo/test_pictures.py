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
    encode_png,
    icon,
    is_dicom,
    on_screen,
    screen_size,
    tinted,
    with_probability,
)
from tests.conftest import REPOSITORY
from tests.fixtures.pictures import encode

SKIN = Image.new("RGB", (120, 90), (230, 180, 160))


def square() -> np.ndarray:
    mask = np.zeros((90, 120), bool)
    mask[30:60, 40:80] = True
    return mask


def test_a_picture_of_the_service_is_scaled_to_the_page_and_the_lesion_tinted() -> None:
    base = on_screen(encode(SKIN))
    assert base.size == (1200, 900)
    tint = np.asarray(tinted(base, square(), opacity=0.5))
    assert np.allclose(tint[450, 600], np.mean([LINE, (230, 180, 160)], axis=0), atol=1)
    assert tuple(tint[100, 100]) == (230, 180, 160)
    assert tinted(base, square(), opacity=0).tobytes() == base.tobytes()


def test_probabilities_go_from_dark_blue_to_yellow() -> None:
    grey = encode(Image.fromarray(np.array([[0, 255]], np.uint8)))
    picture = np.asarray(with_probability(SKIN, grey, opacity=1))
    assert picture.shape == (90, 120, 3)
    assert tuple(picture[45, 0]) == (0, 32, 77)
    assert tuple(picture[45, -1]) == (255, 234, 70)
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
