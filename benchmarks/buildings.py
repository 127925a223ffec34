"""Buildings: a day of 6.48 million readings, five sites at once, upserts into a lake of 60 days, analysts' queries.

The simulated account is a process of its own, so that what it costs is not counted, but for its share of the machine.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.ratio import Ratio, compare
from benchmarks.site_sync import START
from etl_assets.ace.page_wire import _Sample
from etl_assets.lake.connection import write_lake
from etl_assets.lake.maintenance import merge_small_files
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import TIMESERIES_AGG, TIMESERIES_RAW
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.settings import Settings
from etl_assets.simulator.ace import DEMO_ACE_KEY

POINTS = 4500
DAY_MINUTES = 1440
TEN_PAGES = 220
SERVER = """
import sys
from datetime import UTC, datetime
from etl_assets.simulator.ace_world import AceWorld
from etl_assets.simulator.app import SimulatorServer
now = datetime(2026, 11, 22, 2, tzinfo=UTC)
with SimulatorServer(now=lambda: now, ace=AceWorld.of_size(5, 4500, plain=True)) as server:
    print(server.ace_url, flush=True)
    sys.stdin.read()
"""


class _Page(msgspec.Struct):
    point_samples: list[_Sample]
    next_cursor: str | None = None
    has_more: bool = False


@contextmanager
def account() -> Iterator[str]:
    """The address of a simulated account of five sites of 4,500 points."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as p:
        assert p.stdout  # noqa: S101
        try:
            yield p.stdout.readline().strip()
        finally:
            p.terminate()


def sync(url: str, minutes: int, *, beside: int = 1, after: int = 1) -> dict[str, Any]:
    """Collect in a process of its own, into an empty lake."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.site_sync", url, folder, str(minutes), str(beside), str(after)]
        return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def decoding(url: str, minutes: int) -> float:
    """Seconds that msgspec takes for the same bytes alone."""
    decoder, spent, cursor = msgspec.json.Decoder(_Page), 0.0, None
    end = START + timedelta(minutes=minutes) - timedelta(microseconds=1)
    with httpx.Client(headers={"Authorization": f"Bearer {DEMO_ACE_KEY}"}, timeout=60) as client:
        while True:
            params = {
                "start_time": START.isoformat(),
                "end_time": end.isoformat(),
                "page_size": 100_000,
                "raw_data": "true",
            }
            body = client.get(
                f"{url}/sites/site-001/timeseries/paginated", params=params | ({"cursor": cursor} if cursor else {})
            ).content
            began = time.perf_counter()
            page = decoder.decode(body)
            spent += time.perf_counter() - began
            cursor = page.next_cursor
            if not page.has_more:
                return spent


def run() -> Iterator[Ratio]:
    """All of it; some five minutes."""
    with account() as url:
        reference = decoding(url, DAY_MINUTES)
        day, ten = sync(url, DAY_MINUTES), sync(url, TEN_PAGES)
        print(
            f"  {day['rows']:,} readings in {day['pages']} pages: {day['rows'] / day['seconds']:,.0f} a second "
            f"from first byte to committed, aggregates included; peak memory {day['peak']:,.0f} MiB"
        )
        yield Ratio("a day of 6.48 M readings / decoding its bytes", day["seconds"], reference, "<= 4")
        yield Ratio("peak memory of 65 pages / of 10 (MiB)", day["peak"], ten["peak"], "<= 1.1")
        one, five = sync(url, TEN_PAGES // 2, after=5), sync(url, TEN_PAGES // 2, beside=5)
        yield Ratio("five sites side by side / one after the other", five["seconds"], one["seconds"], "< 1")
    with tempfile.TemporaryDirectory() as folder:
        yield from _upserts(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        yield from _queries(Path(folder))


def _settings(folder: Path) -> Settings:
    return Settings(_env_file=None, etl_data=folder)  # type: ignore[call-arg]  # pydantic-settings' own argument


def _readings(day: date, points: int, minutes: range) -> pa.Table:
    """One reading a point and minute of a market day, by point and time."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=10)
    first = int(midnight.timestamp()) * 1_000_000
    names = pa.array([f"client/site/10.0.0.{n // 100}-{n % 100}/analogInput/{n:04d}" for n in range(points)])
    at = np.tile(first + 60_000_000 * np.array(minutes) + 5_000_000, points)
    return pa.table(
        {
            "point_name": names.take(pa.array(np.repeat(np.arange(points), len(minutes)))),
            "timestamp": pa.array(at, pa.timestamp("us", tz="UTC")),
            "value": np.round(20 + 5 * np.sin(at / 7e9), 2),
        }
    )


