"""ASGI layers around the application: headers that every answer carries, HEAD, and CORS."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.telemetry.ticket import ticket_of

HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # Masks and scores belong to a patient: nothing on the way keeps them.
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_CORS_METHODS = ("GET", "HEAD", "POST")
_CORS_HEADERS = (
    "Authorization",
    "X-API-Key",
    "X-Request-Id",
    "traceparent",
    # What upload widgets and tracing add by themselves. Nothing here reads it, so it carries no
    # authority; but a browser does not send a request at all one of whose headers is not allowed.
    "baggage",
    "Cache-Control",
    "Content-Disposition",
    "If-Modified-Since",
    "Pragma",
    "sentry-trace",
    "tracestate",
    "X-File-Name",
    "X-File-Size",
    "X-File-Type",
    "X-Mime-Type",
    "X-Requested-With",
)
_EXPOSED = (
    "Retry-After",
    "Server-Timing",
    "X-Backend",
    "X-Model-Digest",
    "X-Model-Version",
    "X-Predicted-Jaccard",
    "X-Request-Id",
)


def shared_with(origin: str, origins: Sequence[str]) -> Mapping[str, str]:
    """Get the headers that let a page of an origin read the answer; none where it may not.

    Example:
        >>> shared_with("https://a.example", ["https://b.example"])
        {'Vary': 'Origin'}
    """
    if not origins:
        return {}
    if not origin or (origin not in origins and "*" not in origins):
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ", ".join(_EXPOSED),
        "Vary": "Origin",
    }


def page_policy(html: str) -> str:
    """Write the Content-Security-Policy of a page of ours: its own inline parts and files, no more.

    Example:
        >>> page_policy("<script>go()</script>")
        "default-src 'none'; ...; script-src 'self' 'sha256-...'; ..."
    """
    scripts = " ".join(
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for text in re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    )
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        f"script-src 'self' {scripts}".rstrip()
        # Swagger UI styles its parts while it draws them, and its icons are data.
        + "; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'"
    )


class AnswerHeaders:
    """Add `HEADERS` where the answer has none of that name, and those of the request's ticket.

    Args:
        app: The application inside.
        origins: Whose pages may read the answers, all of them: those to crashes too.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str] = ()) -> None:
        self.app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and complete its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        origin = Headers(scope=scope).get("origin", "")

        async def send_complete(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in shared_with(origin, self._origins).items():
                    if name == "Vary":
                        headers.add_vary_header(value)
                    else:
                        headers.setdefault(name, value)
                more = ticket_of(scope).answer_headers
                for name, value in {**HEADERS, **more}.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_complete)


class HeadAsGet:
    """Answer HEAD as GET, without the body (RFC 9110, section 9.3.2).

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        # A copy: the server looks into its own to see that no body follows.
        inner = {**scope, "method": "GET"}

        async def send_no_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            await self.app(inner, receive, send_no_body)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]  # for logs and counters


class Preflights(CORSMiddleware):
    """Tell the web pages of some origins what they may send; for others it is not there.

    That they may read the answers is for `AnswerHeaders` to say.

    Args:
        app: The application inside.
        origins: Such as `https://tool.example.org`.
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_CORS_METHODS,
            allow_headers=_CORS_HEADERS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Tell what an allowed origin may ask; the browser sees by itself that more is too much."""
        allowed = super().preflight_response(request_headers).headers
        headers = {name: value for name, value in allowed.items() if not name.startswith("content")}
        return Response(status_code=204, headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer the preflight of an origin that may call."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            headers = Headers(scope=scope)
            asked = "access-control-request-method" in headers
            if asked and self.is_allowed_origin(headers.get("origin", "")):
                await self.preflight_response(headers)(scope, receive, send)
                return
        await self.app(scope, receive, send)
