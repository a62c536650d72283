"""`/label-studio/…`: what Label Studio asks of a machine-learning backend.

These routes are Label Studio's contract (1.23), not this API's: they are not in /openapi.json.
docs/label-studio.md says how to connect it.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from model_core.errors import ImageTooLargeError, InputError
from model_core.images.announced_size import announced_pixels
from model_core.registry.registry import LoadedVersion
from service.access.auth import needs
from service.answers.segmented import Segmented
from service.api.dependencies import Parts, PartsOf
from service.api.label_studio.labelling import Labelling, parse_labelling
from service.api.label_studio.photographs import Photographs, connected
from service.contract.errors import (
    DeadlineError,
    Fault,
    InvalidRequestError,
    LabelStudioError,
    UnavailableError,
)
from service.contract.queries import AnswerQuery
from service.telemetry.ticket import ticket_of

router = APIRouter(
    prefix="/label-studio",
    dependencies=[needs("segment", basic=True)],
    include_in_schema=False,
)

_MAX_TASKS = 10_000
_AT_A_TIME = 4
"""Photographs fetched or worked on at a time."""
_PATIENCE = 0.8
"""Part of an evaluation's deadline after which no photograph is begun."""
_QUERY = AnswerQuery()
Json = dict[str, Any]

logger = logging.getLogger("service.label_studio")


@router.get("/health")
async def health(parts: PartsOf) -> Json:
    """Say that predictions can be had."""
    async with parts.versions.use(None) as version:
        return {"status": "UP", "model_class": version.card.name}


@router.get("/versions")
async def versions(parts: PartsOf) -> Json:
    """List the versions that predict: the one in production."""
    async with parts.versions.use(None) as version:
        return {"versions": [version.label]}


@router.post("/setup")
async def setup(request: Request, parts: PartsOf) -> Json:
    """Check that the project has a place for an outline; nothing is remembered.

    The token that Label Studio sends along is not used: the operator sets one.
    """
    parse_labelling((await _body(request)).get("schema"), "schema")
    async with parts.versions.use(None) as version:
        return {"model_version": version.label}


@router.post("/webhook")
async def webhook() -> Json:
    """Take notice of nothing: Label Studio tells every change, whether or not anyone learns."""
    return {}


@router.post("/predict")
async def predict(request: Request, parts: PartsOf) -> Response:
    """Predict for each task, with score and version.

    A task whose photograph cannot be used, or has to wait for longer than Label Studio does, gets
    no prediction, and the log says why; where none gets one, the first reason is the answer.
    """
    body = await _body(request)
    labelling = parse_labelling(body.get("label_config"), "label_config")
    tasks = _tasks(body, labelling, _MAX_TASKS)
    ticket, settings = ticket_of(request.scope), parts.settings
    async with AsyncExitStack() as held:
        held.enter_context(parts.admission.batch_slot(ticket))
        version = await held.enter_async_context(parts.versions.use(None))
        token = settings.label_studio_token
        photographs = await held.enter_async_context(
            connected(
                settings.label_studio_url or "",
                token.get_secret_value() if token else "",
                settings.max_body_bytes,
            )
        )
        predictor = _Predictor(request, parts, version, labelling, photographs)
        content = await predictor.all_of(tasks)
    return Response(content, media_type="application/json")


class _Predictor:
    """Predict for the tasks of one request, a few at a time; none may harm the others."""

    def __init__(
        self,
        request: Request,
        parts: Parts,
        version: LoadedVersion,
        labelling: Labelling,
        photographs: Photographs,
    ) -> None:
        self._ticket = ticket_of(request.scope)
        self._parts = parts
        self._version = version
        self._labelling = labelling
        self._photographs = photographs
        self._places = asyncio.Semaphore(_AT_A_TIME)
        self._away: LabelStudioError | None = None
        self._until = (
            asyncio.get_running_loop().time() + _PATIENCE * parts.settings.evaluation_seconds
        )

    async def all_of(self, tasks: Sequence[tuple[int, str]]) -> bytes:
        """Answer for all tasks, as JSON.

        Raises:
            InputError, UnavailableError: no task can be predicted for; why the first cannot.
        """
        answers = await asyncio.gather(*(self._one(*task) for task in tasks))
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if self._away:
            logger.warning("label_studio=failed %s", self._away)
        if errors and len(errors) == len(answers):
            raise errors[0]
        # An empty list is no prediction; an empty result would be one that says "no lesion".
        parts = [b"[]" if isinstance(answer, Exception) else answer for answer in answers]
        return b'{"results": [' + b", ".join(parts) + b"]}"

    async def _one(self, task: int, name: str) -> bytes | Exception:
        try:
            async with self._places:
                if self._away:  # what one met, all the others would
                    return self._away
                return await self._prediction(task, name)
        except LabelStudioError as exc:
            self._away = exc
            return exc
        except (InputError, UnavailableError) as exc:
            logger.warning(
                "label_studio_task=%d request_id=%s %s", task, self._ticket.id, exc,
                extra={"ticket": self._ticket},
            )  # fmt: skip
            return exc

    async def _prediction(self, task: int, name: str) -> bytes:
        settings, pipeline = self._parts.settings, self._parts.pipeline
        if asyncio.get_running_loop().time() > self._until:
            raise DeadlineError("others took the time; ask for this task again")
        deadline_s = settings.deadline_seconds
        try:
            async with asyncio.timeout(deadline_s):
                data = await self._photographs.fetch(name, task)
            pixels = announced_pixels(data)
            if pixels > settings.max_image_pixels:
                raise ImageTooLargeError(
                    f"the image has {pixels} pixels, the limit is {settings.max_image_pixels}"
                )
            async with self._parts.admission.room(pixels), asyncio.timeout(deadline_s):
                image = await pipeline.predict(self._version, data, _QUERY)
                return await pipeline.encode(image, self._ticket, _encoded, self._labelling)
        except TimeoutError as exc:
            raise DeadlineError(f"no answer within {deadline_s:g} s, the limit") from exc


def _encoded(image: Segmented, labelling: Labelling) -> bytes:
    """Encode a prediction as Label Studio reads it."""
    score = image.prediction.score
    return json.dumps(
        {
            "result": labelling.regions(image.prediction.mask, score),
            "score": score,
            "model_version": image.version.label,
        }
    ).encode()


async def _body(request: Request) -> Json:
    """Parse the JSON object of a body, beside the event loop.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        body = await asyncio.to_thread(json.loads, await request.body())
    except (ValueError, RecursionError) as exc:
        raise InvalidRequestError(Fault("(body)", "expected a JSON object")) from exc
    if not isinstance(body, dict):
        raise InvalidRequestError(Fault("(body)", "expected a JSON object"))
    return body


def _tasks(body: Json, labelling: Labelling, limit: int) -> list[tuple[int, str]]:
    """List the tasks of a request: ID, and what the data calls the photograph.

    Raises:
        InvalidRequestError: they are no tasks of the project, or more than the limit.
    """
    tasks = body.get("tasks")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(t, dict) for t in tasks):
        raise InvalidRequestError(Fault("tasks", "expected a list of tasks"))
    if len(tasks) > limit:
        raise InvalidRequestError(Fault("tasks", f"found {len(tasks)}, the limit is {limit}"))
    found = []
    for index, task in enumerate(tasks):
        data = task.get("data")
        name = data.get(labelling.field) if isinstance(data, dict) else None
        if not isinstance(name, str) or type(task.get("id")) is not int:
            detail = f"task {index} has no ID, or its data no text where <Image> wants it"
            raise InvalidRequestError(Fault("tasks", detail))
        found.append((task["id"], name))
    return found
