"""Of a soak's verdict: the forecasts, each as the report had it when it was issued."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etl_assets.market_time import DISPATCH_INTERVAL
from etl_assets.simulator.dashboard import forecast, forecast_ends
from etl_assets.simulator.network import REGION_NAMES
from soak.findings import Finding, all_rows, as_text
from soak.truth import Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FIGURES = ("rrp", "total_demand", "net_interchange", "scheduled_generation", "semi_scheduled_generation")
SCHEMA = pa.schema(
    [
        *((name, pa.timestamp("us", "UTC")) for name in ("interval_end", "issued_at")),
        ("region_id", pa.string()),
        ("required", pa.bool_()),
        *((name, pa.float64()) for name in FIGURES),
    ]
)
KEY = "interval_end, region_id, issued_at"
LACKING = f"SELECT {KEY} FROM truth ANTI JOIN aemo.region_forecast USING ({KEY}) WHERE required"
OTHERS = f"""
    SELECT {KEY} FROM aemo.region_forecast AS kept
    WHERE NOT EXISTS (
        FROM truth
        WHERE truth.interval_end = kept.interval_end AND truth.region_id = kept.region_id
            AND truth.issued_at = kept.issued_at
            AND {" AND ".join(f"abs(truth.{name} - kept.{name}) <= 5e-6" for name in FIGURES)}
    )
"""


def forecasts(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """Each issue of the 5MIN report that came in is there as a whole, and is what the report said.

    An issue is missed where the report failed for as long as it was the newest: of half of the steps there is one.
    """
    issues = [issue for (issue,) in all_rows(connection, "SELECT DISTINCT issued_at FROM aemo.region_forecast")]
    steps = sum(1 for step in truth.plan.steps() if step <= truth.asked_until)
    rows = [row for issue in issues for row in _issue(truth, issue)]
    connection.register("truth", pa.Table.from_pylist(rows, schema=SCHEMA))
    try:
        lacking, others = all_rows(connection, LACKING), all_rows(connection, OTHERS)
    finally:
        connection.unregister("truth")
    wrong = {"missing": lacking, "that the report did not have": others}
    told = "; ".join(f"{len(found)} {what}, such as {as_text(found[0])}" for what, found in wrong.items() if found)
    holds = not told and 2 * len(issues) >= steps
    seen = f"{told or f'{len(rows):,} rows'}, of {len(issues)} issues in {steps} steps"
    return Finding("aemo.region_forecast is what the report said", holds, seen)


def _issue(truth: Truth, issued: datetime) -> Iterator[dict[str, Any]]:
    """The rows of an issue.

    Where the intervals after it were withheld, it was asked for at several times, and any answer may be there.
    """
    moments = list(_moments(truth, issued))
    for moment in moments:
        for end in forecast_ends(moment):
            for region in REGION_NAMES:
                row = forecast(truth.market, moment, end, region)
                yield {
                    "interval_end": end,
                    "issued_at": issued,
                    "region_id": region,
                    "required": len(moments) == 1,
                    **{name: float(getattr(row, name)) for name in FIGURES},
                }


def _moments(truth: Truth, issued: datetime) -> Iterator[datetime]:
    """When the report had an interval as its newest: in that interval, and in those after it that were withheld."""
    withheld = {
        end for spell in truth.plan.spells if spell.name == "missing_interval" for end in spell.options["intervals"]
    }
    yield issued - DISPATCH_INTERVAL
    while (issued := issued + DISPATCH_INTERVAL) in withheld:
        yield issued - DISPATCH_INTERVAL
