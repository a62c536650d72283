"""Scores by what makes a lesion hard: its size, its contrast, the skin around it, the frame.

One mean over all images hides the small and the pale ones, which are where models differ.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from scipy import ndimage

from model_core.arrays import Image, Mask
from model_core.images.lab import to_lab
from model_core.scores.metrics import CUTOFF
from model_core.scores.summary import bootstrap
from trainer.data.samples import Sample, map_images, read_picture, read_truth
from trainer.data.tables import replace_text
from trainer.plots.text import interval, markdown_table
from trainer.training.run import write_json

SIZES = (0.02, 0.10, 0.30)
"""Bounds of the lesion's share of the photograph."""
SIZE_NAMES = ("below 2 %", "2–10 %", "10–30 %", "30 % and more", "no lesion")
CONTRASTS = (10.0, 17.0, 24.0)
"""Bounds of `Traits.contrast`, fixed for good: the quartiles of our 672 validation images, rounded
(10.2, 17.4 and 24.4)."""
SKIN_DEG = (28.0, 41.0, 55.0, 72.0, 88.0)
"""Bounds of `Traits.ita_deg`, fixed for good: three customary ones (Del Bino and Bernerd 2013,
doi:10.1111/bjd.12529), which part off the lower quartile of our 761 validation images (54.7), then
their median and upper quartile, rounded. Without a colour target the angle tells brighter from
darker pictures of skin, and no skin type."""
UNKNOWN_SKIN = "no skin around it"
MEANS = ("dice", "jaccard", "threshold_jaccard")

_SIDE_PX = 256  # contrast is measured at this longest side: what is finer is hair and noise
_RING = (0.02, 0.10)  # from here to there outside the outline, as shares of the longest side
_DARKEST_SKIN = 15.0  # L*; what is darker around a lesion is the dermatoscope's own frame


Groups = dict[str, tuple[Sequence[str], list[str]]]
"""By kind of stratum: the strata's names in their order, and the name of each image's own."""


@dataclass(frozen=True)
class Traits:
    """What a lesion is like, by its expert's mask.

    Attributes:
        lesion_fraction: Share of the photograph that is lesion, 0 to 1.
        contrast: Mean CIELAB L* of the skin in a ring around the lesion, less that of the lesion;
            below 0 where the lesion is lighter. None without a lesion or without skin around it.
        touches_frame: Whether the lesion reaches the outermost row or column of pixels.
        ita_deg: Individual typology angle of that skin's mean colour, atan2(L* - 50, b*), degrees:
            the higher, the brighter. None as `contrast`.
    """

    lesion_fraction: float
    contrast: float | None
    touches_frame: bool
    ita_deg: float | None = None


def measure(image: Image, truth: Mask) -> Traits:
    """Measure the traits of one lesion.

    Args:
        image: uint8 (H, W, 3), sRGB.
        truth: The expert's mask, bool (H, W).

    The ring lies 2 to 10 % of the longest side outside the outline: not nearer, because experts
    disagree there. Pixels of it with L* below 15 are the dermatoscope's frame and do not count.

    Example:
        >>> image = np.full((64, 64, 3), 255, np.uint8)
        >>> image[24:40, 24:40] = 0
        >>> measure(image, image[..., 0] == 0)
        Traits(lesion_fraction=0.0625, contrast=100.0, touches_frame=False, ita_deg=90.0)
    """
    edge = (truth[0], truth[-1], truth[:, 0], truth[:, -1])
    touches = any(bool(line.any()) for line in edge)
    contrast, ita_deg = _against_skin(image, truth) or (None, None)
    return Traits(float(truth.mean()), contrast, touches, ita_deg)


def measure_all(samples: Sequence[Sample]) -> list[Traits]:
    """Measure every sample, in order; raises as `trainer.data.samples.read_photo`."""

    def measure_one(sample: Sample) -> Traits:
        return measure(np.asarray(read_picture(sample)), read_truth(sample))

    return list(map_images(measure_one, samples, "strata"))


def size_name(fraction: float) -> str:
    """Name the size stratum of a lesion's share of the photograph."""
    return SIZE_NAMES[bisect_right(SIZES, fraction) if fraction > 0 else -1]


def contrast_name(contrast: float | None) -> str:
    """Name the contrast stratum of a `Traits.contrast`."""
    names = _contrast_names()
    return names[-1] if contrast is None else names[bisect_right(CONTRASTS, contrast)]


def skin_name(ita_deg: float | None) -> str:
    """Name the stratum of a `Traits.ita_deg`."""
    names = _skin_names()
    return names[-1] if ita_deg is None else names[bisect_right(SKIN_DEG, ita_deg)]


