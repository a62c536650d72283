"""The least predicted Jaccard at which a mask needs no review, and what that then lets through.

    python -m trainer quality runs/first --data data/skin

chooses it on the validation part, counts on the test part and the external sets, and on pictures
that show no skin, and writes quality.json and quality.md; `publish` puts it into the card.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import beta

from model_core.predictor import Predictor
from model_core.processing.advice import NOTES, Advice
from model_core.scores.metrics import CUTOFF, Confusion
from trainer.data.drawn import as_bmp
from trainer.data.no_lesion import COUNT, KINDS
from trainer.data.samples import Sample, map_images, read_photo, read_truth
from trainer.data.tables import replace_text
from trainer.evaluation.subjects import EvaluationSubject
from trainer.plots.text import MISSING, markdown_table
from trainer.training.run import read_json, write_json

QUALITY = "quality.json"
ALLOWED = 0.02
"""Share of the accepted masks that may have a Jaccard below `CUTOFF`."""
CONFIDENCE = 0.8
"""With which that shall hold for other images too, by the bound of Clopper and Pearson (1934)."""
_GRID = tuple(round(0.01 * step, 2) for step in range(100))


@dataclass(frozen=True)
class Judged:
    """One photograph, how well it was outlined, and what was seen of it.

    Attributes:
        group: Its dataset and part, or kind of picture.
        score: Predicted Jaccard; None where the version is not calibrated.
        jaccard: With the expert's mask; None where there is none.
        reasons: As `model_core.processing.quality.assess`, but for a low score.
        rejected: Whether they alone reject it.
    """

    group: str
    score: float | None
    jaccard: float | None
    reasons: tuple[str, ...]
    rejected: bool

    @property
    def fails(self) -> bool:
        """Whether the mask is worse than the ISIC challenge lets count."""
        return self.jaccard is not None and self.jaccard < CUTOFF

    def advice(self, accept_score: float | None) -> Advice:
        """Advise what to do with the mask, at a least score to accept."""
        if self.rejected:
            return "reject"
        sure = accept_score is not None and self.score is not None and self.score >= accept_score
        return "accept" if sure and not set(self.reasons) - NOTES else "review"


def judge(predictor: Predictor, samples: Sequence[Sample]) -> list[Judged]:
    """Judge every sample's mask, through the predictor that the service uses."""

    def judge_one(sample: Sample) -> Judged:
        truth = read_truth(sample)
        group = f"{sample.dataset} {sample.part}"
        return _judged(predictor, read_photo(sample), group, truth=truth)

    return list(map_images(judge_one, samples, "quality"))


def judge_no_lesion(predictor: Predictor) -> list[Judged]:
    """Judge the masks of drawn pictures without a lesion, most of them without skin."""
    drawings = ((kind, as_bmp(draw(seed))) for kind, draw in KINDS.items() for seed in range(COUNT))
    return [_judged(predictor, data, kind) for kind, data in drawings]


def choose(judged: Sequence[Judged]) -> float | None:
    """Choose the lowest score from which on few enough accepted masks fail; None without one.

    Few enough is: by the upper bound of `CONFIDENCE`, no more than `ALLOWED` of them.
    """
    for score in _GRID:
        accepted = [image for image in judged if image.advice(score) == "accept"]
        failures = sum(image.fails for image in accepted)
        # A bound instead of the share: none of five failing proves little.
        if accepted and upper_bound(failures, len(accepted)) <= ALLOWED:
            return score
    return None


def inherit(judged: Sequence[Judged], least: float | None) -> float | None:
    """Take a version's least score over for another, raised where more of these masks would fail.

    A few photographs can show that it is too low for them, but not prove that it is high enough.

    Args:
        judged: Masks of the new version.
        least: What the old version has; None where it accepts nothing, and so shall the new one.

    Returns:
        The lowest score from `least` on at which at most `ALLOWED` of the accepted masks fail;
        None where there is none.
    """
    if least is None:
        return None
    for score in (score for score in _GRID if score >= least):
        accepted = [image for image in judged if image.advice(score) == "accept"]
        if sum(image.fails for image in accepted) <= ALLOWED * len(accepted):
            return score
    return None


