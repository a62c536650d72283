"""Our service, whole, with a constant in the network's place: what all around the network costs.

    LESION_PORT=8001 python -m benchmarks.null_service

It takes the service's settings. There is no such switch in the service itself.
"""

import sys
from typing import Any
from unittest.mock import patch

from benchmarks.engines import NullBackend, with_backend
from model_core.registry.registry import LoadedVersion, Registry
from service.__main__ import main

_load = Registry.load


def load_null(registry: Registry, name: str, version: str, **options: Any) -> LoadedVersion:
    """As `Registry.load`, checks and all; then the network is taken out."""
    loaded = _load(registry, name, version, **options)
    return with_backend(loaded, NullBackend(loaded.card.preprocess.size))


if __name__ == "__main__":
    with patch.object(Registry, "load", load_null):
        sys.exit(main())
