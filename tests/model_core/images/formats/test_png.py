"""A PNG, photograph or mask, is all of its pixels or an error, whatever stands beside them."""

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms

from model_core.errors import InputError, MultiFrameImageError, UnreadableImageError
from model_core.images.decode import decode_image
from model_core.masks.png import decode_mask
from tests.fixtures.icc import red_and_green_swapped
from tests.fixtures.pictures import encode, exif, lesion

PHOTO = lesion(48, 64)
MASK = Image.fromarray((np.asarray(PHOTO)[..., 0] < 100).astype(np.uint8) * 255)
KINDS = {
    "colour": PHOTO,
    "grey": PHOTO.convert("L"),
    "palette": PHOTO.quantize(8),
    "alpha": PHOTO.convert("RGBA"),
    "one bit": MASK.convert("1"),
    "16 bits": Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257),
}


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    found = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", found)


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def with_stream(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The same PNG with another compressed stream, its chunks and checksums right."""
    packed = b"".join(content for kind, content in chunks(data) if kind == b"IDAT")
    head = [chunk(*each) for each in chunks(data) if each[0] not in (b"IDAT", b"IEND")]
    return data[:8] + b"".join(head) + chunk(b"IDAT", change(packed)) + chunk(b"IEND", b"")


def with_pixels(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    return with_stream(data, lambda packed: zlib.compress(change(zlib.decompress(packed)), 0))


def beside(content: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data[:33] + content + data[33:]


def zeroed(data: bytes) -> bytes:
    """Other bytes in pixels that are stored as they are: only the checksum can tell."""
    data = with_pixels(data, lambda rows: rows)
    return data[:200] + bytes(value ^ 255 for value in data[200:264]) + data[264:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a stream of half the rows": lambda data: with_pixels(
        data, lambda rows: rows[: len(rows) // 2]
    ),
    "a stream of all but the last byte": lambda data: with_pixels(data, lambda rows: rows[:-1]),
    "half a stream": lambda data: with_stream(data, lambda packed: packed[: len(packed) // 2]),
    "no stream": lambda data: with_stream(data, lambda packed: b""),
    "a lost sector": zeroed,
    "a necessary chunk that is not known": beside(chunk(b"ABCD", b"")),
    "a header with a wrong checksum": lambda data: data[:29] + b"zzzz" + data[33:],
    "cut": lambda data: data[: len(data) // 2],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", KINDS)
def test_a_png_without_all_its_pixels_is_refused(kind: str, damage: str) -> None:
    data = DAMAGE[damage](encode(KINDS[kind]))
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(data)


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("mode", ["L", "1"])
def test_a_mask_without_all_its_pixels_is_refused(mode: str, damage: str) -> None:
    with pytest.raises(UnreadableImageError, match=r"the mask.* is truncated or damaged"):
        decode_mask(DAMAGE[damage](encode(MASK.convert(mode))))


@pytest.mark.parametrize("height", [1, 2, 5, 8])
@pytest.mark.parametrize("colour", ["paint", "other"])
def test_rows_are_missed_in_any_colour_and_height(height: int, colour: str) -> None:
    values = (3, 251, 5) if colour == "paint" else (200, 100, 50)
    data = encode(Image.new("RGB", (9, height), values))
    assert np.array_equal(np.asarray(decode_image(data).picture)[0, 0], values)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(with_pixels(data, lambda rows: rows[:-28]))


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (5, 2), (8, 8), (9, 7)])
def test_an_interlaced_png_is_read_whole_and_refused_in_part(size: tuple[int, int]) -> None:
    width, height = size
    values = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    rows = b""
    for left, top, across, down in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):  # fmt: skip
        for row in values[top::down, left::across]:
            rows += b"\0" + row.tobytes() if len(row) else b""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)

    def written(content: bytes) -> bytes:
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(content))
        return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")

    assert np.array_equal(np.asarray(decode_image(written(rows)).picture)[..., 0], values)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(written(rows[:-1]))


def profile_of(count: int) -> bytes:
    """An sRGB profile, filled up to so many bytes."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes().ljust(count, b"\0")
    return struct.pack(">I", count) + profile[4:]


PASSED_OVER: dict[str, Callable[[bytes], bytes]] = {
    "long text, packed": beside(chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000)))),
    "long text in many chunks": beside(chunk(b"tEXt", b"Comment\0" + b"x" * 9999) * 200),
    "international text that is odd": beside(chunk(b"iTXt", b"a\0\1\0")),
    "text with a wrong checksum": beside(chunk(b"tEXt", b"Comment\0hello", 7)),
    "text without a name": beside(chunk(b"tEXt", b"")),
    "a large profile": beside(chunk(b"iCCP", b"p\0\0" + zlib.compress(profile_of(1_200_000)))),
    "a profile that would fill memory": beside(
        chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(20_000_000)))
    ),
    "a profile packed in no known way": beside(chunk(b"iCCP", b"p\0\7zzzz")),
    "EXIF as text, no hexadecimal": beside(
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 9\nnot hexadecimal\n")
    ),
    "EXIF that is none": beside(chunk(b"eXIf", b"II*\0\x08\0\0\0\xff\xff")),
    "EXIF with a wrong checksum": beside(chunk(b"eXIf", exif(6).tobytes()[6:], 7)),
    "short gamma": beside(chunk(b"gAMA", b"\0")),
    "short density": beside(chunk(b"pHYs", b"\0")),
    "a private chunk": beside(chunk(b"prVt", b"hello")),
    "text behind the pixels with a wrong checksum": lambda data: (
        data[:-12] + chunk(b"tEXt", b"a\0b", 7) + data[-12:]
    ),
    "no end": lambda data: data[:-12],
    "no checksum of the pixels and no end": lambda data: data[:-16],
    "bytes behind the end": lambda data: data + b"hello",
    "more pixels than announced": lambda data: with_pixels(data, lambda rows: rows + bytes(99)),
}


