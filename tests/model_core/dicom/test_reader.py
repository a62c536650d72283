import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from model_core.dicom.reader import decode_dicom
from model_core.errors import (
    ImageTooLargeError,
    InputError,
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from model_core.images.announced_size import announced_pixels
from model_core.images.decode import decode_image
from tests.fixtures.dicom_files import (
    DERMOSCOPIC,
    PATIENT,
    SECONDARY_CAPTURE,
    dataset,
    dicom,
    dicom_around,
    dicom_jpeg,
    file_of,
    jpeg_2000,
)
from tests.fixtures.icc import red_and_green_swapped
from tests.fixtures.models import dark_predictor
from tests.fixtures.pictures import encode, lesion, quarters

PICTURE = quarters(40, 60)
RGB = np.asarray(PICTURE)
GREY = np.asarray(Image.linear_gradient("L").resize((60, 40)))
LOSSLESS = [
    pytest.param(uid.ImplicitVRLittleEndian, id="implicit little endian"),
    pytest.param(uid.ExplicitVRLittleEndian, id="explicit little endian"),
    pytest.param(uid.ExplicitVRBigEndian, id="explicit big endian"),
    pytest.param(uid.RLELossless, id="RLE"),
    pytest.param(uid.JPEG2000Lossless, id="JPEG 2000"),
    pytest.param(uid.JPEGLSLossless, id="JPEG-LS"),
]


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    """What the one door for photographs makes of a file."""
    return np.asarray(decode_image(data).picture)


def far(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("sop_class", ["VL", DERMOSCOPIC, SECONDARY_CAPTURE])
def test_lossless_pixels_come_as_they_were(syntax: str, sop_class: str) -> None:
    elements = {} if sop_class == "VL" else {"SOPClassUID": sop_class}
    assert np.array_equal(pixels(dicom(PICTURE, syntax, **elements)), RGB)


@pytest.mark.parametrize("start", [b"II*\0\x10\0\0\0", b"MM\0*\0\0\0\x10"])
def test_a_preamble_that_opens_a_tiff_file_changes_nothing(start: bytes) -> None:
    plain = dicom(PICTURE)
    both = start + plain[len(start) :]
    assert np.array_equal(pixels(both), RGB)
    assert announced_pixels(both) == announced_pixels(plain) == 40 * 60


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_sixteen_bits_become_eight_as_in_a_png(syntax: str) -> None:
    deep = (GREY.astype(np.uint16) * 257) + np.arange(60, dtype=np.uint16)
    expected = pixels(encode(Image.fromarray(deep)))
    assert np.array_equal(pixels(dicom(Image.fromarray(deep), syntax)), expected)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_an_odd_number_of_pixels_is_padded(syntax: str) -> None:
    picture = PICTURE.crop((0, 0, 7, 5))
    assert np.array_equal(pixels(dicom(picture, syntax)), np.asarray(picture))


@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
)
def test_the_mask_is_that_of_the_png_of_the_same_pixels(syntax: str) -> None:
    predictor = dark_predictor()
    noise = np.random.default_rng(0).integers(0, 40, (90, 120, 3))
    picture = Image.fromarray((np.asarray(lesion(90, 120)) + noise).clip(0, 255).astype(np.uint8))
    mask = predictor.predict(dicom(picture, syntax)).mask
    assert 0 < mask.sum() < mask.size
    assert np.array_equal(mask, predictor.predict(encode(picture)).mask)


@pytest.mark.parametrize(
    "padding", [bytes(1024 - len(RGB.tobytes()) % 1024), b"\xff" * 2, b" " * 6]
)
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_padding_behind_the_pixels_is_left_out(syntax: str, padding: bytes) -> None:
    data = file_of(dataset(RGB, PixelData=RGB.tobytes() + padding), syntax)
    assert np.array_equal(pixels(data), RGB)


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless])
@pytest.mark.parametrize("padding", [b"", bytes(64), b"\xff" * 64])
def test_an_item_of_padding_behind_a_frame_changes_nothing(syntax: str, padding: bytes) -> None:
    data = dicom(PICTURE, syntax)
    item = b"\xfe\xff\0\xe0" + len(padding).to_bytes(4, "little") + padding
    assert np.array_equal(pixels(data[:-8] + item + data[-8:]), RGB)


