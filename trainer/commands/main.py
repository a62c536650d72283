"""Run a command of `python -m trainer`: one a step, from a dataset folder to a published version.

Each command imports what it alone needs, so that `promote` works without the extra `train` and
`--help` does not wait for PyTorch.
"""

import argparse
import sys
from collections.abc import Sequence

from model_core.errors import SegmentationError
from trainer.commands import data, finetune, finish, predict, registry, runs

COMMANDS = (
    data.prepare,
    data.leaks,
    runs.train,
    runs.cross_validate,
    finetune.next_,
    finetune.finetune,
    runs.evaluate,
    predict.predict,
    finish.calibrate,
    finish.export,
    finish.quality,
    finish.robustness,
    registry.publish,
    registry.sign,
    registry.reopen,
    registry.promote,
    registry.rollback,
    registry.list_,
    registry.show,
    registry.verify,
    registry.reproduce,
)
"""In the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0 when it succeeded, 1 when a check found something, 2 on bad input.

    Of `finetune`, 3 when the new version is worse or it cannot be told.
    """
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="From a dataset folder to a published version, one step a command.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        return options.command.run(options) or 0
    except (SegmentationError, OSError, UnicodeError) as exc:
        print(f"trainer: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"trainer: interrupted; {options.command.after_interrupt}", file=sys.stderr)
        return 130
