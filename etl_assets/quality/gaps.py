"""Gaps: runs of missing intervals, since when they are known, and when they were healed.

``quality.gaps`` is a record, not a work list: what is missing now is always asked of the data itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Self

from etl_assets.lake.tables import GAPS
from etl_assets.lake.upsert import upsert
from etl_assets.market_time import DAY, day_start

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Gap:
    """Neighbouring missing intervals of one entity (``*``: of all), from the first end to the last, both included."""

    dataset: str
    entity: str
    gap_start: datetime
    gap_end: datetime
    missing_intervals: int

    def overlaps(self, other: "Gap") -> bool:
        """Whether both lack an interval of one entity."""
        return self.entity == other.entity and self.gap_start <= other.gap_end and other.gap_start <= self.gap_end

    @classmethod
    def runs(cls, dataset: str, entity: str, ends: Iterable[datetime], length: timedelta) -> list[Self]:
        """Missing interval ends, gathered into runs of neighbours."""
        found: list[Self] = []
        for end in sorted(ends):
            if found and end - found[-1].gap_end == length:
                found[-1] = replace(found[-1], gap_end=end, missing_intervals=found[-1].missing_intervals + 1)
            else:
                found.append(cls(dataset, entity, end, end, 1))
        return found


def open_gaps(connection: "DuckDBPyConnection", dataset: str, days: Sequence[date]) -> list[Gap]:
    """The gaps of some market days that are recorded as open."""
    return list(_first_sightings(connection, dataset, days))


def _first_sightings(connection: "DuckDBPyConnection", dataset: str, days: Sequence[date]) -> dict[Gap, datetime]:
    rows = connection.execute(
        f"""
        SELECT dataset, entity, gap_start, gap_end, missing_intervals, first_seen FROM {GAPS.lake_name}
        WHERE dataset = ? AND healed_at IS NULL AND gap_start > ? AND gap_start <= ?
        """,
        [dataset, day_start(min(days)), day_start(max(days)) + DAY],
    ).fetchall()
    return {Gap(*row[:-1]): row[-1] for row in rows}


def differ(recorded: Iterable[Gap], found: Iterable[Gap]) -> bool:
    """Whether the record needs writing."""
    return set(recorded) != set(found)


def record_gaps(
    connection: "DuckDBPyConnection",
    dataset: str,
    days: Sequence[date],
    found: Sequence[Gap],
    *,
    now: datetime,
    healed: Sequence[Gap] = (),
) -> int:
    """Bring the record for some market days to what was found; returns how many gaps were closed.

    A gap that is gone is stamped healed, also one that was met and ``healed`` before anybody had recorded it; one that
    shrank or grew keeps its first sighting. A run that works for an earlier moment than the sighting closes nothing:
    it could not see the gap. Call in a transaction.
    """
    import pyarrow as pa

    keys = {(gap.entity, gap.gap_start) for gap in found}
    seen = _first_sightings(connection, dataset, days)
    gone = {gap: since for gap, since in seen.items() if since <= now} | dict.fromkeys(healed, now)
    closed = [gap for gap in gone if (gap.entity, gap.gap_start) not in keys]
    rows = [(gap, None) for gap in found] + [(gap, now) for gap in closed]
    if not rows:
        return 0
    first_seen = [min((seen[old] for old in seen if old.overlaps(gap)), default=now) for gap, _ in rows]
    # A gap that reopens at the same place is a new sighting: its former, healed record gives way.
    connection.executemany(
        f"DELETE FROM {GAPS.lake_name} WHERE dataset = ? AND entity = ? AND gap_start = ? AND healed_at IS NOT NULL",
        [(dataset, gap.entity, gap.gap_start) for gap in found] or [("", "", now)],
    )
    batch = pa.table(
        {
            "dataset": [gap.dataset for gap, _ in rows],
            "entity": [gap.entity for gap, _ in rows],
            "gap_start": [gap.gap_start for gap, _ in rows],
            "gap_end": [gap.gap_end for gap, _ in rows],
            "missing_intervals": pa.array([gap.missing_intervals for gap, _ in rows], pa.int32()),
            "first_seen": first_seen,
            "healed_at": pa.array([healed_at for _, healed_at in rows], pa.timestamp("us", tz="UTC")),
        }
    )
    upsert(connection, GAPS, batch, now=now)
    return len(closed)