def group(items: Sequence[Mapping[str, Any]], traits: Sequence[Traits]) -> Groups:
    """Group images by size, contrast, skin, frame and dataset.

    Args:
        items: Rows of `scores_PART.json`.
        traits: Of the same images in the same order.
    """
    frames = ("inside the frame", "cut by the frame")
    datasets = [f"{item['dataset']} {item['part']}" for item in items]
    return {
        "size": (SIZE_NAMES, [size_name(trait.lesion_fraction) for trait in traits]),
        "contrast": (_contrast_names(), [contrast_name(trait.contrast) for trait in traits]),
        "skin": (_skin_names(), [skin_name(trait.ita_deg) for trait in traits]),
        "frame": (frames, [frames[trait.touches_frame] for trait in traits]),
        "dataset": (list(dict.fromkeys(datasets)), datasets),
    }


def tabulate(items: Sequence[Mapping[str, Any]], groups: Groups) -> dict[str, list[dict[str, Any]]]:
    """Average scores within each stratum.

    Args:
        items: Rows of `scores_PART.json`, at least one.
        groups: Of the same images in the same order.

    Returns:
        For each kind, its strata that hold an image: `stratum`, `n`, `failed` (images),
        `failure_rate` and the mean per image of each of `MEANS` with its 95 % interval.
    """
    return {
        kind: [
            _row(name, [item for item, of in zip(items, member, strict=True) if of == name])
            for name in names
            if name in member
        ]
        for kind, (names, member) in groups.items()
    }


def write_strata(
    items: Sequence[Mapping[str, Any]], traits: Sequence[Traits], out: Path, *, part: str
) -> Path:
    """Write strata_PART.json and strata_PART.md (its path is returned) of what `group` takes."""
    strata = tabulate(items, group(items, traits))
    write_json(out / f"strata_{part}.json", strata)
    page = out / f"strata_{part}.md"
    replace_text(page, format_markdown(strata) + "\n")
    return page


def format_markdown(strata: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Format strata as one Markdown table."""
    columns = ("stratum", "n", "Dice", "Jaccard", "threshold Jaccard", "failures")
    cells = [
        [f"{kind}: {row['stratum']}", str(row["n"]), *(interval(row[name]) for name in MEANS),
         f"{row['failure_rate']:.1%} ({row['failed']})"]
        for kind, rows in strata.items()
        for row in rows
    ]  # fmt: skip
    return markdown_table(columns, cells)


def _row(name: str, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    table = np.array([[item[mean] for mean in MEANS] for item in items])
    failed = sum(item["jaccard"] < CUTOFF for item in items)
    return {
        "stratum": name,
        "n": len(items),
        "failed": failed,
        "failure_rate": failed / len(items),
        **dict(zip(MEANS, bootstrap(table), strict=True)),
    }


def _contrast_names() -> tuple[str, ...]:
    low, middle, high = (f"{bound:g}" for bound in CONTRASTS)
    return (f"L* below {low}", f"L* {low}–{middle}", f"L* {middle}–{high}", f"L* {high} and more",
            UNKNOWN_SKIN)  # fmt: skip


def _skin_names() -> tuple[str, ...]:
    bounds = [f"{bound:g}" for bound in SKIN_DEG]
    between = [f"ITA {low}–{high}°" for low, high in pairwise(bounds)]
    return (f"ITA below {bounds[0]}°", *between, f"ITA {bounds[-1]}° and more", UNKNOWN_SKIN)


def _against_skin(image: Image, truth: Mask) -> tuple[float, float] | None:
    """Measure `Traits.contrast` and `Traits.ita_deg`."""
    height, width = truth.shape
    scale = min(1.0, _SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX)
    lesion = np.asarray(Pillow.fromarray(truth).resize(size, Pillow.Resampling.NEAREST))
    if not lesion.any():
        return None
    lab = to_lab(np.asarray(picture)).astype(np.float64)
    lightness, yellowness = lab[..., 0], lab[..., 2]
    outside = ndimage.distance_transform_edt(~lesion) / max(size)
    ring = (outside > _RING[0]) & (outside <= _RING[1]) & (lightness >= _DARKEST_SKIN)
    if not ring.any():
        return None
    skin = float(lightness[ring].mean())
    ita_deg = math.degrees(math.atan2(skin - 50, float(yellowness[ring].mean())))
    return round(skin - float(lightness[lesion].mean()), 4), round(ita_deg, 2)
