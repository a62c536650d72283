"""`POST /segment`: a photograph in, its lesion's mask out."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from service.answers import encode_prediction, model_headers
from service.dependencies import EngineOf, SettingsOf
from service.negotiation import negotiate
from service.openapi import (
    BODY_ERRORS,
    IMAGE_ERRORS,
    MODEL_ERRORS,
    SEGMENT_HEADERS,
    file_field,
    png_or_json,
    problems,
)
from service.queries import MaskFormat, SegmentQuery
from service.schemas import Annotation
from service.security import needs
from service.uploads import read_photograph

router = APIRouter(tags=["segmentation"], dependencies=[needs("segment")])

_OFFERS: dict[str, MaskFormat] = {"image/png": "png", "application/json": "rle"}
_RAW_TYPES = ("jpeg", "png", "tiff", "bmp", "webp")
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"image": file_field("JPEG, PNG, TIFF, BMP or WebP.")},
                "required": ["image"],
                "additionalProperties": False,
            }
        },
        **{f"image/{kind}": {"schema": file_field("The file itself.")} for kind in _RAW_TYPES},
        "application/octet-stream": {"schema": file_field("The file itself, of any such type.")},
    },
}
_RESPONSES = {
    200: png_or_json(
        "The mask, in the frame of the upright photograph.", Annotation, headers=SEGMENT_HEADERS
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
    settings: SettingsOf,
) -> Response:
    r"""The mask has the height and width of the upright photograph (EXIF orientation applied).

    No lesion is an empty mask, not an error. `score` (in a PNG's answer the header
    `X-Predicted-Jaccard`) is the Jaccard to expect of the mask: where it is low, let a person look.

        curl -F image=@lesion.jpg -o mask.png http://127.0.0.1:8000/segment
        curl -F image=@lesion.jpg 'http://127.0.0.1:8000/segment?format=rle'
        curl --data-binary @lesion.jpg -H 'Content-Type: image/jpeg' -o mask.png \
            http://127.0.0.1:8000/segment
    """
    form = query.format or negotiate(request.headers.getlist("accept"), _OFFERS)
    data = await read_photograph(request, max_bytes=settings.max_body_bytes)
    with engine.slot():
        async with engine.version(query.model) as version:
            (content, score), stages = await engine.predict(
                version,
                data,
                lambda prediction: (
                    encode_prediction(prediction, form, version, data),
                    prediction.score,
                ),
                threshold=query.threshold,
            )
            headers = model_headers(version, stages) | {"Vary": "Accept"}
            if score is not None:
                headers["X-Predicted-Jaccard"] = f"{score:.4f}"
    media_type = "application/json" if form == "rle" else "image/png"
    return Response(content, headers=headers, media_type=media_type)
