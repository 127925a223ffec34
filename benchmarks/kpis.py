"""KPIs: a year against a day, fifty workflows against the slowest of them, a query without its walls."""

import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import dagster as dg
import duckdb

from benchmarks.ratio import Ratio, compare
from benchmarks.tick import MOMENT, fill
from etl_assets.dagster_home import dagster_instance
from etl_assets.kpi.assets import kpi_assets
from etl_assets.kpi.automation import kpi_config, last_complete_day
from etl_assets.kpi.query import PublishedFile
from etl_assets.kpi.registry import Kpi, built_in
from etl_assets.kpi.run import Order, run_day
from etl_assets.lake.publish import publish
from etl_assets.lake.resource import Lake
from etl_assets.market_time import DAY
from etl_assets.partitions import partition_tags
from etl_assets.settings import Settings, settings

DAYS = 365
LAST = last_complete_day(MOMENT)
KPIS = 50
SLOWEST_S = 2.0
"""The workflows take evenly spread parts of it; one after the other they would take 25 times as long."""


def run() -> Iterator[Ratio]:
    """A backfill, a daily run's workflows, a query."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, _as_process_settings(Path(folder)) as chosen:
        fill(Path(folder), DAYS)
        publish(chosen, now=datetime.now(UTC))
        yield from _backfill(chosen)
        yield from _workflows(chosen)
        yield from _query(chosen)


@contextmanager
def _as_process_settings(folder: Path) -> Iterator[Settings]:
    os.environ["ETL_DATA"] = str(folder)
    settings.cache_clear()
    yield settings()
    del os.environ["ETL_DATA"]
    settings.cache_clear()


def _average_price() -> Kpi:
    found = built_in().kpi("average-price")
    assert found  # noqa: S101 (it is the registry's first)
    return found


def _backfill(chosen: Settings) -> Iterator[Ratio]:
    """Dagster runs in this process, recorded on disk."""
    with dagster_instance(chosen) as instance:
        yield compare(
            f"one run of {DAYS} days of a KPI / of one day",
            lambda: _materialize(instance, LAST - (DAYS - 1) * DAY, LAST),
            lambda: _materialize(instance, LAST, LAST),
            aim="< 60",
            turns=3,
        )


def _materialize(instance: dg.DagsterInstance, first: date, last: date) -> None:
    tags = partition_tags(str(first), str(last))
    result = dg.materialize(
        [kpi_assets([_average_price()])],
        instance=instance,
        resources={"lake": Lake()},
        run_config={
            **kpi_config(MOMENT, "skip").to_config_dict(),
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        partition_key=tags.get("dagster/partition"),
        tags=tags,
    )
    assert result.success  # noqa: S101


class _Workflow(BaseHTTPRequestHandler):
    """A workflow that takes the seconds that its path names."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(float(self.path.rpartition("/")[2]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Nothing: the report is on the console."""


class _Host(ThreadingHTTPServer):
    request_queue_size = KPIS


def _workflows(chosen: Settings) -> Iterator[Ratio]:
    with _Host(("127.0.0.1", 0), _Workflow) as host:
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        root = f"http://127.0.0.1:{host.server_port}/webhook"
        seconds = [SLOWEST_S * (n + 1) / KPIS for n in range(KPIS)]
        kpis = [Kpi(id=f"kpi-{n:02}", name="A workflow", webhook_url=f"{root}/{s}") for n, s in enumerate(seconds)]
        yield compare(
            f"{KPIS} KPIs with workflows / the slowest of them alone",
            _daily_runs(chosen, kpis),
            _daily_runs(chosen, kpis[-1:]),
            aim="near 1",
            turns=5,
        )
        host.shutdown()
        thread.join()


def _daily_runs(chosen: Settings, kpis: Sequence[Kpi]) -> Callable[[], None]:
    """Daily runs one after the other, each in a job of its own."""
    runs = count()

    def next_run() -> None:
        _, done = run_day(chosen, kpis, LAST, Order(f"run-{next(runs)}", MOMENT, force=True))
        assert not [each.error for each in done if each.error]  # noqa: S101

    return next_run


def _query(chosen: Settings) -> Iterator[Ratio]:
    kpi = _average_price()
    with PublishedFile(chosen) as file, duckdb.connect(chosen.warehouse_path, read_only=True) as plain:
        yield compare(
            "a KPI's query of a day / the same on a plain connection",
            lambda: file.values(kpi.sql, LAST, entity=kpi.entity),
            lambda: plain.execute(kpi.sql, {"market_day": LAST}).fetchall(),
            aim="<= 2",
            turns=21,
        )
