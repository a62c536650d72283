from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model_core.images.announced_size import announced_pixels
from tests.fixtures.pictures import encode, lesion

WAYS: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "progressive JPEG": {"progressive": True},
    "JPEG with a colour profile": {"icc_profile": bytes(150_000)},
    "PNG": {},
    "TIFF": {},
    "TIFF, deflated": {"compression": "tiff_deflate"},
    "BMP": {},
    "WEBP": {},
    "WEBP, lossless": {"lossless": True},
    "WEBP with metadata": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"},
}


@pytest.mark.parametrize("way", WAYS)
def test_the_size_is_what_the_decoder_sees(way: str) -> None:
    kind = next(kind for kind in ("JPEG", "PNG", "TIFF", "BMP", "WEBP") if kind in way)
    data = encode(lesion(123, 456), kind, **WAYS[way])
    assert announced_pixels(data) == 123 * 456


def test_a_bomb_is_known_by_its_size_without_being_decoded() -> None:
    header = encode(Image.new("1", (13_000, 13_000)))[:40]
    assert announced_pixels(header) == 169_000_000


@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8", b"II*\0", b"MM\0*", b"BM", b"{"]))
def test_no_bytes_raise(data: bytes, start: bytes) -> None:
    assert announced_pixels(data) >= 0
    assert announced_pixels(start + data) >= 0


@given(st.integers(0, 400))
def test_a_file_cut_anywhere_does_not_raise(length: int) -> None:
    for kind in ("JPEG", "TIFF", "WEBP"):
        assert announced_pixels(encode(lesion(20, 30), kind)[:length]) in (0, 600)


def test_real_photographs_have_the_size_that_they_announce(real_data: Path) -> None:
    for path in sorted(real_data.rglob("*.jpg"))[::500][:20]:
        with Image.open(path) as image:
            assert announced_pixels(path.read_bytes()) == image.width * image.height
