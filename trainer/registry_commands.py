"""The commands on published versions: publish and promote."""

import argparse
from pathlib import Path

from model_core.registry import Registry
from trainer.leaks import Fingerprint, read_trained

Commands = argparse._SubParsersAction  # what add_subparsers gives, which has no public name
DEFAULT = "models"


def trained_on(registry: Registry, name: str, version: str) -> list[Fingerprint] | None:
    """Fingerprints of the photographs that a version has seen; None where it does not list them."""
    return read_trained(registry.root / name / version)


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Give a command the two options that say which model is meant."""
    parser.add_argument(
        "--registry", type=Path, default=Path(DEFAULT), help=f"registry ({DEFAULT})"
    )
    parser.add_argument("--name", default="lesion-unet", help="model name (lesion-unet)")


def add_commands(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the commands of this file to the program's."""
    publishing = commands.add_parser("publish", help="freeze a scored run as a version")
    publishing.add_argument("run", type=Path)
    publishing.add_argument("--version", required=True, help="semantic version, such as 0.1.0")
    publishing.add_argument(
        "--licence", required=True, help="terms of the weights, which follow from the data's"
    )
    publishing.add_argument("--alias", help="let this alias point to it at once")
    publishing.add_argument("--registry", type=Path, default=Path(DEFAULT), help="folder (models)")
    publishing.set_defaults(command=_publish)

    promoting = commands.add_parser("promote", help="let an alias point to a version")
    promoting.add_argument("version")
    promoting.add_argument("--alias", default="production")
    add_registry(promoting)
    promoting.set_defaults(command=_promote)


def _publish(options: argparse.Namespace) -> None:
    from trainer.publish import publish

    registry = Registry(options.registry)
    loaded = publish(options.run, registry, version=options.version, licence=options.licence)
    print(f"published {loaded.label}, card SHA-256 {loaded.sha256}")
    if options.alias:
        _point(registry, loaded.card.name, options.alias, loaded.card.version)


def _promote(options: argparse.Namespace) -> None:
    _point(Registry(options.registry), options.name, options.alias, options.version)


def _point(registry: Registry, name: str, alias: str, version: str) -> None:
    registry.promote(name, version, alias=alias)
    print(f"{name}: {alias} is now {version}")
