"""The commands on published versions: publish, promote, rollback, list, show, verify, reproduce."""

import argparse
import sys
from pathlib import Path
from typing import Any

from model_core.card import Card, check_name, dump_card
from model_core.errors import ConfigError, CorruptVersionError, ModelError
from model_core.registry.registry import PRODUCTION, Registry, split_reference

Commands = argparse._SubParsersAction  # what add_subparsers gives, which has no public name
REGISTRY = "models"
NAME = "lesion-unet"


def add_registry(parser: argparse.ArgumentParser, *, name: str | None = NAME) -> None:
    """Give a command the options that say which registry and which model are meant."""
    parser.add_argument(
        "--registry", default=REGISTRY, help=f"folder or URL, as s3://bucket/models ({REGISTRY})"
    )
    if name:
        parser.add_argument("--name", default=name, help=f"model name ({name})")


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands of this file to the program's."""
    publishing = commands.add_parser("publish", help="freeze a scored run as a version")
    publishing.add_argument("run", type=Path)
    publishing.add_argument("--version", required=True, help="semantic version, such as 0.1.0")
    publishing.add_argument(
        "--licence", required=True, help="terms of the weights, which follow from the data's"
    )
    publishing.add_argument(
        "--onnx", action="store_true", help="put the exported ONNX network into the version too"
    )
    publishing.add_argument("--alias", help="let this alias point to it at once")
    add_registry(publishing, name=None)
    publishing.set_defaults(command=_publish)

    promoting = commands.add_parser("promote", help="let an alias point to a version")
    promoting.add_argument("version", help="version, or name@version")
    promoting.add_argument("--alias", default=PRODUCTION, help=f"({PRODUCTION})")
    add_registry(promoting)
    promoting.set_defaults(command=_promote)

    rolling = commands.add_parser("rollback", help="let an alias point to where it did before")
    rolling.add_argument("--alias", default=PRODUCTION, help=f"({PRODUCTION})")
    add_registry(rolling)
    rolling.set_defaults(command=_rollback)

    listing = commands.add_parser("list", help="list all versions with their scores")
    add_registry(listing, name=None)
    listing.set_defaults(command=_list)

    showing = commands.add_parser("show", help="print a version's card")
    showing.add_argument("version", help="version, alias, or name@version")
    add_registry(showing)
    showing.set_defaults(command=_show)

    verifying = commands.add_parser("verify", help="check a version, or the whole registry")
    verifying.add_argument(
        "version", nargs="?", help="version, alias, or name@version (default: everything)"
    )
    add_registry(verifying)
    verifying.set_defaults(command=_verify)

    again = commands.add_parser("reproduce", help="what made a version, and its scores again")
    again.add_argument("version", help="REGISTRY/NAME/VERSION, version, alias, or name@version")
    again.add_argument(
        "--data", type=Path, help="prepared folder: take the scores again, 1 where they differ"
    )
    add_registry(again)
    again.set_defaults(command=_reproduce)


def _publish(options: argparse.Namespace) -> None:
    from trainer.release.publish import publish

    if options.alias:
        check_name(options.alias)  # before: what is published stays
    registry = Registry(options.registry)
    loaded = publish(
        options.run,
        registry,
        version=options.version,
        licence=options.licence,
        onnx=options.onnx,
    )
    print(f"published {loaded.label}, card SHA-256 {loaded.sha256}")
    if options.alias:
        _point(registry, loaded.card.name, options.alias, loaded.card.version)


def _promote(options: argparse.Namespace) -> None:
    name, version = split_reference(options.version, options.name)
    _point(_existing(options), name, options.alias, version)


def _point(registry: Registry, name: str, alias: str, version: str) -> None:
    registry.promote(name, version, alias=alias)
    print(f"{name}: {alias} is now {version}")


def _rollback(options: argparse.Namespace) -> None:
    version = _existing(options).rollback(options.name, options.alias)
    print(f"{options.name}: {options.alias} is now {version} again")


def _list(options: argparse.Namespace) -> None:
    registry = _existing(options)
    rows = [
        _row(registry, name, version)
        for name in registry.names()
        for version in registry.versions(name)
    ]
    if not rows:
        print(f"{options.registry} holds no version")
    for name, version, aliases, created, scores in rows:
        print(f"{name:<16}{version:<12}{aliases:<22}{created:<12}{scores}".rstrip())


def _row(registry: Registry, name: str, version: str) -> tuple[str, str, str, str, str]:
    aliases = registry.aliases(name)
    pointing = ", ".join(sorted(alias for alias, to in aliases.items() if to == version))
    try:
        card, _ = registry.card(name, version)
    except CorruptVersionError as exc:
        return name, version, pointing, "", f"damaged: {' '.join(str(exc).split())[:80]}"
    return name, version, pointing, card.created[:10], _scores(card)


def _scores(card: Card) -> str:
    def dice(summary: dict[str, Any]) -> float:
        mean: float = summary["per_image"]["dice"]["mean"]
        return mean

    return ", ".join(f"{e.dataset} {e.part} Dice {dice(e.summary):.4f}" for e in card.scores)


def _show(options: argparse.Namespace) -> None:
    registry = _existing(options)
    name, reference = split_reference(options.version, options.name)
    card, sha256 = registry.card(name, registry.resolve(name, reference))
    print(dump_card(card).decode(), end="")
    print(f"card SHA-256 {sha256}", file=sys.stderr)


def _verify(options: argparse.Namespace) -> int:
    registry = _existing(options)
    if options.version:
        name, reference = split_reference(options.version, options.name)
        version = registry.resolve(name, reference)
        try:
            registry.verify(name, version)
        except (ModelError, OSError) as exc:
            print(f"{name} {version}: {exc}")
            return 1
        print(f"{name} {version} is whole: hashes, weights and golden mask agree")
        return 0
    faults = list(registry.faults())
    for fault in faults:
        print(fault)
    count = sum(len(registry.versions(name)) for name in registry.names())
    print(f"{count} versions checked, {len(faults)} faults")
    return 1 if faults else 0


def _reproduce(options: argparse.Namespace) -> int:
    from trainer.data.leaks import read_trained
    from trainer.data.prepare import samples_of
    from trainer.release.reproduce import describe, differences

    reference = options.version
    parts: list[str] = reference.rstrip("/").rsplit("/", 2)
    if len(parts) == 3:  # a path or URL, as models/lesion-unet/1.0.0
        options.registry, options.name, reference = parts
    registry = _existing(options)
    name, reference = split_reference(reference, options.name)
    version = registry.resolve(name, reference)
    print(describe(*registry.card(name, version), f"{options.registry}/{name}/{version}"))
    if not options.data:
        return 0
    loaded = registry.load(name, version)
    samples, seen = samples_of(options.data), read_trained(loaded.folder) or []
    found = differences(loaded.card, loaded.predictor, samples, seen=seen)
    for line in found:
        print(f"differs: {line}")
    if not found:
        print(f"\n{loaded.label}: scored again, every figure is the card's")
    return 1 if found else 0


def _existing(options: argparse.Namespace) -> Registry:
    registry = Registry(options.registry)
    try:
        registry.check()
    except ConfigError as exc:
        raise ConfigError(f"--registry is {exc}") from exc
    return registry
