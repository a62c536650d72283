"""BentoML: a service class in worker processes; where batching is on, a second one behind it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import ContentType

from benchmarks.peers.options import PeerOptions
from benchmarks.peers.steps import open_steps, segment

OPTIONS = PeerOptions.read()
QUIET = {"access": {"enabled": False}}
PNG = Annotated[bytes, ContentType("image/png")]


@bentoml.service(workers=OPTIONS.workers, traffic={"timeout": 60}, logging=QUIET)
class Segmentation:
    def __init__(self) -> None:
        self.steps = open_steps(OPTIONS)

    @bentoml.api(route="/segment")
    def segment(self, image: Path, context: bentoml.Context) -> PNG:
        context.response.headers["X-Backend"] = self.steps.backend
        return segment(self.steps, image.read_bytes())


@bentoml.service(workers=1, traffic={"timeout": 60}, logging=QUIET)
class Network:
    def __init__(self) -> None:
        self.steps = open_steps(OPTIONS)

    @bentoml.api(batchable=True, max_batch_size=max(2, OPTIONS.batch), max_latency_ms=60_000)
    def run(self, pixels: np.ndarray) -> np.ndarray:
        return self.steps.network(pixels)


@bentoml.service(workers=OPTIONS.workers, traffic={"timeout": 60}, logging=QUIET)
class BatchedSegmentation:
    network = bentoml.depends(Network)

    def __init__(self) -> None:
        self.steps = open_steps(OPTIONS)

    @bentoml.api(route="/segment")
    async def segment(self, image: Path, context: bentoml.Context) -> PNG:
        context.response.headers["X-Backend"] = self.steps.backend
        pixels, known = await asyncio.to_thread(self._before, image)
        found: Any = await self.network.to_async.run(pixels[None])
        return await asyncio.to_thread(self.steps.after, found[0], known)

    def _before(self, image: Path) -> tuple[np.ndarray, Any]:
        return self.steps.before(image.read_bytes())


if __name__ == "__main__":
    name = "BatchedSegmentation" if OPTIONS.batch > 1 else "Segmentation"
    target = f"benchmarks.peers.bento_ml:{name}"
    command = [sys.executable, "-m", "bentoml", "serve", target]
    os.execv(sys.executable, [*command, "--host", "127.0.0.1", "--port", str(OPTIONS.port)])
