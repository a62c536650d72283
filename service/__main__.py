"""Starts the server: `python -m service`, settings from the environment (docs/settings.md)."""

import contextlib
import logging
import socket
import sys

import uvicorn

from model_core.errors import ConfigError, SegmentationError
from service.app import create_app
from service.logs import configure_logging
from service.settings import Settings, load_settings, unknown_variables

_BACKLOG = 2048
_GRACE_S = 30
"""How long requests under way may take to finish once the process is told to stop."""

logger = logging.getLogger("service")


def main() -> int:
    """Serve until told to stop.

    Returns:
        Exit code: 0; 1 where the registry has no model that can be served, 2 where a setting
        cannot be used, each with one line on stderr.
    """
    try:
        settings = load_settings()
        with _listen(settings) as listener:
            _serve(settings, listener)
    except SegmentationError as exc:
        print("lesion-service:", " ".join(str(exc).split()), file=sys.stderr)
        return 2 if isinstance(exc, ConfigError) else 1
    return 0


def _serve(settings: Settings, listener: socket.socket) -> None:
    configure_logging(settings.log_level, settings.log_format)
    for name in unknown_variables():
        logger.warning("%s is no setting and has no effect", name)
    app = create_app(settings)
    # Before the server runs: a version that fails its checks is then one line, not a traceback.
    app.state.engine.load_production()
    host = f"[{settings.host}]" if listener.family == socket.AF_INET6 else settings.host
    logger.info("serving=http://%s:%d docs=http://%s:%d/docs", *(host, settings.port) * 2)
    config = uvicorn.Config(
        app,
        lifespan="on",
        ws="none",
        log_config=None,
        access_log=False,  # it prints raw paths; service.request_log logs each request
        server_header=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=_GRACE_S,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {exc.strerror}; "
            "set LESION_HOST or LESION_PORT to an address and port that are free"
        ) from exc


if __name__ == "__main__":
    sys.exit(main())
