"""HEIC and AVIF, the photographs of phones, decoded in a process of their own.

HEIC is read where `pi-heif` is installed (libheif with libde265, which decode only), AVIF where
Pillow was built with it. Both decoders are large and young, so they stand apart as those of DICOM's
JPEG 2000 do: with so much time and memory, for about 0.2 s a photograph. A file may hold several
images; the one that it calls primary counts, turned as the file says (in HEIC, EXIF does not).
"""

import json
from importlib.util import find_spec

from PIL import Image as Pillow
from PIL import features

from model_core.errors import (
    ImageTooLargeError,
    MultiFrameImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from model_core.images.decoder_process import run_decoder
from model_core.images.exif import orientation_block
from model_core.images.formats.heif_boxes import announced_size, is_sequence, lost_sectors


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
    width, height = announced_size(data)
    pixels = min(width * height, max_pixels)
    found = run_decoder(kind, data, pixels, what=f"{kind} file", max_pixels=max_pixels)
    head, _, content = found.partition(b"\n")
    said = json.loads(head)
    if "frames" in said:
        raise MultiFrameImageError(
            f"the {kind} file has {said['frames']} frames, expected one photograph"
        )
    if "mode" not in said:
        width, height = said["width"], said["height"]
        raise ImageTooLargeError(
            f"the image has {width}x{height} = {width * height} pixels, the limit is {max_pixels}"
        )
    profile, samples = content[: said["profile"]], content[said["profile"] :]
    image = Pillow.frombytes(said["mode"], tuple(said["size"]), samples)
    image.info["icc_profile"] = profile or None
    image.info["exif"] = b"Exif\0\0" + orientation_block(said["turn"])
    return image
