"""`POST /evaluate`: expert masks, with images or predicted masks, in; scores out."""

from contextlib import nullcontext
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from model_core.decimals import parse_spacing
from model_core.errors import InvalidMaskError, InvalidRleError, ShapeMismatchError
from model_core.images.announced_size import announced_pixels
from service.access.auth import needs
from service.answers.formats import model_headers
from service.api.dependencies import Parts, PartsOf
from service.api.uploads import read_form
from service.contract.errors import (
    Fault,
    InvalidRequestError,
    NotAcceptableError,
    TooManyPixelsError,
)
from service.contract.evaluation import Evaluation
from service.contract.negotiation import negotiate
from service.contract.openapi import (
    FORM_ERRORS,
    IMAGE_ERRORS,
    MODEL_ERRORS,
    MODEL_HEADERS,
    answers,
    file_field,
    problems,
)
from service.contract.queries import EvaluateQuery, EvaluationFormat, ScoresQuery
from service.pipeline.evaluation import Evaluator, check_pixels, pairs_of, without_unchosen
from service.telemetry.ticket import ticket_of

router = APIRouter(tags=["evaluation"], dependencies=[needs("evaluate")])

_OFFERS: dict[str, EvaluationFormat] = {"application/json": "json", "image/png": "png"}
_FIELDS = {
    "image": "Images to segment; send these or `pred`.",
    "pred": "Masks of any model: PNG, or COCO JSON (run lengths or polygons). These or `image`.",
    "truth": "The experts' masks: PNG, or COCO JSON (run lengths or polygons).",
}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    name: {
                        "type": "array",
                        "items": file_field(text),
                        "description": text,
                        # Else /docs sends a made-up item of the field that nobody filled in.
                        "default": [],
                    }
                    for name, text in _FIELDS.items()
                },
                "required": ["truth"],  # generators lose the fields beside a oneOf
                "additionalProperties": False,
            }
        }
    },
}
_ERRORS = (
    *FORM_ERRORS,
    *IMAGE_ERRORS,
    TooManyPixelsError,
    InvalidMaskError,
    InvalidRleError,
    ShapeMismatchError,
    *MODEL_ERRORS,
)


@router.post(
    "/evaluate",
    summary="Score masks against experts' masks",
    response_class=Response,
    responses={
        200: answers(
            "Scores, or the picture of one pair.",
            # The first is what /docs asks for.
            {"application/json": Evaluation, "image/png": "PNG file."},
            headers=MODEL_HEADERS,
        ),
        **problems(*_ERRORS, NotAcceptableError),
    },
    openapi_extra={"requestBody": _BODY},
)
async def evaluate(
    request: Request,
    query: Annotated[EvaluateQuery, Query()],
    parts: PartsOf,
) -> Response:
    r"""Send `truth` with `image` or `pred`; repeated fields make a set and pair in the order sent.

    The picture colours true positives blue, false positives orange and false negatives purple.

        curl -F image=@lesion.jpg -F truth=@expert.png http://127.0.0.1:8000/evaluate
        curl -F pred=@mine.png -F truth=@expert.png http://127.0.0.1:8000/evaluate
        curl -F pred=@mine.png -F truth=@expert.png -o errors.png \
            'http://127.0.0.1:8000/evaluate?format=png'
    """
    format = query.format or negotiate(request.headers.getlist("accept"), _OFFERS)
    response = await _answer(request, query, format, parts)
    response.headers["Vary"] = "Accept"
    return response


@router.post(
    "/evaluate/scores",
    summary="Score masks against experts' masks, as JSON",
    response_class=Response,
    responses={
        200: answers("Scores.", {"application/json": Evaluation}, headers=MODEL_HEADERS),
        **problems(*_ERRORS),
    },
    openapi_extra={"requestBody": _BODY},
)
async def evaluate_scores(
    request: Request,
    query: Annotated[ScoresQuery, Query()],
    parts: PartsOf,
) -> Response:
    """As `/evaluate?format=json`, whatever `Accept` says. Send `truth` with `image` or `pred`."""
    return await _answer(request, query, "json", parts)


async def _answer(
    request: Request, query: ScoresQuery, format: EvaluationFormat, parts: Parts
) -> Response:
    settings = parts.settings
    sent = await read_form(request, fields=_FIELDS, max_parts=2 * settings.max_pairs)
    form = without_unchosen(sent)
    pairs = pairs_of(form, max_pairs=settings.max_pairs)
    _check_query(query, format, predicts="image" in form, pairs=len(pairs))
    check_pixels(
        pairs,
        max_pixels=settings.max_request_pixels,
        max_image_pixels=settings.max_image_pixels,
    )
    # Of images, one after the other; masks are compared apart, and nobody waits for them.
    largest = max(announced_pixels(image) for image in form.get("image", [b""]))
    ticket = ticket_of(request.scope)
    slot = parts.admission.slot(
        request, ticket, pixels=largest, deadline_s=settings.evaluation_seconds
    )
    use = parts.versions.use(query.model) if "image" in form else nullcontext()
    async with slot, use as version:
        spacing = parse_spacing(query.spacing_mm) if query.spacing_mm else None
        limit = settings.max_image_pixels
        threshold = query.threshold_of(version.predictor.postprocess_config) if version else None
        evaluator = Evaluator(parts.pipeline, ticket, version, threshold, limit, spacing)
        png = format == "png"
        content = await (evaluator.picture(pairs[0]) if png else evaluator.scores(pairs))
        headers = model_headers(version, ticket) if version else {}
    media_type = "image/png" if png else "application/json"
    return Response(content, headers=headers, media_type=media_type)


def _check_query(
    query: ScoresQuery, format: EvaluationFormat, *, predicts: bool, pairs: int
) -> None:
    faults = []
    if format == "png" and pairs != 1:
        faults.append(Fault("format", f"png takes one pair, found {pairs}", place="query"))
    if format == "png" and query.spacing_mm:
        faults.append(Fault("spacing_mm", "only with scores: a picture has none", place="query"))
    for name in ("threshold", "margin", "model"):
        if not predicts and getattr(query, name) is not None:
            faults.append(Fault(name, "only with image: the masks were sent", place="query"))
    if faults:
        raise InvalidRequestError(*faults)
