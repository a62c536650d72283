"""The application: start reading here.

A request passes `headers.AnswerHeaders`, `request_log.RequestLog` and `body_limits.BodyLimits`, and
is asked for its key (`auth`); then one function of `api/` reads the body (`uploads`), takes a place
(`admission`), asks the `engine`, and answers; what is raised on the way, `error_handlers` answers.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.access.auth import Authenticator
from service.access.body_limits import BodyByteBudget, BodyLimits
from service.api import batch, docs, evaluate, health, models, segment, segment_as
from service.contract.openapi import DESCRIPTION
from service.pipeline.engine import Engine
from service.pipeline.hot_reload import Reloader
from service.server.error_handlers import add_error_handlers
from service.server.headers import AnswerHeaders, HeadAsGet, Preflights
from service.server.request_log import RequestLog
from service.settings import Settings
from service.telemetry.audit import AuditLog
from service.telemetry.prometheus import Telemetry

API_VERSION = "1.0.0"
"""Of the HTTP contract, not of the code: a client that read 1.x keeps working until 2.0."""


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application; its lifespan loads the production version and follows it.

    Args:
        settings: Read once, by the caller; nothing inside reads the environment.

    Raises:
        ConfigError: the file of keys or the audit log cannot be used.
    """
    app = FastAPI(
        title="Skin-lesion segmentation",
        version=API_VERSION,
        description=DESCRIPTION,
        lifespan=_lifespan,
        openapi_url=None,  # api/docs.py serves these two, examples and all
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.settings = settings
    app.state.telemetry = Telemetry()
    app.state.body_bytes = BodyByteBudget(settings.max_buffered_bytes, app.state.telemetry)
    app.state.authenticator = Authenticator(settings, app.state.telemetry)
    app.state.engine = Engine(settings, app.state.telemetry)
    app.state.health = app.state.engine.health
    app.state.reloader = Reloader(
        app.state.engine, app.state.telemetry, settings.model_name, settings.model_version
    )
    add_error_handlers(app)
    app.add_middleware(HeadAsGet)
    origins = settings.origins()
    if origins:
        app.add_middleware(Preflights, origins=origins)
    admission = app.state.engine.admission
    budget = app.state.body_bytes
    app.add_middleware(BodyLimits, settings=settings, admission=admission, budget=budget)
    target = settings.audit_log
    app.state.audit = audit = AuditLog(target, app.state.telemetry) if target else None
    app.add_middleware(RequestLog, telemetry=app.state.telemetry, audit=audit)
    app.add_middleware(AnswerHeaders, origins=origins)  # the outermost, for answers to crashes too
    for room in (segment, segment_as, batch, evaluate, models, health, docs):
        app.include_router(room.router)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    engine: Engine = app.state.engine
    await asyncio.to_thread(engine.load_production)
    following = app.state.reloader.following(app.state.settings.reload_seconds)
    watching = engine.health.watching(engine.is_live, engine.drop)
    async with following, watching:
        yield
    await asyncio.to_thread(engine.close)
    if app.state.audit is not None:
        await asyncio.to_thread(app.state.audit.flush)
