"""`python -m trainer`: one command a step, from a dataset folder to a published version.

Each command imports what it alone needs: `promote` works without the extra `train`.
"""

import argparse
import sys
from collections.abc import Sequence

from model_core.errors import SegmentationError
from trainer.commands import data, finish, predict, registry, runs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it succeeded, 1 when a check found something, 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="From a dataset folder to a published version, one step a command.",
    )
    parser.set_defaults(after_interrupt="nothing half-written is left")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (data, runs, predict, finish, registry):
        group.add_commands(commands)
    options = parser.parse_args(arguments)
    try:
        found: int | None = options.command(options)
    except (SegmentationError, OSError, UnicodeError) as exc:
        print(f"trainer: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"trainer: interrupted; {options.after_interrupt}", file=sys.stderr)
        return 130
    return found or 0
