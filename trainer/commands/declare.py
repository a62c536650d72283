"""Declare a command in one place: its name, its options, and the function that runs it."""

import math
from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    _ActionsContainer,
    _SubParsersAction,
)
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Declaration = Callable[[_ActionsContainer], object]
"""Adds one option, or a group of them, to a parser."""


@dataclass(frozen=True)
class Command:
    """A command of `python -m trainer`; its function gives an exit status other than 0 or none."""

    name: str
    help: str
    declarations: tuple[Declaration, ...]
    run: Callable[[Namespace], int | None]
    after_interrupt: str

    def add_to(self, commands: "_SubParsersAction[ArgumentParser]") -> None:
        """Add the command to the program's."""
        parser = commands.add_parser(self.name, help=self.help)
        _add(parser, self.declarations)
        parser.set_defaults(command=self)


def command(
    *declarations: Declaration, after_interrupt: str = "nothing half-written is left"
) -> Callable[[Callable[[Namespace], int | None]], Command]:
    """Make a command of the function below, with its name, and its docstring for the help.

    `after_interrupt` is what a user is told who stops it.
    """

    def declare(run: Callable[[Namespace], int | None]) -> Command:
        help = (run.__doc__ or "").partition("\n")[0].removesuffix(".")
        name = run.__name__.strip("_").replace("_", "-")
        return Command(name, help[:1].lower() + help[1:], declarations, run, after_interrupt)

    return declare


def option(*names: str, **settings: Any) -> Declaration:
    """Declare an option or argument, as `ArgumentParser.add_argument` takes it."""
    return lambda parser: parser.add_argument(*names, **settings)


def one_of(*options: Declaration) -> Declaration:
    """Declare options of which at most one may be given."""
    return lambda parser: _add(parser.add_mutually_exclusive_group(), options)


def titled(title: str, *options: Declaration) -> Declaration:
    """Declare options that the help shows below a title of their own."""
    return lambda parser: _add(parser.add_argument_group(title), options)


def _add(parser: _ActionsContainer, declarations: Iterable[Declaration]) -> None:
    for declare in declarations:
        declare(parser)


def at_least(least: int, *, below: float = math.inf) -> Callable[[str], int]:
    """Make the type of an option that takes whole numbers from `least` on, less than `below`."""

    def parse(text: str) -> int:
        # `int` alone takes 1_0 and the digits of other alphabets too.
        if text.isascii() and text.isdecimal() and least <= int(text) < below:
            return int(text)
        raise ArgumentTypeError(f"found {text!r}, expected a whole number from {least} on")

    return parse


MODEL_NAME = "lesion-unet"
REGISTRY = option(
    "--registry", default="models", help="folder or URL, as s3://bucket/models (models)"
)
REGISTRY_AND_NAME = (
    REGISTRY,
    option("--name", default=MODEL_NAME, help=f"model name ({MODEL_NAME})"),
)
TARGET = option("target", help="run folder, version, alias, or name@version")
DATA = option("--data", type=Path, required=True, help="prepared folder")
OUT = option("--out", type=Path, help="folder for the results (default: the run)")
SKIP_BAD = option(
    "--skip-bad",
    action="store_true",
    help="leave out images that were seen in training, and those grouped with them",
)
