"""Ray Serve: FastAPI behind its proxy, in replicas that are actors of a local Ray cluster."""

import signal
from typing import Annotated, Any

import numpy as np
import ray
from fastapi import FastAPI, File, Response
from ray import serve

from benchmarks.peers.options import PeerOptions
from benchmarks.peers.steps import open_steps

OPTIONS = PeerOptions.read()
app = FastAPI()


@serve.deployment(
    num_replicas=OPTIONS.workers,
    ray_actor_options={"num_cpus": 1, "runtime_env": {"env_vars": OPTIONS.environment()}},
    max_ongoing_requests=max(8, 2 * OPTIONS.batch),
)
@serve.ingress(app)
class Segmentation:
    def __init__(self) -> None:
        self.steps = open_steps(PeerOptions.read())

    @serve.batch(max_batch_size=OPTIONS.batch, batch_wait_timeout_s=OPTIONS.batch_wait_ms / 1000)
    async def batched(self, pixels: list[Any]) -> list[Any]:
        return list(self.steps.network(np.stack(pixels)))

    @app.post("/segment")
    async def segment(self, image: Annotated[bytes, File()]) -> Response:
        pixels, known = self.steps.before(image)
        if OPTIONS.batch > 1:
            logits = await self.batched(pixels)
        else:
            logits = self.steps.network(pixels[None])[0]
        content = self.steps.after(logits, known)
        return Response(content, media_type="image/png", headers={"X-Backend": self.steps.backend})


if __name__ == "__main__":
    ray.init(include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": OPTIONS.port})
    application: Any = Segmentation
    serve.run(application.bind())
    signal.signal(signal.SIGTERM, lambda *_: ray.shutdown())
    signal.pause()
