"""Starts the server: `python -m service`, settings from the environment (docs/settings.md)."""

import contextlib
import gc
import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from model_core.backends.cores import usable_cores
from model_core.errors import ConfigError, SegmentationError
from service.settings import Settings, load_settings, unknown_variables
from service.telemetry.logs import configure_logging

_BACKLOG = 2048
FAULTY = 3
"""Exit code of a process whose network was stuck or failing: another one has to be started."""
logger = logging.getLogger("service")


def main(arguments: Sequence[str] = ()) -> int:
    """Serve until told to stop, and end the process then: with exit code 0, or `FAULTY`.

    Args:
        arguments: The command line's; there are none to give.

    Returns:
        Exit code where it cannot serve: 1 where the registry has no model that can be served, 2
        where a setting cannot be used, each with one line on stderr.
    """
    try:
        if arguments:
            raise ConfigError(
                f"the first argument is {arguments[0]!r}, expected none: settings are environment "
                "variables (docs/settings.md)"
            )
        settings = load_settings()
        with _listen(settings) as listener:
            _serve(settings, listener)
    except SegmentationError as exc:
        print("lesion-service:", " ".join(str(exc).split()), file=sys.stderr)
        return 2 if isinstance(exc, ConfigError) else 1


def _serve(settings: Settings, listener: socket.socket) -> NoReturn:
    # Only now: a wrong setting or a port that is taken is told without waiting for these imports.
    from service.app import create_app
    from service.server.server import Server

    # Read by PyTorch when it is loaded, which may be never.
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))
    configure_logging(settings.log_level, settings.log_format)
    for name in unknown_variables():
        logger.warning("%s is no setting and has no effect", name)
    app = create_app(settings)
    # Before the server runs: a version that fails its checks is then one line, not a traceback.
    app.state.parts.versions.load_production()
    # What is there now stays: a full collection would look through all of it again and again,
    # holding up the event loop for 80 ms. A version is freed by its last reference.
    gc.collect()
    gc.freeze()
    host = f"[{settings.host}]" if listener.family == socket.AF_INET6 else settings.host
    logger.info("serving=http://%s:%d docs=http://%s:%d/docs", *(host, settings.port) * 2)
    with contextlib.suppress(KeyboardInterrupt):
        Server(app, settings).run(sockets=[listener])
    logging.shutdown()
    # Python would wait for its threads, one of which may never end.
    os._exit(FAULTY if app.state.parts.health.fault else 0)


def _listen(settings: Settings) -> socket.socket:
    """Open the socket that connections are accepted on."""
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server(
            (host, port), family=family, backlog=_BACKLOG, reuse_port=settings.reuse_port
        )
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {exc.strerror}; "
            "set LESION_HOST or LESION_PORT to an address and port that are free"
        ) from exc


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
