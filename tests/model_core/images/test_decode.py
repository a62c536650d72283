import struct
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model_core.errors import (
    ImageTooLargeError,
    InputError,
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from model_core.images.decode import decode_image
from model_core.images.file_types import sniff
from tests.fixtures.icc import cyan_is_black, linear_grey, red_and_green_swapped
from tests.fixtures.pictures import encode, exif, lesion, png_file, quarters, tiff_file, turned

Colour = tuple[int, int, int]
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
FINE = {"quality": 95, "subsampling": 0}

# What to ask Pillow for, so that a file holds exactly the picture (or, as JPEG, nearly).
KINDS: dict[str, dict[str, Any]] = {
    "JPEG": FINE,
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
}


def plain(mode: str, colour: Any, size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new(mode, size, colour)


def middle(data: bytes) -> Colour:
    """Colour in the middle of the decoded picture."""
    picture = decode_image(data).picture
    assert picture.mode == "RGB"
    colour = picture.getpixel((picture.width // 2, picture.height // 2))
    assert isinstance(colour, tuple)
    return colour[0], colour[1], colour[2]


def quarter_colours(picture: Image.Image) -> list[Colour]:
    """Colours in the middle of the four quarters, row by row, rounded to 0 or 255."""
    array = np.asarray(picture)
    rows, columns = array.shape[0] // 4, array.shape[1] // 4
    colours = array[rows :: 2 * rows, columns :: 2 * columns][:2, :2].reshape(4, 3)
    return [(int(r), int(g), int(b)) for r, g, b in np.where(colours < 128, 0, 255)]


# --- upright ---------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", KINDS)
def test_every_exif_orientation_gives_the_same_upright_picture(kind: str, orientation: int) -> None:
    photograph = decode_image(turned(quarters(40, 60), orientation, kind, **KINDS[kind]))
    assert (photograph.height, photograph.width) == (40, 60)
    assert photograph.picture.size == (60, 40)
    difference = np.asarray(photograph.picture).astype(int) - np.asarray(quarters(40, 60))
    assert abs(difference).mean() < (3 if kind == "JPEG" else 1e-9)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_decoded_at_an_eighth_is_upright_and_tells_the_original_size(
    orientation: int,
) -> None:
    data = turned(quarters(400, 600), orientation, "JPEG", **FINE)
    photograph = decode_image(data, at_least=(50, 75))
    assert photograph.picture.size == (75, 50)
    assert (photograph.height, photograph.width) == (400, 600)
    assert quarter_colours(photograph.picture) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(
    ("at_least", "expected"),
    [
        pytest.param((50, 75), (50, 75), id="an eighth is exactly enough"),
        pytest.param((51, 75), (100, 150), id="one row more"),
        pytest.param((50, 76), (100, 150), id="one column more"),
        pytest.param((200, 1), (200, 300), id="rows decide"),
        pytest.param((400, 600), (400, 600), id="all of it"),
        pytest.param((4000, 6000), (400, 600), id="more than there is"),
    ],
)
def test_a_jpeg_is_never_decoded_below_what_is_needed(
    at_least: tuple[int, int], expected: tuple[int, int]
) -> None:
    photograph = decode_image(encode(quarters(400, 600), "JPEG"), at_least=at_least)
    assert photograph.picture.size == expected[::-1]
    assert (photograph.height, photograph.width) == (400, 600)


def test_odd_sizes_are_told_exactly_when_decoded_at_an_eighth() -> None:
    photograph = decode_image(turned(quarters(403, 601), 6, "JPEG"), at_least=(50, 50))
    assert (photograph.height, photograph.width) == (403, 601)
    assert photograph.picture.size == (76, 51)  # eighths, rounded up


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP"])
def test_only_jpeg_is_decoded_at_reduced_scale(kind: str) -> None:
    photograph = decode_image(encode(quarters(400, 600), kind), at_least=(50, 75))
    assert photograph.picture.size == (600, 400)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation: int) -> None:
    picture = decode_image(encode(quarters(), "JPEG", exif=exif(orientation))).picture
    assert quarter_colours(picture) == [RED, GREEN, BLUE, WHITE]


def with_exif(data: bytes, tags: bytes) -> bytes:
    """A JPEG with these EXIF bytes, however odd they are."""
    segment = b"Exif\0\0" + tags
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + data[2:]


@pytest.mark.filterwarnings("ignore")  # Pillow warns of them; in production that is silenced
@pytest.mark.parametrize(
    "tags",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no TIFF header", id="no header"),
        pytest.param(b"II*\0\x08\0\0\0\x05\0", id="five tags announced, none there"),
        pytest.param(b"II*\0\xff\xff\xff\xff", id="pointing outside"),
    ],
)
def test_a_photograph_with_broken_exif_is_read_as_it_is_stored(tags: bytes) -> None:
    picture = decode_image(with_exif(encode(quarters(), "JPEG", **FINE), tags)).picture
    assert quarter_colours(picture) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(
    "tag",
    [
        pytest.param(struct.pack("<HHI4s", 0x100, 2, 4, b"abc"), id="width in letters"),
        pytest.param(struct.pack("<HHIi", 0x100, 9, 1, -3), id="negative width"),
        pytest.param(struct.pack("<HHIf", 0x103, 11, 1, 1.5), id="fractional compression"),
    ],
)
def test_a_turned_photograph_with_odd_exif_beside_its_orientation_is_upright(tag: bytes) -> None:
    sideways = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
    tags = b"II*\0" + struct.pack("<IH", 8, 2) + tag + sideways + bytes(4)
    stored = quarters().transpose(Image.Transpose.ROTATE_90)
    picture = decode_image(with_exif(encode(stored, "JPEG", **FINE), tags)).picture
    assert quarter_colours(picture) == [RED, GREEN, BLUE, WHITE]


def xmp(orientation: int) -> bytes:
    """A packet of XMP that names an orientation."""
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        b'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
        b'tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>' % orientation
    )


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param("TIFF", {"tiffinfo": {700: xmp(6)}}, id="TIFF"),
        pytest.param("TIFF", {"tiffinfo": {700: xmp(6)}, "compression": "tiff_lzw"}, id="LZW TIFF"),
        pytest.param("WEBP", {"lossless": True, "xmp": xmp(6)}, id="WebP"),
        pytest.param("JPEG", {**FINE, "xmp": xmp(6)}, id="JPEG"),
    ],
)
def test_an_orientation_in_xmp_alone_does_not_count(kind: str, options: dict[str, Any]) -> None:
    data = encode(quarters(), kind, **options)
    assert b"tiff:Orientation" in data
    assert quarter_colours(decode_image(data).picture) == [RED, GREEN, BLUE, WHITE]


