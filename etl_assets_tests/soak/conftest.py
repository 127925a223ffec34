"""A published file in memory with every table of the lake, and the truth of a few hours of a small world."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from etl_assets.lake.tables import TABLES
from etl_assets.settings import Settings
from etl_assets.simulator.ace_world import AceSite, AceWorld
from etl_assets.simulator.service import Simulator
from soak.plan import Plan
from soak.truth import Truth

HALF_HOUR = timedelta(minutes=30)
SITE = AceSite("plant", 2, plain=True)
"""Two points, each read once a minute."""


@pytest.fixture
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """Every table of the lake as it is declared, empty."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for schema in ("aemo", "ace", "ops", "quality", "kpi"):
            connection.execute(f"CREATE SCHEMA {schema}")
        for table in TABLES:
            columns = ", ".join(f'"{column.name}" {column.type}' for column in table.stored_columns)
            connection.execute(f"CREATE TABLE {table.full_name} ({columns})")
        yield connection


def read(warehouse: duckdb.DuckDBPyConnection, site: str, *readings: tuple[str, str, float]) -> None:
    """All readings that there are, of one site: point, instant with its offset, value."""
    rows = ", ".join(f"('{point}', TIMESTAMPTZ '{at}', {value})" for point, at, value in readings)
    warehouse.execute(
        f"CREATE TABLE ace.timeseries_all AS SELECT '{site}' AS site_name, p AS point_name, t AS \"timestamp\", "
        f"v AS value FROM (VALUES {rows}) AS r(p, t, v)"
    )


@pytest.fixture
def plan() -> Plan:
    """22:31 on 2025-09-30 to 03:31 on 2025-10-01, NEM time; no faults."""
    return replace(Plan.short(1, HALF_HOUR), spells=())


@pytest.fixture
def truth_of() -> Callable[[Plan], Truth]:
    """The truth of a plan, whose faults about intervals are on."""

    def truth_of(plan: Plan, site: AceSite = SITE) -> Truth:
        simulator = Simulator(plan.seed, lambda: plan.end, ace=AceWorld(plan.seed, [site]))
        for spell in plan.spells:
            simulator.faults.switch_on(spell.name, **spell.options)
        return Truth(plan, simulator.site, simulator.ace.world)

    return truth_of


@pytest.fixture
def truth(plan: Plan, truth_of: Callable[[Plan], Truth]) -> Truth:
    """The truth of ``plan``."""
    return truth_of(plan)


@pytest.fixture
def lake_settings(empty_lake: Path, tmp_path: Path) -> Settings:
    """Settings on an empty lake of the test's own."""
    shutil.copytree(empty_lake, tmp_path / "data")
    return Settings(_env_file=None, etl_data=tmp_path / "data")
