"""Ray Serve: the same application, in replicas that Ray starts, replaces and scales.

    serve run deploy/ray_serve.yaml     # docs/cluster.md

A replica is a process that reads the settings of its own environment and builds its application
there: nothing of it is pickled. Ray's proxy takes the connections, so `service.server.server` and
`service.server.connections` have no part in it.
"""

import logging
import math
import os
from typing import TYPE_CHECKING, Any

import ray
from ray import serve

from model_core.backends.cores import share_cores, usable_cores

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WITHOUT_EFFECT = frozenset(
    "LESION_" + name
    for name in (
        "PORT", "REUSE_PORT", "TRUSTED_PROXIES", "DRAIN_SECONDS", "GRACE_SECONDS",
        "MAX_CONNECTIONS", "HEADER_SECONDS", "MAX_HEADER_BYTES", "SEND_SECONDS",
    )
)  # fmt: skip
"""Settings of the server that is not there; docs/cluster.md says what takes their places."""

logger = logging.getLogger("service.ray_serve")


@serve.deployment
@serve.ingress()
class Segmentation:
    """One replica; how many there are and what each may use, `deploy/ray_serve.yaml` says."""

    def __serve_build_asgi_app__(self) -> "FastAPI":
        # Not at the top: whoever only deploys needs no PyTorch.
        from service.app import create_app
        from service.settings import load_settings
        from service.telemetry.logs import configure_logging

        # Others reach Ray's proxy, so unless told otherwise the service wants keys.
        os.environ.setdefault("LESION_HOST", "0.0.0.0")
        settings = load_settings()
        _keep_to_assigned_cores()
        configure_logging(settings.log_level, settings.log_format)
        for name in sorted(WITHOUT_EFFECT & os.environ.keys()):
            logger.warning("%s has no effect behind Ray's proxy", name)
        app = create_app(settings)
        app.add_middleware(OneRequestId)
        # Before the lifespan begins: Ray then tells the reason why a version cannot be loaded.
        app.state.parts.versions.load_production()
        self._health = app.state.parts.health
        return app

    def check_health(self) -> None:
        """Raise where nothing helps but another process: Ray then starts one."""
        self._health.check_alive()


class OneRequestId:
    """Leaves `X-Request-Id` to Ray, which adds the same to each answer: callers would see it twice.

    Args:
        app: The application inside.
    """

    def __init__(self, app: "ASGIApp") -> None:
        self.app = app

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Pass a request on."""

        async def send_without(message: "Message") -> None:
            if message["type"] == "http.response.start":
                headers = [each for each in message["headers"] if each[0] != b"x-request-id"]
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, send_without)


def _keep_to_assigned_cores() -> None:
    """Ray counts cores and holds nobody to its count: without this each replica takes them all."""
    assigned = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
    if assigned:
        share_cores(math.ceil(usable_cores() / assigned))


_deployment: Any = Segmentation  # Ray's decorators say nothing of types
application = _deployment.bind()
