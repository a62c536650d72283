"""Calibrate a fine-tuned version, and tell whether it is better than the one it came from."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from model_core.processing.postprocess import PostprocessConfig
from model_core.registry.local_store import file_sha256
from model_core.registry.registry import LoadedVersion
from trainer.data.samples import Sample
from trainer.data.tables import replace_text
from trainer.evaluation.calibrate import write_fit
from trainer.evaluation.evaluate import Scored, score
from trainer.evaluation.fit import MOST_LEAST_SCORE
from trainer.evaluation.scores import score_row, summarise_sets, write_rows
from trainer.evaluation.subjects import EvaluationSubject, run_subject
from trainer.finetuning.compare import (
    Compared,
    Verdict,
    compare,
    explain,
    format_markdown,
    format_terminal,
    judge_gain,
    loses_elsewhere,
)
from trainer.finetuning.cross_fit import Unseen, divided, fit_apart
from trainer.release import accept_score
from trainer.training.run import COMPARISON, WEIGHTS, read_json, write_json

OUT_OF_FOLD = "out of fold"
_NO_OTHERS = (
    "the committed validation part is not at hand, so that nothing is known of what other "
    "photographs lose (--public FOLDER names it, prepared)"
)


@dataclass(frozen=True)
class Finetuned:
    """What a fine-tuning came to.

    Attributes:
        verdict: Whether the new version is better.
        text: The comparison in words, for the terminal.
    """

    verdict: Verdict
    text: str


def judge(
    loaded: LoadedVersion,
    unseen: Sequence[Unseen],
    rules: PostprocessConfig,
    out: Path,
    *,
    public: Sequence[Sample] = (),
    notes: Sequence[str] = (),
) -> Finetuned:
    """Calibrate, score and compare the weights of a run folder; the comparison is written last.

    Args:
        loaded: The version that they came from.
        unseen: The clinic's photographs, with networks that never saw them.
        rules: Component rules.
        out: The run folder, with the new weights.
        public: Committed validation images, or none.
        notes: Sentences for the comparison.
    """
    own, parts = loaded.card, divided(unseen)
    most = own.calibration.least_score if own.calibration else MOST_LEAST_SCORE
    fit, cases, predictors = fit_apart(parts, own.preprocess, rules, most_least_score=most)
    write_fit(fit, cases, out, weights_sha256=file_sha256(out / WEIGHTS))
    answers = list(zip(predictors, parts, strict=True))
    new = list(chain.from_iterable(score(p, part.samples) for p, part in answers))
    judged = list(chain.from_iterable(accept_score.judge(p, part.samples) for p, part in answers))
    subject = run_subject(out)
    accept = accept_score.inherit(judged, own.accept_score)
    judged = [replace(image, group=OUT_OF_FOLD) for image in judged]
    tables = {"out_of_fold": accept_score.tabulate(judged, accept)}
    accept_score.write_quality(tables, accept, subject, out)
    before = score(loaded.predictor, [entry.sample for entry in new])
    sets = [compare("the clinic's", before, new)]
    if public:
        others = score(loaded.predictor, list(public)), score(subject.predictor, list(public))
        sets += [compare("committed validation part", *others), *_by_dataset(*others)]
    how = _how(len(unseen), len(new))
    return _write(
        sets, new, subject, loaded, out, how, [*notes, how, *([] if public else [_NO_OTHERS])]
    )


def read_finetuned(run: Path) -> Finetuned:
    """Read what a finished fine-tuning came to."""
    stored = read_json(run / COMPARISON)
    sets = [Compared(**entry) for entry in stored["sets"]]
    return Finetuned(stored["verdict"], _words(sets, stored))


def _write(
    sets: Sequence[Compared],
    new: list[Scored],
    subject: EvaluationSubject,
    loaded: LoadedVersion,
    out: Path,
    how: str,
    notes: Sequence[str],
) -> Finetuned:
    write_rows([score_row(entry) | {"part": OUT_OF_FOLD} for entry in new], out / "out_of_fold.csv")
    others = sets[1] if len(sets) > 1 else None
    verdict = judge_gain(sets[0])
    records = summarise_sets(new, subject.predictor, called=OUT_OF_FOLD)
    card = loaded.card
    stored = subject.conditions() | {
        "parent": {"name": card.name, "version": card.version, "sha256": loaded.sha256},
        "verdict": verdict,
        "why": explain(sets[0], others),
        "loses_elsewhere": loses_elsewhere(others),
        "notes": notes,
        "sets": [asdict(entry) for entry in sets],
        "scores": [asdict(replace(r, conditions=f"{r.conditions}; {how}")) for r in records],
    }
    replace_text(out / "comparison.md", f"{format_markdown(sets)}\n\n{_sentences(stored)}\n")
    write_json(out / COMPARISON, stored)
    return Finetuned(verdict, _words(sets, stored))


def _by_dataset(before: Sequence[Scored], new: Sequence[Scored]) -> list[Compared]:
    names = dict.fromkeys(entry.sample.dataset for entry in new)
    if len(names) < 2:
        return []
    return [
        compare(
            f"  of it {name}",
            *([e for e in scored if e.sample.dataset == name] for scored in (before, new)),
        )
        for name in names
    ]


def _how(networks: int, count: int) -> str:
    if networks == 1:
        return (
            f"the weights never saw these {count} photographs, and each one's calibration and "
            "threshold were chosen on the others"
        )
    return (
        f"{count} photographs in {networks} folds, each answered by weights, calibration and "
        "threshold that never saw it; the new version is the mean of these weights, and has seen "
        "them all"
    )


def _words(sets: Sequence[Compared], stored: dict[str, Any]) -> str:
    return f"{format_terminal(sets)}\n\n{_sentences(stored)}"


def _sentences(stored: dict[str, Any]) -> str:
    parent = stored["parent"]
    lines = [f"Note: {note}." for note in stored["notes"]]
    lines.append(f"Beside {parent['name']}@{parent['version']}: {stored['verdict']}. "
                 f"{stored['why']}.")  # fmt: skip
    return "\n".join(lines)
