"""KPIs of a market day: values by entity with their thresholds, how each came about, and the last thirty days."""

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from etl_assets.api.dashboard.links import Links
from etl_assets.api.parameters import calendar_day
from etl_assets.kpi.registry import Kpi, in_force

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from etl_assets.api.warehouse import Warehouse
    from etl_assets.settings import Settings

HISTORY_DAYS = 30

STATUSES = {"within": "ok", "above": "above", "below": "below"}
"""In the page's words; of a KPI without thresholds, or a day without data, there is none."""

DAYS = """
    SELECT date FROM warehouse.kpi.kpi_values UNION SELECT date FROM warehouse.kpi.kpi_runs ORDER BY date
"""
VALUES = """
    SELECT kpi_id, entity,
           last(value ORDER BY date) FILTER (date = $day),
           coalesce(last(threshold_status ORDER BY date) FILTER (date = $day), ''),
           list(date ORDER BY date), list(value ORDER BY date)
    FROM warehouse.kpi.kpi_values
    WHERE date BETWEEN $first AND $day
    GROUP BY kpi_id, entity
    ORDER BY kpi_id, entity
"""
RUNS = """
    SELECT kpi_id, last(status ORDER BY created_at), last(error ORDER BY created_at)
    FROM warehouse.kpi.kpi_runs
    WHERE date = $day
    GROUP BY kpi_id
"""


def kpis(warehouse: "Warehouse", settings: "Settings", day: str | None) -> dict[str, Any]:
    """The active KPIs in the registry's order, for a market day; the newest one with values where none is said.

    Raises ``Problem`` 422 for what is no day.
    """
    days: list[date] = warehouse.once("days of KPIs", _days)
    wanted = calendar_day("day", day) if day is not None else max(days, default=None)
    registry = in_force(settings)
    links = Links(settings)
    if wanted is None:
        return {"day": None, "days": [], "kpis": [_kpi(kpi, None, [], None, links) for kpi in registry.active]}
    named = {"day": wanted, "first": wanted - timedelta(days=HISTORY_DAYS - 1)}
    with warehouse.connection() as connection, warehouse.timed(connection):
        values = _by_kpi(connection, named)
        runs = {
            kpi_id: {"status": status, "error": error}
            for kpi_id, status, error in connection.execute(RUNS, {"day": wanted}).fetchall()
        }
    shown = [_kpi(kpi, wanted, values.get(kpi.id, []), runs.get(kpi.id), links) for kpi in registry.active]
    return {"day": str(wanted), "days": [str(each) for each in days], "kpis": shown}


def _days(connection: "DuckDBPyConnection") -> list[date]:
    return [day for (day,) in connection.execute(DAYS).fetchall()]


def _by_kpi(connection: "DuckDBPyConnection", named: dict[str, date]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for kpi_id, entity, value, status, days, values in connection.execute(VALUES, named).fetchall():
        found.setdefault(kpi_id, []).append(
            {
                "entity": entity,
                "value": value,
                "status": STATUSES.get(status, ""),
                "history": {"day": [str(day) for day in days], "value": values},
            }
        )
    return found


def _kpi(
    kpi: Kpi, day: date | None, values: list[dict[str, Any]], run: dict[str, Any] | None, links: Links
) -> dict[str, Any]:
    """A KPI as the page shows it; nothing of its workflow's address, which may hold a token."""
    thresholds = kpi.analysis_config.alert_thresholds
    return {
        "id": kpi.id,
        "name": kpi.name,
        "description": kpi.description,
        "unit": kpi.unit,
        "entity": kpi.entity,
        "thresholds": {"high": thresholds.high, "low": thresholds.low},
        "workflow": bool(kpi.webhook_url),
        "run": run,
        "values": values,
        "dagster_url": links.asset("kpi", kpi.asset_name, partition=str(day) if day else ""),
    }
