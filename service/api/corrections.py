"""`POST /corrections`: a photograph and the mask that a person corrected, to be kept."""

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Query, Request

from model_core.decimals import decimal
from model_core.errors import (
    InputError,
    InvalidMaskError,
    InvalidRleError,
    ShapeMismatchError,
    check_pixels,
)
from model_core.images.announced_size import announced_pixels, announced_shape
from model_core.masks.png import encode_mask
from service.access.auth import needs
from service.answers.segmented import Segmented
from service.api.dependencies import Parts, PartsOf
from service.api.multipart import Form
from service.api.uploads import read_form
from service.contract.corrections import ANNOTATOR, MAX_SECONDS, Correction, CorrectionCount
from service.contract.errors import (
    CorrectionsOffError,
    Fault,
    InvalidRequestError,
    StorageFullError,
    StorageUnavailableError,
)
from service.contract.openapi import FORM_ERRORS, IMAGE_ERRORS, MODEL_ERRORS, file_field, problems
from service.contract.queries import AnswerQuery, MaskQuery
from service.pipeline.corrections import CORRECTED_MASK, MODEL_MASK, Corrections, Sent
from service.pipeline.evaluation import decode_sent_mask
from service.telemetry.ticket import ticket_of

router = APIRouter(tags=["corrections"], dependencies=[needs("correct")])

_FIELDS = {
    "image": file_field("The photograph, of any type that `/segment` takes; kept as it is sent."),
    "mask": file_field("The corrected mask: PNG, or COCO JSON (run lengths or polygons)."),
    "annotator": {
        "type": "string",
        "pattern": ANNOTATOR,
        "description": "Pseudonym of who corrected it, no name.",
    },
    "seconds": {
        "type": "number",
        "minimum": 0,
        "maximum": MAX_SECONDS,
        "description": "Time spent on it, s.",
    },
}
_REQUIRED = ("image", "mask", "annotator")
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": _FIELDS,
                "required": list(_REQUIRED),
                "additionalProperties": False,
            }
        }
    },
}
_MAX_TEXT_BYTES = 64


@router.post(
    "/corrections",
    summary="Keep a corrected mask",
    status_code=201,
    responses=problems(
        CorrectionsOffError,
        *FORM_ERRORS,
        *IMAGE_ERRORS,
        InvalidMaskError,
        InvalidRleError,
        ShapeMismatchError,
        *MODEL_ERRORS,
        StorageUnavailableError,
        StorageFullError,
    ),
    openapi_extra={"requestBody": _BODY},
)
async def correct(
    request: Request, query: Annotated[MaskQuery, Query()], parts: PartsOf
) -> Correction:
    r"""Kept are the photograph as it was sent, the version's own mask of it, and the corrected one.

    The query says which mask the person was shown, as for `/segment`. Of a photograph that is
    corrected again both corrections are kept, and the last one counts. The answer comes when all is
    written. After an error nothing is kept, but for 504: then it may be. Send it again: what says
    the same as the last correction is not kept twice.

        curl -F image=@lesion.jpg -F mask=@corrected.png -F annotator=reader-1 -F seconds=40 \
            http://127.0.0.1:8000/corrections
    """
    kept = _kept(parts)
    sent = _sent(await read_form(request, fields=_FIELDS, max_parts=len(_FIELDS)))
    limit = parts.settings.max_image_pixels
    check_pixels("corrected mask", *(announced_shape(sent.mask) or (0, 0)), limit)
    ticket = ticket_of(request.scope)
    slot = parts.admission.slot(request, ticket, pixels=announced_pixels(sent.image))
    async with slot, parts.versions.use(query.model) as version:
        image = await parts.pipeline.predict(version, sent.image, AnswerQuery(**dict(query)))
        masks = await parts.pipeline.encode(image, ticket, _masks, sent, limit)
        return await asyncio.to_thread(kept.keep, sent, image, masks, ticket.caller)


@router.get(
    "/corrections",
    summary="Count the corrected photographs",
    responses=problems(CorrectionsOffError, StorageUnavailableError),
)
async def count_corrections(parts: PartsOf) -> CorrectionCount:
    """Tell whether corrections are kept here, and of how many photographs there are some."""
    kept = _kept(parts)
    return CorrectionCount(photographs=await asyncio.to_thread(kept.photographs))


def _kept(parts: Parts) -> Corrections:
    if parts.corrections is None:
        raise CorrectionsOffError(
            "this service keeps no corrections: its operator has not set LESION_CORRECTIONS"
        )
    return parts.corrections


def _sent(form: Form) -> Sent:
    """Read the fields of the form.

    Raises:
        InvalidRequestError: a field is missing, there twice, or out of range.
    """
    faults = [
        Fault(name, f"found {len(form.get(name, []))}, expected one")
        for name in _FIELDS
        if len(form.get(name, [])) != 1 and (name in form or name in _REQUIRED)
    ]
    if faults:
        raise InvalidRequestError(*faults)
    annotator = form["annotator"][0].decode("utf-8", "replace")
    if not re.fullmatch(ANNOTATOR, annotator):
        faults.append(
            Fault("annotator", "expected a pseudonym of 1 to 64 of A-Z a-z 0-9 . _ -, no name")
        )
    seconds = None
    if "seconds" in form:
        try:
            seconds = decimal(form["seconds"][0][:_MAX_TEXT_BYTES].decode("utf-8", "replace"))
        except ValueError as exc:
            faults.append(Fault("seconds", str(exc)))
        else:
            if not 0 <= seconds <= MAX_SECONDS:
                faults.append(Fault("seconds", f"expected 0 to {MAX_SECONDS}"))
    if faults:
        raise InvalidRequestError(*faults)
    return Sent(form["image"][0], form["mask"][0], annotator, seconds)


def _masks(image: Segmented, sent: Sent, max_pixels: int) -> dict[str, bytes]:
    """Encode the version's mask and the corrected one as PNG, by the names that they are kept by.

    Raises:
        InputError: the corrected one cannot be read, or is not of the photograph's size.
    """
    own = image.prediction.mask
    try:
        corrected = decode_sent_mask(sent.mask, max_pixels=max_pixels, shape=own.shape)
    except InputError as exc:
        raise type(exc)(f"mask: {exc}") from exc
    if corrected.shape != own.shape:
        raise ShapeMismatchError(f"mask is {corrected.shape}, the upright image is {own.shape}")
    return {MODEL_MASK: encode_mask(own), CORRECTED_MASK: encode_mask(corrected)}
