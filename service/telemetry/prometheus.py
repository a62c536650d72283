"""Count and time the whole service, for Prometheus.

No label is anything that a caller chose: it might name a person, or differ from call to call.
"""

import platform
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from model_core.version import VERSION
from service.contract.problems import BY_SLUG

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Telemetry:
    """The Prometheus metrics of one application.

    Labels whose values are known are there from the start: an alert on an increase needs the zero
    before it.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._of_requests()
        self._of_load()
        self._of_images()
        self._of_operation()

    def _of_requests(self) -> None:
        counter = partial(Counter, registry=self.registry)
        name, text = "lesion_http_requests", "Requests answered."
        self.requests = counter(name, text, ["route", "method", "status"])
        self.request_seconds = Histogram(
            "lesion_http_request_duration_seconds",
            "Time from a request's first byte to its answer's last.",
            ["route", "method"],
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        text = "Requests that have begun and not ended, of all routes."
        self.in_flight = Gauge("lesion_http_requests_in_flight", text, registry=self.registry)
        text = "Requests answered with a problem, by the last part of its type."
        self.problems = _zeroed(counter("lesion_http_problems", text, ["problem"]), *BY_SLUG)

    def _of_load(self) -> None:
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        self.queue_depth = gauge("lesion_queue_depth", "Requests being worked on or waiting.")
        text = "How much later than asked for the event loop came back last, ten times a second."
        self.loop_lag_seconds = gauge("lesion_event_loop_lag_seconds", text)
        refusals = counter("lesion_refusals", "Requests refused because of the load.", ["reason"])
        self.refusals = _zeroed(refusals, "queue", "pixels", "bytes", "deadline", "connections")
        dropped = counter("lesion_dropped", "Requests let in whose work was dropped.", ["reason"])
        self.dropped = _zeroed(dropped, "expired", "abandoned")

    def _of_images(self) -> None:
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        name, text = "lesion_stage_duration_seconds", "Time of one image in one stage."
        self.stage_seconds = histogram(name, text, ["stage"], buckets=_BUCKETS_S)
        name, text = "lesion_batch_size_images", "Images in one run of the network."
        self.batch_size = histogram(name, text, buckets=_BATCHES)
        self.engine_errors = counter("lesion_engine_errors", "Runs of the network that failed.")
        text = "Decoding processes that ended at an image, and were replaced."
        self.decoder_ends = counter("lesion_decoder_ends", text)

    def _of_operation(self) -> None:
        counter = partial(Counter, registry=self.registry)
        text = "Lines that could not be written to the audit log."
        self.audit_failures = counter("lesion_audit_failures", text)
        text = "1, or 0 while the file of API keys cannot be used and the keys read last stay."
        self.keys_file_intact = Gauge("lesion_keys_file_intact", text, registry=self.registry)
        self.keys_file_intact.set(1)
        self.build = Info("lesion_build", "The code that runs.", registry=self.registry)
        self.build.info({"version": VERSION, "python": platform.python_version()})
        self.model = Info("lesion_model", "The production version.", registry=self.registry)
        text = "Attempts to put another version in production while serving."
        self.reloads = _zeroed(counter("lesion_model_reloads", text, ["outcome"]), "ok", "failed")


def _zeroed(counter: Counter, *values: str) -> Counter:
    for value in values:
        counter.labels(value)
    return counter
