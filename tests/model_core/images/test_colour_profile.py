"""Colour profiles are believed by their numbers."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from model_core.images.colour_profile import to_srgb
from model_core.images.decode import decode_image
from tests.fixtures.icc import gamma_with_srgb_primaries, linear_grey, red_and_green_swapped
from tests.fixtures.pictures import encode, quarters

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
VALUES = np.random.default_rng(2).integers(0, 256, (8, 8, 3)).astype(np.uint8)


def decoded(values: np.ndarray, profile: bytes, kind: str = "PNG") -> np.ndarray:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(values), kind, icc_profile=profile, **options)
    return np.asarray(decode_image(data).picture).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    "name", ["GIMP built-in Linear sRGB", "sRGB IEC61966-2.1", "sRGB", "Display", "scRGB"]
)
def test_linear_light_is_converted_whatever_the_profile_is_called(name: str, kind: str) -> None:
    light = ((VALUES / 255 + 0.055) / 1.055) ** 2.4
    light = np.where(VALUES <= 10, VALUES / 255 / 12.92, light)
    linear = np.round(light * 255).astype(np.uint8)
    bright = VALUES > 100  # where a step of light is less than a step of sRGB
    found = decoded(linear, gamma_with_srgb_primaries(1.0, name), kind)
    assert abs(found - VALUES)[bright].max() <= 2


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(red_and_green_swapped("sRGB IEC61966-2.1"), id="swapped"),
        pytest.param(gamma_with_srgb_primaries(1.8, "sRGB"), id="gamma 1.8"),
        pytest.param(gamma_with_srgb_primaries(2.2, "sRGB, simplified"), id="gamma 2.2"),
    ],
)
def test_other_numbers_under_the_name_of_srgb_are_converted(profile: bytes) -> None:
    assert abs(decoded(VALUES, profile) - VALUES).max() > 2


@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(SRGB, id="sRGB"),
        pytest.param(SRGB.replace(b"s\0R\0G\0B", b"m\0i\0n\0e"), id="sRGB by another name"),
        pytest.param(SRGB.ljust(1 << 17, b"\0"), id="sRGB, filled up"),
    ],
)
def test_the_numbers_of_srgb_leave_every_bit_as_it_is(profile: bytes) -> None:
    assert np.array_equal(decoded(VALUES, profile), VALUES)


def test_a_grey_profile_is_believed_by_its_numbers_too() -> None:
    grey = Image.new("L", (4, 4), 55)
    grey.info["icc_profile"] = linear_grey().replace(b"Linear grey", b"sRGB greys ")
    assert to_srgb(grey).getpixel((0, 0)) == pytest.approx((128, 128, 128), abs=1)


def test_an_image_without_profile_is_not_copied() -> None:
    image = quarters()
    assert to_srgb(image) is image
