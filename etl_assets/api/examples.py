"""A row of each kind, for the OpenAPI document."""

from typing import Any

from etl_assets.api.asked import EXAMPLE_POINT

INTERVAL: dict[str, Any] = {
    "interval_end": "2026-11-19T14:05:00Z",
    "settlement_date": "2026-11-20T00:05:00",
    "region_id": "NSW1",
    "rrp": 84.97,
    "total_demand": 7431.2,
    "available_generation": 11873.4,
    "net_interchange": -411.6,
}
FLOW: dict[str, Any] = {
    "interval_end": "2026-11-19T14:05:00Z",
    "interconnector_id": "NSW1-QLD1",
    "metered_mw_flow": -312.4,
    "mw_flow": -305.0,
    "mw_losses": 4.1,
    "export_limit": 431.0,
    "import_limit": -1078.0,
}
SITE_ROW: dict[str, Any] = {
    "site_name": "building-a",
    "nice_name": "Building A",
    "time_zone": "Australia/Sydney",
    "points": 90,
    "data_start": "2026-11-19T14:00:00Z",
    "data_end": "2026-11-21T13:59:00Z",
    "total_samples": 200672,
}
POINT_ROW: dict[str, Any] = {
    "point_name": EXAMPLE_POINT,
    "point_type": "analogInput",
    "collect_interval": 60,
    "is_listed": True,
    "data_start": "2026-11-19T14:00:00Z",
    "data_end": "2026-11-21T13:59:00Z",
    "total_samples": 2880,
}
READING_ROW: dict[str, Any] = {
    "point_name": EXAMPLE_POINT,
    "timestamp": "2026-11-19T14:00:05.123456Z",
    "value": 21.5,
    "quality": "unknown",
}
WEATHER_ROW: dict[str, Any] = {
    "site_name": "building-a",
    "timestamp": "2026-11-19T14:00:00Z",
    "temperature": 19.4,
    "humidity": 61.0,
}
KPI_ROW: dict[str, Any] = {
    "kpi_id": "average-price",
    "date": "2026-11-20",
    "entity": "NSW1",
    "value": 84.97,
    "unit": "AUD/MWh",
}
QUALITY_ROW: dict[str, Any] = {
    "site_name": "building-a",
    "point_name": EXAMPLE_POINT,
    "date": "2026-11-20",
    "quality_score": 0.998,
}
GAP_ROW: dict[str, Any] = {
    "dataset": "aemo.dispatch_region",
    "entity": "*",
    "gap_start": "2026-11-19T14:05:00Z",
    "gap_end": "2026-11-19T14:10:00Z",
    "missing_intervals": 2,
    "healed_at": None,
}

QUEUED: dict[str, Any] = {
    "description": "The request is large and became a job: ask at `statusUrl`, which `Location` names too.",
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["jobId", "status", "statusUrl", "_meta"]},
            "example": {
                "jobId": "job_196c5fd10cfa788998f159e2cc4469b1",
                "status": "queued",
                "statusUrl": "/jobs/job_196c5fd10cfa788998f159e2cc4469b1",
                "_meta": {"route": "queued", "cacheHit": False, "estimatedSamples": 134_586},
            },
        }
    },
    "headers": {"Location": {"schema": {"type": "string"}}},
}
