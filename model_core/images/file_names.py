"""Tell from its name whether a file is an image, system litter, or beside the images.

One place for the trainer, the command `lesion` and the service's ZIP archives.
"""

import re
import unicodedata

from model_core.images.decode import FORMATS
from model_core.images.file_types import sniff

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm"})
"""Endings of images, in lower case; a file with another one is known by its first bytes."""
HEAD_BYTES = 132
"""First bytes of a file that tell its type: DICOM's mark comes last, at 128."""

# HEIC and AVIF too: whether a service reads them is for it to say, and to say why not.
_IMAGE_TYPES = FORMATS | {"DICOM", "HEIC", "AVIF"}
_LITTER = frozenset({
    "__macosx", "icon\r", "network trash folder", "temporary items",  # macOS
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin",  # Windows
    "system volume information",
    "lost+found",  # Linux
    "@eadir", "@__thumb", "#recycle",  # network disks
    "picasa.ini", "zbthumbnail.info",  # programs that show pictures
})  # fmt: skip
_BESIDE = re.compile(
    # ISIC: superpixels, and masks of attributes (task 2). PH2: colours within the lesion. DICOM
    # media: the list of their files, which begins as a DICOM file does.
    r".*_superpixels\.\w+|.*_attribute_[a-z_]+\.\w+|.*_features\.json|.*_r\d+_label\d+\.\w+|dicomdir",
    re.IGNORECASE,
)


def is_litter(path: str) -> bool:
    """Tell whether an operating system or its like left a file; a folder on its path counts, too.

    Example:
        >>> [is_litter(path) for path in ("a/._b.jpg", "__MACOSX/c.jpg", "Thumbs.db", "./a/b.jpg")]
        [True, True, True, False]
    """
    parts = (part for part in re.split(r"[/\\]", path) if part not in ("", ".", ".."))
    return any(part.startswith(".") or part.casefold() in _LITTER for part in parts)


def is_beside(name: str) -> bool:
    """Tell whether a file of this name comes with a data set as neither image nor lesion's mask.

    Example:
        >>> is_beside("ISIC_0000000_superpixels.png"), is_beside("ISIC_0000000.jpg")
        (True, False)
    """
    return _BESIDE.fullmatch(name) is not None


def announces_image(head: bytes) -> bool:
    """Tell whether a file's first `HEAD_BYTES` are those of a type of image."""
    return sniff(head) in _IMAGE_TYPES


def canonical(name: str) -> str:
    """Bring a name into normal form C: names that look alike are then equal (UAX #15).

    macOS writes an accent as a character of its own, other systems do not.

    Example:
        >>> canonical("u" + chr(0x308)) == chr(0xFC)
        True
    """
    return unicodedata.normalize("NFC", name)
