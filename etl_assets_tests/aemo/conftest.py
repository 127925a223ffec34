"""A simulated market over loopback, a lake of its own for each test, and the truth to hold both against."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from etl_assets.aemo.account import Collection, Job
from etl_assets.aemo.collect import collect
from etl_assets.aemo.feeds import DISPATCH_IS, Feed, feeds_of
from etl_assets.http import HttpClient
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.market_time import NEM_TIME, interval_ends
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings
from etl_assets.simulator.app import LoggedRequest, SimulatorServer
from etl_assets.simulator.market import Market

DAY = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 0, 41, tzinfo=NEM_TIME)
DUE = interval_ends(DAY)[:9]
"""At 00:41 the files of 00:05 to 00:45 are out; from 00:35 back they are overdue where missing."""

REGION_FIGURES = (
    "total_demand", "available_generation", "dispatchable_generation", "dispatchable_load", "wdr_dispatched",
    "net_interchange", "demand_forecast", "initial_supply", "cleared_supply", "scheduled_generation",
    "semi_scheduled_generation",
)  # fmt: skip
SERVICES = ("raise1sec", "raise6sec", "raise60sec", "raise5min", "raisereg",
            "lower1sec", "lower6sec", "lower60sec", "lower5min", "lowerreg")  # fmt: skip
LINK_FIGURES = ("mw_flow", "metered_mw_flow", "mw_losses", "marginal_value", "export_limit", "import_limit")

Figures = dict[tuple[Any, ...], tuple[Decimal | None, ...]]


@dataclass(frozen=True)
class World:
    """The simulated market, and what our lake knows of it."""

    server: SimulatorServer
    settings: Settings

    @property
    def market(self) -> Market:
        return self.server.simulator.market

    def with_settings(self, **changes: object) -> "World":
        return World(self.server, self.settings.model_copy(update=changes))

    def collect(
        self,
        *days: date,
        now: datetime = NOW,
        feeds: Sequence[Feed] = feeds_of(DISPATCH_IS),
        reread: bool = False,
    ) -> list[Collection]:
        """One collection as of ``now``, which is the simulator's time as well."""
        self.server.set_time(now)
        with HttpClient(self.settings) as http:
            return collect(self.settings, http, Job(feeds, days or (DAY,), now, "a run", reread))

    def requests_of(self, *arguments: Any, **options: Any) -> tuple[list[Collection], list[LoggedRequest]]:
        """A collection, and the requests that it made."""
        before = len(self.server.requests)
        results = self.collect(*arguments, **options)
        return results, self.server.requests[before:]

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with read_lake(self.settings) as lake:
            return lake.execute(sql, list(parameters)).fetchall()

    def execute(self, sql: str, *parameters: object) -> None:
        with write_lake(self.settings, "a test") as lake:
            lake.execute(sql, list(parameters))

    def regions(self, intervention: int = 0) -> Figures:
        """What the lake says of regions: price, power, ancillary prices; to the last digit."""
        names = ["rrp", *REGION_FIGURES, *(f"{service}_rrp" for service in SERVICES)]
        return self._figures("dispatch_region", "region_id", names, intervention)

    def links(self, intervention: int = 0) -> Figures:
        return self._figures("dispatch_interconnector", "interconnector_id", LINK_FIGURES, intervention)

    def prices(self) -> dict[tuple[Any, ...], Decimal | None]:
        return {key: figures[0] for key, figures in self.regions().items()}

    def _figures(self, table: str, entity: str, names: Iterable[str], intervention: int) -> Figures:
        rows = self.query(
            f"SELECT interval_end, {entity}, {', '.join(names)} FROM lake.aemo.{table} WHERE intervention = ?",
            intervention,
        )
        assert len({row[:2] for row in rows}) == len(rows), "a key is there twice"
        return {row[:2]: tuple(None if v is None else Decimal(str(v)) for v in row[2:]) for row in rows}

    def true_regions(self, ends: Iterable[datetime], intervention: int = 0) -> Figures:
        """The same of the simulated market itself."""
        rows = [row for end in ends for row in self.market.regions(end, intervention=intervention)]
        return {
            (row.interval_end, row.region): (
                row.rrp,
                *(getattr(row, name) for name in REGION_FIGURES),
                *(row.fcas[service.upper()] for service in SERVICES),
            )
            for row in rows
        }

    def true_links(self, ends: Iterable[datetime]) -> Figures:
        return {
            (row.interval_end, row.interconnector): tuple(getattr(row, name) for name in LINK_FIGURES)
            for end in ends
            for row in self.market.interconnectors(end)
        }

    def assert_truth(self, ends: Iterable[datetime] = DUE) -> None:
        """The lake holds exactly the dispatch of these intervals, every figure as the market has it."""
        ends = list(ends)
        for stored, truth in ((self.regions(), self.true_regions(ends)), (self.links(), self.true_links(ends))):
            assert stored.keys() == truth.keys()
            assert not {key: (stored[key], truth[key]) for key in truth if stored[key] != truth[key]}


def assert_balanced(results: list[Collection]) -> None:
    """Every record is in exactly one category; the sum is worked out here."""
    for result in results:
        a = result.account
        assert a.fetched == a.filtered + a.invalid + a.duplicate + a.unchanged + a.inserted + a.updated


@pytest.fixture(scope="session")
def _running_server() -> Iterator[SimulatorServer]:
    with SimulatorServer(now=lambda: NOW) as running:
        yield running


@pytest.fixture
def server(_running_server: SimulatorServer) -> Iterator[SimulatorServer]:
    """The simulated operator at 00:41, without faults."""
    _running_server.set_time(NOW)
    yield _running_server
    _running_server.faults.switch_off()


@pytest.fixture
def world(server: SimulatorServer, empty_lake: Path, tmp_path: Path) -> World:
    shutil.copytree(empty_lake, tmp_path / "data")
    return World(server, settings_for(server, tmp_path / "data"))


@pytest.fixture
def configured(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world that this process's environment names, as Dagster's resources read it."""
    names = ("etl_data", "nemweb_url", "aemo_api_url", "price_and_demand_url", "http_backoff", "http_retries")
    for name in names:
        monkeypatch.setenv(name.upper(), str(getattr(world.settings, name)))
    process_settings.cache_clear()
    yield world
    process_settings.cache_clear()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster's storage as ever, its SQLite in memory: files cost a second a test."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def settings_for(server: SimulatorServer, data: Path) -> Settings:
    """Settings that read everything from the simulator; a failed request is not tried again."""
    return Settings(
        _env_file=None,
        etl_data=data,
        http_backoff=0,
        http_retries=0,
        nemweb_url=server.url,
        aemo_api_url=f"{server.url}/aemo/apps/api/report/5MIN",
        price_and_demand_url=f"{server.url}/aemo/data/nem/priceanddemand",
    )
