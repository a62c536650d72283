"""Check a caller's key and rate: the dependency that guards a router or a route.

    router = APIRouter(dependencies=[needs("segment")])

It runs before the body is read. The probes, the documentation and the explanations of problems have
none: they hold nothing that is not in this repository, and their callers have no key.
"""

import base64
import math
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import (
    APIKeyHeader,
    HTTPAuthorizationCredentials,
    HTTPBearer,
    SecurityScopes,
)

from service.access.keys import ApiKey, KeyRing
from service.access.rate_limit import RateLimit, caller_of_address
from service.contract.errors import InvalidKeyError, MissingScopeError, RateLimitedError
from service.settings import Settings
from service.telemetry.prometheus import Telemetry
from service.telemetry.ticket import Ticket, ticket_of

_BEARER = HTTPBearer(
    auto_error=False, scheme_name="bearer", description="A key of LESION_API_KEYS_FILE."
)
_HEADER = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="header", description="The same key."
)
_CHALLENGE = 'Bearer realm="lesion-segmentation"'


class Authenticator:
    """Check the key and the rate of each caller.

    Args:
        settings: Where the keys are, and the rate.
        telemetry: Where it is seen that their file cannot be used any more.

    Raises:
        ConfigError: the file of keys cannot be used.
    """

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        path = settings.api_keys_file
        self.keys = keys = KeyRing(path) if path else None
        if keys:
            telemetry.keys_file_intact.set_function(lambda: keys.intact)
        rate = settings.rate_limit
        self._limit = RateLimit(rate, settings.rate_burst) if rate else None

    def admit(
        self, ticket: Ticket, presented: list[str], scope: str, address: str
    ) -> dict[str, str]:
        """Let a request in, and note its key on its ticket.

        Args:
            ticket: The request's.
            presented: All keys that it carries.
            scope: What its route needs.
            address: Of the caller.

        Returns:
            Headers for its answer.

        Raises:
            InvalidKeyError: no key, an unknown or an expired one.
            MissingScopeError: a key that is not for this.
            RateLimitedError: this caller's requests come too fast.
        """
        key = refusal = None
        if self.keys:
            try:
                key = _valid_key(self.keys, presented)
            except InvalidKeyError as exc:
                refusal = exc
        if key:
            ticket.caller = key.id
        headers = {}
        if self._limit:
            # A caller without a key is counted by address, so that guessing is limited as well.
            caller = f"key {key.id}" if key else caller_of_address(address)
            headers = _count(self._limit, caller)
        if refusal:
            raise refusal
        if key and scope not in key.scopes:
            raise MissingScopeError(
                f"the key has the scopes {', '.join(sorted(key.scopes))}, this route needs {scope}",
                {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'},
            )
        return headers


def _count(limit: RateLimit, caller: str) -> dict[str, str]:
    """Count a request of a caller; gives headers that say what is left to it."""
    rate, burst = limit.rate, limit.burst
    wait_s, remaining = limit.take(caller)
    if wait_s:
        seconds = math.ceil(wait_s)
        raise RateLimitedError(
            f"more than {rate:g} requests a second, with at most {burst} at once; "
            f"try again in {seconds} s",
            {"Retry-After": str(seconds)},
        )
    # As in draft-ietf-httpapi-ratelimit-headers: quota and window, what is left of it.
    window_s = math.ceil(burst / rate)
    return {
        "RateLimit-Policy": f'"caller";q={burst};w={window_s}',
        "RateLimit": f'"caller";r={remaining};t={math.ceil((burst - remaining) / rate)}',
    }


def _valid_key(keys: KeyRing, presented: list[str]) -> ApiKey:
    if not presented:
        raise InvalidKeyError(
            "the request has no API key; send one as Authorization: Bearer KEY or X-API-Key: KEY",
            {"WWW-Authenticate": _CHALLENGE},
        )
    challenge = {"WWW-Authenticate": f'{_CHALLENGE}, error="invalid_token"'}
    if len(set(presented)) > 1:
        raise InvalidKeyError("the request has two API keys, expected one", challenge)
    key = keys.find(presented[0])
    if key is None:
        raise InvalidKeyError("the API key is not known", challenge)
    if key.expires and key.expires <= datetime.now(UTC):
        raise InvalidKeyError(f"the API key expired on {key.expires:%Y-%m-%d}", challenge)
    return key


async def _guard(
    request: Request,
    scopes: SecurityScopes,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    header: Annotated[str | None, Depends(_HEADER)],
) -> None:
    presented = [text for text in (bearer and bearer.credentials, header) if text]
    _admit(request, presented, scopes)


async def _guard_basic(
    request: Request,
    scopes: SecurityScopes,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)],
    header: Annotated[str | None, Depends(_HEADER)],
) -> None:
    basic = _password_of(request.headers.get("authorization", ""))
    presented = [text for text in (bearer and bearer.credentials, header, basic) if text]
    _admit(request, presented, scopes)


def _password_of(authorization: str) -> str | None:
    """Return the password of HTTP's basic authentication, whoever the user; None without one.

    Example:
        >>> _password_of("Basic bGFiZWwtc3R1ZGlvOmxza19r"), _password_of("Basic !")
        ('lsk_k', None)
    """
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError:
        return None
    return pair.partition(":")[2] or None


def _admit(request: Request, presented: list[str], scopes: SecurityScopes) -> None:
    authenticator: Authenticator = request.app.state.authenticator
    address = request.client.host if request.client else ""
    ticket = ticket_of(request.scope)
    ticket.answer_headers = authenticator.admit(ticket, presented, scopes.scope_str, address)


def needs(scope: str, *, basic: bool = False) -> Any:
    """Make the dependency of a router or route whose callers need a key with this scope.

    With `basic`, a key is also taken as the password of HTTP's basic authentication, for programs
    that know no other.
    """
    return Security(_guard_basic if basic else _guard, scopes=[scope])
