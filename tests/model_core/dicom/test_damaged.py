"""A DICOM photograph is all of its pixels or an error, whatever its frame is compressed with."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.pixels.encoders.base import get_encoder

from model_core.errors import UnreadableImageError
from model_core.images.decode import decode_image
from tests.fixtures.dicom_files import dicom_around
from tests.fixtures.pictures import encode

VALUES = np.random.default_rng(4).integers(60, 200, (48, 64, 3), np.uint8)
PICTURE = Image.fromarray(VALUES)
JPEG = encode(PICTURE, "JPEG", quality=90)
END = b"\xff\xd9"
SAMPLES: dict[str, Any] = {
    "rows": 48, "columns": 64, "samples_per_pixel": 3, "bits_allocated": 8, "bits_stored": 8,
    "pixel_representation": 0, "photometric_interpretation": "RGB", "planar_configuration": 0,
    "number_of_frames": 1,
}  # fmt: skip
JPEG_LS = get_encoder(uid.JPEGLSLossless).encode(VALUES.tobytes(), **SAMPLES)
RLE = get_encoder(uid.RLELossless).encode(VALUES.tobytes(), **SAMPLES)


def half(data: bytes) -> bytes:
    return data[: (data.index(b"\xff\xda") + len(data)) // 2]


def zeroed(data: bytes) -> bytes:
    at = len(data) // 2
    return data[:at] + bytes(200) + data[at + 200 :]


@pytest.mark.parametrize(
    ("frame", "syntax"),
    [
        pytest.param(half(JPEG) + END, uid.JPEGBaseline8Bit, id="JPEG, half"),
        pytest.param(half(JPEG), uid.JPEGBaseline8Bit, id="JPEG, half, without an end"),
        pytest.param(zeroed(JPEG), uid.JPEGBaseline8Bit, id="JPEG, a lost sector"),
        pytest.param(half(JPEG_LS) + END, uid.JPEGLSLossless, id="JPEG-LS, half"),
        pytest.param(zeroed(JPEG_LS), uid.JPEGLSLossless, id="JPEG-LS, a lost sector"),
        pytest.param(RLE[: len(RLE) * 3 // 4], uid.RLELossless, id="RLE, cut"),
        pytest.param(zeroed(RLE), uid.RLELossless, id="RLE, a lost sector"),
    ],
)
def test_a_frame_without_all_its_pixels_is_refused(frame: bytes, syntax: str) -> None:
    with pytest.raises(UnreadableImageError, match="damaged"):
        decode_image(dicom_around(frame, PICTURE, syntax), at_least=(10, 10))


WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda frame: frame,
    "without its end": lambda frame: frame[:-2],
    "with text": lambda frame: frame[:2] + b"\xff\xfe\0\6text" + frame[2:],
}


@pytest.mark.parametrize("change", WHOLE)
def test_a_jpeg_frame_with_all_its_pixels_is_read(change: str) -> None:
    data = dicom_around(WHOLE[change](JPEG), PICTURE, uid.JPEGBaseline8Bit)
    expected = np.asarray(decode_image(JPEG).picture)
    assert np.array_equal(np.asarray(decode_image(data).picture), expected)


@pytest.mark.parametrize("runs", [24, 25])
def test_run_lengths_beyond_the_pixels_are_damage(runs: int) -> None:
    segment = bytes([129, 7]) * runs  # 128 times 7, so 24 of them are all 3,072 pixels
    starts = [64 + number * len(segment) for number in range(3)]
    frame = struct.pack("<16I", 3, *starts, *[0] * 12) + segment * 3
    data = dicom_around(frame, PICTURE, uid.RLELossless)
    if runs == 24:
        assert np.ptp(np.asarray(decode_image(data).picture)) == 0
        return
    with pytest.raises(UnreadableImageError, match="holds more than its 3072 bytes"):
        decode_image(data)
