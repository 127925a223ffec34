"""Which intervals of a market day are there, which are missing, which are only provisional.

The one question behind ticks, backfills, healing and checks alike. What should be there is declared by the feed;
what is there is asked of the lake.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from etl_assets.aemo.feeds import Feed
from etl_assets.lake.tables import Table
from etl_assets.lake.upsert import in_days
from etl_assets.market_time import interval_ends
from etl_assets.quality.gaps import Gap

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


class State(StrEnum):
    """What is known of one interval."""

    COMPLETE = "complete"
    PROVISIONAL = "provisional"
    """Every entity is there, but a row lacks a column its table calls for: a second-rate source supplied it."""
    PARTIAL = "partial"
    """Some entities are missing."""
    MISSING = "missing"
    EXPECTED = "expected"
    """Not due yet, or due and not yet overdue."""


@dataclass(frozen=True, slots=True)
class DayStatus:
    """The intervals of one market day of one feed, in order, with their states.

    ``lacking`` names, for partial and missing intervals, the entities without a row (``*``: all of them).
    """

    feed: Feed
    day: date
    states: dict[datetime, State]
    lacking: dict[datetime, tuple[str, ...]]
    now: datetime

    def count(self, *states: State) -> int:
        """How many intervals are in these states."""
        return sum(state in states for state in self.states.values())

    @property
    def wanted(self) -> list[datetime]:
        """Due intervals that are not complete: what a collection should fetch."""
        due = set(self.feed.due(self.day, self.now))
        return [end for end, state in self.states.items() if end in due and state is not State.COMPLETE]

    @property
    def gaps(self) -> list[Gap]:
        """Overdue intervals that are missing or lack entities, as runs of neighbours."""
        missing: dict[str, list[datetime]] = {}
        for end, entities in self.lacking.items():
            if self.feed.is_overdue(end, self.now):
                for entity in entities:
                    missing.setdefault(entity, []).append(end)
        length = self.feed.length(self.day)
        return [gap for entity, ends in missing.items() for gap in Gap.runs(self.feed.name, entity, ends, length)]

    @property
    def is_untouched(self) -> bool:
        """Whether nothing of the day was ever there: history that was not collected yet is no gap."""
        return not self.count(State.COMPLETE, State.PROVISIONAL, State.PARTIAL)

    @property
    def is_closed(self) -> bool:
        """Whether the whole day is overdue: from then on what is missing is an error, not a delay."""
        return self.feed.is_closed(self.day, self.now)


def day_statuses(connection: "DuckDBPyConnection", feed: Feed, days: Iterable[date], now: datetime) -> list[DayStatus]:
    """The state of every interval of some market days, from the lake."""
    days = sorted(days)
    there = _entities_there(connection, feed, feed.table.lake_name, in_days(days))
    return [_status(feed, day, there, now) for day in days]


def whole_intervals(feed: Feed, rows: "pa.Table") -> set[datetime]:
    """The intervals of which some rows have a complete one for every expected entity."""
    import duckdb

    with duckdb.connect() as connection:
        connection.register("rows", rows)
        there = _entities_there(connection, feed, "rows")
    return {end for end, (_, full) in there.items() if _expected(feed) <= full}


Presence = dict[datetime, tuple[frozenset[str], frozenset[str]]]
"""By interval end: entities with any row, entities with a complete row."""


def _entities_there(connection: "DuckDBPyConnection", feed: Feed, relation: str, where: str = "true") -> Presence:
    table = feed.table
    entity = " || ' ' || ".join(feed.entity_columns) if feed.entities else "'*'"
    pricing_run = "AND intervention = 0" if _has_interventions(table) else ""
    complete = " AND ".join(f"{name} IS NOT NULL" for name in table.complete_when) or "true"
    rows = connection.execute(
        f"""
        SELECT epoch(interval_end), list(DISTINCT {entity}), list(DISTINCT {entity}) FILTER (WHERE {complete})
        FROM {relation}
        WHERE {where} {pricing_run}
        GROUP BY interval_end
        """
    ).fetchall()
    # By the epoch: DuckDB's own conversion to an aware datetime looks up a time zone for each.
    return {
        datetime.fromtimestamp(seconds, UTC): (frozenset(some or ()), frozenset(full or ()))
        for seconds, some, full in rows
    }


def _has_interventions(table: Table) -> bool:
    return "intervention" in table.key


def _expected(feed: Feed) -> frozenset[str]:
    """The entities of an interval; ``*`` where they are not known, and any row will do."""
    return frozenset(feed.entities or ("*",))


def _status(feed: Feed, day: date, there: Presence, now: datetime) -> DayStatus:
    expected = _expected(feed)
    states: dict[datetime, State] = {}
    lacking: dict[datetime, tuple[str, ...]] = {}
    nothing: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    for end in interval_ends(day, feed.length(day)):
        some, full = there.get(end, nothing)
        state = _state(expected, some, full)
        if state in (State.MISSING, State.PARTIAL) and not feed.is_overdue(end, now):
            states[end] = State.EXPECTED
            continue
        states[end] = state
        if state is State.MISSING:
            lacking[end] = ("*",)
        elif state is State.PARTIAL:
            lacking[end] = tuple(sorted(expected - some))
    return DayStatus(feed, day, states, lacking, now)


def _state(expected: frozenset[str], some: frozenset[str], full: frozenset[str]) -> State:
    if not some & expected:
        return State.MISSING
    if expected - some:
        return State.PARTIAL
    return State.PROVISIONAL if expected - full else State.COMPLETE
