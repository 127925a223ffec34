"""What is asked of the buildings' tables: sites, points, readings and their aggregates, weather, scores, KPIs, gaps.

Times of readings are instants, ranges are [from, to). Names are looked up in what was published: a site or point that
there is not is ``Problem`` 404. A pattern is a glob over a site's names, in which ``*`` takes slashes too.
"""

import fnmatch
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from http import HTTPStatus
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from etl_assets.api.parameters import TimeRange, quoted, time_range, wrong
from etl_assets.api.problems import Problem
from etl_assets.api.statements import Statement
from etl_assets.api.warehouse import Warehouse
from etl_assets.market_time import DAY, HOUR

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

SAMPLES_A_DAY = 100
"""Of a point of which nothing is known: the predecessor's estimate."""

PIECE_ROWS = 250_000
"""Rows that one statement of a query is to sort: some 30 MB, however long the range and however many the points."""

MOST_PATTERN = 200
"""Characters of a pattern; names are shorter."""


class Interval(StrEnum):
    """Readings as they came, or aggregates of so long, each by its start."""

    RAW = "raw"
    MINUTE = "1min"
    FIVE_MINUTES = "5min"
    HOUR = "1h"
    DAY = "1d"


LENGTHS = {
    Interval.MINUTE: timedelta(minutes=1),
    Interval.FIVE_MINUTES: timedelta(minutes=5),
    Interval.HOUR: HOUR,
    Interval.DAY: DAY,
}
RAW_TABLE = "ace.timeseries_all"
AGGREGATES_TABLE = "ace.timeseries_agg"
COLUMNS = {
    RAW_TABLE: 'point_name, "timestamp", value, quality',
    AGGREGATES_TABLE: 'point_name, "timestamp", avg_value, min_value, max_value, sample_count',
}


@dataclass(frozen=True, slots=True)
class PointFacts:
    """What is known of a point: its type, and of its readings the first, the last, and how many."""

    point_type: str | None
    data_start: datetime | None
    data_end: datetime | None
    total_samples: int

    def overlap(self, wanted: TimeRange) -> timedelta:
        """How much of a range lies between the first reading and the last; negative where none does."""
        if self.data_start is None or self.data_end is None:
            return wanted.length
        return min(wanted.end, self.data_end) - max(wanted.start, self.data_start)

    def samples(self, wanted: TimeRange) -> int | None:
        """Readings in a range: all where it covers them, else by the share of time; None where it was never read."""
        if self.data_start is None or self.data_end is None:
            return None
        if wanted.start <= self.data_start and self.data_end < wanted.end:
            return self.total_samples
        overlap, span = self.overlap(wanted), self.data_end - self.data_start
        if overlap < timedelta(0) or not span:
            return 0
        return math.ceil(self.total_samples * (overlap / span))


FACTS = """
    SELECT point_name, point_type, data_start, data_end, coalesce(total_samples, 0)
    FROM (FROM warehouse.ace.points WHERE site_name = $1) AS p
    FULL JOIN (FROM warehouse.ace.query_metadata WHERE site_name = $1) AS m USING (point_name)
    ORDER BY point_name
"""


def known_site(warehouse: Warehouse, site: str) -> str:
    """The site, where there is one of this name. Raises ``Problem`` 404 otherwise."""
    sites = warehouse.once(
        "names of sites",
        lambda connection: frozenset(
            name for (name,) in connection.execute("SELECT site_name FROM warehouse.ace.sites").fetchall()
        ),
    )
    if site not in sites:
        raise _unknown(f"There is no site {quoted(site)}; GET /sites lists them.")
    return site


def facts_of(warehouse: Warehouse, site: str) -> Mapping[str, PointFacts]:
    """The points of a site by name, those that the account lists no more included. 404 for an unknown site."""
    known_site(warehouse, site)
    return warehouse.once(
        f"points of {site}",
        lambda connection: {
            name: PointFacts(*facts) for name, *facts in connection.execute(FACTS, [site]).fetchall()
        },
    )  # fmt: skip


def matching(names: Sequence[str], pattern: str) -> tuple[str, ...]:
    """Names that a glob matches. Raises ``Problem`` 422 where it is too long.

    Not by DuckDB's GLOB, which tries every way to match: a few asterisks would hold a processor for hours.
    """
    if len(pattern) > MOST_PATTERN:
        raise wrong("pattern", f"is longer than {MOST_PATTERN} characters")
    found = re.compile(fnmatch.translate(pattern)).match
    return tuple(name for name in names if found(name))


