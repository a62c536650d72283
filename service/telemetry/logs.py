"""Write the process's log on stderr: one line an event, as text or as JSON."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from service.settings import LogFormat
from service.telemetry.ticket import Ticket

_FIELDS = "fields"


def configure_logging(level: str, form: LogFormat = "text") -> None:
    """Log one line an event on stderr, from this service and its server at `level`.

    Libraries stay at WARNING: at DEBUG they print what they decode, EXIF texts included.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s")
    handler.setFormatter(_JsonFormatter() if form == "json" else text)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for ours in ("service", "uvicorn"):
        logging.getLogger(ours).setLevel(level)
    # Readers of bodies quote them in warnings; every fault they find is answered as a problem.
    logging.captureWarnings(capture=True)
    for reader in ("PIL", "py.warnings", "pydicom"):
        logging.getLogger(reader).setLevel(logging.CRITICAL)


def log_fields(logger: logging.Logger, level: int, fields: Mapping[str, object]) -> None:
    """Log an event that is all fields: `name=value` as text, members of the object as JSON."""
    if logger.isEnabledFor(level):
        given = {name: value for name, value in fields.items() if value is not None}
        text = " ".join(f"{name}={value}" for name, value in given.items())
        logger.log(level, "%s", text, extra={_FIELDS: given})


class _JsonFormatter(logging.Formatter):
    """One JSON object a line; what is logged with a ticket (`extra`) carries the request's ID."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": utc_text(record.created),
            "level": record.levelname,
            "logger": record.name,
        }
        ticket: Ticket | None = getattr(record, "ticket", None)
        if ticket:
            event |= {"request_id": ticket.id, "trace_id": ticket.trace_id}
        fields = getattr(record, _FIELDS, None)
        event |= fields if fields else {"message": record.getMessage()}
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps({name: value for name, value in event.items() if value is not None})


def utc_text(seconds: float) -> str:
    """Write a time of the clock as RFC 3339 has it, UTC, to the millisecond.

    Example:
        >>> utc_text(1.5)
        '1970-01-01T00:00:01.500Z'
    """
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
