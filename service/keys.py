"""Make and check API keys: `python -m service.keys new`, `python -m service.keys check FILE`."""

import argparse
import sys
from datetime import timedelta
from pathlib import Path

from pydantic import ValidationError

from model_core.decimals import integer
from model_core.errors import ConfigError
from service.access.keys import SCOPES, new_key, read_keys


def main(arguments: list[str] | None = None) -> int:
    """`python -m service.keys new` prints a key and its entry, `check FILE` what a file opens.

    Returns:
        Exit code: 0, or 2 where an argument cannot be used.
    """
    parser = argparse.ArgumentParser(prog="python -m service.keys")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new", help="make a key: it is shown once and stored nowhere")
    new.add_argument("--id", required=True, help="its name in logs: A-Z a-z 0-9 . _ -")
    new.add_argument("--scopes", required=True, help=f"with commas between: {', '.join(SCOPES)}")
    new.add_argument("--days", type=integer, help="days until it expires; never, if not given")
    check = commands.add_parser("check", help="read a file of keys, and say what it opens")
    check.add_argument("file", type=Path)
    options = parser.parse_args(arguments)
    try:
        lines = _check(options.file) if options.command == "check" else _new(options)
    except (ConfigError, ValidationError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _new(options: argparse.Namespace) -> list[str]:
    lifetime = timedelta(days=options.days) if options.days else None
    scopes = frozenset(options.scopes.split(","))
    key, entry = new_key(options.id, scopes, lifetime=lifetime)
    return [
        f"The key, shown this once: {key}",
        'Its entry, for "keys" in LESION_API_KEYS_FILE:',
        entry.model_dump_json(exclude_none=True),
    ]


def _check(path: Path) -> list[str]:
    return [
        f"{key.id}: {', '.join(sorted(key.scopes))}; "
        + (f"until {key.expires:%Y-%m-%d %H:%M %Z}" if key.expires else "for ever")
        for key in read_keys(path)
    ]


if __name__ == "__main__":
    sys.exit(main())
