"""Counters and logs: what was asked, how it ended, how long it took; never what it was about.

No file name, no pixel, no query value and no raw path appears here: any of them may name a person.
"""

import logging
import re
import sys
import time
import uuid

from fastapi import Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.error_handlers import CLIENT_GONE, internal_error

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

logger = logging.getLogger("service.requests")


class Telemetry:
    """The Prometheus metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "lesion_http_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "lesion_http_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ["route", "method"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "lesion_stage_duration_seconds",
            "Time of one image in one stage.",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "lesion_queue_depth", "Requests being worked on or waiting.", registry=self.registry
        )
        self.model = Info("lesion_model", "The production version.", registry=self.registry)
        self.reloads = Counter(
            "lesion_model_reloads",
            "Attempts to put another version in production while serving.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("ok", "failed"):  # an alert on an increase needs the zero before it
            self.reloads.labels(outcome)


class Stages:
    """Seconds spent in each stage of a request.

    Example:
        >>> Stages().header()
        'decode;dur=0.0, queue;dur=0.0, infer;dur=0.0, encode;dur=0.0'
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(("decode", "queue", "infer", "encode"), 0.0)

    def add(self, other: "Stages") -> None:
        """Count another image's seconds too."""
        for stage, seconds in other.seconds.items():
            self.seconds[stage] += seconds

    def header(self) -> str:
        """The value of `Server-Timing`, in ms."""
        return ", ".join(f"{name};dur={s * 1000:.1f}" for name, s in self.seconds.items())


class RequestTelemetry:
    """ASGI middleware: gives each request an ID, counts it, logs it, and answers what crashed.

    Args:
        app: The application inside.
        telemetry: Where to count.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and see how it ends."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        request.state.request_id = _request_id(request.headers.get("x-request-id", ""))
        status = CLIENT_GONE
        answered = False

        async def send_with_id(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                MutableHeaders(scope=message)["X-Request-Id"] = request.state.request_id
            await send(message)

        started = time.perf_counter()
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("request_id=%s failed", request.state.request_id)
            if answered:
                raise
            await internal_error(request)(scope, receive, send_with_id)
        finally:
            self._record(request, status, time.perf_counter() - started)

    def _record(self, request: Request, status: int, seconds: float) -> None:
        # The route's template, never the path itself; any other method could be of any name.
        route = getattr(request.scope.get("route"), "path", "unmatched")
        method = request.method if request.method in _METHODS else "other"
        self.telemetry.requests.labels(route, method, status).inc()
        self.telemetry.request_seconds.labels(route, method).observe(seconds)
        logger.log(
            logging.DEBUG if route in _PROBES else logging.INFO,
            "method=%s route=%s status=%d ms=%.1f request_id=%s",
            method,
            route,
            status,
            seconds * 1000,
            request.state.request_id,
        )


def configure_logging(level: str) -> None:
    """One line an event on stderr, from this service and its server at `level`.

    Libraries stay at WARNING: at DEBUG they print what they decode, EXIF texts included.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("time=%(asctime)s level=%(levelname)s logger=%(name)s %(message)s")
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for ours in ("service", "uvicorn"):
        logging.getLogger(ours).setLevel(level)
    # It warns with bytes of the body, and every fault it finds is answered as a problem anyway.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


def _request_id(proposed: str) -> str:
    return proposed if _REQUEST_ID.fullmatch(proposed) else uuid.uuid4().hex
