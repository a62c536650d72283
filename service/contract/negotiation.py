"""Choose among the types that a route offers by its `Accept` header (RFC 9110, 12.5.1)."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from model_core.decimals import decimal
from service.contract.errors import NotAcceptableError

Format = TypeVar("Format", bound=str)


def negotiate(accept: Sequence[str], offers: Mapping[str, Format]) -> Format:
    """Return the format that suits the caller best.

    Args:
        accept: The values of all such headers; none accepts everything.
        offers: Format by media type, the default first.

    Returns:
        The format with the highest q-value; among equals the one named most exactly (so that
        `application/json, */*` is JSON), then the first.

    Raises:
        NotAcceptableError: nothing on offer is accepted.

    Example:
        >>> offers = {"image/png": "png", "application/json": "rle"}
        >>> negotiate(["application/json, */*;q=0.8"], offers), negotiate([], offers)
        ('rle', 'png')
    """
    ranges = [_parse(item) for item in ",".join(accept).split(",") if item.strip()]
    if not ranges:
        return next(iter(offers.values()))
    ranks = {media_type: _rank(media_type, ranges) for media_type in offers}
    best = max(offers, key=lambda media_type: ranks[media_type])
    if not ranks[best][0]:
        raise NotAcceptableError(f"Accept admits none of {', '.join(offers)}")
    return offers[best]


def _parse(item: str) -> tuple[str, float]:
    """Split a media range from its q-value, which is 0 where it cannot be read."""
    media_range, *parameters = (part.strip().lower() for part in item.split(";"))
    q = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        return media_range, min(max(decimal(q), 0.0), 1.0)
    except ValueError:
        return media_range, 0.0


def _rank(media_type: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """Return q-value and exactness of the range that names a media type most exactly."""
    kind, _, _ = media_type.partition("/")
    exactness = {"*/*": 0, f"{kind}/*": 1, media_type: 2}
    matching = [(exactness[name], q) for name, q in ranges if name in exactness]
    if not matching:
        return 0.0, 0
    exact, q = max(matching)
    return q, exact
