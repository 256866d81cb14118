"""What the server counts, for `GET /metrics` (Prometheus text).

With several workers each process counts for itself, and a scrape reaches one of them: `lml_worker` tells which.
"""

import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_ACT_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the buckets of `lml_act_seconds`."""


class _Tallies(Collector):
    """What is counted with every message and act, in plain numbers that become metrics when somebody asks.

    The library's counters take a lock each, and an act needs four: that would be a tenth of what a hold costs. One
    thread counts here, so there is nothing to lock.
    """

    def __init__(self) -> None:
        self.messages: defaultdict[str, int] = defaultdict(int)
        self.refused: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By act and outcome, but for `ok`: that is what is left of those that ended."""
        self.times: dict[str, list[float]] = {}
        """By act: how many ended in each bucket, the last without an upper bound, and the sum of their seconds."""

    def collect(self) -> Iterator[Metric]:
        messages = CounterMetricFamily("lml_messages", "Messages received.", labels=["type"])
        messages.add_metric(["act"], sum(sum(times[:-1]) for times in self.times.values()))
        for kind, count in self.messages.items():
            messages.add_metric([kind], count)
        acts = CounterMetricFamily("lml_acts", "Holder acts by outcome.", labels=["act", "outcome"])
        for labels, ended in self.refused.items():
            acts.add_metric(labels, ended)
        for act, times in self.times.items():
            granted = sum(times[:-1]) - sum(ended for (known, _), ended in self.refused.items() if known == act)
            if granted:
                acts.add_metric([act, "ok"], granted)
        seconds = HistogramMetricFamily("lml_act_seconds", "From a request's arrival to its answer.", labels=["act"])
        for act, (*counts, total) in self.times.items():
            below = 0.0
            buckets: list[tuple[str, float]] = []
            for bound, more in zip((*map(str, _ACT_SECONDS), "+Inf"), counts, strict=True):
                below += more
                buckets.append((bound, below))
            seconds.add_metric([act], buckets, total)
        yield from (messages, acts, seconds)


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
        self._tallies = _Tallies()
        self.registry.register(self._tallies)
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
        self.layouts_scrubbed = Counter(
            "lml_layouts_scrubbed", "Stored layouts that this worker read and hashed again.", registry=self.registry
        )
        self.layouts_damaged = Gauge(
            "lml_layouts_damaged",
            "Layout versions whose stored content has another hash, as the leader last saw.",
            registry=self.registry,
        )
        self.layouts_set_back = Gauge(
            "lml_layouts_set_back",
            "Layout versions of which MongoDB says another thing than is on record of them, as the leader last saw.",
            registry=self.registry,
        )
        self.events_astray = Gauge(
            "lml_events_astray",
            "Events whose layout in MongoDB is gone or another, as the leader last saw.",
            registry=self.registry,
        )
        self.clock_skew = Gauge("lml_clock_skew_ms", "PostgreSQL's clock less Redis's.", registry=self.registry)

        self.stripe_calls = Counter(
            "lml_stripe_calls", "Calls to Stripe that this worker sent.", ["operation"], registry=self.registry
        )
        self.stripe_paced = Counter(
            "lml_stripe_paced",
            "Calls that this worker put off to keep the pace.",
            ["operation"],
            registry=self.registry,
        )
        self.stripe_slowed = Counter(
            "lml_stripe_slowed",
            "Answers 429 of Stripe's to this worker, by operation or `all`.",
            ["operation"],
            registry=self.registry,
        )
        self.payment_queue = Gauge(
            "lml_payment_queue", "Bookings whose payment is still to be made, as last seen.", registry=self.registry
        )
        self.payment_queue_seconds = Gauge(
            "lml_payment_queue_seconds",
            "How long the last of them will wait, by the pace of that moment.",
            registry=self.registry,
        )
        self.receivables = Counter(
            "lml_receivables", "Reversals that Stripe refused: organisations owe them.", registry=self.registry
        )
        self.transfers_refused = Counter(
            "lml_transfers_refused", "Transfers that Stripe refused: somebody must look.", registry=self.registry
        )
        self.payouts_failed = Counter(
            "lml_payouts_failed", "Payouts to organisations' banks that failed.", registry=self.registry
        )
        self.transfers_surplus = Counter(
            "lml_transfers_surplus", "Transfers that Stripe made twice: they are reversed.", registry=self.registry
        )
        self.reversals_surplus = Counter(
            "lml_reversals_surplus",
            "Reversals of transfers that nobody here decided: what came back is sent again.",
            registry=self.registry,
        )
        self.work_stuck = Gauge(
            "lml_work_stuck",
            "What Stripe refuses and nobody asks for any more, by act, as the leader last saw: somebody must look.",
            ["act"],
            registry=self.registry,
        )
        self.transfers_waiting = Gauge(
            "lml_transfers_waiting",
            "Bookings whose organisation's money is due and that Stripe cannot pay, as the leader last saw.",
            registry=self.registry,
        )
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
        """One message of a socket was understood as this; an act is counted once it is answered."""
        self._tallies.messages[kind] += 1

    def count_act(self, act: str, outcome: str, seconds: float) -> None:
        """One act of a holder was answered with `ok` or a refusal's code, so long after it came."""
        tallies = self._tallies
        if outcome != "ok":
            tallies.refused[act, outcome] += 1
        times = tallies.times.get(act)
        if times is None:
            times = tallies.times[act] = [0] * (len(_ACT_SECONDS) + 1) + [0.0]
        times[bisect_left(_ACT_SECONDS, seconds)] += 1
        times[-1] += seconds

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


METRICS: Final = Metrics()
"""The metrics of this process."""
