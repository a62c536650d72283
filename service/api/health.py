"""Probes and counters for those who operate the service."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from service.access.auth import needs
from service.api.dependencies import PartsOf
from service.contract.errors import DeadError, NotReadyError
from service.contract.openapi import problems
from service.contract.schemas import ProbeStatus

router = APIRouter(tags=["operation"])

_METRICS_RESPONSE = {
    "description": "Prometheus' text format.",
    "content": {
        "text/plain": {
            "schema": {"type": "string"},
            "example": "# TYPE lesion_queue_depth gauge\nlesion_queue_depth 0.0\n",
        }
    },
}


@router.get("/healthz", summary="Is the process alive?", responses=problems(DeadError))
async def healthz(parts: PartsOf) -> ProbeStatus:
    """Answers 200, until only another process would help: then this one ends by itself.

    It stays 200 while the service stops: `/readyz` tells of that.
    """
    parts.health.check_alive()
    return ProbeStatus()


@router.get("/readyz", summary="Can it segment?", responses=problems(NotReadyError))
async def readyz(parts: PartsOf) -> ProbeStatus:
    """Answers 200 once a production version is loaded and has passed its golden test.

    Once the network is stuck or failing it answers 503; after SIGTERM too, while everything else
    is still answered.

    It stays 200 while a newer one cannot be loaded: `GET /models` and the counter
    `lesion_model_reloads_total` tell of that.
    """
    parts.health.check_ready()
    async with parts.versions.use(None):
        return ProbeStatus()


@router.get(
    "/metrics",
    summary="Counters for Prometheus",
    dependencies=[needs("metrics")],
    response_class=Response,
    responses={200: _METRICS_RESPONSE, **problems()},
)
async def metrics(parts: PartsOf) -> Response:
    """Requests, durations, stages, queue, model and reloads; never anything of an image."""
    text = generate_latest(parts.telemetry.registry)
    return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})
