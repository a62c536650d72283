"""`lesion pacs`: answer the photographs of a DICOMweb archive as they arrive (docs/pacs.md)."""

import argparse
import logging
import os
import re
import signal
import sqlite3
import sys
from argparse import ArgumentTypeError, Namespace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from types import FrameType

from model_core.decimals import integer
from service.cli.files import UsageError
from service.client import Client

_URL, _USER, _PASSWORD, _TOKEN = (
    f"LESION_PACS_{name}" for name in ("URL", "USER", "PASSWORD", "TOKEN")
)
_FORMATS = ("dicom-seg", "dicom-sc", "dicom-sr")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options that only this command has."""
    add = command.add_argument
    text = f"address of the archive's DICOMweb services (default: ${_URL})"
    add("--archive", default=os.environ.get(_URL), metavar="URL", help=text)
    text = "what is done so far (default: lesion-pacs.sqlite)"
    add("--state", type=Path, default=Path("lesion-pacs.sqlite"), metavar="FILE", help=text)
    text = "formats to answer in, with commas between (default: all)"
    add("--formats", type=_formats, default=_FORMATS, metavar="NAMES", help=text)
    text = "take only this one, such as XC; again for others (default: XC and DMS); any with '*'"
    add("--modality", action="append", metavar="NAME", help=text)
    text = "take only of devices whose station name fits; again for others (default: of all)"
    add("--station", action="append", default=[], metavar="PATTERN", help=text)
    text = "take only where the series' or study's description fits; again for others"
    add("--description", action="append", default=[], metavar="PATTERN", help=text)
    text = "take only studies of the last days, by their date (default: all)"
    add("--days", type=_whole, metavar="N", help=text)
    text = "how to follow the archive: Orthanc's changes, or searching (default: what there is)"
    add("--feed", choices=("auto", "changes", "qido"), default="auto", help=text)
    add("--every", type=_whole, default=5, metavar="S", help="between looks, s (default: 5)")
    add("--once", action="store_true", help="end when what is there now is answered")
    add("--metrics", type=_endpoint, metavar="[ADDRESS:]PORT", help="serve Prometheus metrics")
    add("--health", type=Path, metavar="FILE", help="file to write the state of things to")


def pacs(args: Namespace, client: Client) -> int:
    """Run the command until it is told to stop.

    Returns:
        0; 1 where `--once` leaves photographs that failed or are refused.

    Raises:
        UsageError: no archive, a state file that is in use, or a package that is missing.
    """
    if not args.archive or not re.fullmatch(r"https?://[^/:\s]+(:\d+)?(/\S*)?", args.archive):
        raise UsageError(f"--archive or ${_URL}: expected an address, such as "
                         "http://127.0.0.1:8042/dicom-web")  # fmt: skip
    try:
        import dicomweb_client  # noqa: F401
    except ImportError as exc:
        raise UsageError("`lesion pacs` needs pip install 'lesion-segmentation[pacs]'") from exc
    from service.client.pacs.state import State

    _log()
    try:
        state = State(args.state)
    except sqlite3.OperationalError as exc:
        raise UsageError(f"--state {args.state} cannot be used ({exc}): does another run?") from exc
    try:
        return _follow(args, client, state)
    finally:
        state.close()


def _follow(args: Namespace, client: Client, state: "State") -> int:  # type: ignore[name-defined]  # noqa: F821
    from service.client.pacs.answers import Answerer
    from service.client.pacs.archive import Archive
    from service.client.pacs.feed import choose_feed
    from service.client.pacs.loop import Loop
    from service.client.pacs.rule import Rule
    from service.client.pacs.telemetry import Telemetry

    environment = os.environ.get
    archive = Archive(
        args.archive,
        user=environment(_USER, ""),
        password=environment(_PASSWORD, ""),
        token=environment(_TOKEN, ""),
        timeout_s=args.timeout,
    )
    earliest = f"{date.today() - timedelta(days=args.days):%Y%m%d}" if args.days else ""
    modalities = [] if "*" in (args.modality or []) else args.modality or ["XC", "DMS"]
    rule = Rule(modalities, args.station, args.description, earliest)
    try:
        state.begin(f"{rule.text} {args.days}")
    except sqlite3.OperationalError as exc:
        raise UsageError(f"--state {args.state} cannot be written ({exc})") from exc
    telemetry = Telemetry()
    if args.metrics:
        telemetry.serve(*args.metrics)
    loop = Loop(
        partial(choose_feed, args.feed, archive, rule),
        lambda feed: Answerer(
            archive, client, feed, rule, telemetry,
            formats=args.formats, model=args.model or "production",
        ),
        state, telemetry,
        jobs=args.jobs, every_s=args.every, health=args.health, once=args.once,
    )  # fmt: skip

    def stop(signal_: int, frame: FrameType | None) -> None:
        loop.stop.set()

    signal.signal(signal.SIGTERM, stop)
    loop.run()
    counts = state.counts()
    return int(args.once and bool(counts["waiting"] or counts["refused"]))


def _log() -> None:
    """Log one line an event on stderr; of libraries errors alone, as their lines name studies."""
    text = "time=%(asctime)s level=%(levelname)s %(message)s"
    logging.basicConfig(level=logging.ERROR, format=text, stream=sys.stderr)
    logging.getLogger("service").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    for reader in ("pydicom", "py.warnings", "urllib3"):
        logging.getLogger(reader).setLevel(logging.CRITICAL)


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not set(names) <= set(_FORMATS) or len(set(names)) < len(names):
        raise ArgumentTypeError(f"found {text!r}, expected some of {','.join(_FORMATS)}")
    return names


def _whole(text: str) -> int:
    number = integer(text)
    if not 1 <= number <= 100_000:
        raise ArgumentTypeError(f"{number}, expected 1 to 100,000")
    return number


def _endpoint(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    if not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise ArgumentTypeError(f"found {text!r}, expected a port, or an address and a port")
    return address or "127.0.0.1", int(port)
