import unicodedata

import pytest

from model_core.images.file_names import (
    HEAD_BYTES,
    announces_image,
    canonical,
    is_beside,
    is_litter,
)
from tests.fixtures.pictures import encode, lesion


@pytest.mark.parametrize(
    "path",
    [
        "._x.jpg",
        "a/.DS_Store",
        "__MACOSX/a/x.jpg",
        "a/__macosx/x.jpg",
        "THUMBS.DB",
        "a\\Thumbs.db",
        "Desktop.ini",
        "$RECYCLE.BIN/x.png",
        "@eaDir/x.jpg/SYNOPHOTO_THUMB_M.jpg",
        ".hidden/x.png",
        "Icon\r",
    ],
)
def test_what_systems_leave_is_litter(path: str) -> None:
    assert is_litter(path)


@pytest.mark.parametrize("path", ["x.jpg", "./x.jpg", "../x.jpg", "a.b/x.jpg", "MACOSX/thumbs.png"])
def test_a_plain_name_is_no_litter(path: str) -> None:
    assert not is_litter(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ISIC_0000000_superpixels.png", True),
        ("ISIC_0000000_Superpixels.PNG", True),
        ("ISIC_0000000_attribute_milia_like_cyst.png", True),
        ("IMD002_R1_Label1.bmp", True),
        ("DICOMDIR", True),
        ("ISIC_0000000.jpg", False),
        ("ISIC_0000000_segmentation.png", False),
    ],
)
def test_what_a_data_set_has_beside_is_known_by_name(name: str, expected: bool) -> None:
    assert is_beside(name) == expected


def test_a_photograph_is_known_by_its_first_bytes() -> None:
    assert announces_image(encode(lesion(8, 8), "JPEG")[:HEAD_BYTES])
    assert announces_image(bytes(128) + b"DICM")
    assert not announces_image(b"%PDF-1.7")
    assert not announces_image(b"")


def test_a_name_has_one_canonical_form() -> None:
    assert len({canonical(unicodedata.normalize(form, "Rücken")) for form in ("NFC", "NFD")}) == 1