def test_the_orientation_of_a_tiff_counts_beside_another_in_xmp() -> None:
    stored = quarters().transpose(Image.Transpose.ROTATE_90)
    data = encode(stored, "TIFF", tiffinfo={700: xmp(3), 274: 6})
    assert quarter_colours(decode_image(data).picture) == [RED, GREEN, BLUE, WHITE]


# --- colour ----------------------------------------------------------------------------------


def in_16_bits(channels: list[int]) -> bytes:
    """16-bit values, high byte first, of 8-bit ones."""
    return struct.pack(f">{len(channels)}H", *(257 * value for value in channels))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encode(plain("L", 77)), (77, 77, 77), id="grey PNG"),
        pytest.param(encode(plain("L", 77), "JPEG"), (77, 77, 77), id="grey JPEG"),
        pytest.param(encode(plain("1", 1)), WHITE, id="1-bit PNG, set"),
        pytest.param(encode(plain("1", 0)), BLACK, id="1-bit PNG, not set"),
        pytest.param(encode(plain("1", 1), "TIFF", compression="group4"), WHITE, id="fax TIFF"),
        pytest.param(png_file((1, 1), 2, 0, b"\0\x80"), (170, 170, 170), id="2-bit PNG, 2 of 3"),
        pytest.param(encode(plain("RGB", (9, 8, 7)).quantize()), (9, 8, 7), id="palette PNG"),
        pytest.param(encode(plain("RGB", (9, 8, 7)).quantize(), "BMP"), (9, 8, 7),
                     id="palette BMP"),
        pytest.param(encode(plain("RGB", (9, 8, 7)), "BMP"), (9, 8, 7), id="BMP"),
        pytest.param(encode(plain("RGB", (9, 8, 7)), "TIFF", compression="tiff_lzw"), (9, 8, 7),
                     id="LZW TIFF"),
        pytest.param(encode(plain("RGB", (9, 8, 7)), "WEBP", lossless=True), (9, 8, 7), id="WebP"),
        pytest.param(encode(plain("CMYK", (0, 255, 255, 0)), "TIFF"), RED, id="CMYK TIFF"),
    ],
)  # fmt: skip
def test_every_kind_of_colour_becomes_rgb(data: bytes, expected: Colour) -> None:
    assert middle(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(png_file((1, 1), 16, 0, b"\0" + in_16_bits([200])), (200,) * 3, id="PNG"),
        pytest.param(png_file((1, 1), 16, 0, b"\0\xff\xff"), WHITE, id="PNG white"),
        pytest.param(png_file((1, 1), 16, 0, b"\0\x00\x81"), (1, 1, 1), id="PNG rounds 129 up"),
        pytest.param(png_file((1, 1), 16, 0, b"\0\x00\x80"), BLACK, id="PNG rounds 128 down"),
        pytest.param(png_file((1, 1), 16, 2, b"\0" + in_16_bits([200, 100, 50])),
                     (200, 100, 50), id="RGB PNG"),
        pytest.param(png_file((1, 1), 16, 6, b"\0" + in_16_bits([200, 100, 50, 255])),
                     (200, 100, 50), id="RGBA PNG"),
        pytest.param(tiff_file((1, 1), struct.pack("<H", 257 * 200), bits=16, channels=1),
                     (200,) * 3, id="little-endian TIFF"),
        pytest.param(encode(Image.frombytes("I;16B", (1, 1), in_16_bits([200])), "TIFF"),
                     (200,) * 3, id="big-endian TIFF"),
        pytest.param(tiff_file((1, 1), struct.pack("<3H", 257 * 200, 257 * 100, 257 * 50), bits=16,
                               channels=3), (200, 100, 50), id="RGB TIFF"),
    ],
)  # fmt: skip
def test_16_bits_are_scaled_to_8(data: bytes, expected: Colour) -> None:
    assert middle(data) == expected


