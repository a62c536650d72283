"""Give routes the parts of the application that they work with."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.access.admission import Admission
from service.access.body_limits import BodyByteBudget
from service.pipeline.corrections import Corrections
from service.pipeline.health import HealthState
from service.pipeline.hot_reload import Reloader
from service.pipeline.pipeline import Pipeline
from service.pipeline.versions import Versions
from service.settings import Settings
from service.telemetry.prometheus import Telemetry


@dataclass(frozen=True)
class Parts:
    """What `service.app.create_app` made, once for the whole application."""

    settings: Settings
    telemetry: Telemetry
    health: HealthState
    admission: Admission
    body_bytes: BodyByteBudget
    pipeline: Pipeline
    versions: Versions
    reloader: Reloader
    corrections: Corrections | None


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsOf = Annotated[Parts, Depends(_parts)]
