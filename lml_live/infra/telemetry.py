"""What the server counts, for `GET /metrics` (Prometheus text).

With several workers each process counts for itself, and a scrape reaches one of them: `lml_worker` tells which.
"""

import functools
import os
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """All of a worker's metrics. Names and units follow Prometheus's conventions."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.worker = Gauge("lml_worker", "The worker that was asked, by process id.", ["pid"], registry=self.registry)
        self.worker.labels(str(os.getpid())).set(1)
        self.sockets = Gauge("lml_sockets", "Open live sockets.", registry=self.registry)
        self.rooms = Gauge("lml_rooms", "Events with a live room.", registry=self.registry)
        self.sockets_cut = Counter("lml_sockets_cut", "Sockets cut because they did not read.", registry=self.registry)
        self.diffs = Counter("lml_diffs", "Diffs encoded (one per room and tick).", registry=self.registry)
        self.frames = Counter("lml_diff_frames", "Diff frames written to sockets.", registry=self.registry)
        self.messages = Counter("lml_messages", "Messages received.", ["type"], registry=self.registry)
        self.acts = Counter("lml_acts", "Holder acts by outcome.", ["act", "outcome"], registry=self.registry)
        self.act_seconds = Histogram(
            "lml_act_seconds",
            "From a request's arrival to its answer.",
            ["act"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=self.registry,
        )
        self.requests = Counter("lml_http_requests", "HTTP requests by status.", ["status"], registry=self.registry)
        self.expired = Counter(
            "lml_holds_expired", "Holds that the sweep of this worker freed.", registry=self.registry
        )
        self.adopted = Counter("lml_adopted", "Books that this worker adopted.", registry=self.registry)
        self.drift_checks = Counter(
            "lml_drift_checks", "Events compared with PostgreSQL by this worker.", registry=self.registry
        )
        self.drift = Counter(
            "lml_drift", "Points in which Redis and PostgreSQL differed, by kind.", ["kind"], registry=self.registry
        )
        self.drift_mended = Counter(
            "lml_drift_mended", "Events set right, by how: told or adopted.", ["how"], registry=self.registry
        )
        self.clock_skew = Gauge("lml_clock_skew_ms", "PostgreSQL's clock less Redis's.", registry=self.registry)

        self.money_differences = Gauge(
            "lml_money_differences",
            "Bookings and Stripe's money that the last match found to differ.",
            ["kind"],
            registry=self.registry,
        )
        self.money_matched = Gauge(
            "lml_money_matched_timestamp_seconds",
            "Up to when money was matched, in seconds since 1970; 0 before the first match.",
            registry=self.registry,
        )

    def count_message(self, kind: str) -> None:
        """One message of a socket was understood as this."""
        _child(self.messages, kind).inc()

    def count_act(self, act: str, outcome: str, seconds: float) -> None:
        """One act of a holder was answered with `ok` or a refusal's code, so long after it came."""
        _child(self.acts, act, outcome).inc()
        _child(self.act_seconds, act).observe(seconds)

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


@functools.cache
def _child(metric: Any, *labels: str) -> Any:
    """The library takes a lock and builds a key at each look; there are few labels, and each act looks twice."""
    return metric.labels(*labels)


METRICS: Final = Metrics()
"""The metrics of this process."""
