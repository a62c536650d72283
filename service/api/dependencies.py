"""What routes ask the application for."""

from typing import Annotated

from fastapi import Depends, Request

from service.pipeline.engine import Engine
from service.pipeline.health import HealthState
from service.pipeline.hot_reload import Reloader
from service.settings import Settings
from service.telemetry.prometheus import Telemetry


async def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


async def _reloader(request: Request) -> Reloader:
    reloader: Reloader = request.app.state.reloader
    return reloader


async def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _telemetry(request: Request) -> Telemetry:
    telemetry: Telemetry = request.app.state.telemetry
    return telemetry


async def _health(request: Request) -> HealthState:
    health: HealthState = request.app.state.health
    return health


HealthOf = Annotated[HealthState, Depends(_health)]
EngineOf = Annotated[Engine, Depends(_engine)]
ReloaderOf = Annotated[Reloader, Depends(_reloader)]
SettingsOf = Annotated[Settings, Depends(_settings)]
TelemetryOf = Annotated[Telemetry, Depends(_telemetry)]
