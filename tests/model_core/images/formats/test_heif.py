"""HEIC and AVIF: the primary image, turned once, within the limits, or a named refusal."""

import base64
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from model_core.errors import (
    ImageTooLargeError,
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from model_core.images.announced_size import announced_pixels
from model_core.images.decode import decode_image
from model_core.images.file_types import sniff
from model_core.images.formats import decoder_process, heif
from tests.fixtures.heic import PLAIN
from tests.fixtures.icc import red_and_green_swapped
from tests.fixtures.pictures import encode, exif, quarters

# PLAIN stored as it is, with EXIF 6 and the rotation that means the same; PLAIN followed by
# itself turned by half, which is not the primary image.
TURNED = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAaFtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAABxQABAAAAAAAAAOsAAgAAAAACsAABAAAAAAAAACQAAAA4aWluZgAAAAAA"
    "AgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAAA4GlwcnAAAADA"
    "aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAr"
    "QgEBA3AAAAMAkAAAAwAAAwAeoDCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAAB"
    "AA0ABoAAAAAUaXNwZQAAAAAAAABgAAAAQAAAABBwaXhpAAAAAAMICAgAAAAJaXJvdAMAAAAYaXBtYQAAAAAAAAABAAEF"
    "gQIDBIUAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAARdtZGF0AAAA5ygBrwY44+e/P03+Z3v///K9d6H+9gcLvlab"
    "r9NFX/+/kj//yJF2Y4U7pHzEyXkehTzmGusWNlxwzbrToAgLPf0gsRJBgcTX4smMnA56A3yusdiX4P0GWjNJu+aC5gNg"
    "aorh88ZKB4uq0fHrri75uulxFP+X2jRv6ZYb//x9gapYM/OFVSuA5qmlhuGCZDTItlTk0hH51aUIE8HtypsJw9S4UrbN"
    "Mhe++M4y6CjpPQqqpHR/2n+f/Q/M/+Up///IERY63Zv//7ZTR/ckynD/kI43SZHMXhzN6OtGGrrwtg5nDdDj+x6G4AAA"
    "AAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA=="
)
TWO = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAYRtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAA"
    "AAAAAAAAADRpbG9jAAAAAERAAAIAAQAAAAABqAABAAAAAAAAAOsAAgAAAAACkwABAAAAAAAAAVEAAAA4aWluZgAAAAAA"
    "AgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAAACAABodmMxAAAAAA5waXRtAAAAAAABAAAA3WlwcnAAAAC3"
    "aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAr"
    "QgEBA3AAAAMAkAAAAwAAAwAeoDCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAAB"
    "AA0ABoAAAAAUaXNwZQAAAAAAAABgAAAAQAAAABBwaXhpAAAAAAMICAgAAAAeaXBtYQAAAAAAAAACAAEEgQIDBAACBIEC"
    "AwQAAAJEbWRhdAAAAOcoAa8GOOPnvz9N/md7///yvXeh/vYHC75Wm6/TRV//v5I//8iRdmOFO6R8xMl5HoU85hrrFjZc"
    "cM2606AICz39ILESQYHE1+LJjJwOegN8rrHYl+D9BlozSbvmguYDYGqK4fPGSgeLqtHx664u+brpcRT/l9o0b+mWG//8"
    "fYGqWDPzhVUrgOappYbhgmQ0yLZU5NIR+dWlCBPB7cqbCcPUuFK2zTIXvvjOMugo6T0KqqR0f9p/n/0PzP/lKf//yBEW"
    "Ot2b//+2U0f3JMpw/5CON0mRzF4czejrRhq68LYOZw3Q4/sehuAAAAFNKAGvBjjxc/EcvFf+DmKLuoVW/+EGz+9/oor/"
    "/2iTxmrGT6OKrt+W1vqcX1v9Yf7FgfhmbVdKyx/3zX/MORNLwKjlIm8iL+6IyrYhxz+aViAlw4dLcDYKJHssl590LkUC"
    "edywQMq6jCaPyJcZvdQ7b83m7qGXiKf+fwb//+Uob//6zCObKX/oH0rI9tyKROZc6xc6v7/dr0Um8VV4h87kk8WFcFsX"
    "/HYTIZ2wA6E0iSwJ9VMV/WCltNRJkP3K3eSBuLGYKNr7eif/8ogMX95b7k1+KoAr09VW9tOHTnql3ZSCJAE38syVSAvc"
    "VlI+wEu0B6WyITjTYvOtU5dnMagQgrAsmXAE5bpcZDJ9P0O59drQd1n+YcQhfTrWfQSZ7t+tenVucGCgpET8Nipx3++x"
    "dyQfHneivKCKKNyvXUq/ITW1SKxgt3s2j0w/XkwY"
)
UPRIGHT = ["red", "green", "blue", "white"]
NAMES = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue", (255, 255, 255): "white"}


def avif(**options: object) -> bytes:
    return encode(quarters(64, 96), "AVIF", quality=95, **options)


def colours(picture: Image.Image) -> list[str]:
    """Names of the colours of the four quarters, row by row."""
    values = np.asarray(picture)
    rows, columns = values.shape[0] // 4, values.shape[1] // 4
    found = values[rows :: 2 * rows, columns :: 2 * columns][:2, :2].reshape(4, 3)
    return [NAMES[tuple(np.where(each < 128, 0, 255).tolist())] for each in found]


