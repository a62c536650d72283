"""The commands on published versions: publish, reopen, promote, list, show, verify ..."""

import sys
from argparse import Namespace
from pathlib import Path

from model_core.card import Card, check_name, dump_card
from model_core.errors import ConfigError, CorruptVersionError, ModelError
from model_core.registry.registry import PRODUCTION, Registry, split_reference
from trainer.commands.declare import REGISTRY, REGISTRY_AND_NAME, command, option

_ALIAS = option("--alias", default=PRODUCTION, help=f"({PRODUCTION})")


@command(
    option("run", type=Path),
    option("--version", required=True, help="semantic version, such as 0.1.0"),
    option("--licence", required=True, help="terms of the weights, which follow from the data's"),
    option(
        "--onnx", action="store_true", help="put the exported ONNX network into the version too"
    ),
    option("--alias", help="let this alias point to it at once"),
    REGISTRY,
)
def publish(options: Namespace) -> None:
    """Freeze a scored run as a version."""
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


@command(
    option("version", help="version, alias, or name@version"),
    option("--out", type=Path, required=True, help="run folder to make"),
    option("--data", type=Path, default=Path("data/skin"), help="prepared folder (data/skin)"),
    *REGISTRY_AND_NAME,
)
def reopen(options: Namespace) -> None:
    """Make a run folder of a version, to calibrate, export or score it again."""
    from trainer.release.reopen import reopen

    registry = _existing(options)
    name, version = split_reference(options.version, options.name)
    loaded = registry.load(name, registry.resolve(name, version), device="cpu")
    reopen(loaded, options.out, options.data)
    print(f"{options.out} holds the weights of {loaded.label}")


@command(
    option("version", help="version, or name@version"),
    _ALIAS,
    *REGISTRY_AND_NAME,
)
def promote(options: Namespace) -> None:
    """Let an alias point to a version."""
    name, version = split_reference(options.version, options.name)
    _point(_existing(options), name, options.alias, version)


def _point(registry: Registry, name: str, alias: str, version: str) -> None:
    registry.promote(name, version, alias=alias)
    print(f"{name}: {alias} is now {version}")


@command(_ALIAS, *REGISTRY_AND_NAME)
def rollback(options: Namespace) -> None:
    """Let an alias point to where it did before."""
    version = _existing(options).rollback(options.name, options.alias)
    print(f"{options.name}: {options.alias} is now {version} again")


@command(REGISTRY)
def list_(options: Namespace) -> None:
    """List all versions with their scores."""
    registry = _existing(options)
    lines = [
        _line(registry, name, version)
        for name in registry.names()
        for version in registry.versions(name)
    ]
    print("\n".join(lines) or f"{options.registry} holds no version")


def _line(registry: Registry, name: str, version: str) -> str:
    aliases = registry.aliases(name)
    pointing = ", ".join(sorted(alias for alias, to in aliases.items() if to == version))
    created = ""
    try:
        card, _ = registry.card(name, version)
        created, scores = card.created[:10], _scores(card)
    except CorruptVersionError as exc:  # the other versions are still to be listed
        scores = f"damaged: {' '.join(str(exc).split())[:80]}"
    return f"{name:<16}{version:<12}{pointing:<22}{created:<12}{scores}".rstrip()


def _scores(card: Card) -> str:
    return ", ".join(
        f"{record.dataset} {record.part} Dice {record.summary['per_image']['dice']['mean']:.4f}"
        for record in card.scores
    )


@command(
    option("version", help="version, alias, or name@version"),
    *REGISTRY_AND_NAME,
)
def show(options: Namespace) -> None:
    """Print a version's card."""
    registry = _existing(options)
    name, reference = split_reference(options.version, options.name)
    card, sha256 = registry.card(name, registry.resolve(name, reference))
    print(dump_card(card).decode(), end="")
    print(f"card SHA-256 {sha256}", file=sys.stderr)


@command(
    option("version", nargs="?", help="version, alias, or name@version (default: everything)"),
    *REGISTRY_AND_NAME,
)
def verify(options: Namespace) -> int:
    """Check a version, or the whole registry."""
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


@command(
    option("version", help="REGISTRY/NAME/VERSION, version, alias, or name@version"),
    option("--data", type=Path, help="prepared folder: take the scores again, 1 where they differ"),
    *REGISTRY_AND_NAME,
)
def reproduce(options: Namespace) -> int:
    """Tell what made a version, and take its scores again."""
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
    lines = differences(loaded.card, loaded.predictor, samples, seen=seen)
    for line in lines:
        print(f"differs: {line}")
    if not lines:
        print(f"\n{loaded.label}: scored again, every figure is the card's")
    return 1 if lines else 0


def _existing(options: Namespace) -> Registry:
    registry = Registry(options.registry)
    try:
        registry.check()
    except ConfigError as exc:
        raise ConfigError(f"--registry is {exc}") from exc
    return registry
