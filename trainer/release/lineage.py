"""Tell where a run's weights came from, and whether they are better than those, for its card."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_core.card import Card, LineageRecord, ParentRecord
from model_core.errors import GateError
from model_core.registry.registry import Registry
from trainer.evaluation.subjects import EvaluationSubject
from trainer.training.run import COMPARISON, WEIGHTS, came_from, read_json


def find_parents(record: dict[str, Any], registry: Registry) -> list[dict[str, Any]]:
    """List the versions that a run came from, with their licences.

    Runs of before these were noted have hashes of weights alone: the registry may know them.
    """
    noted = came_from(record)
    if noted:
        return noted
    sources = (record.get("initial"), *(record.get("teachers") or []))
    weights = {source["weights_sha256"] for source in sources if source}
    if not weights:
        return []
    cards = (registry.card(n, v) for n in registry.names() for v in registry.versions(n))
    return [
        {"name": card.name, "version": card.version, "sha256": sha256, "licence": card.licence,
         "limits": card.limits}
        for card, sha256 in cards
        if card.files.get(WEIGHTS) in weights
    ]  # fmt: skip


def read_comparison(
    run: Path, subject: EvaluationSubject, *, worse_because: str = ""
) -> dict[str, Any]:
    """Read how a fine-tuned run compares with its parent; empty where `finetune` did not make it.

    Raises:
        GateError: the comparison is of other weights or rules; or it found the run worse, on the
            clinic's photographs or on others, and no reason is given.
    """
    path = run / COMPARISON
    if not path.is_file():
        return {}
    stored = read_json(path)
    subject.require_current(path, stored, again="finetune")
    lost = stored["verdict"] == "worse" or stored.get("loses_elsewhere", False)
    if lost and not worse_because.strip():
        parent = stored["parent"]
        raise GateError(
            f"{run} is worse than {parent['name']}@{parent['version']}: {stored['why']}; "
            "--worse-because REASON publishes it all the same"
        )
    return stored


def describe_lineage(
    parents: Sequence[Mapping[str, Any]],
    compared: Mapping[str, Any],
    *,
    licence_because: str,
    worse_because: str,
) -> LineageRecord | None:
    """Describe a version's lineage for its card; None where it has no parent."""
    if not parents:
        return None
    keys = ("name", "version", "sha256", "licence")
    verdict = compared.get("verdict")
    return LineageRecord(
        parents=[ParentRecord(**{key: parent[key] for key in keys}) for parent in parents],
        licence_because=licence_because,
        verdict=verdict,
        why=compared.get("why", ""),
        notes=compared.get("notes", []),
        sets=compared.get("sets", []),
        worse_because=worse_because if compared else "",
    )


def parents_of_version(card: Card) -> list[dict[str, Any]]:
    """List a published version's parents as a run's record has them.

    Their limits are among its own.
    """
    parents = card.lineage.parents if card.lineage else []
    return [asdict(parent) | {"limits": card.limits} for parent in parents]
