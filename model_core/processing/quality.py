"""Tell whether to trust a mask: what is seen of the image, and an advice.

All figures are of the network's own picture, so that a camera's resolution does not matter.
docs/quality.md says how the limits were chosen and what they let through.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model_core.arrays import Image, Logits, Mask, Spacing
from model_core.images.lab import lightness, to_lab
from model_core.masks.measurements import perimeter
from model_core.processing.advice import NOTES, REJECTING, Advice, Reason
from model_core.processing.calibration import surroundings
from model_core.processing.postprocess import logit

_DARK_L = 33.0
"""Underexposed where the brightest twentieth of the picture is darker: even very dark skin has
reflections that are lighter."""
_WHITE, _WHITE_SHARE = 250, 0.10
"""Overexposed where more than a tenth of the pixels have all three colours from here on."""
_SHARPNESS = 0.5
"""Blurred where the Laplacian of L* varies less: as after a Gaussian of 2-3 px on 256."""
_SECOND = 0.10
"""Several lesions where the second region has this share of the first one's area."""
_CONTACT = 0.1
"""Cut by the frame where this many sides of a square of the lesion's area lie along it."""
_LIT_L = 20.0
"""Darker pixels have no hue that could be told."""
_SKIN_HUE, _SKIN_CHROMA = (-25.0, 95.0), (4.0, 70.0)
_FOREIGN_HUE, _FOREIGN_CHROMA = (-60.0, 110.0), 12.0
_SKIN_SHARE, _FOREIGN_SHARE = 0.05, 0.30
_EDGE_L, _EDGE_SHARE, _SKIN_AMONG_EDGES = 12.0, 0.15, 0.5
"""Not skin: hardly any pixel of a skin's hue (degrees in the plane of a* and b*), or many far from
it; where edges are everywhere, half of the pixels must have it, as under dense hair they do."""
_STEP = 2
"""Every second row and column tells the hues as well as all."""
_UNCERTAIN = logit(0.25), logit(0.75)


@dataclass(frozen=True)
class Band:
    """Where the outline could as well lie: probability 0.25 to 0.75, in the mask or near it.

    Attributes:
        area_px: Its area, px of the image.
        share: Its area over that of the mask, at least 0.
        width_px: Its area over the length of the mask's outline: how far in and out together the
            outline may lie, px of the image.
    """

    area_px: float
    share: float
    width_px: float


@dataclass(frozen=True)
class Quality:
    """How good one answer seems.

    Attributes:
        advice: `accept` it, let a person `review` it, or `reject` it.
        reasons: What was seen, the gravest first.
        band: Where the outline could as well lie; None where nothing was found.
    """

    advice: Advice
    reasons: tuple[Reason, ...]
    band: Band | None


def assess(
    pixels: Image,
    logits: Logits,
    mask: Mask,
    *,
    score: float | None,
    threshold: float,
    accept_score: float | None,
    spacing: Spacing,
) -> Quality:
    """Judge one answer.

    Args:
        pixels: What the network saw of the image, uint8 (h, w, 3).
        logits: Calibrated, of the same pixels, before tidying.
        mask: The tidied cut, bool (h, w).
        score: Predicted Jaccard; None where the version is not calibrated.
        threshold: Probability of the cut.
        accept_score: Least score to accept; None accepts nothing.
        spacing: Height and width of one of these pixels, in pixels of the image.
    """
    seen = _of_picture(pixels)
    if not mask.any():
        return Quality("reject", ("nothing_found", *seen), None)
    if _second_region(logits > logit(threshold)) >= _SECOND:
        seen.append("several_lesions")
    if score is None or accept_score is None:
        seen.append("not_calibrated")
    elif score < accept_score:
        seen.append("low_score")
    if _frame_contact(mask) >= _CONTACT:
        seen.append("cut_by_frame")
    return Quality(_advice(seen), tuple(seen), _band(logits, mask, spacing))


def _advice(reasons: list[Reason]) -> Advice:
    if REJECTING & set(reasons):
        return "reject"
    return "review" if set(reasons) - NOTES else "accept"


def _of_picture(pixels: Image) -> list[Reason]:
    light = lightness(pixels)
    white = pixels >= _WHITE
    reasons: list[Reason] = []
    if np.percentile(light, 95) < _DARK_L:
        reasons.append("underexposed")
    elif (white[..., 0] & white[..., 1] & white[..., 2]).mean() > _WHITE_SHARE:
        reasons.append("overexposed")
    elif not _looks_like_skin(pixels, light):
        reasons.append("not_skin")  # colours say little where the exposure is wrong
    if _laplacian(light).std() < _SHARPNESS:
        reasons.append("blurred")
    return reasons


def _laplacian(light: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    padded = np.pad(light, 1, mode="edge")
    around_it = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    second: npt.NDArray[np.float32] = around_it - 4 * light
    return second


def _looks_like_skin(pixels: Image, light: npt.NDArray[np.float32]) -> bool:
    lab = to_lab(pixels[::_STEP, ::_STEP])
    a, b = lab[lab[..., 0] > _LIT_L][:, 1:].T
    if not a.size:
        return False
    hue, chroma = np.degrees(np.arctan2(b, a)), np.hypot(a, b)
    skin = (hue > _SKIN_HUE[0]) & (hue < _SKIN_HUE[1])
    skin &= (chroma > _SKIN_CHROMA[0]) & (chroma < _SKIN_CHROMA[1])
    foreign = ((hue < _FOREIGN_HUE[0]) | (hue > _FOREIGN_HUE[1])) & (chroma > _FOREIGN_CHROMA)
    least = _SKIN_AMONG_EDGES if _has_edges_everywhere(light) else _SKIN_SHARE
    return bool(skin.mean() >= least and foreign.mean() <= _FOREIGN_SHARE)


def _has_edges_everywhere(light: npt.NDArray[np.float32]) -> bool:
    across = np.abs(np.diff(light, axis=1, append=light[:, -1:]))
    down = np.abs(np.diff(light, axis=0, append=light[-1:]))
    return bool((across + down > _EDGE_L).mean() > _EDGE_SHARE)


def _second_region(lesion: Mask) -> float:
    """Area of the second largest region as a share of the largest."""
    labels, count = ndimage.label(lesion, structure=np.ones((3, 3), bool))
    if count < 2:
        return 0.0
    sizes = np.sort(np.bincount(labels.ravel())[1:])
    return float(sizes[-2] / sizes[-1])


def _frame_contact(mask: Mask) -> float:
    along = sum(int(line.sum()) for line in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
    return along / float(np.sqrt(np.count_nonzero(mask)))


def _band(logits: Logits, mask: Mask, spacing: Spacing) -> Band:
    low, high = _UNCERTAIN
    box, near = surroundings(mask)
    pixels = int(np.count_nonzero(near & (logits[box] > low) & (logits[box] < high)))
    area = pixels * spacing[0] * spacing[1]
    return Band(area, pixels / int(np.count_nonzero(mask)), area / perimeter(mask, spacing))
