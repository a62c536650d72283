"""Objects as real archives hold them: each is read, or refused with the reason by name."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid

from model_core.errors import InputError, UnreadableImageError
from model_core.images.announced_size import announced_pixels
from model_core.images.decode import decode_image
from model_core.images.file_types import sniff
from tests.fixtures.dicom_files import (
    SECONDARY_CAPTURE,
    dataset,
    dicom,
    dicom_jpeg,
    file_of,
)
from tests.fixtures.pictures import lesion

PICTURE = lesion(24, 32)
RGB = np.asarray(PICTURE)
UNCOMPRESSED = [
    pytest.param(uid.ImplicitVRLittleEndian, id="implicit little endian"),
    pytest.param(uid.ExplicitVRLittleEndian, id="explicit little endian"),
    pytest.param(uid.ExplicitVRBigEndian, id="explicit big endian"),
]


def dataset_of(data: bytes) -> bytes:
    """The data set of a file, without preamble and file meta information."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


@pytest.mark.parametrize("syntax", UNCOMPRESSED)
@pytest.mark.parametrize("cut", ["preamble", "preamble and mark", "all before the data set"])
def test_a_file_without_its_beginning_is_read_all_the_same(syntax: str, cut: str) -> None:
    whole = dicom(PICTURE, syntax)
    data = {"preamble": whole[128:], "preamble and mark": whole[132:]}.get(cut, dataset_of(whole))
    assert sniff(data) == "DICOM"
    assert np.array_equal(np.asarray(decode_image(data).picture), RGB)
    assert announced_pixels(data) == RGB.shape[0] * RGB.shape[1]


def test_a_compressed_data_set_that_does_not_say_so_is_refused() -> None:
    with pytest.raises(UnreadableImageError, match="says uncompressed, and is compressed"):
        decode_image(dataset_of(dicom_jpeg(PICTURE, "YBR_FULL_422")))


@pytest.mark.parametrize(
    ("declared", "written"),
    [
        (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian),
        (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian),
    ],
)
def test_a_data_set_in_another_encoding_than_declared_is_read(declared: str, written: str) -> None:
    head = dicom(PICTURE, declared)
    data = head.removesuffix(dataset_of(head)) + dataset_of(dicom(PICTURE, written))
    assert np.array_equal(np.asarray(decode_image(data).picture), RGB)


@pytest.mark.parametrize(
    "data",
    [
        b"\x08\x00\x05\x00\xff\xff\xff\x7f" + bytes(200),
        b"\x08\x00\x50\x00\x08\x00\x00\x00" + bytes(200),
        b"\x02\x00\x00\x00" + bytes(200),
        bytes(300),
    ],
    ids=["a length of gigabytes", "no first element", "group 2 without a type", "zeros"],
)
def test_bytes_that_only_resemble_a_data_set_are_none(data: bytes) -> None:
    assert sniff(data) is None


def test_the_example_files_of_pydicom_are_read_or_refused_with_a_reason() -> None:
    folder = Path(pydicom.__file__).parent / "data"
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix in ("", ".dcm")]
    read: set[str] = set()
    reasons: set[str] = set()
    for path in files:
        try:
            decode_image(path.read_bytes())
            read.add(path.name)
        except InputError as exc:
            reasons.add(str(exc))
    assert {"SC_rgb_jpeg.dcm", "SC_rgb_rle.dcm", "JPEG2000.dcm", "chrH31.dcm"} <= read
    assert len(read) >= 35
    assert len(files) - len(read) >= 100
    assert len(reasons) < 20  # one a fault, not one a file


def test_private_elements_padded_values_and_empty_ones_change_nothing() -> None:
    ds = dataset(RGB, PhotometricInterpretation="RGB   ", SOPClassUID=SECONDARY_CAPTURE)
    block = ds.private_block(0x0029, "MAKER OF CAMERAS", create=True)
    block.add_new(0x01, "LO", "a camera's own")
    block.add_new(0x02, "SQ", [pydicom.Dataset()])
    block.add_new(0x03, "UN", bytes(range(256)))
    ds.WindowCenter, ds.PixelSpacing, ds.ImageComments = None, None, ""
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian):
        data = file_of(ds, syntax)
        spaced = data.replace(b"4.1.1.7\0", b"4.1.1.7 ")
        assert spaced != data
        assert np.array_equal(np.asarray(decode_image(spaced).picture), RGB)
