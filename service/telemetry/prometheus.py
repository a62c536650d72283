"""Counters and timings of the whole service, for Prometheus.

No label is anything that a caller chose: it might name a person, or be another one each time.
"""

import platform
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from service.contract.problems import BY_SLUG

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Telemetry:
    """The Prometheus metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "lesion_http_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.request_seconds = Histogram(
            "lesion_http_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ["route", "method"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.stage_seconds = Histogram(
            "lesion_stage_duration_seconds",
            "Time of one image in one stage.",
            ["stage"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "lesion_http_requests_in_flight",
            "Requests that have begun and not ended, of all routes.",
            registry=self.registry,
        )
        self.problems = Counter(
            "lesion_http_problems",
            "Requests answered with a problem, by the last part of its type.",
            ["problem"],
            registry=self.registry,
        )
        for slug in BY_SLUG:  # an alert on an increase needs the zero before it
            self.problems.labels(slug)
        self.audit_failures = Counter(
            "lesion_audit_failures",
            "Lines that could not be written to the audit log.",
            registry=self.registry,
        )
        self.keys_file_intact = Gauge(
            "lesion_keys_file_intact",
            "1, or 0 while the file of API keys cannot be used and the keys read last stay.",
            registry=self.registry,
        )
        self.keys_file_intact.set(1)
        self.batch_size = Histogram(
            "lesion_batch_size_images",
            "Photographs in one run of the network.",
            buckets=_BATCHES,
            registry=self.registry,
        )
        self.engine_errors = Counter(
            "lesion_engine_errors",
            "Runs of the network that failed.",
            registry=self.registry,
        )
        self.queue_depth = Gauge(
            "lesion_queue_depth", "Requests being worked on or waiting.", registry=self.registry
        )
        self.loop_lag_seconds = Gauge(
            "lesion_event_loop_lag_seconds",
            "How much later than asked for the event loop came back last, ten times a second.",
            registry=self.registry,
        )
        self.refusals = Counter(
            "lesion_refusals",
            "Requests refused because of the load.",
            ["reason"],
            registry=self.registry,
        )
        self.dropped = Counter(
            "lesion_dropped",
            "Requests let in whose work was dropped.",
            ["reason"],
            registry=self.registry,
        )
        # An alert on an increase needs the zero before it.
        for reason in ("queue", "pixels", "bytes", "deadline", "connections"):
            self.refusals.labels(reason)
        for reason in ("expired", "abandoned"):
            self.dropped.labels(reason)
        self.decoder_ends = Counter(
            "lesion_decoder_ends",
            "Decoding processes that ended at a photograph, and were replaced.",
            registry=self.registry,
        )
        self.build = Info("lesion_build", "The code that runs.", registry=self.registry)
        self.build.info({"version": _version(), "python": platform.python_version()})
        self.model = Info("lesion_model", "The production version.", registry=self.registry)
        self.reloads = Counter(
            "lesion_model_reloads",
            "Attempts to put another version in production while serving.",
            ["outcome"],
            registry=self.registry,
        )
        for outcome in ("ok", "failed"):  # an alert on an increase needs the zero before it
            self.reloads.labels(outcome)


def _version() -> str:
    try:
        return version("lesion-segmentation")
    except PackageNotFoundError:  # a container has the code without installing it
        return "unknown"
