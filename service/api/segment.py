"""`POST /segment`: an image in, its lesion's mask out; and a route for each of four formats.

`/segment/mask`, `/annotation`, `/polygons` and `/geojson` are for clients that a generator makes:
it gives an operation one type, and `/segment` has six.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from model_core.images.announced_size import announced_pixels
from service.access.auth import needs
from service.answers.formats import encode_answer, media_type_of, model_headers
from service.api.dependencies import Parts, PartsOf
from service.api.uploads import read_image
from service.contract.errors import InvalidRequestError
from service.contract.negotiation import negotiate
from service.contract.openapi import (
    BODY_ERRORS,
    FORM_ERRORS,
    IMAGE_ERRORS,
    MODEL_ERRORS,
    SEGMENT_HEADERS,
    Json,
    answers,
    file_field,
    problems,
)
from service.contract.queries import (
    AnnotationQuery,
    AnswerFormat,
    AnswerQuery,
    MaskQuery,
    PolygonQuery,
    SegmentQuery,
    misplaced,
)
from service.contract.schemas import (
    Annotation,
    FeatureCollection,
    PolygonAnnotation,
    RleAnnotation,
)
from service.telemetry.ticket import ticket_of

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
_IMAGE_FORM: Json = {
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
        **_IMAGE_FORM,
        **{kind: {"schema": file_field("The file itself.")} for kind in _RAW_TYPES},
        "application/octet-stream": {"schema": file_field("The file itself, of any such type.")},
    },
}
_RESPONSES = {
    200: answers(
        "The mask, in the frame of the upright image, in the form asked for.",
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
    summary="Segment the lesion of an image",
    response_class=Response,
    responses=_RESPONSES,
    openapi_extra={"requestBody": _BODY},
)
async def segment(
    request: Request, query: Annotated[SegmentQuery, Query()], parts: PartsOf
) -> Response:
    r"""The mask has the height and width of the upright image (EXIF orientation applied).

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
    format = query.format or negotiate(request.headers.getlist("accept"), _OFFERS)
    response = await _answer(request, query, format, parts)
    response.headers["Vary"] = "Accept"
    return response


async def _answer(
    request: Request, query: AnswerQuery, format: AnswerFormat, parts: Parts
) -> Response:
    """Segment the request's image, and answer in one format.

    Raises:
        InvalidRequestError: the format has no use for a parameter, or there is not one image.
    """
    if faults := misplaced(query, format):
        raise InvalidRequestError(*faults)
    ticket = ticket_of(request.scope)
    data = await read_image(request)
    slot = parts.admission.slot(request, ticket, pixels=announced_pixels(data))
    async with slot, parts.versions.use(query.model) as version:
        image = await parts.pipeline.predict(version, data, query)
        content = await parts.pipeline.encode(image, ticket, encode_answer, format)
        headers = model_headers(version, ticket)
    if image.prediction.score is not None:
        headers["X-Predicted-Jaccard"] = f"{image.prediction.score:.4f}"
    return Response(content, headers=headers, media_type=media_type_of(format))


def _described(format: AnswerFormat, content: str | type[BaseModel]) -> Mapping[str, Any]:
    ok = answers("The mask.", {media_type_of(format): content}, headers=SEGMENT_HEADERS)
    return {
        "response_class": Response,
        "responses": {200: ok, **problems(*FORM_ERRORS, *IMAGE_ERRORS, *MODEL_ERRORS)},
        "openapi_extra": {"requestBody": {"required": True, "content": _IMAGE_FORM}},
    }


@router.post("/segment/mask", summary="The mask as a PNG file", **_described("png", "PNG file."))
async def segment_mask(
    request: Request, query: Annotated[MaskQuery, Query()], parts: PartsOf
) -> Response:
    """As `/segment?format=png`: 8-bit grey, 0 and 255, in the frame of the upright image."""
    return await _answer(request, AnswerQuery(**dict(query)), "png", parts)


@router.post(
    "/segment/annotation",
    summary="The mask as a COCO annotation with run lengths",
    **_described("rle", RleAnnotation),
)
async def segment_annotation(
    request: Request, query: Annotated[AnnotationQuery, Query()], parts: PartsOf
) -> Response:
    """As `/segment?format=rle`, whatever `Accept` says."""
    return await _answer(request, AnswerQuery(**dict(query)), "rle", parts)


@router.post(
    "/segment/polygons",
    summary="The mask as a COCO annotation with polygons",
    **_described("polygon", PolygonAnnotation),
)
async def segment_polygons(
    request: Request, query: Annotated[PolygonQuery, Query()], parts: PartsOf
) -> Response:
    """As `/segment?format=polygon`, whatever `Accept` says."""
    return await _answer(request, AnswerQuery(**dict(query)), "polygon", parts)


@router.post(
    "/segment/geojson",
    summary="The mask as GeoJSON",
    **_described("geojson", FeatureCollection),
)
async def segment_geojson(
    request: Request, query: Annotated[PolygonQuery, Query()], parts: PartsOf
) -> Response:
    """As `/segment?format=geojson`: polygons with holes (RFC 7946), in pixels."""
    return await _answer(request, AnswerQuery(**dict(query)), "geojson", parts)
