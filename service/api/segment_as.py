"""`POST /segment/mask`, `/annotation`, `/polygons`, `/geojson`: one kind of answer each.

A client that a generator makes gives an operation one type, and `/segment` has six.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from service.access.auth import needs
from service.answers.formats import media_type_of
from service.api.dependencies import EngineOf
from service.api.segment import PHOTOGRAPH_FORM, answer
from service.contract.openapi import (
    FORM_ERRORS,
    IMAGE_ERRORS,
    MODEL_ERRORS,
    SEGMENT_HEADERS,
    answers,
    problems,
)
from service.contract.queries import (
    AnnotationQuery,
    AnswerFormat,
    AnswerQuery,
    MaskQuery,
    PolygonQuery,
)
from service.contract.schemas import FeatureCollection, PolygonAnnotation, RleAnnotation

router = APIRouter(tags=["segmentation"], dependencies=[needs("segment")])


def _described(form: AnswerFormat, content: str | type[BaseModel]) -> Mapping[str, Any]:
    ok = answers("The mask.", {media_type_of(form): content}, headers=SEGMENT_HEADERS)
    return {
        "response_class": Response,
        "responses": {200: ok, **problems(*FORM_ERRORS, *IMAGE_ERRORS, *MODEL_ERRORS)},
        "openapi_extra": {"requestBody": {"required": True, "content": PHOTOGRAPH_FORM}},
    }


@router.post("/segment/mask", summary="The mask as a PNG file", **_described("png", "PNG file."))
async def segment_mask(
    request: Request, query: Annotated[MaskQuery, Query()], engine: EngineOf
) -> Response:
    """As `/segment?format=png`: 8-bit grey, 0 and 255, in the frame of the upright photograph."""
    return await answer(request, AnswerQuery(**dict(query)), engine, "png")


@router.post(
    "/segment/annotation",
    summary="The mask as a COCO annotation with run lengths",
    **_described("rle", RleAnnotation),
)
async def segment_annotation(
    request: Request, query: Annotated[AnnotationQuery, Query()], engine: EngineOf
) -> Response:
    """As `/segment?format=rle`, whatever `Accept` says."""
    return await answer(request, AnswerQuery(**dict(query)), engine, "rle")


@router.post(
    "/segment/polygons",
    summary="The mask as a COCO annotation with polygons",
    **_described("polygon", PolygonAnnotation),
)
async def segment_polygons(
    request: Request, query: Annotated[PolygonQuery, Query()], engine: EngineOf
) -> Response:
    """As `/segment?format=polygon`, whatever `Accept` says."""
    return await answer(request, AnswerQuery(**dict(query)), engine, "polygon")


@router.post(
    "/segment/geojson",
    summary="The mask as GeoJSON",
    **_described("geojson", FeatureCollection),
)
async def segment_geojson(
    request: Request, query: Annotated[PolygonQuery, Query()], engine: EngineOf
) -> Response:
    """As `/segment?format=geojson`: polygons with holes (RFC 7946), in pixels."""
    return await answer(request, AnswerQuery(**dict(query)), engine, "geojson")
