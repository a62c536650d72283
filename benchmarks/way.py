"""Count the files and functions that one request passes: `python -m benchmarks.way [--list]`.

A form with a PNG is posted to a real server with the default settings, over a connection that is
open and warm. A profiler notes every function of `service` and `model_core` that begins meanwhile,
in any thread. What runs without a request too (timers, probes) is noted before, and left out.
"""

import argparse
import http.client
import io
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

from PIL import Image as Pillow

from benchmarks.bodies import MULTIPART, draw_photograph, multipart
from service.app import create_app
from service.server.server import Server
from service.settings import Settings

ROOT = Path(__file__).parent.parent
PACKAGES = ("service", "model_core")
_WARM = 5
"""Requests before the one that is counted."""
_SETTLE_S = 1.0
"""How long the server is watched without a request; its longest timer comes twice a second."""
_AFTER_S = 0.05
"""How long is waited after the answer, for what is counted and logged then."""


class Way:
    """A profiler that notes each function of ours once, in the order of their first calls."""

    def __init__(self) -> None:
        self.seen: dict[CodeType, None] = {}
        self.watching = False
        self._ours = tuple(f"{ROOT / package}/" for package in PACKAGES)

    def note(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call, as `sys.setprofile` wants it."""
        if self.watching and event == "call" and frame.f_code.co_filename.startswith(self._ours):
            self.seen.setdefault(frame.f_code)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Note what is called meanwhile."""
        self.watching = True
        try:
            yield
        finally:
            self.watching = False


def way_of_a_request(settings: Settings) -> list[CodeType]:
    """Return the functions that a warm `POST /segment` passes, in the order of their first calls.

    Args:
        settings: Of the service; its address is chosen here.
    """
    picture, body = Pillow.open(io.BytesIO(draw_photograph(0))), io.BytesIO()
    picture.save(body, "PNG")
    form = multipart(body.getvalue())
    way = Way()
    threading.setprofile(way.note)  # of the threads that begin from now on: the server's
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(create_app(settings), settings)
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.05)
            connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1])
            for _ in range(_WARM):
                _ask(connection, form)
            with way.watch():
                time.sleep(_SETTLE_S)
            idle, way.seen = way.seen, {}
            with way.watch():
                _ask(connection, form)
                time.sleep(_AFTER_S)
            connection.close()
        finally:
            server.should_exit = True
            thread.join()
            threading.setprofile(None)
    return [code for code in way.seen if code not in idle]


def _ask(connection: http.client.HTTPConnection, form: bytes) -> None:
    connection.request("POST", "/segment", form, {"Content-Type": MULTIPART})
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{answer.status}: {answer.read()!r}")
    answer.read()


def main(words: Sequence[str] | None = None) -> int:
    """Print the numbers, and the way itself where it is asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks.way")
    parser.add_argument("--list", action="store_true", help="print the functions, in order")
    arguments = parser.parse_args(words)
    way = way_of_a_request(Settings())
    places = [(str(Path(code.co_filename).relative_to(ROOT)), code) for code in way]
    if arguments.list:
        for file, code in places:
            print(f"{file}:{code.co_firstlineno} {code.co_qualname}")
    print(f"{len({file for file, _ in places})} files, {len(places)} functions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
