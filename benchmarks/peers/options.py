"""What the harness tells a peer: through one environment variable, since peers fork and spawn."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

VARIABLE = "BENCHMARK_PEER"
ENGINE = "engine: "
"""A line of a peer's log that begins so names what it runs."""

Steps = Literal["pil", "ours"]


@dataclass(frozen=True, kw_only=True)
class PeerOptions:
    """One peer's configuration.

    Attributes:
        root: The registry.
        name: Model.
        version: Version or alias.
        engine: As LESION_BACKEND, or `null` for no network.
        port: TCP port of 127.0.0.1.
        workers: Processes that run the network.
        threads: Of each one's engine; 0 leaves it to the engine.
        batch: Largest batch of the framework's own batching; 1 leaves it off.
        batch_wait_ms: How long that waits for company.
        steps: What stands around the network: `pil` as people write it, or `ours`, this
            repository's own (`model_core`), which leaves the framework as the only difference.
    """

    root: str
    name: str
    version: str
    engine: str
    port: int
    workers: int = 1
    threads: int = 0
    batch: int = 1
    batch_wait_ms: float = 5.0
    steps: Steps = "pil"

    @classmethod
    def read(cls) -> Self:
        """The options of this process's environment."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def environment(self) -> dict[str, str]:
        """Write the options as the environment of another process."""
        return {VARIABLE: json.dumps(asdict(self))}

    @property
    def registry(self) -> Path:
        """The registry's folder."""
        return Path(self.root)
