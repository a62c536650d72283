"""python -m trainer COMMAND ...; `trainer/commands.py` has the commands."""

import sys

EXTRA = frozenset({"kornia", "matplotlib", "tqdm"})


def main() -> int:
    """Run one command, or say what has to be installed first."""
    try:
        from trainer import commands
    except ModuleNotFoundError as exc:
        if exc.name not in EXTRA:
            raise
        print(
            f"trainer: {exc.name} is not installed; the trainer needs the extra `train`: "
            "pip install -c constraints.txt -e '.[train]'",
            file=sys.stderr,
        )
        return 2
    return commands.main()


if __name__ == "__main__":
    raise SystemExit(main())
