"""What has happened since: collections and alerts on record, the publication, the runs at work.

Collections and alerts are put on record by other processes, so they are asked for; each has a number that grows with
it. In SQLite that is the row's own number, which is given out in the order of the commits. Postgres has none: there it
is the time on the record in microseconds, of records that are two seconds old, so that those of one moment come
together.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import ColumnElement, Table, cast, func, literal_column, select
from sqlalchemy.types import BigInteger

from etl_assets.api.dashboard.replies import seconds
from etl_assets.api.dashboard.runs import metrics_of, sync_id_of
from etl_assets.api.dashboard.state import subject_of
from etl_assets.api.problems import Problem
from etl_assets.ops.database import begin
from etl_assets.ops.tables import ALERTS, SYNC_RUNS

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from etl_assets.api.health import Health
    from etl_assets.api.warehouse import Warehouse
    from etl_assets.settings import Settings

MOST_MISSED = 500
"""Records of a look, the newest: what is told to who comes back. A page that was away for longer draws itself anew. All
of them are read at once, so that nobody waits until others have caught up."""

SETTLED = timedelta(seconds=2)
WRITTEN = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})-(\d{1,18})", re.ASCII)

RECORDED_AT = {SYNC_RUNS.name: SYNC_RUNS.c.finished_at, ALERTS.name: ALERTS.c.raised_at}


@dataclass(frozen=True, slots=True)
class Position:
    """How far somebody was told: number of the last collection, of the last alert, and which publication."""

    sync: int
    alert: int
    snapshot: int
    published_us: int

    def __str__(self) -> str:
        """As an event's id."""
        return f"{self.sync}-{self.alert}-{self.snapshot}-{self.published_us}"

    @classmethod
    def parse(cls, text: str | None) -> Self | None:
        """The position that an event's id names; None for what is none."""
        found = WRITTEN.fullmatch(text or "")
        return cls(*map(int, found.groups())) if found else None


@dataclass(frozen=True, slots=True)
class Event:
    """Something to tell: its kind, what to say of it, and the position of who was told."""

    kind: str
    data: Mapping[str, Any]
    position: Position


@dataclass(frozen=True, slots=True)
class Look:
    """What was found at a moment: how far everything is, and records after a position, in order."""

    newest: Position
    syncs: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    alerts: tuple[tuple[int, Mapping[str, Any]], ...] = ()
    published: Mapping[str, Any] | None = None
    runs: Mapping[str, int] | None = None

    def start(self, wanted: Position | None) -> Position:
        """Where to begin telling somebody who was told so far; now, where that is not known, or cannot be."""
        newest = self.newest
        if wanted is None or wanted.sync > newest.sync or wanted.alert > newest.alert:
            return newest
        return wanted

    def events_after(self, position: Position) -> Iterator[Event]:
        """What somebody was not told yet, as far as it was read."""
        for number, row in self.syncs:
            if number > position.sync:
                position = replace(position, sync=number)
                data = {"type": "sync_complete", "syncId": sync_id_of(row), "metrics": metrics_of(row)}
                yield Event("sync_complete", data, position)
        for number, row in self.alerts:
            if number > position.alert:
                position = replace(position, alert=number)
                yield Event("alert", _alert(row), position)
        now = replace(position, snapshot=self.newest.snapshot, published_us=self.newest.published_us)
        if self.published and now != position:
            yield Event("published", self.published, now)


class Watch:
    """Looks at the records, the published file and Dagster's runs. Each look takes some milliseconds, in a thread."""

    def __init__(self, settings: "Settings", warehouse: "Warehouse", health: "Health") -> None:
        self._settings = settings
        self._warehouse = warehouse
        self._health = health

    def look(self, after: Position | None, now: datetime) -> Look:
        """How far everything is, and the records after a position; none without one."""
        with begin(self._settings) as connection:
            numbers = [_newest(connection, table, now) for table in (SYNC_RUNS, ALERTS)]
            # What is looked at is what was counted: a record that comes in between is the next look's.
            syncs = _records(connection, SYNC_RUNS, after.sync if after else numbers[0], numbers[0])
            alerts = _records(connection, ALERTS, after.alert if after else numbers[1], numbers[1])
        published, publication = self._published()
        newest = Position(numbers[0], numbers[1], *publication)
        return Look(newest, syncs, alerts, published, self._runs())

    def _published(self) -> tuple[dict[str, Any] | None, tuple[int, int]]:
        try:
            snapshot = self._warehouse.snapshot
        except Problem:
            return None, (0, 0)
        data = {"snapshot": snapshot.id, "published_at": seconds(snapshot.published_at)}
        return data, (snapshot.id, _microseconds(snapshot.published_at))

    def _runs(self) -> dict[str, int]:
        import dagster as dg

        instance = self._health.instance()
        at_work = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
        waiting = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
        counts = [instance.get_runs_count(dg.RunsFilter(statuses=statuses)) for statuses in (at_work, waiting)]
        return {"running": counts[0], "queued": counts[1]}


def _number(connection: "Connection", table: Table) -> ColumnElement[int]:
    if connection.dialect.name == "sqlite":
        return literal_column(f"{table.name}.rowid", BigInteger)
    return cast(func.extract("epoch", RECORDED_AT[table.name]) * 1_000_000, BigInteger)


def _newest(connection: "Connection", table: Table, now: datetime) -> int:
    query = select(func.max(_number(connection, table))).select_from(table)
    if connection.dialect.name != "sqlite":
        query = query.where(RECORDED_AT[table.name] < now - SETTLED)
    return connection.execute(query).scalar() or 0


def _records(
    connection: "Connection", table: Table, after: int, newest: int
) -> tuple[tuple[int, Mapping[str, Any]], ...]:
    if after >= newest:
        return ()
    number = _number(connection, table)
    query = select(number.label("number"), *table.c).where(number > after, number <= newest)
    rows = connection.execute(query.order_by(number.desc()).limit(MOST_MISSED)).mappings().all()
    return tuple((row["number"], dict(row)) for row in reversed(rows))


def _alert(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": row["kind"],
        "subject": subject_of(row["key"]),
        "message": row["message"],
        "raised_at": seconds(row["raised_at"]),
    }


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