def clear_palette() -> Image.Image:
    picture = plain("P", 1)
    picture.putpalette([0, 0, 0, 200, 100, 50])
    return picture


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(encode(plain("RGBA", (200, 100, 50, 255))), (200, 100, 50), id="opaque"),
        pytest.param(encode(plain("RGBA", (200, 100, 50, 0))), WHITE, id="clear"),
        # 128/255 of the colour, the rest white
        pytest.param(encode(plain("RGBA", (200, 100, 50, 128))), (227, 177, 152), id="half"),
        pytest.param(encode(plain("LA", (55, 0))), WHITE, id="clear grey"),
        pytest.param(encode(plain("LA", (55, 128))), (155, 155, 155), id="half grey"),
        pytest.param(encode(clear_palette(), transparency=1), WHITE, id="clear in the palette"),
        pytest.param(encode(clear_palette(), transparency=0), (200, 100, 50), id="other is clear"),
        pytest.param(encode(plain("L", 9), transparency=9), WHITE, id="clear grey value"),
        pytest.param(encode(plain("RGB", (9, 8, 7)), transparency=(9, 8, 7)), WHITE,
                     id="clear colour"),
        pytest.param(encode(plain("RGBA", (200, 100, 50, 0)), "WEBP", lossless=True), WHITE,
                     id="clear WebP"),
        pytest.param(encode(plain("RGBA", (200, 100, 50, 0)), "TIFF"), WHITE, id="clear TIFF"),
        pytest.param(png_file((1, 1), 16, 4, b"\0" + in_16_bits([55, 0])), WHITE,
                     id="clear 16-bit grey"),
    ],
)  # fmt: skip
def test_alpha_is_laid_over_white(data: bytes, expected: Colour) -> None:
    assert middle(data) == expected


