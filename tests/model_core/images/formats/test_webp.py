"""A WebP is all of its pixels or an error, whatever stands beside them."""

import struct

import numpy as np
import pytest
from PIL import Image

from model_core.errors import UnreadableImageError
from model_core.images.decode import decode_image
from tests.fixtures.icc import red_and_green_swapped
from tests.fixtures.pictures import encode, exif, lesion

PHOTO = lesion(48, 64)


def extended(*chunks: tuple[bytes, bytes], flags: int = 0) -> bytes:
    """A lossless WebP with chunks behind its pixels."""
    plain = encode(PHOTO, "WEBP", lossless=True)
    head = struct.pack("<B3x", flags) + (63).to_bytes(3, "little") + (47).to_bytes(3, "little")
    body = b"VP8X" + struct.pack("<I", 10) + head + plain[12:]
    for kind, content in chunks:
        body += kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(extended((b"EXIF", b"no EXIF at all"), flags=8), id="odd EXIF"),
        pytest.param(extended((b"XMP ", b"<" * 100_000), flags=4), id="long XMP"),
        pytest.param(extended((b"ICCP", b"no profile"), flags=32), id="odd profile"),
        pytest.param(extended((b"prVt", b"hello")), id="a private chunk"),
        pytest.param(extended((b"EXIF", bytes(1000)), flags=8)[:-900], id="EXIF that is cut"),
        pytest.param(extended() + b"made by a camera", id="bytes behind the end"),
    ],
)
def test_what_stands_beside_the_pixels_of_a_webp_is_passed_over(data: bytes) -> None:
    assert np.array_equal(np.asarray(decode_image(data).picture), np.asarray(PHOTO))


def test_its_profile_and_orientation_count() -> None:
    red = Image.new("RGB", (8, 4), (255, 0, 0))
    profile = red_and_green_swapped()
    data = encode(red, "WEBP", lossless=True, icc_profile=profile, exif=exif(6), xmp=b"<x/>")
    picture = decode_image(data).picture
    assert picture.size == (4, 8)
    assert picture.getpixel((0, 0)) == pytest.approx((0, 255, 0), abs=3)


@pytest.mark.parametrize("tenths", [3, 5, 9])
@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_webp_that_is_cut_is_refused_though_its_lengths_agree(
    mode: str, lossless: bool, tenths: int
) -> None:
    noise = np.random.default_rng(2).integers(0, 255, (40, 40, 3), np.uint8)
    data = bytearray(encode(Image.fromarray(noise).convert(mode), "WEBP", lossless=lossless))
    data = data[: len(data) * tenths // 20 * 2]
    struct.pack_into("<I", data, 4, len(data) - 8)
    if data[12:16] != b"VP8X":
        struct.pack_into("<I", data, 16, len(data) - 20)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(bytes(data))
