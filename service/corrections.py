"""Delete kept corrections: `python -m service.corrections delete PLACE PHOTOGRAPH…`."""

import argparse
import hashlib
import re
import sys
from pathlib import Path

from model_core.errors import SegmentationError
from service.pipeline.corrections import Corrections


def main(arguments: list[str] | None = None) -> int:
    """Delete every correction of some photographs, and the photographs with them.

    Returns:
        Exit code: 0; 1 where nothing was kept of one of them; 2 where an argument cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m service.corrections")
    commands = parser.add_subparsers(dest="command", required=True)
    delete = commands.add_parser("delete", help="delete all that is kept of photographs")
    delete.add_argument("place", help="folder or bucket, as LESION_CORRECTIONS names it")
    delete.add_argument("photographs", nargs="+", help="its file, or the file's SHA-256")
    options = parser.parse_args(arguments)
    code = 0
    try:
        corrections = Corrections(options.place)
        before = corrections.photographs()  # a place that is misspelt is not made
        for photograph in options.photographs:
            count = corrections.delete(_sha256(photograph))
            sys.stdout.write(f"{photograph}: {count} corrections deleted\n")
            code = code if count else 1
    except (SegmentationError, OSError, ValueError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    left = corrections.photographs()
    sys.stdout.write(f"{left} of {before} photographs are left\n")
    return code


def _sha256(photograph: str) -> str:
    """Return the SHA-256 of a photograph that is named by it, or by its file."""
    if re.fullmatch("[0-9a-f]{64}", photograph):
        return photograph
    return hashlib.sha256(Path(photograph).read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
