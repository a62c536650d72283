"""python -m trainer COMMAND ...; `trainer/commands.py` has the commands."""

import sys

EXTRA = frozenset({"matplotlib", "tensorboard", "tqdm"})


def main() -> int:
    """Run one command, or say what has to be installed first."""
    try:
        from trainer import commands

        return commands.main()
    except ModuleNotFoundError as exc:
        if exc.name not in EXTRA:
            raise
        print(
            f"trainer: {exc.name} is not installed; this command needs the extra `train`: "
            "pip install -c constraints.txt -e '.[train]'",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
