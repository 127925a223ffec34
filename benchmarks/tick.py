"""A tick against an empty Dagster run, and against itself with a year of history.

Both run as the launcher runs them: a new process that loads the definitions and executes one in-process job. The
empty run has the tick's shape (as many assets, partitions and checks) and does nothing.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from benchmarks.ratio import Ratio, compare
from etl_assets.aemo.feeds import INTERCONNECTORS, REGIONS
from etl_assets.lake.connection import write_lake
from etl_assets.lake.tables import DISPATCH_INTERCONNECTOR, DISPATCH_REGION, TRADING_PRICE, UNIT_SCADA, Table
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import DAY, NEM_TIME, days_between, interval_ends
from etl_assets.settings import Settings
from etl_assets.simulator.app import SimulatorServer

MOMENT = datetime(2026, 11, 22, 3, 41, tzinfo=NEM_TIME)
TURNS = 5
HISTORY: tuple[tuple[Table, tuple[str, ...], dict[str, float]], ...] = (
    (
        DISPATCH_REGION,
        REGIONS,
        {"intervention": 0, "rrp": 50.0, "rop": 50.0, "total_demand": 5.0, "available_generation": 9.0},
    ),
    (DISPATCH_INTERCONNECTOR, INTERCONNECTORS, {"intervention": 0, "mw_flow": 5.0}),
    (TRADING_PRICE, REGIONS, {"rrp": 50.0}),
    (UNIT_SCADA, ("UNIT1", "UNIT2"), {"scada_value": 5.0}),
)


def run() -> Iterator[Ratio]:
    """Ticks on an empty lake, on one with a day, on one with a year."""
    with tempfile.TemporaryDirectory() as folder, SimulatorServer(now=lambda: MOMENT) as server:
        server.set_time(MOMENT)
        day, year = Path(folder) / "day", Path(folder) / "year"
        for where, days in ((day, 1), (year, 365)):
            fill(where, days)
            tick(where, server, MOMENT)
        on_day, on_year = ticker(day, server), ticker(year, server)
        yield compare("a tick / an empty Dagster run", on_day, lambda: empty(day), aim="<= 1.5", turns=TURNS)
        yield compare("a tick with 365 days of history / with 1", on_year, on_day, aim="<= 1.2", turns=TURNS)


def fill(folder: Path, days: int) -> None:
    """History of the market's large tables, a file a day and table, as maintenance leaves it."""
    settings = Settings(_env_file=None, etl_data=folder)  # type: ignore[call-arg]  # pydantic-settings' own argument
    last = MOMENT.date() - DAY
    first = last - (days - 1) * DAY
    ends = [end for day in days_between(first, last) for end in interval_ends(day)]
    with write_lake(settings, "a benchmark") as lake, transaction(lake):
        for table, entities, values in HISTORY:
            upsert(lake, table, _rows(table, ends, entities, values), now=datetime.now(UTC))


def _rows(table: Table, ends: list[datetime], entities: tuple[str, ...], values: dict[str, float]) -> pa.Table:
    count = len(ends) * len(entities)
    columns = {"interval_end": [e for e in ends for _ in entities], table.key[1]: list(entities) * len(ends)}
    return pa.table(columns | {name: [value] * count for name, value in values.items()})


def ticker(folder: Path, server: SimulatorServer) -> Callable[[], None]:
    """Ticks five minutes apart, each with a new interval to fetch."""
    moment = MOMENT

    def next_tick() -> None:
        nonlocal moment
        moment += timedelta(minutes=5)
        server.set_time(moment)
        tick(folder, server, moment)

    return next_tick


def tick(folder: Path, server: SimulatorServer, moment: datetime) -> None:
    """One tick in a process of its own."""
    _python(
        folder,
        "import sys; from datetime import datetime; from etl_assets.dagster_home import dagster_instance;"
        "from etl_assets.settings import settings; from etl_assets.runs import tick;\n"
        "with dagster_instance(settings()) as instance:\n"
        f"    summary = tick(instance, datetime.fromisoformat('{moment.isoformat()}'))\n"
        "    sys.exit(0 if summary.success and summary.records['aemo.dispatch_region']['inserted'] else 1)",
        NEMWEB_URL=server.url,
        AEMO_API_URL=f"{server.url}/aemo/apps/api/report/5MIN",
        PRICE_AND_DEMAND_URL=f"{server.url}/aemo/data/nem/priceanddemand",
    )


def empty(folder: Path) -> None:
    """A run of the same shape that does nothing, in a process of its own."""
    _python(folder, "from benchmarks.empty import run; run()")


def _python(folder: Path, code: str, **environment: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "ETL_DATA": str(folder), **environment})
