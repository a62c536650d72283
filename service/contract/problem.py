"""Define one kind of HTTP problem (RFC 9457), and the JSON that it is answered with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from service.contract.errors import Fault

PROBLEM_JSON = "application/problem+json"


class Problem(NamedTuple):
    """Status, title and explanation of one kind of error.

    Attributes:
        status: HTTP status.
        slug: Last part of the problem's `type`, and its heading in the documentation.
        title: The same for every occurrence.
        meaning: What it means and what to do, for its page.
        example: A `detail` as a caller may read it.
        retry_after_s: When trying again makes sense, s; None where it never does by itself.
    """

    status: int
    slug: str
    title: str
    meaning: str
    example: str
    retry_after_s: int | None = None


def problem_body(
    problem: Problem,
    *,
    detail: str,
    instance: str,
    request_id: str,
    faults: Sequence[Fault] = (),
) -> dict[str, Any]:
    """Build the JSON of a problem, as `schemas.ProblemDetails`; empty members are left out."""
    body = {
        "type": f"/problems/{problem.slug}",
        "title": problem.title,
        "status": problem.status,
        "detail": detail,
        "instance": instance,
        "request_id": request_id,
        "errors": [
            {"in": fault.place, "field": fault.field, "detail": fault.detail} for fault in faults
        ],
    }
    return {key: value for key, value in body.items() if value}
