"""Values of KPIs in the lake, ``kpi.kpi_values``: stored, judged by their thresholds, read back.

A value belongs to a KPI, a market day (NEM time) and an entity, and is in the KPI's own unit. How it is computed is in
``query.py``, and what a workflow reported in ``ops/kpi_reports.py``.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.sql import literal
from etl_assets.lake.tables import KPI_VALUES
from etl_assets.lake.upsert import UpsertCounts, in_days, transaction, upsert
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from etl_assets.kpi.query import KpiValue
    from etl_assets.kpi.registry import Kpi

ThresholdStatus = Literal["within", "above", "below", "none", "no_data"]

_Key = tuple[str, date, str]
"""KPI, market day, entity."""


@dataclass(frozen=True, slots=True)
class Found:
    """All values of a KPI for a market day: what is not among them has none. ``trace_id`` is the job's, if any."""

    kpi: "Kpi"
    day: date
    values: Sequence["KpiValue"]
    source: Literal["sql", "report"]
    trace_id: str = ""


def threshold_status(value: float | None, high: float | None, low: float | None) -> ThresholdStatus:
    """Where a value lies; one that equals a threshold is within. ``none`` where there is no threshold."""
    if value is None:
        return "no_data"
    if high is not None and value > high:
        return "above"
    if low is not None and value < low:
        return "below"
    return "none" if high is None and low is None else "within"


def breaches(kpi: "Kpi", values: Iterable["KpiValue"]) -> list[tuple[str, float, str]]:
    """The values beyond a KPI's thresholds: entity, value, and the limit in words, ``above 300 AUD/MWh``."""
    thresholds = kpi.analysis_config.alert_thresholds
    limits = {"above": thresholds.high, "below": thresholds.low}
    judged = [(each, threshold_status(each.value, thresholds.high, thresholds.low)) for each in values]
    return [
        (each.entity, each.value, f"{status} {limits[status]:g} {kpi.unit}".rstrip())
        for each, status in judged
        if status in limits and each.value is not None
    ]


def store_values(settings: Settings, found: Sequence[Found], *, now: datetime) -> UpsertCounts:
    """Store values in one transaction; returns what became of the rows, those that were emptied among the updated.

    What was stored before of the same KPI and day and is not found now becomes null, so that no stale number is left.
    Of one KPI and day given twice the later wins. Raises ``ValueError`` for a value that is not finite, before
    anything is stored.
    """
    import pyarrow as pa

    latest = {(each.kpi.id, each.day): each for each in found}
    if not latest:
        return UpsertCounts()
    rows = {key: row for each in latest.values() for key, row in _rows(each, now).items()}
    with write_lake(settings, "storing KPI values") as connection, transaction(connection):
        for key in _stored_keys(connection, latest):
            rows.setdefault(key, _row(latest[key[:2]], key[2], None, now))
        _empty(connection, [key for key, row in rows.items() if row["value"] is None])
        batch = pa.table({c.name: [row[c.name] for row in rows.values()] for c in KPI_VALUES.columns})
        return upsert(connection, KPI_VALUES, batch, now=now)


def history(
    settings: Settings, kpi_ids: Sequence[str], *, until: date, days: int = 30
) -> dict[str, dict[str, list[tuple[date, float | None]]]]:
    """Values of the ``days`` market days to ``until``, included, by KPI and entity, oldest first.

    Days without a row are left out; null is a day without data. A KPI without any row has no entity.
    """
    found: dict[str, dict[str, list[tuple[date, float | None]]]] = {kpi_id: {} for kpi_id in kpi_ids}
    window = f"date BETWEEN {literal(until - timedelta(days=days - 1))} AND {literal(until)}"
    for kpi_id, day, entity, value in _read(settings, kpi_ids, window):
        found[kpi_id].setdefault(entity, []).append((day, value))
    return found


def day_values(
    settings: Settings, kpi_ids: Sequence[str], days: Sequence[date]
) -> dict[tuple[str, date], list["KpiValue"]]:
    """Values by KPI and market day, in the order of their entities; nothing for a day without a row."""
    from etl_assets.kpi.query import KpiValue

    found: defaultdict[tuple[str, date], list[KpiValue]] = defaultdict(list)
    for kpi_id, day, entity, value in _read(settings, kpi_ids, in_days(days, "date")):
        found[kpi_id, day].append(KpiValue(entity, value))
    return dict(found)


def _rows(found: Found, now: datetime) -> dict[_Key, dict[str, Any]]:
    for each in found.values:
        if each.value is not None and not isfinite(each.value):
            of = f"{found.kpi.id}, {found.day}{', ' if each.entity else ''}{each.entity}"
            raise ValueError(f"the value of {of} is {each.value}; a value is a finite number, or null for no data")
    return {(found.kpi.id, found.day, v.entity): _row(found, v.entity, v.value, now) for v in found.values}


def _row(found: Found, entity: str, value: float | None, now: datetime) -> dict[str, Any]:
    thresholds = found.kpi.analysis_config.alert_thresholds
    return {
        "kpi_id": found.kpi.id,
        "date": found.day,
        "entity": entity,
        "value": value,
        "unit": found.kpi.unit,
        "threshold_status": threshold_status(value, thresholds.high, thresholds.low),
        "source": found.source,
        "trace_id": found.trace_id,
        "computed_at": now,
    }


def _stored_keys(connection: "DuckDBPyConnection", latest: Mapping[tuple[str, date], Found]) -> list[_Key]:
    where = f"{_of_kpis({kpi_id for kpi_id, _ in latest})} AND {in_days({day for _, day in latest}, 'date')}"
    keys = connection.execute(f"SELECT kpi_id, date, entity FROM {KPI_VALUES.lake_name} WHERE {where}").fetchall()
    return [(kpi_id, day, entity) for kpi_id, day, entity in keys if (kpi_id, day) in latest]


def _empty(connection: "DuckDBPyConnection", keys: Sequence[_Key]) -> None:
    """Take stored values away, since a null in a batch leaves what is stored alone. The batch changes the rest."""
    import pyarrow as pa

    if not keys:
        return
    connection.register("emptied", pa.table(dict(zip(KPI_VALUES.key, zip(*keys, strict=True), strict=True))))
    same_key = " AND ".join(f"kept.{name} = emptied.{name}" for name in KPI_VALUES.key)
    try:
        connection.execute(
            f"UPDATE {KPI_VALUES.lake_name} AS kept SET value = NULL "
            f"WHERE value IS NOT NULL AND EXISTS (FROM emptied WHERE {same_key})"
        )
    finally:
        connection.unregister("emptied")


def _read(settings: Settings, kpi_ids: Sequence[str], days: str) -> list[tuple[str, date, str, float | None]]:
    with read_lake(settings) as connection:
        return connection.execute(
            f"SELECT kpi_id, date, entity, value FROM {KPI_VALUES.lake_name} "
            f"WHERE {_of_kpis(kpi_ids)} AND {days} ORDER BY kpi_id, date, entity"
        ).fetchall()


def _of_kpis(kpi_ids: Iterable[str]) -> str:
    return f"kpi_id IN (SELECT unnest({literal(set(kpi_ids))}))"
