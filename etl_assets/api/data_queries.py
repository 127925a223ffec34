"""What is asked of the market's tables: dispatch intervals of some regions, and the newest of each.

Prices and demand are those of the runs that settle (intervention 0). Coarser resolutions are means over the intervals
that end in (start, end] of a bucket, stamped by its end as AEMO stamps intervals: ``hour`` 15:00 has the twelve that
end at 14:05 to 15:00, ``day`` the 288 of a market day, stamped with the midnight at its end. A bucket that the range
cuts has the intervals in the range; ``intervals`` says how many of them are there, and the mean of a value is over
those that have it. Means are over time, not weighted by demand, and rounded to six decimals.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from etl_assets.api.parameters import TimeRange, chosen, wrong
from etl_assets.api.regions import REGION_IDS
from etl_assets.api.statements import Statement
from etl_assets.lake.publish import NEM_CLOCK_SQL
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.market_time import DAY, DISPATCH_INTERVAL, HALF_HOUR, HOUR

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

MOST_DAYS = timedelta(days=31)

TABLE = f"warehouse.{DISPATCH_REGION.full_name}"
ALWAYS = ("interval_end", "settlement_date", "region_id")
"""What a row is of: in every answer."""

VALUES = tuple(
    c.name for c in DISPATCH_REGION.columns if c.name not in {*DISPATCH_REGION.key, "source_file", "collected_at"}
)
"""All that a client may ask for of a row."""

AVERAGED = frozenset(c.name for c in DISPATCH_REGION.columns if c.type == "DOUBLE")
"""Prices and powers: what has a mean."""

USUAL = ("rrp", "total_demand", "available_generation", "net_interchange")


class Resolution(StrEnum):
    """Dispatch intervals as they are, or means over longer ones."""

    FIVE_MINUTES = "5min"
    HALF_HOUR = "30min"
    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        """How long one interval of it is."""
        return _LENGTHS[self]


_LENGTHS = {
    Resolution.FIVE_MINUTES: DISPATCH_INTERVAL,
    Resolution.HALF_HOUR: HALF_HOUR,
    Resolution.HOUR: HOUR,
    Resolution.DAY: DAY,
}


@dataclass(frozen=True, slots=True)
class IntervalsQuery:
    """Intervals of regions that end in (range.start, range.end], by end and region."""

    range: TimeRange
    regions: tuple[str, ...]
    fields: tuple[str, ...]
    resolution: Resolution

    @property
    def table(self) -> str:
        """Published table that it reads."""
        return DISPATCH_REGION.full_name

    @property
    def days(self) -> tuple[date, date]:
        """First and last market day that it reads."""
        return self.range.interval_days

    @property
    def site(self) -> None:
        """The market has no sites."""
        return

    def request(self) -> dict[str, Any]:
        """What was asked, as JSON that ``intervals_query`` takes again."""
        return {
            "from": self.range.start.astimezone(UTC).isoformat(),
            "to": self.range.end.astimezone(UTC).isoformat(),
            "region": list(self.regions),
            "fields": list(self.fields),
            "resolution": self.resolution.value,
        }

    def batches(self, connection: "DuckDBPyConnection") -> Iterator["pa.RecordBatch"]:
        """Its rows by end and region. At least one batch."""
        return self.statement().batches(connection)

    def statement(self) -> Statement:
        """Its SQL, from closed lists, and the values."""
        wanted = (
            f"FROM {TABLE} WHERE intervention = 0 AND market_day BETWEEN ? AND ? AND interval_end > ? "
            f"AND interval_end <= ? AND region_id IN ({', '.join('?' * len(self.regions))})"
        )
        values = (*self.days, self.range.start, self.range.end, *self.regions)
        if self.resolution is Resolution.FIVE_MINUTES:
            columns = ", ".join((*ALWAYS, *self.fields))
            return Statement(f"SELECT {columns} {wanted} ORDER BY interval_end, region_id", values)
        means = ", ".join(["count(*) AS intervals", *(f"round(favg({name}), 6) AS {name}" for name in self.fields)])
        return Statement(
            f"""
            WITH buckets AS (
                SELECT make_timestamptz(({BUCKET_SQL} * $1) - {NEM_OFFSET_US}) AS ended, * {_numbered(wanted)}
            )
            SELECT ended AS interval_end, {NEM_CLOCK_SQL.format(time="ended")} AS settlement_date, region_id,
                   {means}
            FROM buckets GROUP BY ended, region_id ORDER BY ended, region_id
            """,
            (self.resolution.length // timedelta(microseconds=1), *values),
        )


NEM_OFFSET_US = 36_000_000_000
BUCKET_SQL = f"((epoch_us(interval_end) + {NEM_OFFSET_US} + $1 - 1) // $1)"
"""The number of the bucket that ends at or next after an interval's end, in NEM time; $1 is its length in us."""


def _numbered(sql: str) -> str:
    """Positional parameters as $2, $3 …: the first is used several times."""
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 2))


def intervals_query(
    wanted: TimeRange,
    region: Sequence[str] | None = None,
    fields: Sequence[str] | None = None,
    resolution: Resolution = Resolution.FIVE_MINUTES,
) -> IntervalsQuery:
    """The query of ``GET /data``. Raises ``Problem`` 422 for a region or field that there is not."""
    regions = chosen("region", region, REGION_IDS, REGION_IDS)
    asked = chosen("fields", fields, (*ALWAYS, *VALUES), USUAL)
    values = tuple(name for name in asked if name not in ALWAYS)
    if resolution is not Resolution.FIVE_MINUTES and (others := [n for n in values if n not in AVERAGED]):
        raise wrong("fields", f"{others[0]} has no mean: ask for it with resolution=5min")
    return IntervalsQuery(wanted, tuple(sorted(regions)), values, resolution)


LATEST_FIELDS = (*USUAL, "demand_forecast", "scheduled_generation", "semi_scheduled_generation", "price_status")
LATEST_ROW = ", ".join(f"last({name} ORDER BY interval_end) AS {name}" for name in LATEST_FIELDS)
LATEST = f"""
    SELECT max(interval_end) AS interval_end, max(settlement_date) AS settlement_date, region_id, {LATEST_ROW}
    FROM {TABLE}
    WHERE intervention = 0 AND market_day >= ?
    GROUP BY region_id
    ORDER BY region_id
"""
"""Not by QUALIFY row_number() … = 1, here and below: over some views of files, where the day is compared, DuckDB 1.5.5
fails on that (an internal error, inequal types)."""

FLOWS = """
    SELECT max(interval_end) AS interval_end, interconnector_id,
           last(metered_mw_flow ORDER BY interval_end, intervention) AS metered_mw_flow,
           last(mw_flow ORDER BY interval_end, intervention) AS mw_flow,
           last(mw_losses ORDER BY interval_end, intervention) AS mw_losses,
           last(export_limit ORDER BY interval_end, intervention) AS export_limit,
           last(import_limit ORDER BY interval_end, intervention) AS import_limit
    FROM warehouse.aemo.dispatch_interconnector
    WHERE market_day >= ?
    GROUP BY interconnector_id
    ORDER BY interconnector_id
"""
"""Flows are those of the physical run, where an intervention has one."""


def latest_statements(last: date) -> tuple[Statement, Statement]:
    """The newest interval of each region and of each interconnector, of the last two market days of which ``last`` is.

    A region without an interval in them is left out.
    """
    since = last - timedelta(days=1)
    return Statement(LATEST, (since,)), Statement(FLOWS, (since,))
