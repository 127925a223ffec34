"""An analyst who holds the published file: open for hours of simulated time, asked again and again.

What is open must go on showing what it showed at first, and no question may fail. A process of its own, with DuckDB
and nothing of the pipeline but the clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from soak.clock import SharedClock

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PAUSE_S = 3.0
LONGEST_HOLD_H = 20
"""Less than LAKE_RETENTION, 24 hours in a soak: so long the files of a snapshot are kept."""
MOST_WRONG = 100
"""Kept of what was wrong."""
QUESTIONS = (
    "SELECT count(*), sum(rrp) FROM aemo.dispatch_region",
    "SELECT count(*), sum(mw_flow) FROM aemo.dispatch_interconnector",
    "SELECT count(*), sum(scada_value) FROM aemo.unit_scada",
    "SELECT count(*), sum(value) FROM ace.timeseries_raw",
    "SELECT count(*), sum(avg_value) FROM ace.timeseries_agg",
    "SELECT count(*) FROM ace.timeseries_all",
    "SELECT max(interval_end), count(*) FROM aemo.price",
)


@dataclass(slots=True)
class Study:
    """What an analyst met."""

    opened: int = 0
    asked: int = 0
    longest_hold_h: float = 0.0
    wrong: list[str] = field(default_factory=list)


def study(orders: Connection, clock_file: Path, warehouse: Path, seed: int) -> None:
    """Open, ask, hold, until anything comes; then answer with a ``Study``."""
    random, found, clock = Random(seed), Study(), SharedClock(clock_file)  # noqa: S311
    while not orders.poll(PAUSE_S):
        if warehouse.exists():
            _hold(found, clock, warehouse, timedelta(hours=random.randint(2, LONGEST_HOLD_H)), orders)
    orders.send(found)


def _hold(found: Study, clock: SharedClock, warehouse: Path, length: timedelta, orders: Connection) -> None:
    import duckdb

    opened_at = clock()
    try:
        with duckdb.connect(str(warehouse), read_only=True) as connection:
            connection.execute("SET threads = 1")
            found.opened += 1
            first = [connection.execute(question).fetchall() for question in QUESTIONS]
            while clock() < opened_at + length and not orders.poll(PAUSE_S):
                _ask_again(found, connection, first)
    except duckdb.Error as error:
        found.wrong.append(f"{type(error).__name__} after {clock() - opened_at}: {str(error)[:300]}")
    found.longest_hold_h = max(found.longest_hold_h, (clock() - opened_at) / timedelta(hours=1))


def _ask_again(found: Study, connection: "DuckDBPyConnection", first: Sequence[object]) -> None:
    for question, answer in zip(QUESTIONS, first, strict=True):
        found.asked += 1
        now = connection.execute(question).fetchall()
        if now != answer and len(found.wrong) < MOST_WRONG:
            found.wrong.append(f"{question}: {answer} became {now} in an open file")
