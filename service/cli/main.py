"""The command `lesion`: segments and scores files with a running service (docs/client.md).

    lesion segment photographs/ --out masks
    lesion evaluate --image photographs/ --truth masks-by-experts/

Exit codes: 0; 1 a file failed (the others are done); 2 the command line; 3 the service did not
answer, or not to this caller; 130 interrupted.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx

from model_core.decimals import decimal, integer, parse_spacing
from service.cli.evaluate import evaluate
from service.cli.files import UsageError, shown
from service.cli.segment import SUFFIXES, explained, segment
from service.client import (
    DEFAULT_URL,
    AccessError,
    Client,
    ClientError,
    Retries,
    ServiceUnreachableError,
)

_KEY, _URL = "LESION_CLIENT_KEY", "LESION_CLIENT_URL"
_MAX_JOBS = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = _parser().parse_args(argv)
    key = args.key or os.environ.get(_KEY)
    try:
        retries = Retries(attempts=args.attempts)
        with Client(args.url, api_key=key, timeout_s=args.timeout, retries=retries) as client:
            code: int = args.run(args, client)
            return code
    except UsageError as exc:
        return _complain(str(exc), 2)
    except httpx.InvalidURL as exc:
        return _complain(f"--url {shown(args.url)} is no address: {exc}", 2)
    except ClientError as exc:
        fatal = isinstance(exc, (ServiceUnreachableError, AccessError))
        return _complain(explained(exc), 3 if fatal else 1)
    except OSError as exc:
        return _complain(f"{shown(exc.filename or '')}: {explained(exc)}", 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _complain(text: str, code: int) -> int:
    print(f"lesion: {text}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lesion",
        description="Segment and score photographs of skin lesions with a running service. "
        "Not a medical device.",
        epilog="Exit codes: 0 all done; 1 a file failed, the others are done; 2 the command line; "
        "3 the service did not answer, or not to this caller.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    segmenting = _command(commands, "segment", "Save the mask of each photograph as a file.")
    segmenting.set_defaults(run=segment)
    segmenting.add_argument("files", nargs="+", type=Path, metavar="FILE", help="or a folder")
    segmenting.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for the results"
    )
    segmenting.add_argument(
        "--format", choices=SUFFIXES, default="png", help="of the results (default: png)"
    )
    segmenting.add_argument(
        "--overwrite", action="store_true", help="replace results that exist already"
    )
    scoring = _command(commands, "evaluate", "Score photographs or masks against experts' masks.")
    scoring.set_defaults(run=evaluate)
    either = scoring.add_mutually_exclusive_group(required=True)
    either.add_argument("--image", type=Path, metavar="PATH", help="a photograph or a folder")
    either.add_argument(
        "--pred", type=Path, metavar="PATH", help="a mask by any model, or a folder of them"
    )
    scoring.add_argument(
        "--truth", required=True, type=Path, metavar="PATH", help="the expert's mask, or a folder"
    )
    scoring.add_argument(
        "--spacing-mm",
        type=_spacing,
        metavar="ROW,COL",
        help="height and width of a pixel, mm: adds distances in mm",
    )
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument(
        "--url",
        default=os.environ.get(_URL, DEFAULT_URL),
        help=f"address of the service (default: ${_URL}, or {DEFAULT_URL})",
    )
    parser.add_argument(
        "--key", help=f"API key; better in ${_KEY}, where no other user of the machine sees it"
    )
    parser.add_argument("--model", help="version or alias (default: the production version)")
    parser.add_argument(
        "--threshold", type=decimal, help="probability above which a pixel is lesion, 0 to 1"
    )
    parser.add_argument(
        "--jobs", type=_jobs, default=4, metavar="N", help="files under way at a time (default: 4)"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=30.0, metavar="S", help="longest wait, s (default: 30)"
    )
    parser.add_argument(
        "--attempts",
        type=_jobs,
        default=4,
        metavar="N",
        help="times to ask a service that is busy or away (default: 4)",
    )
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")
    return parser


def _jobs(text: str) -> int:
    number = integer(text)
    if not 1 <= number <= _MAX_JOBS:
        raise argparse.ArgumentTypeError(f"{number}, expected 1 to {_MAX_JOBS}")
    return number


def _seconds(text: str) -> float:
    seconds = decimal(text)
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text}, expected seconds above 0")
    return seconds


def _spacing(text: str) -> tuple[float, float]:
    try:
        return parse_spacing(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"found {text!r}, {exc}") from exc


if __name__ == "__main__":
    sys.exit(main())
