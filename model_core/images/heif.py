"""HEIC and AVIF, the photographs of phones, decoded in a process of their own.

HEIC is read where `pi-heif` is installed (libheif with libde265, which decode only), AVIF where
Pillow was built with it. Both decoders are large and young, so they stand apart as those of DICOM's
JPEG 2000 do: with so much time and memory, for about 0.2 s a photograph. A file may hold several
images; the one that it calls primary counts, turned as the file says (in HEIC, EXIF does not).
"""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image as Pillow
from PIL import features

from model_core.bare_environment import bare_environment
from model_core.errors import (
    ImageTooLargeError,
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from model_core.images.exif import orientation_block
from model_core.images.heif_boxes import announced_size, is_sequence, lost_sectors

_START_S, _WAIT_S = 3, 10
_PIXELS_S, _BYTES_S = 2_000_000, 500_000
"""Pixels, and bytes of the file, that get a second of a core: a few times what they take."""
_LIBRARY_BYTES = 1 << 30
_PIXEL_BYTES = 40
_CHILD = Path(__file__).with_name("heif_child.py")


def decode_heif(data: bytes, kind: str, max_pixels: int) -> Pillow.Image:
    """Decode the primary image of a HEIC or AVIF file.

    Args:
        data: The file.
        kind: HEIC or AVIF.
        max_pixels: Limit on height times width, held on the header before decoding.

    Returns:
        Mode L, LA, RGB or RGBA, with its profile and an orientation that is still to be applied.

    Raises:
        UnsupportedImageError: no decoder for it is installed.
        MultiFrameImageError: a sequence of images.
        ImageTooLargeError: more than `max_pixels`.
        UnreadableImageError: truncated or damaged, or not decoded within the limits.
    """
    if not (find_spec("pi_heif") if kind == "HEIC" else features.check("avif")):
        hint = "; or install 'lesion-segmentation[heic]'" if kind == "HEIC" else ""
        raise UnsupportedImageError(
            f"found a {kind} file, for which this installation has no decoder; "
            f"export it as JPEG or PNG{hint}"
        )
    if is_sequence(data):
        raise MultiFrameImageError(f"the {kind} file is a sequence, expected one photograph")
    if kind == "HEIC" and lost_sectors(data):
        raise UnreadableImageError(
            "the HEIC file is truncated or damaged: zeros stand in place of some of its pixels, "
            "expected a whole file"
        )
    said, content = _run(data, kind, max_pixels)
    if "frames" in said:
        raise MultiFrameImageError(
            f"the {kind} file has {said['frames']} frames, expected one photograph"
        )
    if "mode" not in said:
        width, height = said["width"], said["height"]
        raise ImageTooLargeError(
            f"the image has {width}x{height} = {width * height} pixels, the limit is {max_pixels}"
        )
    profile, pixels = content[: said["profile"]], content[said["profile"] :]
    image = Pillow.frombytes(said["mode"], tuple(said["size"]), pixels)
    image.info["icc_profile"] = profile or None
    image.info["exif"] = b"Exif\0\0" + orientation_block(said["turn"])
    return image


def _run(data: bytes, kind: str, max_pixels: int) -> tuple[dict[str, Any], bytes]:
    width, height = announced_size(data)
    pixels = min(width * height, max_pixels)
    seconds = _START_S + pixels // _PIXELS_S + len(data) // _BYTES_S
    limits = [seconds, _LIBRARY_BYTES + _PIXEL_BYTES * pixels, max_pixels]
    try:
        run = subprocess.run(
            [sys.executable, "-I", str(_CHILD), kind, *map(str, limits)],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_WAIT_S + seconds,
            check=True,
            env=bare_environment(),
        )
    except subprocess.SubprocessError as exc:
        raise UnreadableImageError(
            f"the {kind} file is truncated or damaged and cannot be decoded"
        ) from exc
    head, _, content = run.stdout.partition(b"\n")
    return json.loads(head), content