@dataclass(frozen=True, slots=True)
class TimeseriesQuery:
    """Readings or aggregates of points of a site in [range.start, range.end), by point and time."""

    site: str
    points: tuple[str, ...]
    interval: Interval
    range: TimeRange
    facts: Mapping[str, PointFacts] = field(default_factory=dict, compare=False, repr=False)

    @property
    def table(self) -> str:
        """Published table that it reads: readings with the archive's, or aggregates."""
        return RAW_TABLE if self.interval is Interval.RAW else AGGREGATES_TABLE

    @property
    def days(self) -> tuple[date, date]:
        """First and last market day that it reads."""
        return self.range.instant_days

    def request(self) -> dict[str, Any]:
        """What was asked, as JSON that ``timeseries_query`` takes again."""
        return {
            "site": self.site,
            "points": list(self.points),
            "interval": self.interval.value,
            "from": self.range.start.astimezone(UTC).isoformat(),
            "to": self.range.end.astimezone(UTC).isoformat(),
        }

    def count_estimate(self, warehouse: Warehouse) -> int:
        """Rows to be expected, by what is published now.

        From ``ace.query_metadata``: the count itself where the range covers all that a point has, else its share of
        the time; 100 a day for a point of which nothing is known. Of aggregates no more than fit into that time.
        """
        facts = facts_of(warehouse, self.site)
        return sum(self._expected(facts.get(point)) for point in self.points)

    def batches(self, connection: "DuckDBPyConnection") -> Iterator["pa.RecordBatch"]:
        """Its rows by point and time. At least one batch.

        Piece by piece: some points at a time, or some days of a point that has many readings, so that no more than
        ``PIECE_ROWS`` or so are sorted at once.
        """
        schema = None
        for piece in self.pieces():
            for batch in piece.statement().batches(connection):
                if schema is None or batch.num_rows:
                    yield batch
                schema = batch.schema
        if schema is None:
            yield from self.statement().batches(connection)

    def pieces(self) -> Iterator["TimeseriesQuery"]:
        """Queries for a part each, which together, in order, are this one."""
        points: list[str] = []
        rows = 0
        for point in self.points:
            expected = self._expected(self.facts.get(point))
            if points and rows + expected > PIECE_ROWS:
                yield self._part(points, self.range)
                points, rows = [], 0
            if expected > PIECE_ROWS:
                yield from (self._part([point], part) for part in self._parts_of_range(point, expected))
                continue
            points.append(point)
            rows += expected
        if points:
            yield self._part(points, self.range)

    def statement(self) -> Statement:
        """Its SQL, from closed lists, and the values."""
        conditions = ["site_name = ?", "market_day BETWEEN ? AND ?", '"timestamp" >= ?', '"timestamp" < ?']
        values: list[Any] = [self.site, *self.days, self.range.start, self.range.end]
        if self.interval is not Interval.RAW:
            conditions.append('"interval" = ?')
            values.append(self.interval.value)
        # The range of names skips row groups, which a list does not.
        conditions += ["point_name BETWEEN ? AND ?", "point_name IN (SELECT unnest(?::VARCHAR[]))"]
        values += [min(self.points, default=""), max(self.points, default=""), list(self.points)]
        return Statement(
            f"SELECT {COLUMNS[self.table]} FROM warehouse.{self.table} WHERE {' AND '.join(conditions)} "
            'ORDER BY point_name, "timestamp"',
            tuple(values),
        )

    def _expected(self, facts: PointFacts | None) -> int:
        samples = facts.samples(self.range) if facts else None
        if samples is None:
            samples = math.ceil(self.range.length / DAY) * SAMPLES_A_DAY
        if self.interval is Interval.RAW:
            return samples
        time = facts.overlap(self.range) if facts else self.range.length
        return min(samples, max(time // LENGTHS[self.interval], 0) + 1)

    def _part(self, points: Sequence[str], part: TimeRange) -> "TimeseriesQuery":
        return TimeseriesQuery(self.site, tuple(points), self.interval, part, self.facts)

    def _parts_of_range(self, point: str, expected: int) -> Iterator[TimeRange]:
        """The range in equal parts of the time in which the point has readings."""
        facts = self.facts[point]
        first = max(self.range.start, facts.data_start or self.range.start)
        last = min(self.range.end, facts.data_end or self.range.end)
        count = math.ceil(expected / PIECE_ROWS)
        inner = [first + (last - first) * n / count for n in range(1, count)]
        ends = [self.range.start, *inner, self.range.end]
        return (TimeRange(start, end) for start, end in pairwise(ends) if start < end)


def timeseries_query(
    warehouse: Warehouse,
    site: str,
    points: Sequence[str] | None = None,
    *,
    pattern: str | None = None,
    interval: Interval = Interval.RAW,
    wanted: TimeRange,
) -> TimeseriesQuery:
    """The query of ``GET /timeseries``. Raises ``Problem``: 404 for an unknown site or point, 422 for the rest."""
    facts = facts_of(warehouse, site)
    if points is None and pattern is None:
        raise wrong("points", "is missing: send points, once for each, or pattern; pattern=* are all of the site")
    named = dict.fromkeys(points or ())
    if unknown := [point for point in named if point not in facts]:
        raise _unknown(f"Site {quoted(site)} has no point {quoted(unknown[0])}; GET /sites/{{site}}/points lists them.")
    found = dict.fromkeys(matching(tuple(facts), pattern)) if pattern is not None else {}
    return TimeseriesQuery(site, tuple(sorted({**named, **found})), interval, wanted, facts)


def timeseries_query_of(warehouse: Warehouse, request: Mapping[str, Any]) -> TimeseriesQuery:
    """The query that ``TimeseriesQuery.request`` was made of."""
    return timeseries_query(
        warehouse,
        request["site"],
        request["points"],
        interval=Interval(request["interval"]),
        wanted=time_range(request["from"], request["to"], None),
    )


def _unknown(detail: str) -> Problem:
    status = HTTPStatus.NOT_FOUND
    return Problem(status, status.phrase, detail)
