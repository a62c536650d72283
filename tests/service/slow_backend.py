"""A backend that a test holds up, to see what happens meanwhile."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from model_core.arrays import Batch, Logits
from model_core.backends.protocol import Backend
from model_core.predictor import Predictor
from service.engine import Engine

TIMEOUT_S = 20


class HeldBackend:
    """Runs the engine's real backend, but only once it is released."""

    name = "held"
    streams = batch = 1

    def __init__(self, engine: Engine) -> None:
        self._real = put_into(engine, self)
        self.running = threading.Event()
        self.released = threading.Event()
        self.runs = 0

    def run(self, batch: Batch) -> Logits:
        self.runs += 1
        self.running.set()
        assert self.released.wait(TIMEOUT_S)
        return self._real.run(batch)

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        return (self.run,)


class SlowBackend:
    """Runs the engine's real backend, one batch after the other, each in so many seconds.

    Args:
        engine: Whose backend it takes the place of.
        seconds: What a batch takes.
    """

    name = "slow"
    streams = batch = 1

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._real = put_into(engine, self)
        self._seconds = seconds
        self._lock = threading.Lock()
        self._free_at = 0.0
        self.runs = 0

    def run(self, batch: Batch) -> Logits:
        with self._lock:  # not held while it sleeps: a lock knows no order, and one would starve
            self.runs += 1
            self._free_at = max(self._free_at, time.monotonic()) + self._seconds
            wait_s = self._free_at - time.monotonic()
        time.sleep(wait_s)
        return self._real.run(batch)

    @property
    def forms(self) -> Sequence[Callable[[Batch], Logits]]:
        return (self.run,)


def put_into(engine: Engine, backend: Backend) -> Backend:
    """Let the production version run on another backend; gives the one that it had."""
    version = engine.load_production()
    predictor = version.predictor
    other = Predictor(backend, predictor.preprocess_config, predictor.postprocess_config)
    engine.production = replace(version, predictor=other)
    return predictor.backend
