"""Convert colours through an ICC profile to sRGB: its numbers count, not what it calls itself."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_TOLERANCE = 2
"""Largest change of a channel, 0 to 255, by a profile that still counts as sRGB: sRGB's own
profiles differ by so much among themselves, a gamma of 2.2 by 9."""
_KEPT_BYTES = 1 << 16
"""Largest profile whose comparison with sRGB is cached; those of cameras have 0.5 to 60 kB."""
_GREYS = np.arange(256, dtype=np.uint8)
_CORNERS = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), axis=-1).reshape(-1, 3)
_COLOURS = np.concatenate([_CORNERS, np.repeat(_GREYS[:, None], 3, axis=1)]).astype(np.uint8)


def to_srgb(image: Pillow.Image) -> Pillow.Image:
    """Convert an image to mode RGB in sRGB; a profile that does not fit or is broken is ignored."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "L", "CMYK"):
        try:
            # Nearly every profile met in practice is sRGB itself: converting would change nothing.
            compare = _is_srgb if len(profile) <= _KEPT_BYTES else _is_srgb.__wrapped__
            if not compare(profile, image.mode):
                source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
                converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return image.convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # which would copy it


@lru_cache(maxsize=16)
def _is_srgb(profile: bytes, mode: str) -> bool:
    """Tell whether a profile leaves colours of this mode as they are."""
    if mode == "CMYK":
        return False
    sample = Pillow.fromarray(_COLOURS[None] if mode == "RGB" else _GREYS[None])
    # Colours as measured: tables of perceptual rendering move even those of sRGB's own profile.
    converted = ImageCms.profileToProfile(
        sample,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        _SRGB,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if converted is None:
        return False
    moved = np.asarray(converted).astype(int) - np.asarray(sample.convert("RGB"))
    return bool(abs(moved).max() <= _TOLERANCE)