CONSTANT = {"site_name": "site", "quality": "unknown", "metadata": "{}"}


def _store(settings: Settings, rows: pa.Table) -> None:
    with write_lake(settings, "a benchmark") as lake, transaction(lake):
        upsert(lake, TIMESERIES_RAW, rows, now=datetime(2026, 11, 22, tzinfo=UTC), constants=CONSTANT)


def _upserts(folder: Path) -> Iterator[Ratio]:
    """Pages of 100,000 readings into a lake of one day, and into one of 60."""
    last, points = date(2026, 11, 20), 1000
    lakes = {days: _settings(folder / str(days)) for days in (1, 60)}
    for days, settings in lakes.items():
        for n in range(days):
            _store(settings, _readings(last - timedelta(days=n), points, range(500)))
    pages = {days: iter(range(500, 1400, 100)) for days in lakes}

    def new(days: int) -> None:
        start = next(pages[days])
        _store(lakes[days], _readings(last, points, range(start, start + 100)))

    def again(days: int) -> None:
        _store(lakes[days], _readings(last, points, range(400, 500)))

    yield compare("upserting a page that is there / a new one", lambda: again(1), lambda: new(1), aim="<= 1.3", turns=4)
    yield compare("a new page with 60 days / with 1", lambda: new(60), lambda: new(1), aim="<= 1.3", turns=4)
    yield compare("a known page with 60 days / with 1", lambda: again(60), lambda: again(1), aim="<= 1.3", turns=5)


QUERIES = {
    "one point, one day": (
        "SELECT count(*), round(avg(value), 6) FROM {raw} WHERE point_name = '{point}' AND market_day = '2026-11-10'"
    ),
    "one point, 60 days by hour": (
        'SELECT time_bucket(INTERVAL 1 HOUR, "timestamp") AS hour, round(avg(value), 6) FROM {raw} '
        "WHERE point_name = '{point}' GROUP BY hour ORDER BY hour"
    ),
    "all points, daily": (
        "SELECT market_day, point_name, round(avg_value, 6) FROM {agg} "
        "WHERE \"interval\" = '1d' ORDER BY market_day, point_name"
    ),
}


def _queries(folder: Path) -> Iterator[Ratio]:
    """The published views against a native table with the same rows, sorted by point and time."""
    from etl_assets.ace.aggregates import derive_day

    settings, days, points = _settings(folder / "data"), 60, 200
    for n in range(days):
        day = date(2026, 11, 20) - timedelta(days=n)
        _store(settings, _readings(day, points, range(DAY_MINUTES)))
        with write_lake(settings, "a benchmark") as lake, transaction(lake):
            derive_day(lake, "site", day, now=datetime(2026, 11, 22, tzinfo=UTC))
    merge_small_files(settings)
    publish(settings, now=datetime(2026, 11, 22, tzinfo=UTC))
    with duckdb.connect(str(folder / "native.duckdb")) as native:
        native.execute(f"ATTACH '{settings.warehouse_path}' AS published (READ_ONLY)")
        for table in (TIMESERIES_RAW, TIMESERIES_AGG):
            order = "point_name, timestamp" if table is TIMESERIES_RAW else "interval, point_name, timestamp"
            native.execute(f"CREATE TABLE {table.name} AS FROM published.{table.full_name} ORDER BY {order}")
        names = {"point": "client/site/10.0.0.1-7/analogInput/0107"}
        for title, query in QUERIES.items():
            theirs = query.format(raw="timeseries_raw", agg="timeseries_agg", **names)
            ours = query.format(raw="published.ace.timeseries_raw", agg="published.ace.timeseries_agg", **names)
            assert native.execute(ours).fetchall() == native.execute(theirs).fetchall()  # noqa: S101
            yield compare(
                f"published / native: {title}",
                lambda ours=ours: native.execute(ours).fetchall(),  # type: ignore[misc]
                lambda theirs=theirs: native.execute(theirs).fetchall(),  # type: ignore[misc]
                aim="<= 2",
                turns=9,
            )
