"""Count, log and audit every request as it ends, and answer what crashed: an ASGI layer."""

import logging
import time

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.server.error_handlers import CLIENT_GONE, internal_error
from service.telemetry.audit import AuditLog
from service.telemetry.logs import log_fields
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import Ticket, ticket_of

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})

logger = logging.getLogger("service.requests")


class RequestLog:
    """Write and count each request when it has ended, and put its ID into the answer.

    Args:
        app: The application inside.
        telemetry: Where to count.
        audit: Where to write who asked for what; None for nowhere.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry, audit: AuditLog | None) -> None:
        self.app = app
        self._telemetry = telemetry
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and see how it ends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ticket = ticket_of(scope)
        status = CLIENT_GONE
        answered = False

        async def receive_counted() -> Message:
            message = await receive()
            ticket.bytes_in += len(message.get("body", b""))
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                MutableHeaders(scope=message)["X-Request-Id"] = ticket.id
            ticket.bytes_out += len(message.get("body", b""))
            await send(message)

        started = time.perf_counter()
        self._telemetry.in_flight.inc()
        try:
            await self.app(scope, receive_counted, send_with_id)
        except Exception:
            logger.exception("request_id=%s failed", ticket.id, extra={"ticket": ticket})
            if answered:
                raise
            await internal_error(Request(scope))(scope, receive, send_with_id)
        finally:
            self._telemetry.in_flight.dec()
            self._tell(scope, ticket, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, ticket: Ticket, status: int, seconds: float) -> None:
        # The route's template, never the path itself; any other method could be of any name.
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._telemetry.requests.labels(route, method, status).inc()
        self._telemetry.request_seconds.labels(route, method).observe(seconds)
        if ticket.problem:
            self._telemetry.problems.labels(ticket.problem).inc()
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "request_id": ticket.id,
            "key": ticket.caller,
            "trace_id": ticket.trace_id,
        }
        log_fields(logger, logging.DEBUG if route in _PROBES else logging.INFO, fields)
        if self._audit and (route not in _PROBES or status >= 400):
            self._audit.write(ticket, method=method, route=route, status=status, seconds=seconds)
