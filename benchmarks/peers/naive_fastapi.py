"""A FastAPI server as people write it: one route, Pillow, the network where the request is.

The route is `def`, as FastAPI's documentation asks of blocking code, so that its pool of threads
decodes one photograph while the network sees another; a lock keeps the engine to one at a time.
"""

import threading
from typing import Annotated

import uvicorn
from fastapi import FastAPI, File, Response

from benchmarks.peers.options import PeerOptions
from benchmarks.peers.steps import open_steps


def create_app() -> FastAPI:
    """The application, its network loaded; each worker of uvicorn makes its own."""
    steps, lock, app = open_steps(PeerOptions.read()), threading.Lock(), FastAPI()

    @app.post("/segment")
    def segment(image: Annotated[bytes, File()]) -> Response:
        pixels, known = steps.before(image)
        with lock:
            logits = steps.network(pixels[None])[0]
        content = steps.after(logits, known)
        return Response(content, media_type="image/png", headers={"X-Backend": steps.backend})

    return app


if __name__ == "__main__":
    options = PeerOptions.read()
    uvicorn.run(
        "benchmarks.peers.naive_fastapi:create_app",
        factory=True,
        port=options.port,
        workers=options.workers,
        log_level="warning",
    )
