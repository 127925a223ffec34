"""What the demo says at its end: what landed, what the checks say, the KPIs, and what to do next."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from etl_assets.demo import DemoPlan
    from etl_assets.runs import RunSummary
    from etl_assets.settings import Settings

MARKS = {"ok": "green", "above threshold": "yellow", "below threshold": "yellow", "no data": "dim"}


def print_summary(out: "Console", settings: "Settings", plan: "DemoPlan", summaries: Sequence["RunSummary"]) -> None:
    """The demo's closing words."""
    out.print()
    out.print(_tables(settings))
    _print_checks(out, summaries)
    _print_news(out, summaries)
    out.print()
    out.print(_kpis(settings, plan))
    _print_next(out, settings)


def _print_checks(out: "Console", summaries: Sequence["RunSummary"]) -> None:
    passed = sum(summary.passed for summary in summaries)
    failed = [check for summary in summaries for check in summary.failed]
    errors = [check for check in failed if check.is_error]
    out.print(
        f"Checks: [green]{passed} passed[/green], {len(errors)} failed, {len(failed) - len(errors)} warn "
        "(simulated buildings and prices have their moods; see the checks in Dagster).",
        highlight=False,
    )
    for check in errors:
        line = f"  {check.severity}: {check.asset} {check.name}: {check.description}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    for error in (error for summary in summaries for error in summary.errors):
        out.print(escape(error), style="red", highlight=False, soft_wrap=True)


def _print_news(out: "Console", summaries: Sequence["RunSummary"]) -> None:
    total: Counter[str] = Counter()
    for summary in summaries:
        for counts in summary.records.values():
            total.update(counts)
    if total["inserted"] or total["updated"]:
        said = f"New in this demo: {total['inserted']:,} rows inserted, {total['updated']:,} updated."
    else:
        said = "Nothing new: the lake was complete already, and nothing was fetched twice."
    out.print(said, highlight=False)


def _tables(settings: "Settings") -> Table:
    import duckdb

    from etl_assets.lake.tables import ACE_TABLES, AEMO_TABLES

    grid = Table("table", "rows", "from", "to", title="data/warehouse.duckdb", title_justify="left")
    grid.columns[1].justify = "right"
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        for table in (*AEMO_TABLES, *ACE_TABLES):
            days = "min(market_day), max(market_day)" if table.time else "NULL, NULL"
            row = warehouse.execute(f"SELECT count(*), {days} FROM {table.full_name}").fetchone()
            rows, first, last = row or (0, None, None)
            grid.add_row(table.full_name, f"{rows:,}", str(first or ""), str(last or ""))
    return grid


def _kpis(settings: "Settings", plan: "DemoPlan") -> Table:
    from etl_assets.kpi.glance import at_a_glance
    from etl_assets.kpi.registry import in_force

    grid = Table(
        "KPI", "unit", Column("values", overflow="fold"), "thresholds", "workflow",
        title=f"KPIs of market day {plan.days[-1]}", title_justify="left",
    )  # fmt: skip
    for kpi in at_a_glance(settings, in_force(settings).active, plan.days[-1]):
        status = Text(kpi.status, style=MARKS.get(kpi.status, ""))
        grid.add_row(Text(kpi.name), kpi.unit, Text(kpi.values), status, Text(kpi.workflow))
    return grid


def _print_next(out: "Console", settings: "Settings") -> None:
    out.print("\nNext:", style="bold")
    for command, meaning in (
        (".venv/bin/etl-assets sql 'FROM aemo.price LIMIT 5'", "a query, here"),
        (f"duckdb -readonly {settings.warehouse_path}", "the same in DuckDB's own shell, or in any tool"),
        ("make up", "Dagster at http://127.0.0.1:3000, the page and the API at http://127.0.0.1:8000, all live"),
    ):
        out.print(f"  {command}\n      [dim]{meaning}[/dim]", highlight=False, soft_wrap=True)
