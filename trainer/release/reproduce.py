"""What made a published version, how to make it again, and whether its scores come out the same.

python -m trainer reproduce models/lesion-unet/1.2.0 --data data/skin
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from model_core.card import Card, ScoreRecord
from model_core.errors import DatasetError
from model_core.predictor import Predictor
from trainer.data.leaks import Fingerprint, drop_seen
from trainer.data.samples import Sample, count_parts, digest
from trainer.evaluation.evaluate import score
from trainer.evaluation.scores import summarise_sets

TOLERANCE = 1e-6
"""Largest difference between two figures that are called the same."""

OF_THE_RUN = ("initial", "teacher", "teachers", "starts")
"""Entries of `card.training` that are no config; `teacher` is in cards of before December 2026."""


def describe(card: Card, sha256: str, place: str) -> str:
    """Say what made a version, and the commands that make it again.

    `place` goes into the commands, as models/lesion-unet/1.2.0.
    """
    config = {key: value for key, value in card.training.items() if key not in OF_THE_RUN}
    starts = card.training.get("starts") or [{"git_commit": card.git_commit}]
    commits, torches = (
        ", ".join(dict.fromkeys(start[key] for start in starts if start.get(key)))
        for key in ("git_commit", "torch")
    )
    lines = [
        f"{card.name}@{card.version}, card SHA-256 {sha256}",
        f"weights SHA-256: {card.files.get('model.safetensors', 'not recorded')}",
        f"git commit: {commits or 'not recorded'}",
        f"torch: {torches or 'not recorded'}",
        f"seed: {config.get('seed', 'not recorded')}",
        f"data SHA-256: {card.data.sha256}",
        *(f"  {name}: {_counts(parts)}" for name, parts in card.data.samples.items()),
    ]
    initial = card.training.get("initial")
    if initial and "package" in initial:
        lines.append(
            f"encoder began with ImageNet weights of {initial['package']} ({initial['licence']}), "
            f"SHA-256 {initial['weights_sha256']}"
        )
    elif initial:
        lines.append(
            f"began with weights of SHA-256 {initial['weights_sha256']}, trained on data "
            f"{initial['data_sha256']}"
        )
    if card.lineage:
        lines += [
            f"came from {parent.name}@{parent.version}, card SHA-256 {parent.sha256}"
            for parent in card.lineage.parents
        ]
        if card.lineage.verdict:
            lines.append(f"beside it: {card.lineage.verdict}. {card.lineage.why}")
    teachers = card.training.get("teachers") or []
    lines += [
        f"learned from a teacher with weights of SHA-256 {teacher['weights_sha256']}"
        for teacher in teachers
    ]
    lines += ["", "config, without the data's place:", "", dump_toml(config), ""]
    return "\n".join([*lines, "to make it again:", "", *_commands(card, commits, place)])


def differences(
    card: Card,
    predictor: Predictor,
    everything: Sequence[Sample],
    *,
    seen: Sequence[Fingerprint] = (),
) -> list[str]:
    """List where a version's scores, taken again, are not those of its card.

    `seen` is what the version has seen: its initial weights may have been trained on another split,
    and its scores are without that.

    Returns:
        One line each. Where the training data is not the card's, only that is said, and nothing is
        scored: the photographs may be others, or have been trained on.
    """
    scored = [record for record in card.scores if record.part in ("test", "external")]
    if card.scores and not scored:
        raise DatasetError(
            "the card's scores are out of fold, of weights that are gone: only `finetune` on the "
            "same photographs makes them again"
        )
    chosen = card.training.get("datasets") or [sample.dataset for sample in everything]
    own = [s for s in everything if s.part != "external" and s.dataset in chosen]
    if digest(own) != card.data.sha256:
        counted = {name: dict(parts) for name, parts in count_parts(own).items()}
        names = sorted({*counted, *card.data.samples})
        pairs = ((n, card.data.samples.get(n, {}), counted.get(n, {})) for n in names)
        counts = [f"  {n}: {_counts(a)} in the card, {_counts(b)} here" for n, a, b in pairs]
        hashes = f"data SHA-256: {card.data.sha256} in the card, {digest(own)} here"
        return ["\n".join([hashes, *counts])]
    # Only what the card has scores of: a folder may hold more sets by now.
    sets = {(record.dataset, record.part) for record in scored}
    samples, _ = drop_seen([s for s in everything if (s.dataset, s.part) in sets], seen)
    if not samples:
        raise DatasetError(f"none of {sorted(sets)}, which the card has scores of, is in the data")
    records = summarise_sets(score(predictor, samples), predictor)
    again = {(record.dataset, record.part): record for record in records}
    both = [(record, again.get((record.dataset, record.part))) for record in scored]
    return [line for record, other in both for line in _compare(record, other)]


def dump_toml(table: Mapping[str, Any]) -> str:
    """Write plain values as TOML, such that `tomllib.loads` gives them back.

    TOML has no null: in a table within, a key without a value is left out, which is its default.

    Example:
        >>> print(dump_toml({"seed": 0, "optim": {"lr": 1e-05}, "stages": [{"size": 128}]}))
        seed = 0
        stages = [{ size = 128 }]
        <BLANKLINE>
        [optim]
        lr = 1e-05
    """
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {_toml(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]"]
            lines += [f"{inner} = {_toml(of)}" for inner, of in value.items() if of is not None]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_toml(of)}' for key, of in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    # Of one value JSON and TOML differ in nothing else.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _counts(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {part}" for part, count in sorted(parts.items())) or "none"


def _commands(card: Card, commits: str, place: str) -> Iterator[str]:
    commit = commits.split(", ")[-1].removesuffix("-dirty")
    yield f"git checkout {commit}" if commit else "# the commit is not recorded: any that fits"
    if commits.endswith("-dirty"):
        yield "# files differed from that commit; the differences are not recorded"
    extras = ["export" if card.engines else "train"]
    initial = card.training.get("initial") or {}
    if "package" in initial:
        extras.append("pretrained")
    yield f"pip install -c constraints.txt -e '.[{','.join(extras)}]'"
    yield "python -m trainer prepare SOURCE --out data/skin  # to the same data SHA-256"
    yield "# write the config above to again.toml"
    if card.lineage and card.lineage.verdict:
        (parent,) = card.lineage.parents
        yield (
            f"python -m trainer finetune {parent.name}@{parent.version} --data data/clinic "
            "--out runs/again  # the photographs of the data SHA-256 above"
        )
        return
    begin = " --initial RUN" if "data_sha256" in initial else ""
    begin += " --teacher RUN" * len(card.training.get("teachers") or [])
    yield f"python -m trainer train again.toml --data data/skin --out runs/again{begin}"
    if card.calibration:
        margins = card.postprocess.tight_threshold or card.postprocess.loose_threshold
        readers = " --readers READERS.csv" if margins else ""
        yield f"python -m trainer calibrate runs/again --data data/skin{readers}"
    if card.accept_score is not None:
        yield "python -m trainer quality runs/again --data data/skin"
    if card.engines:
        yield "python -m trainer export runs/again --data data/skin"
    yield "python -m trainer evaluate runs/again --data data/skin"
    yield f"python -m trainer reproduce {shlex.quote(place)} --data data/skin"


def _compare(record: ScoreRecord, again: ScoreRecord | None) -> Iterator[str]:
    where = f"{record.dataset} {record.part}"
    if again is None:
        yield f"{where}: not in this data"
        return
    for name, wanted in _figures(record.summary).items():
        figure = _figures(again.summary).get(name)
        if figure is None or not abs(figure - wanted) <= TOLERANCE:
            yield f"{where} {name}: {wanted:.8g} in the card, {figure} here"


def _figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """List the figures that do not depend on the images' order."""
    means = {f"mean {name}": value["mean"] for name, value in summary["per_image"].items() if value}
    pooled = {f"pooled {name}": value for name, value in summary["pooled"].items()}
    return {"n": summary["n"], "failure rate": summary["failure_rate"], **means, **pooled}
