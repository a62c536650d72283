"""`POST /segment/batch`: many photographs in, one answer each, in the order sent."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from model_core.errors import ImageTooLargeError
from model_core.images.announced_size import announced_pixels
from model_core.predictor import Prediction
from model_core.registry.registry import LoadedVersion
from service.access.auth import needs
from service.access.body_limits import BatchBytes
from service.answers.annotations import annotation_of
from service.answers.formats import files_of, version_headers
from service.api.batch_response import MEDIA_TYPES, PROBLEM, BatchFormat, BatchResponse
from service.api.dependencies import EngineOf, SettingsOf
from service.api.part_stream import Content, PartStream
from service.api.zip_stream import ZipStream
from service.contract.errors import (
    DeadlineError,
    InvalidRequestError,
    UnsupportedMediaTypeError,
)
from service.contract.negotiation import negotiate
from service.contract.openapi import (
    BODY_ERRORS,
    MODEL_ERRORS,
    batch_answers,
    file_field,
    problems,
)
from service.contract.queries import BatchQuery, misplaced
from service.contract.quoting import known_media_type
from service.contract.schemas import BatchLine
from service.pipeline.batch import Batch, Files, photographs
from service.pipeline.engine import Engine
from service.pipeline.segmented import Segmented
from service.server.error_handlers import error_body
from service.settings import Settings

router = APIRouter(tags=["segmentation"], dependencies=[needs("segment")])

_OFFERS: dict[str, BatchFormat] = {media_type: form for form, media_type in MEDIA_TYPES.items()}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "images": {
                        "type": "array",
                        "items": file_field("A photograph, as for /segment."),
                        "description": "Photographs; the field is repeated.",
                    }
                },
                "required": ["images"],
                "additionalProperties": False,
            }
        },
        "application/zip": {"schema": file_field("ZIP file of photographs.")},
    },
}
_RESPONSES = {200: batch_answers(), **problems(*BODY_ERRORS, *MODEL_ERRORS)}


@router.post(
    "/segment/batch",
    summary="Segment many photographs",
    response_class=Response,
    responses=_RESPONSES,
    openapi_extra={"requestBody": _BODY},
)
async def segment_batch(
    request: Request,
    query: Annotated[BatchQuery, Query()],
    engine: EngineOf,
    settings: SettingsOf,
) -> Response:
    r"""One line of JSON a photograph, in the order sent, each as soon as it is ready.

    A photograph that cannot be used gets a problem on its line, and stops no other. What is wrong
    with the request as a whole is a problem of its own status before the first line, and later the
    last line, its `index` null.

        curl -F images=@a.jpg -F images=@b.jpg http://127.0.0.1:8000/segment/batch
        curl --data-binary @photographs.zip -H 'Content-Type: application/zip' \
            -o masks.zip 'http://127.0.0.1:8000/segment/batch?format=zip'
    """
    form = query.format or negotiate(request.headers.getlist("accept"), _OFFERS)
    if faults := misplaced(query, form):
        raise InvalidRequestError(*faults)
    reader = _reader(request, settings.max_body_bytes)
    async with AsyncExitStack() as held:
        held.enter_context(engine.admission.batch_place(request))
        version = await held.enter_async_context(engine.version(query.model))
        each = _One(request, query, engine, version, settings, form)
        share = BatchBytes(request.app.state.body_bytes)
        held.callback(share.close)
        arriving = photographs(
            request,
            reader,
            limit=settings.max_batch_images,
            seconds=settings.body_seconds,
            share=share,
        )
        answers = Batch(request, arriving, each.answer, share).answers()
        held.push_async_callback(answers.aclose)
        first = await anext(answers)
        headers = {**version_headers(version), "Vary": "Accept"}
        return BatchResponse(
            request, first, answers, form=form, headers=headers, held=held.pop_all()
        )


class _One:
    """Makes the answer for one photograph, whatever it is."""

    def __init__(
        self,
        request: Request,
        query: BatchQuery,
        engine: Engine,
        version: LoadedVersion,
        settings: Settings,
        form: BatchFormat,
    ) -> None:
        self._request = request
        self._query = query
        self._engine = engine
        self._version = version
        self._settings = settings
        self._form = form
        self._pixels = 0

    async def answer(self, index: int, content: Content) -> Files:
        """The files of a photograph's answer; a problem is one too."""
        folder = f"{index + 1:04d}/" if self._form == "zip" else ""
        try:
            found = await self._files(index, content)
        except Exception as exc:  # none may harm the others
            body = {"index": index} | error_body(self._request, exc)
            found = {PROBLEM: json.dumps(body).encode()}
        return {folder + name: data for name, data in found.items()}

    async def _files(self, index: int, content: Content) -> Files:
        if isinstance(content, Exception):
            raise content
        limit = self._settings.max_request_pixels
        pixels = announced_pixels(content)
        self._pixels += pixels
        if self._pixels > limit:
            raise ImageTooLargeError(
                f"with this photograph the request has {self._pixels} pixels, the limit is {limit}"
            )

        def encode(prediction: Prediction) -> Files:
            answer = Segmented(prediction, self._version, content, self._query, index)
            if self._form == "zip":
                return files_of(answer)
            line = BatchLine(index=index, **dict(annotation_of(answer)))
            return {"line": line.model_dump_json().encode()}

        deadline_s = self._settings.deadline_seconds
        try:
            async with self._engine.admission.room(pixels), asyncio.timeout(deadline_s):
                files, _ = await self._engine.predict(
                    self._version, content, encode, threshold=self._query.threshold
                )
        except TimeoutError as exc:
            raise DeadlineError(f"no answer within {deadline_s:g} s, the limit") from exc
        return files


def _reader(request: Request, max_bytes: int) -> PartStream | ZipStream:
    content_type = request.headers.get("content-type", "")
    declared = content_type.partition(";")[0].strip().lower()
    if declared == "multipart/form-data":
        return PartStream(content_type, field="images", max_bytes=max_bytes)
    if declared in ("application/zip", "application/x-zip-compressed"):
        return ZipStream(max_bytes=max_bytes)
    raise UnsupportedMediaTypeError(
        f"Content-Type is {known_media_type(declared)}, expected multipart/form-data or "
        "application/zip"
    )
