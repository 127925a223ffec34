"""What an operator sees of a market day at a glance: a few figures and a curve for each table, asked of the lake.

Dagster plots the figures over the partitions, so each name bears its unit. Which intervals are there is in
``completeness``; whether they are right in ``checks``. A curve has a value an interval, over all regions or units.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from etl_assets.lake.tables import (
    DISPATCH_INTERCONNECTOR,
    DISPATCH_REGION,
    PRICE_AND_DEMAND,
    ROOFTOP_PV,
    TRADING_PRICE,
    UNIT_SCADA,
    Table,
)
from etl_assets.lake.upsert import in_days
from etl_assets.quality.plots import sparkline

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Curve:
    """A value an interval: ``sql`` is an aggregate over the interval's rows, ``name`` ends with the unit."""

    name: str
    sql: str


_FIVE_REGIONS = "region_id IN ('NSW1', 'QLD1', 'SA1', 'TAS1', 'VIC1')"

CURVES: dict[str, tuple[Curve, ...]] = {
    DISPATCH_REGION.full_name: (
        Curve("price_aud_per_mwh", "avg(rrp) FILTER (WHERE intervention = 0)"),
        Curve("demand_mw", "sum(total_demand) FILTER (WHERE intervention = 0)"),
    ),
    DISPATCH_INTERCONNECTOR.full_name: (Curve("largest_flow_mw", "max(abs(mw_flow)) FILTER (WHERE intervention = 0)"),),
    UNIT_SCADA.full_name: (
        Curve("output_mw", "sum(scada_value)"),
        Curve("units_reporting", "count(DISTINCT duid)"),
    ),
    TRADING_PRICE.full_name: (Curve("price_aud_per_mwh", "avg(rrp)"),),
    PRICE_AND_DEMAND.full_name: (
        Curve("price_aud_per_mwh", "avg(rrp)"),
        Curve("demand_mw", "sum(total_demand)"),
    ),
    # The two estimates of one power are never added up, nor are parts of a region to the whole.
    ROOFTOP_PV.full_name: (
        Curve("measured_power_mw", f"sum(power) FILTER (WHERE type = 'MEASUREMENT' AND {_FIVE_REGIONS})"),
    ),
}
"""By table. A price is the mean of the regions; demand, output and power are their sum."""


@dataclass(frozen=True, slots=True)
class DayFigures:
    """A market day's rows in a table, and what its curves come to."""

    rows: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, str] = field(default_factory=dict)
    """Curves as Markdown, inline-short, by a name that bears the unit."""


def day_figures(lake: "DuckDBPyConnection", table: Table, days: Sequence[date]) -> dict[date, DayFigures]:
    """The figures of some neighbouring market days of a table, by day; a day without rows is not among them."""
    curves = CURVES[table.full_name]
    values = "".join(f", {curve.sql} AS {curve.name}" for curve in curves)
    lists = "".join(f", list({curve.name} ORDER BY interval_end)" for curve in curves)
    found = lake.execute(
        f"SELECT market_day, sum(rows)::BIGINT{lists} FROM ("
        f"SELECT market_day, interval_end, count(*) AS rows{values} FROM {table.lake_name} "
        f"WHERE {in_days(days)} GROUP BY ALL) GROUP BY 1"
    ).fetchall()
    return {day: _figures(rows, curves, drawn, str(day)) for day, rows, *drawn in found}


def month_figures(lake: "DuckDBPyConnection", table: Table, days: Sequence[date]) -> DayFigures:
    """The rows of a month and the means of its days; its curves have a value a day."""
    by_day = day_figures(lake, table, days)
    figures: dict[str, float] = {}
    pictures: dict[str, str] = {}
    for curve in CURVES[table.full_name]:
        means = [by_day[day].figures.get(f"mean_{curve.name}") if day in by_day else None for day in days]
        if known := [mean for mean in means if mean is not None]:
            figures[f"mean_{curve.name}"] = round(sum(known) / len(known), 2)
            pictures[curve.name] = sparkline(means, f"{curve.name} {days[0]} to {days[-1]}, by day")
    return DayFigures(sum(day.rows for day in by_day.values()), figures, pictures)


def _figures(rows: int, curves: Sequence[Curve], drawn: Iterable[Sequence[float | None]], when: str) -> DayFigures:
    figures: dict[str, float] = {}
    pictures: dict[str, str] = {}
    for curve, values in zip(curves, drawn, strict=True):
        known = [value for value in values if value is not None]
        if not known:
            continue
        figures |= {
            f"mean_{curve.name}": round(sum(known) / len(known), 2),
            f"lowest_{curve.name}": round(min(known), 2),
            f"highest_{curve.name}": round(max(known), 2),
        }
        pictures[curve.name] = sparkline(values, f"{curve.name} {when}")
    return DayFigures(rows, figures, pictures)
