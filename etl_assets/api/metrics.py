"""What Prometheus reads: counts of requests as they come, and gauges of the data that are worked out when it asks.

Each application has a registry of its own. A gauge whose source does not answer is left out of that answer, and
``etl_assets_source_up`` says so.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from etl_assets.api.guards import Answered
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from etl_assets.api.analytics import Analytics
    from etl_assets.api.tokens import Tokens
    from etl_assets.api.warehouse import Warehouse

logger = logging.getLogger(__name__)

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From the newest interval, some milliseconds, to DIRECT_TIMEOUT."""

REFUSED_FOR_RATE = 429
NO_ROUTE = "none"

OUTCOMES = ("filtered", "invalid", "duplicate", "unchanged", "inserted", "updated")


class Metrics:
    """Counts of one application, and what a scrape adds to them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "etl_assets_http_requests", "Requests.", ["method", "route", "status"], registry=self.registry
        )
        self._durations = Histogram(
            "etl_assets_http_request_duration_seconds",
            "Time from a request to the last byte of its answer; of a stream of events to its first.",
            ["route"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._bytes = Counter("etl_assets_http_response_bytes", "Bytes sent.", ["route"], registry=self.registry)
        self._in_flight = Gauge("etl_assets_http_requests_in_flight", "Requests at work.", registry=self.registry)
        self._limited = Counter("etl_assets_http_rate_limited", "Requests refused with 429.", registry=self.registry)

    def began(self) -> None:
        """A request has come."""
        self._in_flight.inc()

    def ended(self, answered: Answered) -> None:
        """It was answered. A route is named with its parameters by name, so that there are few."""
        route = answered.route or NO_ROUTE
        self._in_flight.dec()
        self._requests.labels(answered.method, route, str(answered.status)).inc()
        self._durations.labels(route).observe(answered.duration_s)
        self._bytes.labels(route).inc(answered.response_bytes)
        if answered.status == REFUSED_FOR_RATE:
            self._limited.inc()

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class StateCollector(Collector):
    """What the databases say at the moment of a scrape. Figures of the published file are made once a snapshot."""

    def __init__(
        self,
        settings: Settings,
        warehouse: "Warehouse",
        analytics: "Analytics",
        *,
        tokens: "Callable[[], Tokens | None]",
        now: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._analytics = analytics
        self._tokens = tokens
        self._now = now

    def describe(self) -> Iterable[Metric]:
        """Nothing: without it the registry would collect once to learn the names, when there is no data yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics of every source that answers."""
        up = GaugeMetricFamily("etl_assets_source_up", "1 where the source answered this scrape.", labels=["source"])
        sources: dict[str, Callable[[], Iterable[Metric]]] = {
            "process": self._of_process,
            "published_file": self._of_published_file,
            "sync_runs": self._of_sync_runs,
            "exports": self._of_exports,
        }
        for name, source in sources.items():
            try:
                found = list(source())
            except Exception as error:  # noqa: BLE001 (whatever is wrong, the other sources go on)
                logger.warning("The metrics of %s are left out: %s", name, type(error).__name__)
                up.add_metric([name], 0)
                continue
            up.add_metric([name], 1)
            yield from found
        yield up

    def _of_process(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "etl_assets_request_records_dropped", "Records of requests not written.", value=self._analytics.dropped
        )
        verified = CounterMetricFamily(
            "etl_assets_token_verifications", "Access tokens verified, by outcome.", labels=["outcome"]
        )
        tokens = self._tokens()
        for outcome, count in sorted(tokens.outcomes.items()) if tokens else ():
            verified.add_metric([outcome], count)
        yield verified

    def _of_published_file(self) -> Iterator[Metric]:
        from etl_assets.api.figures import open_gaps, quality_scores

        snapshot = self._warehouse.snapshot
        age = (self._now() - snapshot.published_at).total_seconds()
        yield GaugeMetricFamily("etl_assets_published_age_seconds", "Since the last publication.", value=age)
        yield GaugeMetricFamily(
            "etl_assets_published_snapshot", "The lake's snapshot that is shown.", value=snapshot.id
        )
        gaps = GaugeMetricFamily("etl_assets_gaps_open", "Gaps that are open.", labels=["dataset"])
        missing = GaugeMetricFamily("etl_assets_intervals_missing", "Intervals in open gaps.", labels=["dataset"])
        for dataset, count, intervals in self._warehouse.once("open gaps", open_gaps):
            gaps.add_metric([dataset], count)
            missing.add_metric([dataset], intervals)
        scores = GaugeMetricFamily(
            "etl_assets_quality_score", "Mean quality score of a site's points on its last market day.", labels=["site"]
        )
        for site, _, score in self._warehouse.once("quality scores", quality_scores):
            scores.add_metric([site], score)
        yield from (gaps, missing, scores)

    def _of_sync_runs(self) -> Iterator[Metric]:
        from etl_assets.ops.api_state import last_sync_runs

        of = ["dataset", "site"]
        records = GaugeMetricFamily(
            "etl_assets_last_sync_records",
            "Records of the last run, by what became of them.",
            labels=[*of, "outcome"],
        )
        requests = GaugeMetricFamily("etl_assets_last_sync_requests", "Requests of the last run.", labels=of)
        duration = GaugeMetricFamily("etl_assets_last_sync_duration_seconds", "Duration of the last run.", labels=of)
        finished = GaugeMetricFamily(
            "etl_assets_last_sync_timestamp_seconds", "End of the last run, in Unix seconds.", labels=of
        )
        for run in last_sync_runs(self._settings):
            names = [run["dataset"], run["site_name"] or ""]
            for outcome in OUTCOMES:
                records.add_metric([*names, outcome], run[outcome])
            requests.add_metric(names, sum(run["requests_by_status"].values()))
            duration.add_metric(names, run["duration_seconds"])
            finished.add_metric(names, run["finished_at"].timestamp())
        yield from (records, requests, duration, finished)

    def _of_exports(self) -> Iterator[Metric]:
        from etl_assets.ops.cache_state import kept
        from etl_assets.ops.job_records import count_jobs

        jobs = GaugeMetricFamily("etl_assets_export_jobs", "Jobs in the queue's record, by status.", labels=["status"])
        for status, count in sorted(count_jobs(self._settings).items()):
            jobs.add_metric([status], count)
        yield jobs
        cache = kept(self._settings)
        yield GaugeMetricFamily("etl_assets_cache_entries", "Cached results.", value=cache.entries)
        yield GaugeMetricFamily(
            "etl_assets_cache_bytes", "Size of cached results as kept.", value=cache.compressed_bytes
        )
        yield GaugeMetricFamily("etl_assets_cache_hits", "Requests that kept results answered.", value=cache.hits)
        yield GaugeMetricFamily(
            "etl_assets_cache_misses", "Requests that kept results were made for.", value=cache.misses
        )