def test_planes_one_after_the_other() -> None:
    ds = dataset(RGB, PlanarConfiguration=1)
    ds.PixelData = RGB.transpose(2, 0, 1).tobytes()
    assert np.array_equal(pixels(file_of(ds)), RGB)


def test_big_endian_words_of_single_bytes_are_swapped_back() -> None:
    ds = dataset(RGB)
    ds["PixelData"].VR = "OW"
    ds.PixelData = np.frombuffer(RGB.tobytes(), np.uint16).byteswap().tobytes()
    assert np.array_equal(pixels(file_of(ds, uid.ExplicitVRBigEndian)), RGB)


def test_ybr_full_is_converted() -> None:
    ybr = np.asarray(PICTURE.convert("YCbCr"))
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless):
        data = dicom(Image.fromarray(ybr), syntax, photometric="YBR_FULL")
        assert far(pixels(data), RGB) <= 2


def test_ybr_full_422_without_compression_has_half_the_colour() -> None:
    ybr = np.asarray(PICTURE.convert("YCbCr"))
    pairs = np.stack([ybr[:, 0::2, 0], ybr[:, 1::2, 0], ybr[:, 0::2, 1], ybr[:, 0::2, 2]], axis=-1)
    ds = dataset(ybr, photometric="YBR_FULL_422", PixelData=pairs.tobytes())
    assert far(pixels(file_of(ds)), RGB) <= 2
    ds.PixelData = ybr.tobytes()  # not subsampled: is it YBR_FULL, or RGB? Nobody can know
    with pytest.raises(UnreadableImageError, match="7200 bytes of pixels, its header announces 48"):
        pixels(file_of(ds))


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_FULL", "RGB"])
def test_jpeg_2000_that_was_turned_into_luma_comes_back_as_rgb(photometric: str) -> None:
    frame = jpeg_2000(PICTURE, rgb=True)
    data = dicom_around(frame, PICTURE, uid.JPEG2000Lossless, photometric=photometric)
    assert np.array_equal(pixels(data), RGB)


def test_jpeg_2000_that_was_not_is_what_the_file_says() -> None:
    ybr = PICTURE.convert("YCbCr")
    frame = jpeg_2000(Image.fromarray(np.asarray(ybr)), rgb=False)
    for photometric, expected in (("YBR_FULL", RGB), ("RGB", np.asarray(ybr))):
        data = dicom_around(frame, PICTURE, uid.JPEG2000Lossless, photometric=photometric)
        assert far(pixels(data), expected) <= 2


