"""What can be wrong with a version that is promoted, or with the whole registry."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fixtures.models import NAME

Json = dict[str, Any]
OLD, NEW, NEWER = "1.0.0", "1.1.0", "1.2.0"
"""The first is in production before anything is spoilt, the second is what is spoilt."""


def point_to(root: Path, version: str) -> None:
    """Let `production` name a version, whatever the registry thinks of it."""
    (root / NAME / "aliases.json").write_text(json.dumps({"production": version}))


def edit_card(folder: Path, change: Callable[[Json], object]) -> None:
    card = json.loads((folder / "card.json").read_bytes())
    change(card)
    (folder / "card.json").write_text(json.dumps(card))


def damaged_weights(root: Path) -> None:
    path = root / NAME / NEW / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


def half_of_the_weights(root: Path) -> None:
    path = root / NAME / NEW / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])


def no_weights(root: Path) -> None:
    (root / NAME / NEW / "model.safetensors").unlink()


def no_card(root: Path) -> None:
    (root / NAME / NEW / "card.json").unlink()


def half_a_card(root: Path) -> None:
    path = root / NAME / NEW / "card.json"
    path.write_bytes(path.read_bytes()[:200])


def wrong_hash(root: Path) -> None:
    edit_card(root / NAME / NEW, lambda card: card["files"].update({"golden.json": "0" * 64}))


def another_card(root: Path) -> None:
    shutil.copyfile(root / NAME / OLD / "card.json", root / NAME / NEW / "card.json")


def another_network(root: Path) -> None:
    """Every hash is right, and still the weights are not those of the card."""
    edit_card(root / NAME / NEW, lambda card: card["architecture"].update({"width": 2}))


def another_mask(root: Path) -> None:
    """Every hash is right, and still the network does not give the golden mask."""
    golden = root / NAME / NEW / "golden.json"
    value = json.loads(golden.read_bytes())
    height, width = value["mask"]["size"]
    value["mask"]["counts"] = [0, height * width]
    golden.write_text(json.dumps(value))
    sha256 = hashlib.sha256(golden.read_bytes()).hexdigest()
    edit_card(root / NAME / NEW, lambda card: card["files"].update({"golden.json": sha256}))


def no_such_version(root: Path) -> None:
    shutil.rmtree(root / NAME / NEW)


def no_registry(root: Path) -> None:
    root.rename(root.with_name("elsewhere"))


def broken_aliases(root: Path) -> None:
    (root / NAME / "aliases.json").write_text('{"production": ')
