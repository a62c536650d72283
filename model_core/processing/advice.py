"""Name the advices on a mask and their reasons.

Apart from `quality`, which finds them: clients need the names, and not SciPy.
"""

from typing import Literal

Advice = Literal["accept", "review", "reject"]
Reason = Literal[
    "nothing_found",
    "not_skin",
    "underexposed",
    "overexposed",
    "blurred",
    "several_lesions",
    "low_score",
    "not_calibrated",
    "cut_by_frame",
]

REJECTING: frozenset[Reason] = frozenset({"nothing_found", "not_skin"})
NOTES: frozenset[Reason] = frozenset({"cut_by_frame"})
"""Reasons that change no advice: the mask may be as right as any, it only does not show the whole
lesion. All others ask for a review."""