def jpeg(
    picture: Image.Image, *, colours: str = "YCbCr", marked: bool = True, sampling: int = 0
) -> bytes:
    """A JPEG whose components are RGB (then with an Adobe marker) or YCbCr (then with JFIF)."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=100, subsampling=sampling, keep_rgb=colours == "RGB")
    data = out.getvalue()
    return data if marked else without_markers(data)


def without_markers(data: bytes) -> bytes:
    """The same JPEG without APP segments, its components called 1, 2 and 3."""
    out, at = b"\xff\xd8", 2
    while data[at + 1] != 0xDA:
        size = 2 + struct.unpack_from(">H", data, at + 2)[0]
        segment = bytearray(data[at : at + size])
        if segment[1] == 0xC0:
            segment[10::3] = bytes([1, 2, 3])
        if not 0xE0 <= segment[1] <= 0xEF:
            out += segment
        at += size
    scan = bytearray(data[at:])
    scan[5:11:2] = bytes([1, 2, 3])
    return out + scan


SMOOTH = Image.merge(
    "RGB", [Image.linear_gradient("L").rotate(90 * i).resize((64, 48)) for i in range(3)]
)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize(
    ("colours", "sampling"), [("YCbCr", 2), ("YCbCr", 1), ("YCbCr", 0), ("RGB", 0)]
)
def test_a_jpegs_own_markers_decide_its_colours(
    photometric: str, colours: str, sampling: int
) -> None:
    frame = jpeg(SMOOTH, colours=colours, sampling=sampling)
    data = dicom_around(frame, SMOOTH, uid.JPEGBaseline8Bit, photometric=photometric)
    assert far(pixels(data), np.asarray(SMOOTH)) < 12


@pytest.mark.parametrize(
    ("photometric", "colours", "sampling"),
    [
        pytest.param("RGB", "RGB", 0, id="RGB is believed"),
        pytest.param("YBR_FULL_422", "YCbCr", 1, id="YBR is believed"),
        pytest.param("YBR_FULL", "YCbCr", 0, id="and where nothing is subsampled"),
        pytest.param("RGB", "YCbCr", 2, id="but nobody subsamples green"),
    ],
)
def test_a_jpeg_without_markers_is_what_the_file_says(
    photometric: str, colours: str, sampling: int
) -> None:
    frame = jpeg(SMOOTH, colours=colours, marked=False, sampling=sampling)
    assert b"JFIF" not in frame
    assert b"Adobe" not in frame
    data = dicom_around(frame, SMOOTH, uid.JPEGBaseline8Bit, photometric=photometric)
    assert far(pixels(data), np.asarray(SMOOTH)) < 12


def test_a_jpeg_is_decoded_only_as_large_as_needed() -> None:
    picture = lesion(512, 768)
    decoded = decode_dicom(dicom_jpeg(picture, "YBR_FULL_422"), max_pixels=10**6, at_least=(64, 64))
    assert decoded.picture.size == (96, 64)
    assert (decoded.height, decoded.width) == (512, 768)


def test_exif_within_the_jpeg_turns_nothing() -> None:
    out = io.BytesIO()
    tags = Image.Exif()
    tags[0x0112] = 6
    PICTURE.save(out, "JPEG", exif=tags)
    data = dicom_around(out.getvalue(), PICTURE, uid.JPEGBaseline8Bit, photometric="YBR_FULL_422")
    assert pixels(data).shape == (40, 60, 3)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_monochrome1_is_bright_where_its_values_are_low(syntax: str) -> None:
    data = dicom(Image.fromarray(GREY), syntax, photometric="MONOCHROME1")
    assert np.array_equal(pixels(data)[..., 0], 255 - GREY)


def test_grey_jpeg() -> None:
    out = io.BytesIO()
    Image.fromarray(GREY).save(out, "JPEG", quality=100)
    for photometric, expected in (("MONOCHROME2", GREY), ("MONOCHROME1", 255 - GREY)):
        data = dicom_around(
            out.getvalue(), Image.fromarray(GREY), uid.JPEGBaseline8Bit, photometric=photometric
        )
        assert far(pixels(data)[..., 0], expected) <= 2


RAMP = np.array([[0, 100, 200, 300, 400, 500]], np.uint16)


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        pytest.param(
            {"BitsStored": 12, "HighBit": 11}, [0, 6, 12, 19, 25, 31], id="range of 12 bits"
        ),
        pytest.param(
            {"WindowCenter": 250, "WindowWidth": 301}, [0, 0, 85, 170, 255, 255], id="window"
        ),
        pytest.param(
            {"WindowCenter": [250, 9], "WindowWidth": [301, 9]},
            [0, 0, 85, 170, 255, 255],
            id="first of two windows",
        ),
        pytest.param(
            {"WindowCenter": 250, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"},
            [0, 32, 96, 159, 223, 255],
            id="exact window",
        ),
        pytest.param(
            {"WindowCenter": 250, "WindowWidth": 100, "VOILUTFunction": "SIGMOID"},
            [0, 1, 30, 225, 254, 255],
            id="sigmoid",
        ),
        pytest.param(
            {
                "RescaleSlope": 2,
                "RescaleIntercept": -100,
                "WindowCenter": 400,
                "WindowWidth": 601,
            },
            [0, 0, 85, 170, 255, 255],
            id="window after rescale",
        ),
        pytest.param(
            {"RescaleSlope": -1, "RescaleIntercept": 0, "BitsStored": 9, "HighBit": 8},
            [255, 205, 155, 105, 55, 6],
            id="negative slope",
        ),
        pytest.param({"WindowCenter": 200, "WindowWidth": 1}, [0, 0, 255, 255, 255, 255], id="cut"),
        pytest.param(
            {"WindowCenter": 200, "WindowWidth": 0, "BitsStored": 9, "HighBit": 8},
            [0, 50, 100, 149, 199, 249],
            id="a window without width is none",
        ),
    ],
)
def test_greys_of_16_bits_are_windowed(elements: dict[str, Any], expected: list[int]) -> None:
    found = pixels(file_of(dataset(RAMP, **elements)))[0, :, 0].tolist()
    assert found == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("slope", ["1e308", "-1e308"])
def test_a_rescale_beyond_all_numbers_is_refused(slope: str) -> None:
    data = file_of(dataset(RAMP, RescaleSlope=slope, RescaleIntercept=0))
    with pytest.raises(UnreadableImageError, match=r"rescales by -?1e\+308 and 0, which leaves"):
        pixels(data)


def test_signed_greys_begin_below_zero() -> None:
    signed = np.array([[-128, 0, 127]], np.int16)
    ds = dataset(signed, BitsStored=8, HighBit=7)
    assert pixels(file_of(ds))[0, :, 0].tolist() == [0, 128, 255]


def palette(*, entries: int, bits: int, first: int = 0, words: bool = True) -> dict[str, Any]:
    """Elements of a palette in which value v is the colour (v, 255 - v, v // 2)."""
    values = np.arange(entries)
    elements: dict[str, Any] = {}
    for name, colours in (
        ("Red", values),
        ("Green", 255 - values),
        ("Blue", values // 2),
    ):
        stored = colours * (256 if bits == 16 else 1)
        data = stored.astype("<u2" if words else "u1").tobytes()
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [entries % 65_536, first, bits]
        elements[f"{name}PaletteColorLookupTableData"] = data
    return elements


@pytest.mark.parametrize(("bits", "words"), [(16, True), (8, True), (8, False)])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_a_palette_gives_each_value_its_colour(bits: int, words: bool, syntax: str) -> None:
    indices = np.arange(256, dtype=np.uint8).reshape(8, 32)
    elements = palette(entries=256, bits=bits, words=words)
    data = dicom(Image.fromarray(indices), syntax, photometric="PALETTE COLOR", **elements)
    expected = np.stack([indices, 255 - indices, indices // 2], axis=-1)
    assert np.array_equal(pixels(data), expected)


def test_values_outside_a_palette_have_its_first_or_last_colour() -> None:
    elements = palette(entries=3, bits=16, first=10)
    indices = np.array([[0, 10, 11, 12, 200]], np.uint8)
    found = pixels(file_of(dataset(indices, photometric="PALETTE COLOR", **elements)))
    assert found[0, :, 0].tolist() == [0, 0, 1, 2, 2]


def test_a_colour_profile_is_applied() -> None:
    data = dicom(PICTURE, ICCProfile=red_and_green_swapped())
    plain = encode(PICTURE, icc_profile=red_and_green_swapped())
    assert np.array_equal(pixels(data), pixels(plain))


def test_spacing_comes_of_pixel_spacing_alone() -> None:
    data = dicom(PICTURE, PixelSpacing=[0.02, 0.03])
    assert decode_image(data).spacing_mm == (0.02, 0.03)
    assert dark_predictor().predict(data).geometry.spacing_mm == (0.02, 0.03)
    for elements in (
        {},
        {"ImagerPixelSpacing": [0.02, 0.02]},
        {"NominalScannedPixelSpacing": [0.02, 0.02]},
        {"PixelSpacing": [0, 0]},
        {"PixelSpacing": ["1e-200", "1e-200"]},
        {"PixelSpacing": ["0.02", "1e200"]},
    ):
        assert decode_image(dicom(PICTURE, **elements)).spacing_mm is None


@pytest.mark.parametrize(
    "text",
    [
        "0_10",
        "nan ",
        "inf ",
        "0x12",
        "0,12",
        "1e3_",
        "1 0 ",
        "\t0.1",
        "\xb2   ",
        "--.1",
        "e1  ",
        ".   ",
    ],
)
def test_a_text_that_is_no_decimal_string_is_no_spacing(text: str) -> None:
    data = dicom(PICTURE, PixelSpacing=["0.25", "0.25"])
    assert decode_image(data.replace(b"0.25", text.encode("latin-1"))).spacing_mm is None


@pytest.mark.parametrize(
    ("text", "expected"), [("+.25", 0.25), ("5E-1", 0.5), (" .5 ", 0.5), ("25.\0", 25.0)]
)
def test_a_decimal_string_may_be_written_in_many_ways(text: str, expected: float) -> None:
    data = dicom(PICTURE, PixelSpacing=["0.25", "0.25"])
    found = decode_image(data.replace(b"0.25", text.encode())).spacing_mm
    assert found == (expected, expected)


def test_a_number_of_frames_that_is_no_number_is_refused() -> None:
    data = dicom(PICTURE, NumberOfFrames="0001").replace(b"0001", b"1_0 ")
    with pytest.raises(UnreadableImageError, match="number of frames"):
        pixels(data)


@pytest.mark.parametrize(
    ("elements", "error", "expected"),
    [
        pytest.param({"NumberOfFrames": 3}, MultiFrameImageError, "has 3 frames", id="3 frames"),
        pytest.param(
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.77.1.4.1"},
            MultiFrameImageError,
            "multi-frame object",
            id="multi-frame class",
        ),
        pytest.param(
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
            UnsupportedImageError,
            "is a CT Image, expected VL Photographic Image, Dermoscopic",
            id="CT",
        ),
        pytest.param({"Rows": 0}, UnreadableImageError, "how many rows", id="no rows"),
        pytest.param({"Rows": 41}, UnreadableImageError, "announces 7380", id="too few pixels"),
        pytest.param({"Rows": 39}, UnreadableImageError, "announces 7020", id="too many pixels"),
        pytest.param(
            {"Rows": 60_000, "Columns": 60_000}, ImageTooLargeError, "3600000000 p", id="bomb"
        ),
        pytest.param({"BitsAllocated": 32}, UnsupportedImageError, "32 bits", id="32 bits"),
        pytest.param({"BitsStored": 9}, UnreadableImageError, "stores 9 bits", id="9 of 8 bits"),
        pytest.param(
            {"PhotometricInterpretation": "YBR_PARTIAL_420"},
            UnsupportedImageError,
            "none of RGB, YBR_FULL",
            id="unknown colours",
        ),
        pytest.param(
            {"PhotometricInterpretation": "MONOCHROME2"},
            UnreadableImageError,
            "3 samples a pixel, MONOCHROME2 has 1",
            id="grey of three samples",
        ),
        pytest.param(
            {"ModalityLUTSequence": [Dataset()]},
            UnsupportedImageError,
            "lookup table",
            id="lookup table",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(
    elements: dict[str, Any], error: type[InputError], expected: str
) -> None:
    with pytest.raises(error, match=expected):
        pixels(dicom(PICTURE, **elements))


@pytest.mark.parametrize(
    ("syntax", "expected"),
    [
        (uid.JPEGLosslessSV1, "JPEG lossless"),
        (uid.DeflatedExplicitVRLittleEndian, "deflated"),
        (uid.MPEG2MPML, "something else"),
    ],
)
def test_an_encoding_that_is_not_read_is_named(syntax: str, expected: str) -> None:
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        data = file_of(dataset(RGB), syntax)
    else:
        data = dicom_around(b"frame", PICTURE, syntax)
    with pytest.raises(UnsupportedImageError, match=f"encoded as {expected}"):
        pixels(data)


def test_a_frame_of_another_size_than_announced_is_never_decoded() -> None:
    small = PICTURE.crop((0, 0, 8, 8))
    for syntax in (uid.JPEG2000Lossless, uid.JPEGLSLossless):
        ds = pydicom.dcmread(io.BytesIO(dicom(PICTURE, syntax)))
        ds.Rows, ds.Columns = 8, 8
        with pytest.raises(UnreadableImageError, match="rows, columns and samples"):
            pixels(file_of(ds, syntax))
    frame = encode(PICTURE, "JPEG")
    with pytest.raises(UnreadableImageError, match=r"\(40, 60, 3\), the DICOM file says \(8, 8, 3"):
        pixels(dicom_around(frame, small, uid.JPEGBaseline8Bit))


@pytest.mark.parametrize("syntax", [*LOSSLESS, uid.JPEGBaseline8Bit])
def test_a_file_cut_anywhere_is_refused(syntax: str) -> None:
    if syntax == uid.JPEGBaseline8Bit:
        data = dicom_jpeg(PICTURE, "YBR_FULL_422")
    else:
        data = dicom(PICTURE, syntax)
    whole = len(data) - 8
    for end in (*range(132, min(whole, 1200), 7), *range(1200, whole, 97), whole):
        with pytest.raises(InputError):
            pixels(data[:end])


@pytest.mark.parametrize("syntax", [*LOSSLESS, uid.JPEGBaseline8Bit])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(syntax: str) -> None:
    if syntax == uid.JPEGBaseline8Bit:
        data = dicom_jpeg(lesion(24, 32), "YBR_FULL_422")
    else:
        data = dicom(lesion(24, 32), syntax)
    random = np.random.default_rng(1)
    for _ in range(10 if syntax in (uid.JPEG2000Lossless, uid.JPEGLSLossless) else 150):
        broken = bytearray(data)
        for at in random.integers(132, len(data), 3):
            broken[at] = random.integers(256)
        try:
            outcome = str(pixels(bytes(broken)).dtype)
        except InputError as exc:
            outcome = str(exc)
        assert PATIENT.split("^")[0] not in outcome


@pytest.mark.parametrize(
    ("syntax", "library"),
    [(uid.JPEG2000Lossless, "openjpeg"), (uid.JPEGLSLossless, "jpeg_ls")],
)
def test_without_its_library_an_encoding_is_refused_with_the_extra_that_brings_it(
    syntax: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dicom(PICTURE, syntax)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UnsupportedImageError, match=r"pip install 'lesion-segmentation\[dicom\]'"):
        pixels(data)


def test_reading_what_needs_no_library_imports_none() -> None:
    code = (
        "import sys; from model_core.images.decode import decode_image; "
        "decode_image(sys.stdin.buffer.read()); "
        "assert not {'pydicom', 'highdicom', 'openjpeg', 'jpeg_ls'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], input=dicom(PICTURE), check=True)


def test_pydicoms_own_example_files_have_the_colours_that_pydicom_gives_them() -> None:
    """Files of other makers: DCMTK, GDCM and dcm4che, with and without markers."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    # One is encoded otherwise than it says: pydicom finds its elements, but not its frame.
    paths = sorted(set(folder.glob("SC_*.dcm")) - {folder / "SC_rgb_jpeg.dcm"})
    compared = 0
    for path in paths:
        try:
            found = decode_dicom(path.read_bytes(), max_pixels=10**6).picture
        except InputError:
            continue
        expected = pixel_array(path)
        if expected.dtype == np.uint16:
            expected = np.round(expected / 257)
        assert far(np.asarray(found), expected) <= 1, path.name
        compared += 1
    assert compared >= 15