@pytest.mark.parametrize("change", PASSED_OVER)
def test_what_stands_beside_the_pixels_of_a_png_is_passed_over(change: str) -> None:
    data = PASSED_OVER[change](encode(PHOTO))
    assert np.array_equal(np.asarray(decode_image(data).picture), np.asarray(PHOTO))
    mask = PASSED_OVER[change](encode(MASK))
    assert np.array_equal(decode_mask(mask), np.asarray(MASK) > 0)


def test_a_large_profile_still_counts() -> None:
    profile = red_and_green_swapped().ljust(2_000_000, b"\0")
    profile = struct.pack(">I", len(profile)) + profile[4:]
    data = encode(Image.new("RGB", (4, 4), (255, 0, 0)))
    data = beside(chunk(b"iCCP", b"p\0\0" + zlib.compress(profile)))(data)
    assert np.asarray(decode_image(data).picture)[0, 0].tolist() == pytest.approx(
        [0, 255, 0], abs=3
    )


@pytest.mark.parametrize("packed", [False, True], ids=["tEXt", "zTXt"])
def test_exif_as_text_turns_as_exif_does(packed: bool) -> None:
    block = exif(6).tobytes().removeprefix(b"Exif\0\0")
    text = b"\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())
    kind, content = (b"zTXt", b"\0" + zlib.compress(text)) if packed else (b"tEXt", text)
    data = beside(chunk(kind, b"Raw profile type exif\0" + content))(encode(PHOTO))
    assert decode_image(data).picture.size == PHOTO.size[::-1]


def test_an_animation_of_one_frame_that_is_the_picture_is_a_picture() -> None:
    control = struct.pack(">IIIIIHHBB", 0, 64, 48, 0, 0, 1, 1, 0, 0)
    one = chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", control)
    assert decode_image(beside(one)(encode(PHOTO))).height == 48
    two = chunk(b"acTL", struct.pack(">II", 2, 0)) + chunk(b"fcTL", control)
    with pytest.raises(MultiFrameImageError):
        decode_image(beside(two)(encode(PHOTO)))


def test_a_packed_text_costs_no_memory() -> None:
    bomb = zlib.compress(bytes(30_000_000))
    data = beside(chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb))(encode(PHOTO))
    assert decode_image(data).height == 48


@pytest.mark.parametrize("length", range(0, 60, 3))
def test_a_png_of_few_bytes_is_an_input_error(length: int) -> None:
    with pytest.raises(InputError):
        decode_image(encode(PHOTO)[:8] + encode(PHOTO)[8 : 8 + length])
