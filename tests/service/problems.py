"""What every error body has in common, asserted in one place."""

from httpx2 import Response

from service.schemas import ProblemDetails


def assert_problem(response: Response, status: int, slug: str) -> ProblemDetails:
    """The response is that problem, complete and consistent; returns its body."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem = ProblemDetails.model_validate_json(response.content)
    assert (response.status_code, problem.type) == (status, f"/problems/{slug}"), response.text
    assert problem.status == status
    assert problem.request_id == response.headers["x-request-id"]
    if problem.instance is None:
        assert status == 404
    else:
        assert response.request.url.path.startswith(problem.instance)
    assert (problem.detail is None) == (status == 500)
    assert bool(problem.errors) == ("errors" in response.json())
    assert ("retry-after" in response.headers) == (status in (429, 503))
    assert ("www-authenticate" in response.headers) == (status in (401, 403))
    assert ("allow" in response.headers) == (status == 405)
    return problem
