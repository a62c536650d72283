"""`lesion evaluate`: score images or masks against experts' masks, pair or folder.

The service segments images one by one, so that a bad file costs only its own pair. Each mask
is scored here as it comes, by the functions of `/evaluate`: a set may have any number of pairs, and
no limit on a request can end hours of work without a score.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from model_core.arrays import Mask
from model_core.errors import InputError
from model_core.masks.coco_json import decode_coco
from model_core.masks.png import decode_mask
from model_core.scores.metrics import ImageScores, score_image
from model_core.scores.summary import summarise
from service.cli.files import IMAGES, MASK_TYPES, MASKS, UsageError, find_files, pair_up, shown
from service.cli.segment import Outcome, exit_code, explained, run_jobs
from service.client import (
    Client,
    Evaluation,
    ModelRef,
    PairScores,
    ScoreSummary,
)

_MAX_PIXELS = 2**28
"""Limit on a mask, px: the files are the user's own, so only nonsense is refused."""
_COLUMNS = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "threshold_jaccard": "thr. Jaccard",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "hausdorff_95_px": "HD95 px",
}


@dataclass(frozen=True)
class _Scored:
    other: Path
    scores: ImageScores
    model: ModelRef | None


def evaluate(args: Namespace, client: Client) -> int:
    """Run the command.

    Returns:
        0; 1 where a file failed or had no partner; 3 where the service did not answer.

    Raises:
        UsageError: no pair is left.
    """
    others = find_files([args.image or args.pred], IMAGES if args.image else MASKS)

    def score(other: Path, truth_file: Path) -> _Scored | Outcome:
        # First: where the truth cannot be read, the service need not work on the image.
        try:
            truth = _load_mask(truth_file)
        except (OSError, InputError) as exc:
            return Outcome(truth_file, problem=explained(exc), error=exc)
        model = None
        if args.image:
            answer = client.segment(
                other, threshold=args.threshold, margin=args.margin, model=args.model
            )
            pred, model = answer.mask, answer.model
        else:
            pred = _load_mask(other, truth.shape)
        if truth.shape != pred.shape:
            return Outcome(other, problem=f"is {pred.shape}, its truth is {truth.shape}")
        return _Scored(other, score_image(truth, pred, spacing_mm=args.spacing_mm), model)

    pairs, alone = pair_up(others, find_files([args.truth], MASKS))
    failed = [Outcome(file, problem="has no partner of the same name") for file in alone]
    scored: list[_Scored] = []
    with tqdm(total=len(pairs), desc="evaluate", unit="pair", disable=args.json or None) as bar:
        images, truths = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        for result in run_jobs(args.jobs, score, images, truths):
            if isinstance(result, _Scored):
                scored.append(result)
            else:
                failed.append(result)  # told at the end: lines between would break the bar
            bar.update()
    for outcome in failed:
        print(f"lesion: {shown(outcome.file)}: {outcome.problem}", file=sys.stderr)
    if not scored:
        if exit_code(failed) == 3:
            return 3
        raise UsageError("no pair of files can be scored")
    evaluation = _evaluation([pair.scores for pair in scored])
    # Another version may have been promoted in the middle of a long run.
    models = list(dict.fromkeys(pair.model for pair in scored if pair.model))
    if args.json:
        print(json.dumps(_report(evaluation, scored, models, failed)))
    else:
        print(_table(evaluation, scored, models))
    return exit_code(failed)


def _evaluation(scores: Sequence[ImageScores]) -> Evaluation:
    """Return what `/evaluate` would answer for the masks."""
    return Evaluation(
        items=[
            PairScores.model_validate({"index": i, **score.metrics, **score.distances})
            for i, score in enumerate(scores)
        ],
        summary=ScoreSummary.model_validate(summarise(scores)),
        model=None,
        threshold=None,
    )


def _load_mask(path: Path, shape: tuple[int, int] | None = None) -> Mask:
    data = path.read_bytes()
    if path.suffix.lower() != ".json":
        return decode_mask(data, max_pixels=_MAX_PIXELS, formats=MASK_TYPES)
    return decode_coco(data, max_pixels=_MAX_PIXELS, shape=shape)


def _report(
    evaluation: Evaluation,
    scored: Sequence[_Scored],
    models: list[ModelRef],
    failed: Sequence[Outcome],
) -> dict[str, object]:
    """Return an answer as the service's own, with the files' names added."""
    return {
        **evaluation.model_dump(mode="json", exclude_unset=True),
        "files": [str(pair.other) for pair in scored],
        "models": [model.model_dump() for model in models],
        "failed": [outcome.as_json() for outcome in failed],
    }


def _table(evaluation: Evaluation, scored: Sequence[_Scored], models: list[ModelRef]) -> str:
    summary = evaluation.summary
    lines = [_row("", list(_COLUMNS.values()))]
    for item, pair in zip(evaluation.items, scored, strict=True):
        lines.append(_row(shown(pair.other.name), [getattr(item, name) for name in _COLUMNS]))
    for label, part in (("mean", "mean"), ("95 % from", "low"), ("95 % to", "high")):
        means = [summary.per_image.get(name) for name in _COLUMNS]
        lines.append(_row(label, [getattr(mean, part) if mean else None for mean in means]))
    lines.append(_row("pooled pixels", [summary.pooled.get(name) for name in _COLUMNS]))
    pairs = "1 pair" if summary.n == 1 else f"{summary.n} pairs"
    lines.append(f"{pairs}, {summary.failure_rate:.1%} with a Jaccard below 0.65")
    if models:
        lines.append("masks by " + ", ".join(model.label for model in models))
    return "\n".join(lines)


def _row(label: str, cells: Sequence[str | float | None]) -> str:
    return f"{label[:27]:28}" + "".join(f"{_cell(cell):>13}" for cell in cells)


def _cell(value: str | float | None) -> str:
    if isinstance(value, str):
        return value
    return "-" if value is None else f"{value:.4f}"
