"""How everything stands now: the newest interval of regions and interconnectors, what is stale, alerts, gaps."""

from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from etl_assets.aemo.feeds import MARKET_FLOOR, market_cap
from etl_assets.api.dashboard.freshness import freshness
from etl_assets.api.dashboard.links import Links
from etl_assets.api.dashboard.replies import seconds
from etl_assets.api.dashboard.titles import REGION_NAMES
from etl_assets.api.figures import open_gaps
from etl_assets.api.regions import INTERCONNECTORS, REGION_IDS
from etl_assets.lake.tables import DISPATCH_INTERCONNECTOR, DISPATCH_REGION
from etl_assets.market_time import DAY, market_day

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from starlette.datastructures import State

    from etl_assets.api.warehouse import Warehouse
    from etl_assets.settings import Settings

TREND = 48
"""Intervals in a region's small line: four hours. One that is missing is null, and a hole in the line."""

REGIONS = """
    WITH settled AS (
        SELECT region_id, interval_end, epoch_us(interval_end) // 300000000 AS number,
               market_day = max(market_day) OVER (PARTITION BY region_id) AS is_newest_day,
               rrp, total_demand, net_interchange,
               coalesce(dispatchable_generation, scheduled_generation + semi_scheduled_generation) AS generation
        FROM warehouse.aemo.dispatch_region
        WHERE intervention = 0 AND market_day >= $since
    )
    SELECT region_id AS id,
           epoch_us(max(interval_end)) // 1000000 AS interval_end,
           last(rrp ORDER BY interval_end) AS price,
           last(total_demand ORDER BY interval_end) AS demand,
           last(generation ORDER BY interval_end) AS generation,
           last(net_interchange ORDER BY interval_end) AS net_interchange,
           avg(rrp) FILTER (is_newest_day) AS price_mean_day,
           min(rrp) FILTER (is_newest_day) AS price_min_day,
           max(rrp) FILTER (is_newest_day) AS price_max_day,
           list_transform(
               range(greatest(max(number) - $trend + 1, min(number)), max(number) + 1),
               lambda each: map_from_entries(list((number, rrp)))[each]
           ) AS price_trend
    FROM settled
    GROUP BY region_id
"""
LINKS = """
    WITH newest AS (
        SELECT interconnector_id,
               epoch_us(max(interval_end)) // 1000000 AS interval_end,
               last(mw_flow ORDER BY interval_end, intervention) AS flow,
               last(export_limit ORDER BY interval_end, intervention) AS export_limit,
               last(import_limit ORDER BY interval_end, intervention) AS import_limit,
               last(mw_losses ORDER BY interval_end, intervention) AS losses
        FROM warehouse.aemo.dispatch_interconnector
        WHERE market_day >= $since
        GROUP BY interconnector_id
    ),
    limited AS (
        SELECT *, CASE WHEN flow >= 0 THEN export_limit ELSE -import_limit END AS limit_mw FROM newest
    )
    SELECT interconnector_id AS id, interval_end, flow, export_limit, import_limit,
           CASE WHEN limit_mw > 0 THEN least(abs(flow) / limit_mw, 1) END AS utilisation,
           losses
    FROM limited
"""
"""Utilisation is of the limit in the flow's direction, as the KPI has it: none where that limit is not positive."""

QUARANTINED = """
    SELECT day, count(*) FROM warehouse.quality.quarantine WHERE day >= $since AND resolved_at IS NULL GROUP BY day
"""


def state_of(state: "State") -> dict[str, Any]:
    """Everything at a glance. Raises ``Problem`` 503 where nothing has been published."""
    warehouse: Warehouse = state.warehouse
    settings: Settings = state.settings
    now: datetime = state.now()
    links, snapshot, today = Links(settings), warehouse.snapshot, market_day(now)
    return {
        "now": seconds(now),
        "published_at": seconds(snapshot.published_at),
        "snapshot": snapshot.id,
        "source": "demo" if settings.is_demo else "live",
        "environment": settings.environment,
        "version": version("etl-assets"),
        "market_day": str(today),
        "dagster_url": links.root,
        "regions": _regions(warehouse),
        "interconnectors": _interconnectors(warehouse),
        "freshness": [each.as_json(now, links) for each in freshness(warehouse, settings)],
        "alerts": _alerts(settings),
        "open_gaps": sum(count for _, count, _ in warehouse.once("open gaps", open_gaps)),
        "quarantined_day": _quarantined(warehouse, today),
        "price_cap": market_cap(today),
        "price_floor": MARKET_FLOOR,
    }


def _regions(warehouse: "Warehouse") -> list[dict[str, Any]]:
    """All five in their order: one without an interval of late has nulls, and no trend."""
    last = warehouse.last_day(DISPATCH_REGION.full_name)
    found = warehouse.once("regions now", lambda connection: _named_rows(connection, REGIONS, last, trend=TREND))
    names = ("interval_end", "price", "demand", "generation", "net_interchange", "price_mean_day", "price_min_day",
             "price_max_day")  # fmt: skip
    unknown: dict[str, Any] = {**dict.fromkeys(names), "price_trend": []}
    return [{"id": region, "name": REGION_NAMES[region], **unknown, **found.get(region, {})} for region in REGION_IDS]


def _interconnectors(warehouse: "Warehouse") -> list[dict[str, Any]]:
    last = warehouse.last_day(DISPATCH_INTERCONNECTOR.full_name)
    found = warehouse.once("interconnectors now", lambda connection: _named_rows(connection, LINKS, last))
    unknown: dict[str, Any] = dict.fromkeys(
        ("interval_end", "flow", "export_limit", "import_limit", "utilisation", "losses")
    )
    return [
        {"id": link.interconnector_id, "name": link.name, "from": link.source, "to": link.sink,
         **unknown, **found.get(link.interconnector_id, {})}
        for link in INTERCONNECTORS
    ]  # fmt: skip


def _named_rows(
    connection: "DuckDBPyConnection", sql: str, last: date | None, **more: int
) -> dict[str, dict[str, Any]]:
    """Rows by their id, of the last two market days to ``last``."""
    if last is None:
        return {}
    found = connection.execute(sql, {"since": last - DAY, **more})
    names = [column[0] for column in found.description or ()]
    return {row[0]: dict(zip(names, row, strict=True)) for row in found.fetchall()}


def _alerts(settings: "Settings") -> list[dict[str, Any]]:
    from etl_assets.ops.alerts import open_alerts

    return [
        {
            "kind": alert.kind,
            "subject": subject_of(alert.key),
            "message": alert.message,
            "raised_at": seconds(alert.raised_at),
        }
        for alert in open_alerts(settings)
    ]


def subject_of(key: str) -> str:
    """The site or KPI that an alert is about, from its key ``kind:subject``."""
    return key.partition(":")[2]


def _quarantined(warehouse: "Warehouse", today: date) -> int:
    """Records of a market day that lie in quarantine. A publication is of today or, just after midnight, yesterday."""
    since = warehouse.snapshot.published_at.astimezone(UTC).date() - timedelta(days=1)
    by_day = warehouse.once(
        "quarantined of late", lambda connection: dict(connection.execute(QUARANTINED, {"since": since}).fetchall())
    )
    return int(by_day.get(today, 0))
