"""`POST /segment`: a photograph in, its lesion's mask out."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from model_core.images.announced_size import announced_pixels
from service.access.auth import needs
from service.answers.formats import encode_answer, media_type_of, model_headers
from service.api.dependencies import EngineOf
from service.api.uploads import read_photograph
from service.contract.errors import InvalidRequestError
from service.contract.negotiation import negotiate
from service.contract.openapi import (
    BODY_ERRORS,
    IMAGE_ERRORS,
    MODEL_ERRORS,
    SEGMENT_HEADERS,
    Json,
    answers,
    file_field,
    problems,
)
from service.contract.queries import AnswerFormat, AnswerQuery, SegmentQuery, misplaced
from service.contract.schemas import Annotation, FeatureCollection
from service.pipeline.engine import Engine
from service.pipeline.segmented import Segmented

router = APIRouter(tags=["segmentation"], dependencies=[needs("segment")])

# No image/jpeg: who accepts pictures of any kind wants the mask, and a mask is never a JPEG.
_OFFERS: dict[str, AnswerFormat] = {
    "image/png": "png",
    "application/json": "rle",
    "application/geo+json": "geojson",
    "application/zip": "zip",
    "application/dicom": "dicom-seg",
}
_RAW_TYPES = (
    *(f"image/{kind}" for kind in ("jpeg", "png", "tiff", "bmp", "webp", "heic", "avif")),
    "application/dicom",
)
PHOTOGRAPH_FORM: Json = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"image": file_field("JPEG, PNG, TIFF, BMP, WebP, HEIC, AVIF or DICOM.")},
            "required": ["image"],
            "additionalProperties": False,
        }
    }
}
_BODY = {
    "required": True,
    "content": {
        **PHOTOGRAPH_FORM,
        **{kind: {"schema": file_field("The file itself.")} for kind in _RAW_TYPES},
        "application/octet-stream": {"schema": file_field("The file itself, of any such type.")},
    },
}
_RESPONSES = {
    200: answers(
        "The mask, in the frame of the upright photograph, in the form asked for.",
        {
            "image/png": "PNG file.",
            "application/json": Annotation,
            "application/geo+json": FeatureCollection,
            "image/jpeg": "JPEG file.",
            "application/zip": "ZIP file.",
            "application/dicom": "DICOM file.",
        },
        headers=SEGMENT_HEADERS,
    ),
    **problems(*BODY_ERRORS, *IMAGE_ERRORS, *MODEL_ERRORS),
}


@router.post(
    "/segment",
    summary="Segment the lesion of a photograph",
    response_class=Response,
    responses=_RESPONSES,
    openapi_extra={"requestBody": _BODY},
)
async def segment(
    request: Request,
    query: Annotated[SegmentQuery, Query()],
    engine: EngineOf,
) -> Response:
    r"""The mask has the height and width of the upright photograph (EXIF orientation applied).

    `format` or `Accept` chooses among six kinds of answer, which a generated client cannot type: it
    takes `/segment/mask`, `/segment/annotation`, `/segment/polygons` or `/segment/geojson`.

    No lesion is an empty mask, not an error. `score` (in a PNG's answer the header
    `X-Predicted-Jaccard`) is the Jaccard to expect of the mask: where it is low, let a person look.

        curl -F image=@lesion.jpg -o mask.png http://127.0.0.1:8000/segment
        curl -F image=@lesion.jpg 'http://127.0.0.1:8000/segment?format=rle'
        curl -F image=@lesion.jpg -o outlined.png 'http://127.0.0.1:8000/segment?format=overlay'
        curl --data-binary @lesion.jpg -H 'Content-Type: image/jpeg' -o mask.png \
            http://127.0.0.1:8000/segment
        curl -F image=@lesion.dcm -o seg.dcm 'http://127.0.0.1:8000/segment?format=dicom-seg'
    """
    form = query.format or negotiate(request.headers.getlist("accept"), _OFFERS)
    response = await answer(request, query, engine, form)
    response.headers["Vary"] = "Accept"
    return response


async def answer(
    request: Request, query: AnswerQuery, engine: Engine, form: AnswerFormat
) -> Response:
    """Segment the request's photograph, and answer in one form.

    Raises:
        InvalidRequestError: the form has no use for a parameter, or there is not one photograph.
    """
    if faults := misplaced(query, form):
        raise InvalidRequestError(*faults)
    data = await read_photograph(request)
    place = engine.admission.place(request, pixels=announced_pixels(data))
    async with place, engine.version(query.model) as version:
        (content, score), stages = await engine.predict(
            version,
            data,
            lambda prediction: (
                encode_answer(Segmented(prediction, version, data, query), form),
                prediction.score,
            ),
            threshold=query.threshold,
        )
        headers = model_headers(version, stages)
        if score is not None:
            headers["X-Predicted-Jaccard"] = f"{score:.4f}"
    return Response(content, headers=headers, media_type=media_type_of(form))
