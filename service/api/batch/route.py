"""`POST /segment/batch`: many images in, one answer for each, in the order sent."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from model_core.errors import ImageTooLargeError
from model_core.images.announced_size import announced_pixels
from model_core.registry.registry import LoadedVersion
from service.access.auth import needs
from service.access.body_limits import BatchBytes
from service.answers.formats import files_of, line_of, version_headers
from service.api.batch.response import MEDIA_TYPES, PROBLEM, BatchFormat, BatchResponse
from service.api.batch.work import Batch, Files, images_of
from service.api.dependencies import Parts, PartsOf
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
from service.server.error_handlers import error_body
from service.telemetry.ticket import ticket_of

router = APIRouter(tags=["segmentation"], dependencies=[needs("segment")])

_OFFERS: dict[str, BatchFormat] = {media_type: format for format, media_type in MEDIA_TYPES.items()}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "images": {
                        "type": "array",
                        "items": file_field("An image, as for /segment."),
                        "description": "Images; the field is repeated.",
                    }
                },
                "required": ["images"],
                "additionalProperties": False,
            }
        },
        "application/zip": {"schema": file_field("ZIP file of images.")},
    },
}
_RESPONSES = {200: batch_answers(), **problems(*BODY_ERRORS, *MODEL_ERRORS)}


@router.post(
    "/segment/batch",
    summary="Segment many images",
    response_class=Response,
    responses=_RESPONSES,
    openapi_extra={"requestBody": _BODY},
)
async def segment_batch(
    request: Request,
    query: Annotated[BatchQuery, Query()],
    parts: PartsOf,
) -> Response:
    r"""One line of JSON an image, in the order sent, each as soon as it is ready.

    An image that cannot be used gets a problem on its line, and stops no other. What is wrong
    with the request as a whole is a problem of its own status before the first line, and later the
    last line, its `index` null.

        curl -F images=@a.jpg -F images=@b.jpg http://127.0.0.1:8000/segment/batch
        curl --data-binary @images.zip -H 'Content-Type: application/zip' \
            -o masks.zip 'http://127.0.0.1:8000/segment/batch?format=zip'
    """
    format = query.format or negotiate(request.headers.getlist("accept"), _OFFERS)
    if faults := misplaced(query, format):
        raise InvalidRequestError(*faults)
    ticket, settings = ticket_of(request.scope), parts.settings
    reader = _reader(request, settings.max_body_bytes)
    async with AsyncExitStack() as held:
        held.enter_context(parts.admission.batch_slot(ticket))
        version = await held.enter_async_context(parts.versions.use(query.model))
        query.threshold_of(version.predictor.postprocess_config)  # else each image would raise it
        images = _Images(request, query, version, format, parts)
        share = BatchBytes(parts.body_bytes)
        held.callback(share.close)
        arriving = images_of(
            request,
            reader,
            limit=settings.max_batch_images,
            seconds=settings.body_seconds,
            share=share,
        )
        answers = Batch(request, arriving, images.answer, share).answers()
        held.push_async_callback(answers.aclose)
        first = await anext(answers)
        headers = {**version_headers(version), "Vary": "Accept"}
        return BatchResponse(
            request, first, answers, format=format, headers=headers, held=held.pop_all()
        )


class _Images:
    """Segment the images of one batch, each on its own: none may harm the others."""

    def __init__(
        self,
        request: Request,
        query: BatchQuery,
        version: LoadedVersion,
        format: BatchFormat,
        parts: Parts,
    ) -> None:
        self._request = request
        self._ticket = ticket_of(request.scope)
        self._query = query
        self._version = version
        self._format = format
        self._parts = parts
        self._pixels = 0

    async def answer(self, index: int, content: Content) -> Files:
        """Make the files of an image's answer; a problem is one too."""
        folder = f"{index + 1:04d}/" if self._format == "zip" else ""
        try:
            files = await self._files(index, content)
        except Exception as exc:
            body = {"index": index} | error_body(self._request, exc)
            files = {PROBLEM: json.dumps(body).encode()}
        return {folder + name: data for name, data in files.items()}

    async def _files(self, index: int, content: Content) -> Files:
        if isinstance(content, Exception):
            raise content
        settings, pipeline = self._parts.settings, self._parts.pipeline
        pixels = announced_pixels(content)
        self._pixels += pixels
        if self._pixels > settings.max_request_pixels:
            raise ImageTooLargeError(
                f"with this image the request has {self._pixels} pixels, the limit is "
                f"{settings.max_request_pixels}"
            )
        deadline_s = settings.deadline_seconds
        try:
            async with self._parts.admission.room(pixels), asyncio.timeout(deadline_s):
                image = await pipeline.predict(self._version, content, self._query, index=index)
                encode = files_of if self._format == "zip" else line_of
                return await pipeline.encode(image, self._ticket, encode)
        except TimeoutError as exc:
            raise DeadlineError(f"no answer within {deadline_s:g} s, the limit") from exc


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
