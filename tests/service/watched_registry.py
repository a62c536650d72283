"""A registry that remembers what was loaded, and that a test can hold up."""

import threading
import time
import weakref
from pathlib import Path
from typing import Any

from model_core.predictor import Predictor
from model_core.registry.registry import LoadedVersion, Registry
from tests.service.slow_backend import TIMEOUT_S


class WatchedRegistry(Registry):
    """The real one, watched.

    Attributes:
        loads: Versions in the order they were loaded in.
        loading: Set once a load has begun.
        released: Loads wait while it is not set.
        most: Loaded versions that were in memory at once.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.loads: list[str] = []
        self.loading = threading.Event()
        self.released = threading.Event()
        self.released.set()
        self.most = 0
        self._alive: weakref.WeakSet[Predictor] = weakref.WeakSet()

    def load(self, name: str, version: str, **options: Any) -> LoadedVersion:
        self.loads.append(version)
        self.loading.set()
        assert self.released.wait(TIMEOUT_S)
        loaded = super().load(name, version, **options)
        self._alive.add(loaded.predictor)
        time.sleep(0.01)  # a thread that has just answered holds its version a moment longer
        self.most = max(self.most, len(self._alive))
        return loaded
