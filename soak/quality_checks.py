"""Of a soak's verdict: gaps, revisions and quarantine say what has happened, and nothing else."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from etl_assets.market_time import DISPATCH_INTERVAL, NEM_TIME
from soak.findings import Finding, all_rows, as_text, given, one_value
from soak.truth import LOSING, Truth

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


OPEN_GAPS = """
    SELECT dataset, entity, gap_start, missing_intervals FROM quality.gaps
    WHERE healed_at IS NULL AND dataset LIKE 'aemo%'
"""
STALE_GAPS = """
    WITH open AS (
        SELECT entity, gap_start, gap_end, missing_intervals,
               (epoch_us(gap_end) - epoch_us(gap_start)) // (missing_intervals - 1) AS span_us
        FROM quality.gaps
        WHERE healed_at IS NULL AND dataset NOT LIKE 'aemo%' AND missing_intervals > 1
    )
    SELECT entity, gap_start, count(DISTINCT epoch_us(truth."timestamp") // span_us) AS there
    FROM open
    JOIN truth ON truth.required
        AND entity IN (truth.site_name, truth.point_name, truth.site_name || '/' || truth.point_name)
        AND epoch_us(truth."timestamp") >= epoch_us(gap_start) - span_us AND truth."timestamp" < gap_end
    GROUP BY entity, gap_start, missing_intervals
    HAVING there >= missing_intervals / 2
"""
"""A reading stands for the interval that it opens: those of a gap lie an interval before its ends."""


def gaps(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """No gap is open, but where a point of a building had nothing to say, or an interval cannot be had."""
    wrong = [
        gap[:3]
        for gap in all_rows(connection, OPEN_GAPS)
        if gap[0] not in LOSING
        or not truth.lost.issuperset(gap[2] + number * DISPATCH_INTERVAL for number in range(gap[3]))
    ]
    with given(connection, truth=truth.readings.rows):
        wrong += all_rows(connection, STALE_GAPS)
    healed, still = all_rows(connection, "SELECT count(healed_at), count(*) - count(healed_at) FROM quality.gaps")[0]
    told = f"{len(wrong)} open, such as {as_text(wrong[0])}" if wrong else f"{healed:,} healed; {still:,} where silent"
    return Finding("no gap is open", not wrong, told)


REVISED = """
    SELECT epoch((row_key::JSON ->> 'interval_end')::TIMESTAMPTZ), row_key::JSON ->> 'region_id', new_value::DOUBLE
    FROM quality.revisions
    WHERE column_name = 'rrp' AND table_name IN ('aemo.dispatch_region', 'aemo.trading_price')
        AND former_value IS NOT NULL
"""
CENT = 0.0051
"""Settlement prices are whole cents."""


def revisions(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """A price changed only where AEMO changed it, and to what it says."""
    intended = {
        (end.timestamp(), spell.options["region"])
        for spell in truth.plan.spells if spell.name == "revised_row" for end in spell.options["intervals"]
    }  # fmt: skip
    found = all_rows(connection, REVISED)
    others = [row for row in found if row[:2] not in intended or abs(row[2] - _revised(truth, row)) > CENT]
    # In a short soak none is read again: that happens two days later.
    is_met = bool(found) or truth.plan.is_short
    told = f"{len(found)} recorded of {len(intended)} injected"
    told += f"; {len(others)} of them others, such as {as_text(others[0])}" if others else ""
    return Finding("revisions are those injected", is_met and not others, told)


def _revised(truth: Truth, row: tuple[Any, ...]) -> float:
    # Of the market as first published: in that of the end the price is revised already.
    return float(truth.site.first.market.revised_rrp(datetime.fromtimestamp(row[0], NEM_TIME), row[1]))


DAMAGING = {"bad_values", "bad_times", "missing_names", "record_outside_window", "clock_ahead", "duplicate_records"}
GARBLING = {"bad_row", "short_row", "cut_file", "corrupt_zip", "wrong_footer", "html_with_200", "missing_region"}
ALWAYS_CAUGHT = {
    **dict.fromkeys(("bad_values", "bad_times", "missing_names"), "ace"),
    **dict.fromkeys(("bad_row", "short_row", "corrupt_zip"), "aemo"),
}
"""Kinds of damage of which something must lie in quarantine, and whose it is."""


def quarantined(connection: "DuckDBPyConnection", truth: Truth) -> Finding:
    """What lies in quarantine was spoilt on its way, or was no number to begin with; and what was spoilt is there."""
    asked = "SELECT dataset, reason, count(*) FROM quality.quarantine WHERE"
    silent = "dataset LIKE 'ace%' AND reason <> 'value is NaN'"
    wrong = all_rows(connection, f"{asked} {silent} AND NOT ({_while(truth, DAMAGING)}) GROUP BY ALL")
    wrong += all_rows(connection, f"{asked} dataset LIKE 'aemo%' AND NOT ({_while(truth, GARBLING)}) GROUP BY ALL")
    there = {
        name
        for (name,) in all_rows(
            connection,
            "SELECT DISTINCT split_part(dataset, '.', 1) FROM quality.quarantine WHERE reason <> 'value is NaN'",
        )
    }
    lost = sorted(name for name, whose in ALWAYS_CAUGHT.items() if name in truth.met and whose not in there)
    total = one_value(connection, "SELECT count(*) FROM quality.quarantine")
    told = f"{len(wrong)} kinds that no fault explains, such as {as_text(wrong[0])}" if wrong else f"{total:,} records"
    told += f"; none of {', '.join(lost)}" if lost else ""
    return Finding("quarantine holds what was spoilt", not (wrong or lost), told)


def _while(truth: Truth, names: set[str]) -> str:
    """That a record was collected while one of some faults was on, or in the step after.

    A tick works for its scheduled time, which lies before the step in which the fault came on.
    """
    early, late = truth.plan.step, truth.plan.step + timedelta(minutes=5)
    spans = [
        f"collected_at BETWEEN '{spell.start - early}' AND '{(spell.end or truth.plan.end) + late}'"
        for spell in truth.times if spell.name in names
    ]  # fmt: skip
    return " OR ".join(spans) or "false"
