"""Of a soak's verdict: the forecasts, each as the report had it when it was asked for."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from etl_assets.market_time import DISPATCH_INTERVAL, market_day
from etl_assets.simulator.dashboard import forecast, forecast_ends, newest_interval
from etl_assets.simulator.market import RegionRow
from etl_assets.simulator.network import REGION_NAMES
from soak.findings import Finding, all_rows, as_text, given
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
    """Each issue that came in is one that there was in a step, is there as a whole, and is what the report said.

    An issue is lost where the report could not be had in its step: every whole day needs one, and half of the steps.
    """
    issues = {issue for (issue,) in all_rows(connection, "SELECT DISTINCT issued_at FROM aemo.region_forecast")}
    with given(connection, truth=_rows(truth, issues)):
        lacking, others = all_rows(connection, LACKING), all_rows(connection, OTHERS)
    wrong = {"missing": lacking, "that the report did not have": others}
    told = [f"{len(found):,} {what}, such as {as_text(found[0])}" for what, found in wrong.items() if found]
    if mute := sorted({*truth.watched_days} - {market_day(issue) for issue in issues}):
        told.append(f"none of {', '.join(map(str, mute))}")
    steps = len(truth.steps)
    there = f"{len(issues)} issues in {steps} steps"
    return Finding(
        "aemo.region_forecast is what the report said",
        not told and 2 * len(issues) >= steps,
        "; ".join([*told, there]),
    )


def _rows(truth: Truth, issues: set[datetime]) -> pa.Table:
    """What the report held of some issues, each time that it was asked for."""
    known: dict[tuple[int, datetime, str], RegionRow] = {}
    rows: list[dict[str, Any]] = []
    for issue, moments in _asked(truth).items():
        if issue not in issues:
            continue
        for moment in moments:
            for end in forecast_ends(moment):
                for region in REGION_NAMES:
                    # A forecast is anew each half-hour.
                    key = (int(moment.timestamp()) // 1800, end, region)
                    if key not in known:
                        known[key] = forecast(truth.market, moment, end, region)
                    rows.append(_row(known[key], issue, is_required=len(moments) == 1))
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _row(told: RegionRow, issue: datetime, *, is_required: bool) -> dict[str, Any]:
    key = {"interval_end": told.interval_end, "issued_at": issue, "region_id": told.region, "required": is_required}
    return key | {name: float(getattr(told, name)) for name in FIGURES}


def _asked(truth: Truth) -> Mapping[datetime, list[datetime]]:
    """The issues that could be had, and when: the newest interval of each step, or of those before it that were out.

    Where that interval was withheld at times, the issue may be its own or the one before it; of an issue that was asked
    for at several times any answer may be there.
    """
    withheld = truth.plan.intervals_of("missing_interval")
    last = [truth.plan.end] if truth.met_until else []
    found: dict[datetime, list[datetime]] = defaultdict(list)
    for moment in [*truth.steps, *last]:
        newest = newest_interval(moment)
        found[newest].append(moment)
        while newest in withheld:
            newest -= DISPATCH_INTERVAL
            found[newest].append(moment)
    return found
