"""Make the OpenAPI document: what FastAPI derives from the routes, and what it cannot."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from model_core.errors import (
    CorruptVersionError,
    ImageTooLargeError,
    MultiFrameImageError,
    RegistryUnavailableError,
    SegmentationError,
    UnreadableImageError,
    UnsupportedImageError,
    VersionNotFoundError,
)
from service.contract.errors import (
    BodyTooLargeError,
    BodyTooSlowError,
    DeadlineError,
    DecoderFailedError,
    EngineFailedError,
    Fault,
    InvalidKeyError,
    InvalidRequestError,
    MalformedBodyError,
    MissingScopeError,
    NotAcceptableError,
    NotReadyError,
    OverloadedError,
    QueueFullError,
    RateLimitedError,
    UnsupportedMediaTypeError,
)
from service.contract.evaluation import Evaluation
from service.contract.problem import PROBLEM_JSON, Problem, problem_body
from service.contract.problems import INTERNAL, PROBLEMS
from service.contract.schemas import (
    Annotation,
    BatchLine,
    BatchProblem,
    FeatureCollection,
    PolygonAnnotation,
    ProblemDetails,
    RleAnnotation,
)

Json = dict[str, Any]

DESCRIPTION = """\
Send a dermoscopic image, get the lesion's mask in that image's own pixels; send masks,
get the field's scores.

**Not a medical device.** For research; it must not be used to diagnose or to treat.

Every error is `application/problem+json` (RFC 9457); the path in its `type` answers with a page
that explains it, and `/problems` lists them all. Every answer carries `X-Request-Id`.

Where the operator wants callers to have a key, it goes into `Authorization: Bearer KEY` or
`X-API-Key: KEY`.
"""

FORM_ERRORS = (
    MalformedBodyError,
    BodyTooSlowError,
    BodyTooLargeError,
    UnsupportedMediaTypeError,
    InvalidRequestError,
)
BODY_ERRORS = (*FORM_ERRORS, NotAcceptableError)
IMAGE_ERRORS = (
    ImageTooLargeError,
    UnsupportedImageError,
    UnreadableImageError,
    MultiFrameImageError,
)
CALLER_ERRORS = (InvalidKeyError, MissingScopeError, RateLimitedError)
MODEL_ERRORS = (
    VersionNotFoundError,
    CorruptVersionError,
    RegistryUnavailableError,
    NotReadyError,
    QueueFullError,
    OverloadedError,
    EngineFailedError,
    DecoderFailedError,
    DeadlineError,
)

_MODELS = (
    Evaluation,
    Annotation,
    RleAnnotation,
    PolygonAnnotation,
    BatchLine,
    BatchProblem,
    FeatureCollection,
    ProblemDetails,
)
_REFS = "#/components/schemas/{model}"
_REQUEST_ID = "0f3c1e6a9d7b4c2f8a5e6d7c8b9a0f1e"


def _header(description: str, example: str | int) -> Json:
    kind = "string" if isinstance(example, str) else "integer"
    return {"description": description, "schema": {"type": kind}, "example": example}


REQUEST_ID_HEADER: Json = {
    "X-Request-Id": _header(
        "The caller's own where it is 1 to 64 of A-Z a-z 0-9 . _ -, else a new one.", _REQUEST_ID
    )
}
MODEL_HEADERS: Json = {
    **REQUEST_ID_HEADER,
    "X-Model-Version": _header("The version that answered.", "lesion-unet@1.2.0"),
    "X-Model-Digest": _header(
        "SHA-256 of the version's card, which lists the hash of each of its files.",
        "b9dc72d0c4b1e6f5a3928170fedcba98765432100123456789abcdef01234567",
    ),
    "X-Backend": _header("Library, device and precision that ran the network.", "pytorch-cpu-fp32"),
    "Server-Timing": _header(
        "Time spent in each stage, ms.",
        "decode;dur=3.1, queue;dur=0.2, infer;dur=20.4, encode;dur=2.9",
    ),
}
SEGMENT_HEADERS: Json = {
    **MODEL_HEADERS,
    "X-Predicted-Jaccard": _header(
        "Jaccard with an expert's mask to expect of this one, 0 to 1; absent where the version is "
        "not calibrated.",
        "0.8712",
    ),
}


def problems(*errors: type[SegmentationError]) -> dict[int | str, Json]:
    """Return the `responses` of a route that may raise these errors, or fail unexpectedly."""
    responses: dict[int | str, Json] = {}
    for problem in dict.fromkeys([*(PROBLEMS[error] for error in errors), INTERNAL]):
        response = responses.setdefault(problem.status, _problem_response(problem))
        response["content"][PROBLEM_JSON]["examples"][problem.slug] = {
            "summary": problem.title,
            "value": _example_problem(problem),
        }
    return responses


def answers(
    description: str, content: Mapping[str, str | type[BaseModel]], *, headers: Json
) -> Json:
    """Return the 200 response of a route, by media type: a JSON model, or the kind of a file."""
    return {
        "description": description,
        "headers": headers,
        "content": {
            media_type: {"schema": file_field(kind), "example": f"(bytes of a {kind[:-1]})"}
            if isinstance(kind, str)
            else {"schema": {"$ref": _REFS.format(model=kind.__name__)}}
            for media_type, kind in content.items()
        },
    }


def batch_answers() -> Json:
    """Return the 200 response of a batch: lines that are annotations or problems, or a ZIP."""
    names = (BatchLine.__name__, BatchProblem.__name__)
    lines = {
        "type": "string",
        "description": f"Lines of JSON, each a `{names[0]}` or a `{names[1]}`.",
        "x-lines": [{"$ref": _REFS.format(model=name)} for name in names],
    }
    return {
        "description": "One answer an image, in the order sent.",
        "headers": {name: MODEL_HEADERS[name] for name in MODEL_HEADERS if name != "Server-Timing"},
        "content": {
            "application/x-ndjson": {"schema": lines},
            "application/zip": {
                "schema": file_field("ZIP file."),
                "example": "(bytes of a ZIP file)",
            },
        },
    }


def file_field(description: str) -> Json:
    """Return the schema of a file in a form, or as a whole body."""
    return {"type": "string", "format": "binary", "description": description}


def document(app: FastAPI) -> Json:
    """Return the OpenAPI document of an app, with an example for every answer; made once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        models = [(model, "serialization") for model in _MODELS]
        _, more = models_json_schema(models, ref_template=_REFS)  # type: ignore[arg-type]
        schemas = schema["components"]["schemas"] | more["$defs"]
        schema["components"]["schemas"] = dict(sorted(schemas.items()))
        operations = [operation for path in schema["paths"].values() for operation in path.values()]
        _drop_nulls(operations)
        _add_callers(operations, optional=app.state.authenticator.keys is None)
        _add_examples(operations, schemas)
        app.openapi_schema = schema
    return app.openapi_schema