def ycck(ink: tuple[int, int, int, int]) -> bytes:
    """A JPEG whose cyan, magenta and yellow are stored as luma and chroma, as Photoshop does."""
    stored = plain("RGB", ink[:3]).convert("YCbCr").getpixel((0, 0))
    assert isinstance(stored, tuple)
    inverted = (*(255 - value for value in stored), ink[3])  # Pillow inverts what it writes
    data = encode(plain("CMYK", inverted), "JPEG", quality=100)
    transform = data.index(b"Adobe") + 11  # 0 is CMYK, 2 is YCCK
    return data[:transform] + b"\x02" + data[transform + 1 :]


@pytest.mark.parametrize(
    ("ink", "expected"),
    [
        pytest.param((0, 255, 255, 0), RED, id="red"),
        pytest.param((255, 0, 255, 0), GREEN, id="green"),
        pytest.param((0, 0, 0, 0), WHITE, id="paper"),
        pytest.param((0, 0, 0, 255), BLACK, id="black"),
        pytest.param((0, 128, 128, 0), (255, 127, 127), id="pink"),
    ],
)
def test_cmyk_and_ycck_jpeg_come_out_about_right(
    ink: tuple[int, int, int, int], expected: Colour
) -> None:
    cmyk = encode(plain("CMYK", ink), "JPEG", quality=100)
    assert middle(cmyk) == pytest.approx(expected, abs=3)
    assert middle(ycck(ink)) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(
    ("picture", "kind", "profile", "expected"),
    [
        pytest.param(plain("RGB", RED), "PNG", red_and_green_swapped(), GREEN, id="PNG"),
        pytest.param(plain("RGB", RED), "TIFF", red_and_green_swapped(), GREEN, id="TIFF"),
        pytest.param(plain("RGB", RED), "WEBP", red_and_green_swapped(), GREEN, id="WebP"),
        pytest.param(plain("RGB", RED), "JPEG", red_and_green_swapped(), GREEN, id="JPEG"),
        pytest.param(plain("RGB", RED).quantize(), "PNG", red_and_green_swapped(), GREEN,
                     id="palette"),
        pytest.param(plain("RGBA", (*RED, 255)), "PNG", red_and_green_swapped(), GREEN,
                     id="alpha"),
        pytest.param(plain("RGBA", (*RED, 0)), "PNG", red_and_green_swapped(), WHITE, id="clear"),
        pytest.param(plain("L", 55), "PNG", linear_grey(), (128, 128, 128), id="grey"),
        pytest.param(plain("LA", (55, 255)), "PNG", linear_grey(), (128, 128, 128),
                     id="grey with alpha"),
        pytest.param(plain("I;16", 55 * 257), "PNG", linear_grey(), (128, 128, 128),
                     id="16-bit grey"),
        pytest.param(plain("CMYK", (255, 0, 0, 0)), "TIFF", cyan_is_black(), BLACK, id="CMYK"),
        pytest.param(plain("CMYK", (0, 255, 255, 0)), "JPEG", cyan_is_black(), WHITE,
                     id="CMYK JPEG"),
    ],
)  # fmt: skip
def test_an_embedded_profile_is_converted_to_srgb(
    picture: Image.Image, kind: str, profile: bytes, expected: Colour
) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(picture, kind, icc_profile=profile, **options)
    assert middle(data) == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(
    ("picture", "profile"),
    [
        pytest.param(plain("RGB", (9, 8, 7)), b"no profile", id="no profile at all"),
        pytest.param(plain("RGB", (9, 8, 7)), red_and_green_swapped()[:200], id="truncated"),
        pytest.param(plain("RGB", (9, 8, 7)), linear_grey(), id="grey profile, colour picture"),
        pytest.param(plain("L", 9), red_and_green_swapped(), id="colour profile, grey picture"),
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_is_ignored(picture: Image.Image, profile: bytes) -> None:
    assert middle(encode(picture, icc_profile=profile)) == middle(encode(picture))


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "found"),
    [
        pytest.param(encode(plain("P", 0), "GIF"), "a GIF file", id="GIF"),
        pytest.param(b"%PDF-1.7\n%", "a PDF file", id="PDF"),
        pytest.param(b"PK\x03\x04" + bytes(30), "a ZIP file", id="ZIP"),
        pytest.param(encode(plain("RGB", 0), "JPEG2000"), "a JPEG 2000 file", id="JPEG 2000"),
        pytest.param(encode(plain("RGB", 0), "PPM"), "no image type", id="PPM, which Pillow reads"),
        pytest.param(b"hello, this is text", "no image type", id="text"),
        pytest.param(b"\xff\xd8", "no image type", id="two bytes of a JPEG"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image type", id="SVG"),
    ],
)
def test_other_types_are_refused_by_what_the_bytes_are(data: bytes, found: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"{found}.*, expected JPEG, PNG, TIFF"):
        decode_image(data)


def test_nothing_at_all_is_unreadable() -> None:
    with pytest.raises(UnreadableImageError, match="empty"):
        decode_image(b"")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})],
    ids=["APNG", "animated WebP", "two-page TIFF", "compressed two-page TIFF"],
)
def test_animations_and_several_pages_are_refused(kind: str, options: dict[str, str]) -> None:
    frames = [plain("RGB", RED), plain("RGB", GREEN)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with pytest.raises(MultiFrameImageError, match="expected one image"):
        decode_image(data)


@pytest.mark.parametrize("at_least", [None, (50, 75)])
def test_an_mpo_is_read_by_its_main_frame(at_least: tuple[int, int] | None) -> None:
    stored = quarters(400, 600).transpose(Image.Transpose.ROTATE_90)
    preview = plain("RGB", BLACK, (30, 20))
    data = encode(stored, "MPO", save_all=True, append_images=[preview], exif=exif(6))
    assert b"MPF\0" in data
    photograph = decode_image(data, at_least=at_least)
    assert (photograph.height, photograph.width) == (400, 600)
    assert quarter_colours(photograph.picture) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bit_pixels_are_refused(mode: str) -> None:
    with pytest.raises(UnreadableImageError, match="32-bit"):
        decode_image(encode(plain(mode, 1), "TIFF"))


def resized(data: bytes, at: int, form: str, height: int, width: int) -> bytes:
    """A file whose header claims another size than its pixels have."""
    size = struct.pack(form, height, width)
    return data[:at] + size + data[at + len(size) :]


def claims(kind: str, height: int, width: int) -> bytes:
    """A file of a few bytes, whose header claims this size."""
    data = encode(plain("RGB", 0, (1, 1)), kind)
    match kind:
        case "PNG":
            return png_file((height, width), 8, 2)
        case "JPEG":
            return resized(data, data.index(b"\xff\xc0") + 5, ">HH", height, width)
        case "BMP":
            return resized(data, 18, "<ii", width, height)
        case "TIFF":
            return tiff_file((height, width), bytes(3), bits=8, channels=3)
        case _:
            packed = (width - 1) | (height - 1) << 14
            data = encode(plain("RGB", 0, (1, 1)), "WEBP", lossless=True)
            return data[:21] + struct.pack("<I", packed) + data[25:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
@pytest.mark.parametrize("side", [7100, 13000, 16383], ids=lambda side: f"{side}x{side}")
def test_too_many_pixels_are_refused_by_the_header_alone(kind: str, side: int) -> None:
    data = claims(kind, side, side)
    assert len(data) < 1000  # decoding these would end in "truncated", not in "too large"
    with pytest.raises(ImageTooLargeError, match="50000000"):
        decode_image(data)


def test_a_size_that_would_overflow_is_too_large() -> None:
    with pytest.raises(ImageTooLargeError):
        decode_image(claims("PNG", 2**31 - 1, 2**31 - 1))


def test_the_limit_is_height_times_width_and_includes_itself() -> None:
    data = encode(plain("RGB", RED, (20, 30)))
    assert decode_image(data, max_pixels=600).height == 30
    with pytest.raises(ImageTooLargeError, match="20x30 = 600 pixels, the limit is 599"):
        decode_image(data, max_pixels=599)


def noise(height: int, width: int) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


WHOLE: dict[str, bytes] = {
    "JPEG": encode(noise(24, 32), "JPEG", exif=exif(6)),
    "progressive JPEG": encode(noise(24, 32), "JPEG", progressive=True),
    "JPEG with profile": encode(noise(24, 32), "JPEG", icc_profile=red_and_green_swapped()),
    "CMYK JPEG": encode(noise(24, 32).convert("CMYK"), "JPEG"),
    "MPO": encode(noise(24, 32), "MPO", save_all=True, append_images=[noise(8, 8)]),
    "PNG": encode(noise(24, 32), "PNG", exif=exif(3)),
    "palette PNG": encode(noise(24, 32).quantize(9), "PNG", transparency=1),
    "TIFF": encode(noise(24, 32), "TIFF", exif=exif(8)),
    "LZW TIFF": encode(noise(24, 32), "TIFF", compression="tiff_lzw"),
    "deflate TIFF": encode(noise(24, 32), "TIFF", compression="tiff_adobe_deflate"),
    "JPEG TIFF": encode(noise(24, 32), "TIFF", compression="jpeg"),
    "BMP": encode(noise(24, 32), "BMP"),
    "WebP": encode(noise(24, 32), "WEBP"),
    "lossless WebP": encode(noise(24, 32), "WEBP", lossless=True),
}


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("name", WHOLE)
def test_a_truncated_file_is_unreadable(name: str, tenths: int) -> None:
    data = WHOLE[name].split(b"\xff\xd9\xff\xd8")[0]  # of an MPO, the main frame
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(data[: len(data) * tenths // 10])


@st.composite
def damaged(draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """A valid file with some bytes changed, taken out or put in."""
    data = bytearray(draw(st.sampled_from(list(WHOLE.values()))))
    # Most of a file is pixels; what breaks decoders stands near its beginning.
    places = st.one_of(st.integers(0, 200), st.integers(0, len(data) - 1))
    odd = st.one_of(st.sampled_from([0, 1, 127, 128, 255]), st.integers(0, 255))
    for place in draw(st.lists(places, min_size=1, max_size=8)):
        data[place % len(data)] = draw(odd)
    at = draw(places)
    match draw(st.sampled_from(["keep", "keep", "remove", "insert"])):
        case "remove":
            del data[at : at + draw(st.integers(1, 20))]
        case "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
    return bytes(data)


@pytest.mark.filterwarnings("ignore")  # as in production
@given(data=damaged(), at_least=st.sampled_from([None, (4, 4)]))
@settings(max_examples=200)
def test_a_damaged_file_gives_a_picture_or_an_input_error_and_nothing_else(
    data: bytes, at_least: tuple[int, int] | None
) -> None:
    try:
        photograph = decode_image(data, max_pixels=100_000, at_least=at_least)
    except InputError:
        return
    picture = np.asarray(photograph.picture)
    assert picture.dtype == np.uint8
    assert picture.shape[2:] == (3,)
    assert 0 < photograph.height * photograph.width <= 100_000


@pytest.mark.filterwarnings("ignore")
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"BM"]), st.binary()
)
@settings(max_examples=100)
def test_random_bytes_after_a_known_beginning_are_an_input_error(magic: bytes, rest: bytes) -> None:
    with pytest.raises(InputError):
        decode_image(magic + rest)


# --- the process around ----------------------------------------------------------------------


def test_decoding_in_many_threads_leaves_the_warnings_of_the_process_alone() -> None:
    data = encode(lesion(200, 200), "JPEG")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        heights = list(pool.map(lambda _: decode_image(data).height, range(64)))
    assert heights == [200] * 64
    assert warnings.filters == before


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(plain("RGB", 0), "JPEG"), "JPEG"),
        (encode(plain("RGB", 0), "WEBP"), "WEBP"),
        (b"MM\x00*", "TIFF"),
        (b"RIFF1234WAVE", None),
        (b"", None),
    ],
    ids=["JPEG", "WebP", "TIFF", "RIFF of another kind", "nothing"],
)
def test_the_first_bytes_tell_the_type(data: bytes, expected: str | None) -> None:
    assert sniff(data) == expected


def test_real_photographs_are_read_at_the_size_they_have(real_data: Path) -> None:
    for folder in ("isic", "isic_fullframe", "ph2", "ham10000"):
        path = min((real_data / folder / "images").glob("*.jpg"))
        with Image.open(path) as image:
            size = image.size
        photograph = decode_image(path.read_bytes(), at_least=(128, 128))
        assert (photograph.width, photograph.height) == size
