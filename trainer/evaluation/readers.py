"""A model beside a second reader: both against another mask of the same photographs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_core.scores.metrics import CUTOFF
from model_core.scores.summary import Interval, bootstrap
from trainer.data.groups import image_key
from trainer.evaluation.metadata import ReaderPair
from trainer.plots.text import interval, markdown_table

ALL_PAIRS = "all"
LEAST_DICE = 0.5
SAME_LESION = f"all with Dice {LEAST_DICE:.2f} or more"
"""Of two masks that agree less, one hardly outlines what the other does."""
BY_HAND = "experts, both by hand"
_SCORES = ("dice", "jaccard", "failed")


@dataclass(frozen=True)
class Agreement:
    """Agreement of a model with the mask of record, and of readers with each other.

    Each score is the mean over photographs of one set; of a photograph with several pairs of
    readers, the mean of its pairs counts. `failed` is the share with a Jaccard below 0.65.

    Attributes:
        dataset: Set and part.
        pairs_of: Which pairs of readers: all, those that agree on the lesion, experts who drew by
            hand, or by tool.
        n: Photographs.
        n_pairs: Pairs of readers.
        model: By score, the model's.
        readers: The same of the readers.
        difference: The model's less the readers' on the same photograph.
    """

    dataset: str
    pairs_of: str
    n: int
    n_pairs: int
    model: dict[str, Interval]
    readers: dict[str, Interval]
    difference: dict[str, Interval]


def beside_readers(
    items: Sequence[Mapping[str, Any]], pairs: Mapping[str, Sequence[ReaderPair]]
) -> list[Agreement]:
    """Compare a model with pairs of readers, on the photographs that have such.

    Args:
        items: Rows of `scores_PART.json`.
        pairs: As `metadata.Metadata` has them.

    Returns:
        For each set: all pairs, those with a Dice of 0.5 or more, experts who drew by hand, then
        each pair of tools.
    """
    sets: dict[str, list[tuple[Mapping[str, Any], Sequence[ReaderPair]]]] = {}
    for item in items:
        if own := pairs.get(image_key(item["id"])):
            sets.setdefault(f"{item['dataset']} {item['part']}", []).append((item, own))
    rows = []
    for name, images in sets.items():
        tools = sorted({pair.tools for _, own in images for pair in own})
        kinds = [ALL_PAIRS, SAME_LESION, BY_HAND, *("–".join(pair) for pair in tools)]
        for kind in kinds:
            chosen = [(item, [p for p in own if _is_of(p, kind)]) for item, own in images]
            if kept := [(item, own) for item, own in chosen if own]:
                rows.append(_compare(name, kind, kept))
    return rows


def format_agreement(rows: Sequence[Agreement]) -> str:
    """Format agreement as a Markdown table."""
    columns = ("set", "pairs of readers", "images (pairs)", "Dice, model", "Dice, readers",
               "difference", "Jaccard, difference", "below 0.65, model", "readers")  # fmt: skip
    cells = [
        [row.dataset, row.pairs_of, f"{row.n} ({row.n_pairs})", interval(row.model["dice"]),
         interval(row.readers["dice"]), interval(row.difference["dice"]),
         interval(row.difference["jaccard"]), f"{row.model['failed']['mean']:.1%}",
         f"{row.readers['failed']['mean']:.1%}"]
        for row in rows
    ]  # fmt: skip
    return markdown_table(columns, cells)


def _is_of(pair: ReaderPair, kind: str) -> bool:
    if kind == SAME_LESION:
        return pair.dice >= LEAST_DICE
    return kind == ALL_PAIRS or (pair.by_hand if kind == BY_HAND else "–".join(pair.tools) == kind)


def _compare(
    dataset: str, kind: str, images: Sequence[tuple[Mapping[str, Any], Sequence[ReaderPair]]]
) -> Agreement:
    model = np.array([_scores(item["dice"], item["jaccard"]) for item, _ in images])
    readers = np.array(
        [np.mean([_scores(p.dice, p.jaccard) for p in own], axis=0) for _, own in images]
    )
    # One table, so that the same photographs are drawn for all three.
    intervals = bootstrap(np.hstack([model, readers, model - readers]))
    size = len(_SCORES)
    parts = [intervals[start : start + size] for start in (0, size, 2 * size)]
    named = [dict(zip(_SCORES, part, strict=True)) for part in parts]
    return Agreement(dataset, kind, len(images), sum(len(own) for _, own in images), *named)


def _scores(dice: float, jaccard: float) -> tuple[float, float, float]:
    return dice, jaccard, float(jaccard < CUTOFF)
