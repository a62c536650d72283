"""The command `lesion`: segments and scores files with a running service (docs/client.md).

    lesion segment images/ --out masks
    lesion evaluate --image images/ --truth masks-by-experts/
    lesion correct --image images/ --mask corrected/ --annotator reader-1
    lesion pacs --archive http://127.0.0.1:8042/dicom-web

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
from service.cli.correct import correct
from service.cli.evaluate import evaluate
from service.cli.files import UsageError, shown
from service.cli.pacs import add_arguments, pacs
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
    # Not the option's default, which --help and a traceback could show.
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
    except OSError as exc:  # of a file: what goes wrong in the network is a ClientError
        return _complain(f"{shown(exc.filename or '')}: {explained(exc)}", 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _complain(text: str, code: int) -> int:
    print(f"lesion: {text}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lesion",
        description="Segment, score and correct images of skin lesions with a running service. "
        "Not a medical device.",
        epilog="Exit codes: 0 all done; 1 a file failed, the others are done; 2 the command line; "
        "3 the service did not answer, or not to this caller.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = "Save the mask of each image as a file."
    command = commands.add_parser("segment", help=text, description=text)
    command.set_defaults(run=segment)
    add = command.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="or a folder")
    add("--out", required=True, type=Path, metavar="DIR", help="folder for the results")
    add("--format", choices=SUFFIXES, default="png", help="of the results (default: png)")
    add("--overwrite", action="store_true", help="replace results that exist already")
    _add_shared(command)
    text = "Score images or masks against experts' masks."
    command = commands.add_parser("evaluate", help=text, description=text)
    command.set_defaults(run=evaluate)
    either = command.add_mutually_exclusive_group(required=True)
    either.add_argument("--image", type=Path, metavar="PATH", help="an image or a folder")
    text = "a mask by any model, or a folder of them"
    either.add_argument("--pred", type=Path, metavar="PATH", help=text)
    add = command.add_argument
    text = "the expert's mask, or a folder"
    add("--truth", required=True, type=Path, metavar="PATH", help=text)
    text = "height and width of a pixel, mm: adds distances in mm"
    add("--spacing-mm", type=_spacing, metavar="ROW,COL", help=text)
    _add_shared(command)
    text = "Have the service keep images with their corrected masks."
    command = commands.add_parser("correct", help=text, description=text)
    command.set_defaults(run=correct)
    add = command.add_argument
    add("--image", required=True, type=Path, metavar="PATH", help="an image or a folder")
    text = "its corrected mask, or a folder of them: PNG or COCO JSON"
    add("--mask", required=True, type=Path, metavar="PATH", help=text)
    text = "pseudonym of who corrected them, no name"
    add("--annotator", required=True, metavar="PSEUDONYM", help=text)
    _add_shared(command)
    text = "Answer the photographs of a DICOMweb archive as they arrive, in the archive."
    command = commands.add_parser("pacs", help=text, description=text)
    command.set_defaults(run=pacs)
    add_arguments(command)
    _add_of_service(command)
    return parser


def _add_shared(command: argparse.ArgumentParser) -> None:
    """Add the options that every command on files has."""
    _add_of_service(command)
    text = "probability above which a pixel is lesion, 0 to 1"
    cut = command.add_mutually_exclusive_group()
    cut.add_argument("--threshold", type=decimal, help=text)
    text = "how far outside the visible edge the outline lies (default: middle)"
    cut.add_argument("--margin", choices=("tight", "middle", "loose"), help=text)
    command.add_argument("--json", action="store_true", help="results as JSON on standard output")


def _add_of_service(command: argparse.ArgumentParser) -> None:
    """Add the options of every command: whom to ask, for which version, and how hard."""
    add = command.add_argument
    text = f"address of the service (default: ${_URL}, or {DEFAULT_URL})"
    add("--url", default=os.environ.get(_URL, DEFAULT_URL), help=text)
    add("--key", help=f"API key; better in ${_KEY}, where no other user of the machine sees it")
    add("--model", help="version or alias (default: the production version)")
    text = "files under way at a time (default: 4)"
    add("--jobs", type=_jobs, default=4, metavar="N", help=text)
    text = "longest wait, s (default: 30)"
    add("--timeout", type=_seconds, default=30.0, metavar="S", help=text)
    text = "times to ask a service that is busy or away (default: 4)"
    add("--attempts", type=_jobs, default=4, metavar="N", help=text)


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
