"""Starts the page, and on this machine the service where none answers: `python -m demo`.

Settings: LESION_CLIENT_URL, LESION_CLIENT_KEY (which service, and its key), DEMO_HOST, DEMO_PORT.
"""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from service.client import DEFAULT_URL, Client, UnexpectedAnswerError

PAGE = Path(__file__).with_name("page.py")
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_THEME = {
    "base": "light",
    "primaryColor": "#0b5cad",
    "textColor": "#1a1a1a",
    "backgroundColor": "#ffffff",
    "secondaryBackgroundColor": "#f1f4f8",
    "font": "sans-serif",
    "metricValueFontSize": "1.6rem",
    "headingFontSizes": "2.1rem,1.6rem,1.3rem",
}
_OPTIONS = {
    "browser.gatherUsageStats": "false",  # nothing of a visit leaves this machine
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "server.maxUploadSize": "20",  # MB a file, the service's own default limit
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    **{f"theme.{name}": value for name, value in _THEME.items()},
}


def main() -> int:
    """Serve until told to stop; the exit code is 0, or the page's where it ended by itself.

    It is 2 where something that is not the service answers at its address.
    """
    url = urlsplit(os.environ.get("LESION_CLIENT_URL", DEFAULT_URL))
    try:
        with Client(url.geturl()) as client:
            away = not client.health().alive
    except UnexpectedAnswerError as exc:
        way_out = "LESION_CLIENT_URL=http://127.0.0.1:8001 names another address"
        print(f"{exc} (another server may have the port: {way_out})", file=sys.stderr)
        return 2
    children = []
    if away and url.hostname in _THIS_MACHINE:
        print(f"Starting the service at {url.geturl()} ...", flush=True)
        where = {"LESION_HOST": url.hostname, "LESION_PORT": str(url.port or 80)}
        service = [sys.executable, "-m", "service"]
        children.append(subprocess.Popen(service, cwd=PAGE.parents[1], env=os.environ | where))
    elif away:
        print(f"No service answers at {url.geturl()}; the page says so until one does.", flush=True)
    page = subprocess.Popen(command(), cwd=PAGE.parents[1])
    children.append(page)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    code = 0
    with suppress(KeyboardInterrupt):
        code = max(page.wait(), 0)  # below 0: killed, by us
    _stop(children)
    return code


def command() -> list[str]:
    """Return the page's command line; it listens on this machine alone unless DEMO_HOST says so."""
    options = {
        "server.address": os.environ.get("DEMO_HOST", "127.0.0.1"),
        "server.port": os.environ.get("DEMO_PORT", "8501"),
        **_OPTIONS,
    }
    run = [sys.executable, "-m", "streamlit", "run", str(PAGE)]
    return [*run, *(f"--{name}={value}" for name, value in options.items())]


def _stop(children: "list[subprocess.Popen[bytes]]") -> None:
    """End both: the service once it has answered what it began, the page at once."""
    *services, page = children
    page.kill()  # told kindly, it waits for every open browser
    for child in services:
        child.terminate()
    for child in children:
        child.wait()


if __name__ == "__main__":
    sys.exit(main())
