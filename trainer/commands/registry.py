"""The commands on published versions: publish, reopen, promote, list, show, verify ..."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model_core.errors import ConfigError, CorruptVersionError, ModelError
from trainer.commands.declare import REGISTRY, REGISTRY_AND_NAME, command, option

if TYPE_CHECKING:  # the registry reads cards, and those bring SciPy, a second of every --help
    from model_core.card import Card
    from model_core.registry.registry import Registry

_ALIAS = option("--alias", default="production", help="(production)")
_KEY_HELP = "private key (PEM, P-256, P-384 or P-521); its password: LESION_KEY_PASSWORD, or asked"


@command(
    option("run", type=Path),
    option("--version", required=True, help="semantic version, such as 0.1.0"),
    option(
        "--licence",
        help="terms of the weights, which follow from the data's (default: those of the version "
        "that the weights came from)",
    ),
    option(
        "--licence-because",
        default="",
        metavar="REASON",
        help="why the terms may be freer than those of the version that the weights came from",
    ),
    option(
        "--worse-because",
        default="",
        metavar="REASON",
        help="why a fine-tuned run is published though it is worse than what it came from, on its "
        "own photographs or on others",
    ),
    option(
        "--onnx", action="store_true", help="put the exported ONNX network into the version too"
    ),
    option("--alias", help="let this alias point to it at once"),
    option("--sign", type=Path, metavar="KEY", help=f"sign it: {_KEY_HELP}"),
    REGISTRY,
)
def publish(options: Namespace) -> None:
    """Freeze a scored run as a version."""
    from model_core.card import check_name
    from model_core.registry.registry import Registry
    from trainer.release.publish import publish

    if options.alias:
        check_name(options.alias)  # before: what is published stays
    make = _signer(options.sign) if options.sign else None
    registry = Registry(options.registry)
    loaded = publish(
        options.run,
        registry,
        version=options.version,
        licence=options.licence,
        licence_because=options.licence_because,
        worse_because=options.worse_because,
        onnx=options.onnx,
    )
    print(f"published {loaded.label}, card SHA-256 {loaded.sha256}")
    if make:
        registry.sign(loaded.card.name, loaded.card.version, make)
        print(f"signed with {options.sign}")
    if options.alias:
        _point(registry, loaded.card.name, options.alias, loaded.card.version)


@command(
    option("version", nargs="?", help="version, alias, or name@version (default: everything)"),
    option("--key", type=Path, help=_KEY_HELP),
    option(
        "--new-key",
        type=Path,
        metavar="PUB",
        help="make a key for this once, and write its public half here: the private one is lost",
    ),
    *REGISTRY_AND_NAME,
)
def sign(options: Namespace) -> None:
    """Sign a version, or every one, in the place of an earlier signature."""
    from trainer.release.sign import passing_signer

    if (options.key is None) == (options.new_key is None):
        raise ConfigError("expected one of --key and --new-key")
    registry = _existing(options)
    versions = [(name, version) for name in registry.names() for version in registry.versions(name)]
    if options.version:
        versions = [_resolved(registry, options)]
    make, public = (_signer(options.key), None) if options.key else passing_signer()
    if public:  # before: without it nobody could check what is signed
        options.new_key.parent.mkdir(parents=True, exist_ok=True)
        beside = options.new_key.with_name(f".{options.new_key.name}")
        beside.write_bytes(public)
    for name, version in versions:
        registry.sign(name, version, make)
        print(f"signed {name}@{version}")
    if public:
        beside.replace(options.new_key)
        print(f"written to {options.new_key}; the private half is gone")


def _signer(key: Path) -> "Callable[[Path], bytes]":
    from trainer.release.sign import signer

    return signer(key, password=os.environ.get("LESION_KEY_PASSWORD"))


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
    loaded = registry.load(*_resolved(registry, options), device="cpu")
    reopen(loaded, options.out, options.data)
    print(f"{options.out} holds the weights of {loaded.label}")


@command(
    option("version", help="version, or name@version"),
    _ALIAS,
    *REGISTRY_AND_NAME,
)
def promote(options: Namespace) -> None:
    """Let an alias point to a version."""
    from model_core.registry.registry import split_reference

    name, version = split_reference(options.version, options.name)
    _point(_existing(options), name, options.alias, version)


def _point(registry: "Registry", name: str, alias: str, version: str) -> None:
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


def _line(registry: "Registry", name: str, version: str) -> str:
    aliases = registry.aliases(name)
    pointing = ", ".join(sorted(alias for alias, to in aliases.items() if to == version))
    created = ""
    try:
        card, _ = registry.card(name, version)
        created, scores = card.created[:10], _scores(card)
    except CorruptVersionError as exc:  # the other versions are still to be listed
        scores = f"damaged: {' '.join(str(exc).split())[:80]}"
    return f"{name:<20}{version:<12}{pointing:<22}{created:<12}{scores}".rstrip()


def _scores(card: "Card") -> str:
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
    from model_core.card import dump_card

    registry = _existing(options)
    card, sha256 = registry.card(*_resolved(registry, options))
    print(dump_card(card).decode(), end="")
    print(f"card SHA-256 {sha256}", file=sys.stderr)


@command(
    option("version", nargs="?", help="version, alias, or name@version (default: everything)"),
    option("--signers", type=Path, help="trusted public key, or folder of such: who signed it"),
    *REGISTRY_AND_NAME,
)
def verify(options: Namespace) -> int:
    """Check a version, or the whole registry."""
    registry = _existing(options, signers=options.signers)
    if options.version:
        name, version = _resolved(registry, options)
        try:
            loaded = registry.verify(name, version)
        except (ModelError, OSError) as exc:
            print(f"{name} {version}: {exc}")
            return 1
        signed = f"; signed by {loaded.signer}" if loaded.signer else ""
        print(f"{name} {version} is whole: hashes, weights and golden mask agree{signed}")
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

    parts: list[str] = options.version.rstrip("/").rsplit("/", 2)
    if len(parts) == 3:  # a path or URL, as models/lesion-unet/1.0.0
        options.registry, options.name, options.version = parts
    registry = _existing(options)
    name, version = _resolved(registry, options)
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


def _resolved(registry: "Registry", options: Namespace) -> tuple[str, str]:
    """Resolve the version that is meant, or the alias, to a name and a version."""
    from model_core.registry.registry import split_reference

    name, reference = split_reference(options.version, options.name)
    return name, registry.resolve(name, reference)


def _existing(options: Namespace, *, signers: Path | None = None) -> "Registry":
    from model_core.registry.registry import Registry

    registry = Registry(options.registry, signers=signers)
    try:
        registry.check()
    except ConfigError as exc:
        raise ConfigError(f"--registry is {exc}") from exc
    return registry