def upper_bound(failures: int, n: int) -> float:
    """Compute the one-sided 80 % bound of Clopper and Pearson for a share of failures.

    Example:
        >>> upper_bound(0, 100), upper_bound(100, 100)
        (0.016..., 1.0)
    """
    if failures == n:
        return 1.0
    return float(beta.ppf(CONFIDENCE, failures + 1, n - failures))


def tabulate(judged: Sequence[Judged], accept_score: float | None) -> list[dict[str, Any]]:
    """Count, by group, how many are accepted, how many of these fail, and the reasons."""
    rows = []
    for group in dict.fromkeys(image.group for image in judged):
        members = [image for image in judged if image.group == group]
        advice = Counter(image.advice(accept_score) for image in members)
        accepted = [image for image in members if image.advice(accept_score) == "accept"]
        n, failures = len(members), sum(image.fails for image in accepted)
        reasons = Counter(reason for image in members for reason in image.reasons)
        rows.append(
            {
                "group": group,
                "n": n,
                "failure_rate": sum(image.fails for image in members) / n,
                **{name: advice[name] / n for name in ("accept", "review", "reject")},
                "accepted_failures": failures,
                "accepted_failure_rate": failures / len(accepted) if accepted else None,
                "reasons": {reason: count / n for reason, count in reasons.items()},
            }
        )
    return rows


def write_quality(
    tables: dict[str, list[dict[str, Any]]],
    accept_score: float | None,
    subject: EvaluationSubject,
    out: Path,
) -> str:
    """Write quality.json and quality.md into a folder, made where absent; returns the latter."""
    chosen = {"backend": subject.predictor.backend.name, "accept_score": accept_score}
    write_json(out / QUALITY, subject.conditions() | chosen | tables)
    decision = "No mask is accepted: at any predicted Jaccard too many would fail."
    if accept_score is not None:
        decision = f"Accepted from a predicted Jaccard of {accept_score} on."
    rows = [row for table in tables.values() for row in table]
    text = f"{decision}\n\n{format_markdown(rows)}"
    replace_text(out / "quality.md", text)
    return text


def format_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Format rows of `tabulate` as a Markdown table."""
    low = f"Jaccard < {CUTOFF}"
    columns = ("set", "images", low, "accept", f"of these {low}", "review", "reject", "reasons")
    cells = []
    for row in rows:
        rate = row["accepted_failure_rate"]
        failed = MISSING if rate is None else f"{row['accepted_failures']} ({rate:.1%})"
        reasons = ", ".join(f"{name} {share:.1%}" for name, share in row["reasons"].items())
        shares = [f"{row[name]:.1%}" for name in ("failure_rate", "accept", "review", "reject")]
        cells.append([row["group"], str(row["n"]), *shares[:2], failed, *shares[2:],
                      reasons or MISSING])  # fmt: skip
    return markdown_table(columns, cells) + "\n"


def read_accept_score(run: Path, subject: EvaluationSubject) -> float | None:
    """Read what was chosen for a run's weights, rules and calibration; None where nothing was.

    Raises:
        GateError: it was chosen for others.
    """
    path = run / QUALITY
    if not path.is_file():
        return None
    stored = read_json(path)
    subject.require_current(path, stored, again="run `quality`")
    score: float | None = stored.get("accept_score")
    return score


def _judged(
    predictor: Predictor, data: bytes, group: str, *, truth: np.ndarray | None = None
) -> Judged:
    answer = predictor.predict(data)
    # At 0 no score is too low, so that the choice can be made afterwards.
    quality = answer.quality(accept_score=0.0)
    jaccard = None if truth is None else Confusion.of(truth, answer.mask).jaccard
    rejected = quality.advice == "reject"
    return Judged(group, answer.score, jaccard, quality.reasons, rejected)
