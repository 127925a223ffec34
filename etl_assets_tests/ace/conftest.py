"""A server that says what a test tells it to, settings that ask it without waiting, and sites of the simulator."""

import itertools
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from etl_assets.ace.client import AceClient
from etl_assets.ace.collect import DayResult, SiteJob, collect_site
from etl_assets.ace.plan import SyncWindow
from etl_assets.ace.sync import Mode, SiteSync, SyncRequest, sync_site
from etl_assets.lake.account import Account
from etl_assets.lake.connection import read_lake
from etl_assets.ops.site_state import windows
from etl_assets.settings import Settings
from etl_assets.simulator.ace import DEMO_ACE_KEY
from etl_assets.simulator.ace_world import AceSite, AceWorld
from etl_assets.simulator.app import SimulatorServer

KEY = "sesame"


class ScriptedServer(ThreadingHTTPServer):
    """Gives its answers one after another, the last one for ever, and remembers the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"{}")]
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.lock = threading.Lock()

    def handle_error(self, *_: object) -> None:
        """A client that gave up is not this server's error."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def asked(self) -> list[str]:
        return [path for _, path, _, _ in self.seen]


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length", 0))
        with self.server.lock:
            self.server.seen.append((self.command, self.path, dict(self.headers), self.rfile.read(size)))
            answers = self.server.answers
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = True
        if status == 0:
            return
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - the names that the standard library calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    scripted = ScriptedServer()
    thread = threading.Thread(target=scripted.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield scripted
    scripted.shutdown()
    thread.join()
    scripted.server_close()


@pytest.fixture
def ace_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Settings that ask an address without waiting between tries."""

    def make(url: str, **changes: object) -> Settings:
        quick = {
            "etl_data": tmp_path / "data",
            "ace_api_url": url,
            "ace_api_key": KEY,
            "ace_retry_delay": timedelta(0),
            "ace_requests_per_minute": 100_000,
        }
        return Settings(_env_file=None, **quick | changes)

    return make


NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
"""12:00 in NEM time."""
TODAY = date(2026, 11, 22)
FIVE, HOUR = timedelta(minutes=5), timedelta(hours=1)
SITES = (AceSite("plain", 10, plain=True), AceSite("real", 40), AceSite("wide", 600, plain=True))
"""Of exactly 10 readings a minute; of 40 points with weather, late readings, silence and what is no number; of 600
readings that share one instant each minute."""


class Building:
    """A site of the simulated account, and a data folder that it is collected into; first syncs read an hour."""

    def __init__(self, server: SimulatorServer, folder: Path, site: str = "plain", **changes: object) -> None:
        quick = {
            "etl_data": folder,
            "ace_api_url": server.ace_url,
            "ace_api_key": DEMO_ACE_KEY,
            "ace_retries": 0,
            "ace_retry_delay": timedelta(0),
            "ace_requests_per_minute": 1_000_000,
            "page_size": 500,
            "site_first_sync": HOUR,
        }
        self.server = server
        self.site = site
        self.settings = Settings(_env_file=None, **quick | changes)

    def changed(self, **changes: object) -> "Building":
        """The same data folder and site with other settings."""
        other = Building(self.server, self.settings.etl_data, self.site)
        other.settings = self.settings.model_copy(update=changes)
        return other

    def collect(
        self, *windows: SyncWindow, now: datetime = NOW, weather: Sequence[SyncWindow] = (), **more: object
    ) -> list[DayResult]:
        """The windows as one job; checks the account of each day."""
        self.server.set_time(now)
        job = SiteJob(self.site, windows, weather, now, "run", "sync", **more)
        with AceClient(self.settings, limiter=lambda: None) as client:
            results = collect_site(self.settings, client, job)
        for result in results:
            assert_balanced(result.readings)
            assert_balanced(result.weather)
        return results

    def sync(self, now: datetime = NOW, mode: Mode = Mode.LIVE, days: Sequence[date] = (), **more: object) -> SiteSync:
        """A whole sync; of the market days of the last 24 hours where none are named."""
        self.server.set_time(now)
        found = days or sorted({(now + timedelta(hours=10) - back).date() for back in (timedelta(0), 24 * HOUR)})
        request = SyncRequest(self.site, found, mode, now, more.pop("run_id", f"run at {now:%H:%M}"), **more)
        with AceClient(self.settings, limiter=lambda: None) as client:
            done = sync_site(self.settings, client, request)
        for result in done.results:
            assert_balanced(result.readings)
            assert_balanced(result.weather)
        return done

    def query(self, query: str) -> list[tuple[Any, ...]]:
        """An answer of the lake."""
        with read_lake(self.settings) as lake:
            return lake.execute(query).fetchall()

    def stored(self) -> list[tuple[str, datetime, float]]:
        """The readings that the lake holds: point, instant to the microsecond, value."""
        found = self.query(
            f"SELECT point_name, \"timestamp\", value FROM lake.ace.timeseries_raw WHERE site_name = '{self.site}'"
        )
        return sorted((name, at.astimezone(UTC), value) for name, at, value in found)

    def truth(self, start: datetime, end: datetime, as_of: datetime = NOW) -> list[tuple[str, datetime, float]]:
        """The readings that there are and that are numbers."""
        table = self.server.ace.table(self.site, start, end, as_of)
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        return sorted((name, at, value) for name, at, value in rows if not math.isnan(value))

    @property
    def windows(self) -> list[tuple[datetime, datetime, str]]:
        """What is recorded of the windows that were read."""
        found = windows(self.settings, self.site, start=NOW - timedelta(days=400), end=NOW + timedelta(days=400))
        return [(w.start, w.end, w.status) for w in found]

    def assert_aggregates(self) -> None:
        """Minutes, hours and days are what the readings say."""
        for interval, unit in (("1min", "minute"), ("1h", "hour")):
            same = self.query(f"""
                WITH direct AS (
                    SELECT point_name, date_trunc('{unit}', "timestamp") AS "timestamp", count(*) AS sample_count,
                           min(value) AS min_value, max(value) AS max_value
                    FROM lake.ace.timeseries_raw GROUP BY ALL
                ), stored AS (
                    SELECT point_name, "timestamp", sample_count, min_value, max_value
                    FROM lake.ace.timeseries_agg WHERE "interval" = '{interval}'
                )
                (FROM direct EXCEPT ALL FROM stored) UNION ALL (FROM stored EXCEPT ALL FROM direct)
            """)
            assert same == []


def assert_balanced(account: Account) -> None:
    """What was fetched is all accounted for."""
    parts = (account.filtered, account.invalid, account.duplicate, account.unchanged, account.inserted, account.updated)
    assert account.fetched == sum(parts)


@pytest.fixture(scope="session")
def ace_server() -> Iterator[SimulatorServer]:
    with SimulatorServer(now=lambda: NOW, ace=AceWorld(sites=SITES)) as running:
        yield running


@pytest.fixture
def new_building(ace_server: SimulatorServer, empty_lake: Path, tmp_path: Path) -> Iterator[Callable[..., Building]]:
    """Makes a site with an empty lake of its own."""
    numbers = itertools.count()

    def make(site: str = "plain", **changes: object) -> Building:
        return Building(ace_server, shutil.copytree(empty_lake, tmp_path / f"data-{next(numbers)}"), site, **changes)

    yield make
    ace_server.faults.switch_off()


@pytest.fixture
def building(new_building: Callable[..., Building]) -> Building:
    """The plain site: ten points that are read each minute, and nothing late."""
    return new_building()


@pytest.fixture
def real_building(new_building: Callable[..., Building]) -> Building:
    """The site with weather, late readings and all that a real one has."""
    return new_building("real")
