"""python -m trainer COMMAND ...; `trainer/commands/main.py` has the commands."""

import sys

EXTRA = {
    "matplotlib": "train",
    "tensorboard": "train",
    "tqdm": "train",
    "nncf": "export",
    "onnx": "export",
    "onnxscript": "export",
    "openvino": "export",
    "model_signing": "sign",
    "pyarrow": "parquet",
    "ray": "ray",
}
"""Packages that only some commands need, and the extra that brings each."""


def main() -> int:
    """Run one command, or say what has to be installed first."""
    try:
        from trainer.commands.main import main as run_command

        return run_command()
    except ModuleNotFoundError as exc:
        if exc.name not in EXTRA:
            raise
        extra = EXTRA[exc.name]
        print(
            f"trainer: {exc.name} is not installed; this command needs the extra `{extra}`: "
            f"pip install -c constraints.txt -e '.[{extra}]'",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