def example_of(schema: Json, schemas: Json) -> Any:
    """Return the example of a schema, put together from those of its fields.

    Args:
        schema: JSON schema of a component or of a part of one.
        schemas: All components, for references.
    """
    if "x-lines" in schema:
        lines = (example_of(line, schemas) for line in schema["x-lines"])
        return "".join(json.dumps(line) + "\n" for line in lines)
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "examples" in schema:
        return schema["examples"][0]
    if "properties" in schema:
        return {name: example_of(field, schemas) for name, field in schema["properties"].items()}
    if "items" in schema:
        return [example_of(schema["items"], schemas)]
    return example_of(schema["anyOf"][0], schemas)


def _drop_nulls(operations: list[Json]) -> None:
    """Give optional parameters their own type alone: a query has no null, only absence."""
    for operation in operations:
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            options = [kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}]
            if len(options) == 1:
                del schema["anyOf"]
                schema.update(options[0])


def _add_callers(operations: list[Json], *, optional: bool) -> None:
    """Add to every guarded operation how it refuses callers, and whether it wants a key here."""
    for operation in operations:
        if "security" not in operation:
            continue
        for status, response in problems(*CALLER_ERRORS).items():
            operation["responses"].setdefault(str(status), response)
        if optional:
            operation["security"].append({})


def _add_examples(operations: list[Json], schemas: Json) -> None:
    for operation in operations:
        for response in operation["responses"].values():
            response.setdefault("headers", REQUEST_ID_HEADER)
            for media in response.get("content", {}).values():
                if not {"example", "examples"} & media.keys():
                    media["example"] = example_of(media["schema"], schemas)


def _problem_response(problem: Problem) -> Json:
    response: Json = {
        "description": problem.title,
        "headers": dict(REQUEST_ID_HEADER),
        "content": {
            PROBLEM_JSON: {"schema": {"$ref": _REFS.format(model="ProblemDetails")}, "examples": {}}
        },
    }
    if problem.status in (401, 403):
        realm = 'Bearer realm="lesion-segmentation"'
        response["headers"]["WWW-Authenticate"] = _header("As RFC 6750.", realm)
    if problem.retry_after_s is not None:
        response["headers"]["Retry-After"] = _header(
            "Try again after as many seconds.", problem.retry_after_s
        )
    return response


def _example_problem(problem: Problem) -> Json:
    faults = []
    if problem is PROBLEMS[InvalidRequestError]:
        field, _, detail = problem.example.partition(": ")
        faults = [Fault(field, detail, place="query")]
    return problem_body(
        problem,
        detail=problem.example,
        instance="/segment",
        request_id=_REQUEST_ID,
        faults=faults,
    )
