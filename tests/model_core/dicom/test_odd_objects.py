"""Objects as real archives hold them: each is read, or refused with the reason by name."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid

from model_core.dicom.derived import Author
from model_core.dicom.secondary_capture import write_secondary_capture
from model_core.dicom.segmentation import write_segmentation
from model_core.errors import (
    InputError,
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
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
    assert len(reasons) < 30  # one a fault, not one a file


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


FRAMES = [
    pytest.param("1.2.840.10008.5.1.4.1.1.7.2", "L", id="grey bytes"),
    pytest.param("1.2.840.10008.5.1.4.1.1.7.4", "RGB", id="true colour"),
]


@pytest.mark.parametrize(("sop_class", "mode"), FRAMES)
def test_a_multi_frame_object_of_one_frame_is_a_photograph(sop_class: str, mode: str) -> None:
    picture = PICTURE.convert(mode)
    data = dicom(picture, SOPClassUID=sop_class, NumberOfFrames=1)
    assert np.array_equal(
        np.asarray(decode_image(data).picture), np.asarray(picture.convert("RGB"))
    )
    author, mask = Author("lesion-unet", "1.0.0", "0" * 64, 0.5), RGB[..., 0] > 100
    written = pydicom.dcmread(
        io.BytesIO(write_segmentation(data, mask, author, max_pixels=10**6))
    ).to_json()
    assert f'"{sop_class}"' in written  # references name the kind that it is
    assert '"1.2.840.10008.5.1.4.1.1.77.1.4"' not in written


@pytest.mark.parametrize(("sop_class", "mode"), FRAMES)
def test_several_frames_are_counted_in_the_refusal(sop_class: str, mode: str) -> None:
    data = dicom(PICTURE.convert(mode), SOPClassUID=sop_class, NumberOfFrames=12)
    with pytest.raises(MultiFrameImageError, match="has 12 frames, expected an image in one: spl"):
        decode_image(data)


@pytest.mark.parametrize(
    ("sop_class", "error", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.77.1.4.1", MultiFrameImageError, "Video Photographic Image"),
        ("1.2.840.10008.5.1.4.1.1.77.1.6", MultiFrameImageError, "VL Whole Slide Microscopy"),
        ("1.2.840.10008.5.1.4.1.1.6.1", UnsupportedImageError, "Ultrasound Image"),
        ("1.2.840.10008.5.1.4.1.1.66.4", UnsupportedImageError, "Segmentation"),
        ("1.2.3.4", UnsupportedImageError, "an object of another kind, expected VL Photographic"),
    ],
)
def test_an_object_of_another_kind_is_refused_by_its_name(
    sop_class: str, error: type[InputError], name: str
) -> None:
    with pytest.raises(error, match=name):
        decode_image(dicom(PICTURE, SOPClassUID=sop_class))


@pytest.mark.parametrize("retired", ["YBR_PARTIAL_422", "YBR_PARTIAL_420"])
def test_a_retired_name_of_colours_is_read_over_a_jpeg_alone(retired: str) -> None:
    expected = np.asarray(decode_image(dicom_jpeg(PICTURE, "YBR_FULL_422")).picture)
    found = np.asarray(decode_image(dicom_jpeg(PICTURE, retired)).picture)
    assert np.array_equal(found, expected)
    with pytest.raises(UnsupportedImageError, match="none of RGB, YBR_FULL"):
        decode_image(dicom(PICTURE, photometric=retired))


def test_a_segmented_palette_is_refused_by_name() -> None:
    ds = dataset(RGB[..., 0].copy(), photometric="PALETTE COLOR")
    ds.SegmentedRedPaletteColorLookupTableData = bytes(6)
    with pytest.raises(UnsupportedImageError, match="segmented palette"):
        decode_image(file_of(ds))


def test_photographs_of_one_series_and_number_have_objects_of_their_own() -> None:
    author, mask = Author("lesion-unet", "1.0.0", "0" * 64, 0.5), RGB[..., 0] > 100
    first, second = (
        pydicom.dcmread(io.BytesIO(write_segmentation(data, mask, author, max_pixels=10**6)))
        for data in (dicom(PICTURE, SOPInstanceUID=f"1.2.{n}", InstanceNumber=1) for n in "12")
    )
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID


def test_a_patients_orientation_turns_nothing_and_stays_with_the_picture() -> None:
    data = dicom(PICTURE, PatientOrientation=["P", "F"])
    assert np.array_equal(np.asarray(decode_image(data).picture), RGB)
    author = Author("lesion-unet", "1.0.0", "0" * 64, 0.5)
    picture = pydicom.dcmread(
        io.BytesIO(write_secondary_capture(data, RGB, author, max_pixels=10**6))
    )
    assert list(picture.PatientOrientation) == ["P", "F"]
    assert np.array_equal(picture.pixel_array, RGB)
