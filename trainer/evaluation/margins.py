"""Choose thresholds for tight and loose outlines, by the tools that experts drew with.

Who draws a polygon by hand stays outside the visible edge; who lets a tool fill a region stays
within it (IMA++, arXiv:2512.21472, lists reader and tool of most ISIC masks).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from model_core.predictor import Predictor
from model_core.processing.postprocess import Margin, PostprocessConfig
from model_core.scores.metrics import Confusion
from trainer.data.samples import Sample, map_images, read_photo, read_truth
from trainer.data.tables import read_table

MARGIN_OF_TOOL: dict[str, Margin] = {"T1": "loose", "T2": "tight", "T3": "tight"}
"""T1 is a polygon by hand, T2 a flood fill that its user tunes, T3 an automated fill."""
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(3, 18))
LEAST_IMAGES = 30
"""Fewer images of a margin choose nothing: their best threshold is chance."""
MOST_TRAINED = 300
"""Training images of a margin that are looked at, beside all of validation. The best thresholds of
both parts were equal within 0.1 (docs/experiments.md, row 17)."""


def read_tools(path: Path) -> dict[str, str]:
    """Read the tool behind the mask of each image that one reader outlined, by image ID.

    Args:
        path: A table with the columns `id` and `tool`, one row a reader, such as READERS.csv.

    Raises:
        DatasetError: it is no such table.
    """
    tools: dict[str, list[str]] = defaultdict(list)
    for row in read_table(path, ("id", "tool")):
        tools[row["id"]].append(row["tool"])
    return {image: found[0] for image, found in tools.items() if len(found) == 1}


def choose_margins(
    predictor: Predictor, samples: Sequence[Sample], tools: Mapping[str, str]
) -> tuple[PostprocessConfig, dict[str, Any]]:
    """Choose the threshold of each margin by the mean Jaccard of the images drawn with it.

    Args:
        predictor: Calibrated; its own threshold is the middle.
        samples: Of validation and training.
        tools: As `read_tools` gives them.

    Returns:
        The predictor's rules with the thresholds found, None where images are few or the best is on
        the wrong side of the middle, and for each margin what was measured.
    """
    rules = predictor.postprocess_config
    chosen: dict[Margin, float | None] = {}
    report: dict[str, Any] = {}
    for margin in ("tight", "loose"):
        drawn = [s for s in samples if MARGIN_OF_TOOL.get(tools.get(s.id, "")) == margin]
        used = [*(s for s in drawn if s.part == "val"), *_some(drawn, "train")]
        chosen[margin], report[margin] = None, {"n": len(used), "threshold": None}
        if len(used) < LEAST_IMAGES:
            continue
        table = _jaccards(predictor, used, [*THRESHOLDS, rules.threshold])
        place = int(table[:, :-1].mean(axis=0).argmax())
        best = THRESHOLDS[place]
        beyond = best > rules.threshold if margin == "tight" else best < rules.threshold
        chosen[margin] = best if beyond else None
        in_val = np.array([sample.part == "val" for sample in used])
        report[margin] |= {
            "threshold": chosen[margin],
            "jaccard": float(table[:, place].mean()),
            "jaccard_of_middle": float(table[:, -1].mean()),
            "n_validation": int(in_val.sum()),
            "validation_jaccard": float(table[in_val, place].mean()) if in_val.any() else None,
            "validation_jaccard_of_middle": float(table[in_val, -1].mean())
            if in_val.any()
            else None,
        }
    found = replace(rules, tight_threshold=chosen["tight"], loose_threshold=chosen["loose"])
    return found, report


def _some(samples: Sequence[Sample], part: str) -> list[Sample]:
    """Draw up to `MOST_TRAINED` samples of a part, always the same ones."""
    own = [sample for sample in samples if sample.part == part]
    order = np.random.default_rng(0).permutation(len(own))[:MOST_TRAINED]
    return [own[place] for place in order]


def _jaccards(
    predictor: Predictor, samples: Sequence[Sample], thresholds: Sequence[float]
) -> np.ndarray:
    """Score every sample at every threshold: Jaccard, float64 (samples, thresholds)."""

    def one(sample: Sample) -> list[float]:
        truth, prepared = read_truth(sample), predictor.prepare(read_photo(sample))
        logits = predictor.infer(prepared.pixels[None])[0]
        masks = (
            predictor.finish(logits, prepared.geometry, threshold=threshold).mask
            for threshold in thresholds
        )
        return [Confusion.of(truth, mask).jaccard for mask in masks]

    return np.array(list(map_images(one, samples, "margins")))
