"""What DCMTK's tools make of a photograph, in every way that they can write it, is read alike."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model_core.errors import UnsupportedImageError
from model_core.images.decode import decode_image
from tests.fixtures.dicom_files import dicom
from tests.fixtures.pictures import encode, lesion

pytestmark = pytest.mark.foreign

PICTURE = lesion(48, 64)
RGB = np.asarray(PICTURE)


def made_by(folder: Path, tool: str, *options: str, source: bytes | None = None) -> bytes:
    """The file that a tool makes of the photograph, or of another file."""
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool}: apt-get install dcmtk")
    (folder / "source").write_bytes(dicom(PICTURE) if source is None else source)
    command = [tool, *options, str(folder / "source"), str(folder / "made")]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "made").read_bytes()


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(decode_image(data).picture)


@pytest.mark.parametrize("beginning", ["", "-F"], ids=["a file", "a data set alone"])
@pytest.mark.parametrize("syntax", ["+te", "+ti", "+tb"])
@pytest.mark.parametrize("lengths", ["+e", "-e"])
def test_an_uncompressed_file_in_every_encoding(
    beginning: str, syntax: str, lengths: str, tmp_path: Path
) -> None:
    options = [option for option in (beginning, syntax, lengths, "+g") if option]
    assert np.array_equal(pixels(made_by(tmp_path, "dcmconv", *options)), RGB)


def test_a_file_with_trailing_padding(tmp_path: Path) -> None:
    assert np.array_equal(pixels(made_by(tmp_path, "dcmconv", "+p", "4096", "512")), RGB)


@pytest.mark.parametrize("tool", ["dcmcrle", "dcmcjpls"])
def test_a_file_that_is_compressed_without_loss(tool: str, tmp_path: Path) -> None:
    assert np.array_equal(pixels(made_by(tmp_path, tool)), RGB)


@pytest.mark.parametrize("colours", ["+cy", "+cr"])
def test_a_jpeg_file(colours: str, tmp_path: Path) -> None:
    found = pixels(made_by(tmp_path, "dcmcjpeg", "+eb", colours, "+q", "98"))
    assert np.abs(found.astype(int) - RGB).max() < 16


def test_a_file_in_lossless_jpeg_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedImageError, match="encoded as JPEG lossless"):
        pixels(made_by(tmp_path, "dcmcjpeg"))


def test_a_palette_as_dcmtk_shows_it(tmp_path: Path) -> None:
    data = made_by(tmp_path, "dcmquant", "+pc", "64")
    shown = Image.open(io.BytesIO(made_by(tmp_path, "dcm2pnm", "+op", source=data)))
    assert np.array_equal(pixels(data), np.asarray(shown.convert("RGB")))


def test_a_photograph_that_dcmtk_makes_of_a_jpeg(tmp_path: Path) -> None:
    jpeg = encode(PICTURE, "JPEG", quality=95)
    assert np.array_equal(pixels(made_by(tmp_path, "img2dcm", "-vlp", source=jpeg)), pixels(jpeg))
