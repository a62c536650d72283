"""Tell operators how the loop does: Prometheus metrics, and a health file for a container."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client import start_http_server as start

from model_core.atomic import replacing

_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
logger = logging.getLogger("service.pacs")


class Telemetry:
    """The metrics of one loop; no label names anything of a patient."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        text = "Photographs that need nothing more, by what became of them."
        self.settled = Counter("lesion_pacs_settled", text, ["state"], registry=self.registry)
        for state in ("answered", "refused", "passed"):
            self.settled.labels(state)
        text = "Attempts that failed: of the archive, of the service, or of one photograph."
        self.failures = Counter("lesion_pacs_failures", text, ["of"], registry=self.registry)
        for side in ("archive", "service", "photograph", "state"):
            self.failures.labels(side)
        text = "Objects stored in the archive, by format."
        self.stored = Counter("lesion_pacs_stored", text, ["format"], registry=self.registry)
        text = "Photographs by state, of the state file: `waiting`, of these `failing`, and others."
        self.photographs = Gauge("lesion_pacs_photographs", text, ["state"], registry=self.registry)
        text = "1 while a server can be used, 0 while it is left alone after a failure."
        self.up = Gauge("lesion_pacs_up", text, ["side"], registry=self.registry)
        text = "Time of the last look at the archive's feed, s since 1970."
        self.polled = Gauge("lesion_pacs_polled_timestamp_seconds", text, registry=self.registry)
        text = "Time of one step of one photograph."
        self.stages = Histogram(
            "lesion_pacs_stage_duration_seconds",
            text,
            ["stage"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )

    def serve(self, address: str, port: int) -> None:
        """Answer `/metrics` from a thread."""
        start(port, address, self.registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a step."""
        with self.stages.labels(name).time():
            yield


def write_health(path: Path, facts: Mapping[str, object]) -> None:
    """Write the health file in one step; a full disk is logged and stops nothing.

    The file is written again and again while the loop turns: one that is old tells of a loop that
    hangs or is gone.
    """
    try:
        with replacing(path) as beside:
            beside.write_text(json.dumps({"time": round(time.time(), 1), **facts}) + "\n")
    except OSError as exc:
        logger.warning("the health file cannot be written: %s", exc.strerror)
