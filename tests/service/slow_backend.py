"""A backend that a test holds up, to see what happens meanwhile."""

import threading
from dataclasses import replace

from model_core.arrays import Batch, Logits
from model_core.predictor import Predictor
from service.engine import Engine

TIMEOUT_S = 20


class HeldBackend:
    """Runs the engine's real backend, but only once it is released."""

    name = "held"
    streams = batch = 1

    def __init__(self, engine: Engine) -> None:
        version = engine.load_production()
        predictor = version.predictor
        self._real = predictor.backend
        self.running = threading.Event()
        self.released = threading.Event()
        held = Predictor(self, predictor.preprocess_config, predictor.postprocess_config)
        engine.production = replace(version, predictor=held)

    def run(self, batch: Batch) -> Logits:
        self.running.set()
        assert self.released.wait(TIMEOUT_S)
        return self._real.run(batch)
