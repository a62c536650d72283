"""Answer every error, the framework's own included, as RFC 9457 `application/problem+json`."""

import json
import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from model_core.errors import (
    ConfigError,
    CorruptVersionError,
    InputError,
    SegmentationError,
    VersionNotFoundError,
)
from service.contract.errors import (
    Fault,
    InvalidRequestError,
    MethodNotAllowedError,
    NoSuchRouteError,
)
from service.contract.problem import PROBLEM_JSON, Problem, problem_body
from service.contract.problems import INTERNAL, problem_of
from service.contract.quoting import unknown_name
from service.telemetry.ticket import ticket_of

# The texts of these quote what was asked for.
_DETAILS: dict[type[Exception], str] = {
    ConfigError: "model: expected a version, an alias or name@version",
    VersionNotFoundError: "no such version or alias; GET /models lists all there are",
}
CLIENT_GONE = 499
"""Status in logs and metrics of a request whose caller left; nobody receives it."""

logger = logging.getLogger("service.errors")


def add_error_handlers(app: FastAPI) -> None:
    """Answer the errors of all routes from the table in `service.contract.problems`."""
    app.exception_handler(SegmentationError)(_on_error)
    app.exception_handler(HTTPException)(_on_http_error)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.exception_handler(ClientDisconnect)(_on_client_gone)


def internal_error(request: Request) -> Response:
    """Answer what nobody foresaw: without a detail, which might hold what it should not."""
    return _respond(request, INTERNAL)


async def _on_error(request: Request, exc: SegmentationError) -> Response:
    problem = problem_of(exc)
    if problem is INTERNAL:
        raise exc
    if isinstance(exc, CorruptVersionError):
        ticket = ticket_of(request.scope)
        logger.error("request_id=%s %s", ticket.id, exc, extra={"ticket": ticket})
    response = _respond(request, problem, exc)
    response.headers.update(getattr(exc, "headers", {}))
    return response


async def _on_http_error(request: Request, exc: HTTPException) -> Response:
    headers = exc.headers or {}
    error: InputError
    if exc.status_code == 404:
        error = NoSuchRouteError("there is nothing at this path; /docs lists all routes")
    elif exc.status_code == 405:
        methods = {method.strip() for method in headers.get("Allow", "").split(",")}
        methods |= {method for method in ("GET", "POST") if _takes(request, method)}
        allowed = ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))
        headers = {**headers, "Allow": allowed}
        error = MethodNotAllowedError(f"this path does not take that method, it takes {allowed}")
    else:
        raise exc
    response = await _on_error(request, error)
    response.headers.update(headers)
    return response


def _takes(request: Request, method: str) -> bool:
    """Tell whether a route answers this path by a method: the framework names the first's alone."""
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


async def _on_invalid(request: Request, exc: RequestValidationError) -> Response:
    faults = [
        Fault(str(error["loc"][-1]), _detail(request, error), place=str(error["loc"][0]))
        for error in exc.errors()
    ]
    return await _on_error(request, InvalidRequestError(*faults))


def _detail(request: Request, error: Mapping[str, Any]) -> str:
    """Word one validation error; of an unknown parameter, name the one that was probably meant."""
    if error["type"] == "extra_forbidden":
        return unknown_name(str(error["loc"][-1]), _parameters(request.scope["route"]))
    return str(error["msg"]).removeprefix("Value error, ")


def _parameters(route: APIRoute) -> list[str]:
    """List a route's query parameters; each of ours takes them as the fields of one model."""
    models = [field.field_info.annotation for field in route.dependant.query_params]
    return [name for model in models for name in getattr(model, "model_fields", {})]


async def _on_client_gone(request: Request, exc: ClientDisconnect) -> Response:
    return Response(status_code=CLIENT_GONE)


def error_body(request: Request, exc: Exception) -> dict[str, Any]:
    """Build the JSON of an error that is part of a longer answer; nothing is raised.

    What nobody foresaw is logged, and has no detail, as everywhere.
    """
    problem = problem_of(exc) if isinstance(exc, SegmentationError) else INTERNAL
    if problem is INTERNAL:
        ticket = ticket_of(request.scope)
        logger.error("request_id=%s failed", ticket.id, exc_info=exc, extra={"ticket": ticket})
    return _body(request, problem, exc)


def _respond(request: Request, problem: Problem, exc: Exception | None = None) -> Response:
    ticket_of(request.scope).problem = problem.slug
    # json.dumps escapes to ASCII: a detail may quote half a surrogate pair from a caller's JSON.
    text = json.dumps(_body(request, problem, exc))
    response = Response(text, problem.status, media_type=PROBLEM_JSON)
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    return response


def _body(request: Request, problem: Problem, exc: Exception | None) -> dict[str, Any]:
    detail = ""
    if exc is not None and problem is not INTERNAL:
        detail = _DETAILS.get(type(exc)) or str(exc)
    # The path where it is a route of ours, up to its parameters: these are the caller's text.
    path: str = getattr(request.scope.get("route"), "path", "")
    return problem_body(
        problem,
        detail=detail,
        instance=path.partition("/{")[0],
        request_id=ticket_of(request.scope).id,
        faults=exc.faults if isinstance(exc, InvalidRequestError) else (),
    )
