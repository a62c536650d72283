"""Answers that a connection gives by itself, before there is a request for the application."""

import json
import logging
import uuid
from http import HTTPStatus

from model_core.errors import SegmentationError
from service.contract.problems import PROBLEM_JSON, PROBLEMS, problem_body
from service.server.headers import HEADERS, shared_with
from service.settings import Settings
from service.telemetry.prometheus import Telemetry

logger = logging.getLogger("service.connections")


class Refusals:
    """Writes them, and counts them.

    Args:
        settings: Whose pages may read them.
        telemetry: Where they are counted.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._origins = settings.origins()
        self._telemetry = telemetry
        self._fixed = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())

    def answer(self, error: SegmentationError, origin: str = "") -> bytes:
        """The whole answer, after which the connection ends.

        Args:
            error: Why.
            origin: Of the page that asks; empty where none is known.
        """
        problem, request_id = PROBLEMS[type(error)], uuid.uuid4().hex
        self._telemetry.problems.labels(problem.slug).inc()
        self._telemetry.requests.labels("refused", "other", problem.status).inc()
        value = problem_body(problem, detail=str(error), instance="/", request_id=request_id)
        body = json.dumps(value).encode()
        headers = {
            "Connection": "close",
            "Content-Type": PROBLEM_JSON,
            "Content-Length": len(body),
            "X-Request-Id": request_id,
            **shared_with(origin, self._origins),
        }
        if problem.retry_after_s is not None:
            headers["Retry-After"] = problem.retry_after_s
        headers |= getattr(error, "headers", {})
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        first = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n"
        logger.debug("problem=%s request_id=%s", problem.slug, request_id)
        return f"{first}{lines}{self._fixed}\r\n".encode() + body
