"""Tidy the network's answer at its own size, before it goes back to the original frame."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from scipy import ndimage

from model_core.arrays import Logits
from model_core.errors import ConfigError
from model_core.masks.window import window_of

Margin = Literal["tight", "middle", "loose"]
"""How far outside the lesion's visible edge the outline is drawn: experts differ in this most."""

_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


@dataclass(frozen=True, kw_only=True)
class PostprocessConfig:
    """What is done to logits before they are cut; saved in the card.

    Attributes:
        threshold: Probability above which a pixel is lesion, 0 < threshold < 1.
        largest_component: Keep only the largest region (8-connected).
        fill_holes: Make background that a region encloses part of it.
        tight_threshold: `threshold` for the margin `tight`, above the middle one; None where it
            was not calibrated.
        loose_threshold: `threshold` for the margin `loose`, below the middle one; None likewise.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    threshold: float = 0.5
    largest_component: bool = True
    fill_holes: bool = True
    tight_threshold: float | None = None
    loose_threshold: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ConfigError(f"threshold is {self.threshold}, expected between 0 and 1, exclusive")
        low, high = self.loose_threshold or 0.0, self.tight_threshold or 1.0
        if not 0 <= low <= self.threshold <= high <= 1:
            raise ConfigError(
                f"thresholds for loose, middle and tight are {low}, {self.threshold} and {high}, "
                "expected in rising order from 0 to 1"
            )

    def threshold_for(self, margin: Margin) -> float:
        """Probability at which to cut for a margin.

        Raises:
            ConfigError: the version was not calibrated for it.
        """
        by_margin = {
            "tight": self.tight_threshold,
            "middle": self.threshold,
            "loose": self.loose_threshold,
        }
        found = by_margin[margin]
        if found is None:
            raise ConfigError(
                f"this version has no margin {margin}, only middle: take that, or a threshold"
            )
        return found

    def with_threshold(self, threshold: float) -> "PostprocessConfig":
        """Copy with another middle threshold, and so without margins."""
        return replace(self, threshold=threshold, tight_threshold=None, loose_threshold=None)


def logit(probability: float) -> float:
    """Turn a probability into its logit: where to cut logits instead of their sigmoid.

    Example:
        >>> logit(0.5)
        0.0
    """
    return math.log(probability / (1 - probability))


def tidy(logits: Logits, config: PostprocessConfig) -> Logits:
    """Change logits so that their cut at the threshold is one region without holes.

    A pixel that changes side is mirrored at the cut: it keeps its distance from it, so that
    interpolating afterwards makes the same smooth outline as everywhere else.

    Args:
        logits: float32 (H, W): the part of the network's square that shows the image.
        config: Threshold, and which of the rules hold.

    Returns:
        float32 (H, W); `logits` itself where there is nothing to change.
    """
    cut = np.float32(logit(config.threshold))
    above = logits > cut
    wanted = above.copy()
    box = window_of(above)
    if config.largest_component:
        wanted[box] = _largest_component(wanted[box])
    if config.fill_holes:
        wanted[box] = _without_holes(wanted[box])
    changed = wanted != above
    if not changed.any():
        return logits
    # A logit exactly at the cut would stay there: one step up puts it on its side.
    mirrored = np.where(
        wanted, np.maximum(2 * cut - logits, np.nextafter(cut, np.inf)), 2 * cut - logits
    )
    tidied: Logits = np.where(changed, mirrored, logits).astype(np.float32)
    return tidied


def _largest_component(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask, structure=_EIGHT_NEIGHBOURS)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest: np.ndarray = labels == sizes.argmax()
    return largest


def _without_holes(mask: np.ndarray) -> np.ndarray:
    """Add all background that no 4-connected way leads out of."""
    # As scipy.ndimage.binary_fill_holes, which dilates step by step, in a fifth of its time. One
    # pixel more on each side joins all that leads out into the first region, which is label 1.
    labels, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    filled: np.ndarray = labels[1:-1, 1:-1] != 1
    return filled