@pytest.mark.parametrize("data", [PLAIN, TWO, avif()], ids=["HEIC", "HEIC of two", "AVIF"])
def test_the_primary_image_is_read(data: bytes) -> None:
    photograph = decode_image(data, at_least=(8, 8))
    assert (photograph.height, photograph.width) == (64, 96)
    assert colours(photograph.picture) == UPRIGHT


@pytest.mark.parametrize("data", [TURNED, avif(exif=exif(6))], ids=["HEIC", "AVIF"])
def test_a_turn_is_applied_once(data: bytes) -> None:
    photograph = decode_image(data)
    assert (photograph.height, photograph.width) == (96, 64)
    assert colours(photograph.picture) == ["blue", "red", "white", "green"]


def test_the_xmp_of_an_avif_does_not_turn_it() -> None:
    packet = b'<rdf:Description tiff:Orientation="6"/>'
    assert colours(decode_image(avif(xmp=packet)).picture) == colours(decode_image(avif()).picture)
    assert decode_image(avif(xmp=packet)).height == decode_image(avif()).height


def test_exif_has_no_say_in_a_heic() -> None:
    at = TURNED.index(b"irot")
    data = TURNED[:at] + b"free" + TURNED[at + 4 :]
    assert b"Exif" in data
    try:
        picture = decode_image(data).picture
    except UnreadableImageError:  # libheif may insist on a property that it is told of
        return
    assert colours(picture) == UPRIGHT


def test_the_profile_of_an_avif_counts() -> None:
    data = encode(Image.new("RGB", (16, 16), (255, 0, 0)), "AVIF", quality=100,
                  subsampling="4:4:4", icc_profile=red_and_green_swapped())  # fmt: skip
    assert decode_image(data).picture.getpixel((8, 8)) == pytest.approx((0, 255, 0), abs=6)


@pytest.mark.parametrize("data", [PLAIN, avif()], ids=["HEIC", "AVIF"])
def test_the_limit_on_pixels_is_held_before_decoding(data: bytes) -> None:
    assert announced_pixels(data) == 64 * 96
    with pytest.raises(ImageTooLargeError, match="96x64 = 6144 pixels, the limit is 6143"):
        decode_image(data, max_pixels=6143)


def test_a_sequence_is_refused() -> None:
    data = avif(save_all=True, append_images=[quarters(64, 96).rotate(180)])
    with pytest.raises(MultiFrameImageError, match="sequence"):
        decode_image(data)
    with pytest.raises(MultiFrameImageError, match="sequence"):
        decode_image(PLAIN[:8] + b"hevc" + PLAIN[12:])


@pytest.mark.parametrize("tenths", [3, 6, 9])
@pytest.mark.parametrize("data", [PLAIN, avif()], ids=["HEIC", "AVIF"])
def test_a_file_that_is_cut_is_refused(data: bytes, tenths: int) -> None:
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(data[: len(data) * tenths // 10])


def test_zeros_in_the_codes_of_a_heic_are_lost_sectors() -> None:
    at = len(PLAIN) - 60
    assert not heif.lost_sectors(PLAIN)
    with pytest.raises(UnreadableImageError, match="zeros stand in place"):
        decode_image(PLAIN[:at] + bytes(40) + PLAIN[at + 40 :])


def test_a_decoder_that_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedImageError, match=r"HEIC file.*lesion-segmentation\[heic\]"):
        decode_image(PLAIN)
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(UnsupportedImageError, match=r"AVIF file.*export it as JPEG or PNG"):
        decode_image(avif())


def test_the_brands_tell_the_type() -> None:
    assert (sniff(PLAIN), sniff(avif())) == ("HEIC", "AVIF")
    general = b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif"
    assert sniff(general) == "AVIF"
    assert sniff(general.replace(b"avif", b"heic")) == "HEIC"
    assert sniff(b"\0\0\0\x18ftypisom\0\0\0\0isommp42") is None


@pytest.mark.parametrize("seed", range(20))
def test_boxes_with_other_bytes_are_read_or_passed_over(seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(TWO)
    for place in rng.integers(12, 500, 12):
        data[place] = rng.integers(0, 256)
    heif.announced_size(bytes(data))
    heif.lost_sectors(bytes(data))


def test_boxes_without_an_end_take_no_time() -> None:
    endless = PLAIN[:24] + struct.pack(">I4s", 8, b"free") * 100_000
    assert heif.announced_size(endless) == (0, 0)


def test_items_of_many_pieces_without_bytes_take_no_time() -> None:
    item = struct.pack(">HHH", 1, 0, 0xFFFF)
    places = bytes(6) + struct.pack(">H", 0xFFFF) + item * 0xFFFF
    iloc = struct.pack(">I4s", 8 + len(places), b"iloc") + places
    meta = struct.pack(">I4s4x", 12 + len(iloc), b"meta") + iloc
    started = time.perf_counter()
    assert not heif.lost_sectors(PLAIN[:24] + meta)
    assert time.perf_counter() - started < 1


def test_the_child_imports_nothing_of_this_project() -> None:
    child = Path(decoder_process.__file__).with_name("decoder_child.py")
    assert "model_core" not in child.read_text("utf-8")
