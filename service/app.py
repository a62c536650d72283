"""The application: start reading here.

A request passes `headers.AnswerHeaders`, `request_log.RequestLog` and `body_limits.BodyLimits`, and
is asked for its key (`auth`); then one function of `api/` reads the body (`uploads`), takes a slot
(`admission`), takes the image through a version (`pipeline`, `versions`), and answers; what is
raised on the way, `error_handlers` answers.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from model_core.version import VERSION
from service.access.admission import Admission
from service.access.auth import Authenticator
from service.access.body_limits import BodyByteBudget, BodyLimits
from service.api import corrections, docs, evaluate, health, models, segment
from service.api.batch import route as batch
from service.api.dependencies import Parts
from service.api.label_studio import route as label_studio
from service.contract.openapi import DESCRIPTION
from service.pipeline.corrections import Corrections
from service.pipeline.health import HealthState
from service.pipeline.hot_reload import Reloader
from service.pipeline.pipeline import Pipeline
from service.pipeline.versions import Versions
from service.server.error_handlers import add_error_handlers
from service.server.headers import AnswerHeaders, HeadAsGet, Preflights
from service.server.request_log import RequestLog
from service.settings import Settings
from service.telemetry.audit import AuditLog
from service.telemetry.prometheus import Telemetry


def create_app(settings: Settings) -> FastAPI:
    """Make the service as an ASGI application, which loads the production version and follows it.

    Args:
        settings: Read once, by the caller; nothing inside reads the environment.

    Raises:
        ConfigError: the file of keys, the audit log or the place for corrections cannot be used.
    """
    app = FastAPI(
        title="Skin-lesion segmentation",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        openapi_url=None,  # api/docs.py serves these two, examples and all
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    parts = app.state.parts = make_parts(settings)
    app.state.authenticator = Authenticator(settings, parts.telemetry)
    add_error_handlers(app)
    app.add_middleware(HeadAsGet)
    origins = settings.origins()
    if origins:
        app.add_middleware(Preflights, origins=origins)
    app.add_middleware(
        BodyLimits, settings=settings, admission=parts.admission, budget=parts.body_bytes
    )
    target = settings.audit_log
    app.state.audit = audit = AuditLog(target, parts.telemetry) if target else None
    app.add_middleware(RequestLog, telemetry=parts.telemetry, audit=audit)
    app.add_middleware(AnswerHeaders, origins=origins)  # the outermost, for answers to crashes too
    for module in (segment, batch, evaluate, corrections, models, health, docs):
        app.include_router(module.router)
    if settings.label_studio_url:
        app.include_router(label_studio.router)
    return app


def make_parts(settings: Settings) -> Parts:
    """Make what routes work with; nothing is loaded yet, and no thread runs."""
    telemetry = Telemetry()
    health = HealthState(stuck_s=settings.stuck_seconds)
    admission = Admission(settings, telemetry)
    pipeline = Pipeline(settings, telemetry, admission, health)
    versions = Versions(settings, telemetry, pipeline.warm)
    corrections = Corrections(settings.corrections) if settings.corrections else None
    if corrections:
        corrections.open()
    return Parts(
        settings=settings,
        telemetry=telemetry,
        health=health,
        admission=admission,
        body_bytes=BodyByteBudget(settings.max_buffered_bytes, telemetry),
        pipeline=pipeline,
        versions=versions,
        reloader=Reloader(versions, telemetry, settings.model_name, settings.model_version),
        corrections=corrections,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    versions = parts.versions
    await asyncio.to_thread(versions.load_production)
    following = parts.reloader.following(parts.settings.reload_seconds)
    async with following, parts.health.watching(versions.is_live, versions.drop):
        yield
    versions.close()
    await asyncio.to_thread(parts.pipeline.close)
    if app.state.audit is not None:
        await asyncio.to_thread(app.state.audit.flush)
