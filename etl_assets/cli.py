"""The command line: ``etl-assets demo | up | tick | sql | publish | simulate | doctor``."""

import csv
import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from etl_assets.market_time import NEM_TIME, utc_now
from etl_assets.settings import settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Australian electricity-market intervals in DuckDB: pulled, checked, healed and published by Dagster.",
)
out = Console()
err = Console(stderr=True)

MAX_ROWS_SHOWN = 200


def main() -> None:
    """Run the command line; an error that a person can act on is one sentence and exit code 1."""
    from etl_assets.demo import MixedDataError
    from etl_assets.http import SourceError
    from etl_assets.lake.connection import LakeBusyError

    try:
        app()
    except (MixedDataError, SourceError, LakeBusyError, FileNotFoundError) as error:
        err.print(f"[red]etl-assets:[/red] {error}", highlight=False)
        sys.exit(1)


def _moment(text: str | None) -> datetime:
    """A time as a person types it; NEM time where no offset is given."""
    if text is None:
        return utc_now()
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no ISO 8601 time such as 2026-11-22T14:41") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=NEM_TIME)


@app.command()
def demo() -> None:
    """Two market days of everything, offline, through real Dagster runs; ends by itself."""
    from etl_assets.demo import DemoPlan, demo_steps, simulated_sources

    plan = DemoPlan.at(utc_now())
    out.print(
        f"Market days {plan.days[0]} and {plan.days[-1]}, simulated, through Dagster, offline.\n", highlight=False
    )
    summaries = []
    with simulated_sources(lambda: plan.moment):
        for title, step in demo_steps(plan):
            with out.status(f"{title} …"):
                started = utc_now()
                summary = step()
            seconds = (utc_now() - started).total_seconds()
            mark = "[green]✓[/green]" if summary.success else "[red]✗[/red]"
            out.print(f"{mark} {title} [dim]{seconds:.1f} s[/dim]", highlight=False)
            summaries.append(summary)
    _print_demo_summary(summaries)
    if not all(summary.success and not summary.failed for summary in summaries):
        raise typer.Exit(1)


def _print_demo_summary(summaries: list[Any]) -> None:
    total = {"inserted": 0, "updated": 0, "unchanged": 0}
    for summary in summaries:
        for counts in summary.records.values():
            for name in total:
                total[name] += counts.get(name, 0)
    out.print()
    out.print(_tables_grid())
    passed = sum(summary.passed for summary in summaries)
    failed = [check for summary in summaries for check in summary.failed]
    out.print(f"Checks: [green]{passed} passed[/green], {len(failed)} failed.", highlight=False)
    for check in failed:
        out.print(f"  {check.severity}: {check.asset} {check.name}: {check.description}", highlight=False)
    for error in (error for summary in summaries for error in summary.errors):
        err.print(f"[red]{error}[/red]", highlight=False)
    if total["inserted"] or total["updated"]:
        out.print(
            f"New in this demo: {total['inserted']:,} rows inserted, {total['updated']:,} updated.", highlight=False
        )
    else:
        out.print("Nothing new: the lake was complete already, and nothing was fetched twice.")
    out.print("\nNext:", style="bold")
    for command, meaning in (
        (".venv/bin/etl-assets sql 'FROM aemo.price LIMIT 5'", "a query, here"),
        (f"duckdb -readonly {settings().warehouse_path}", "the same in DuckDB's own shell, or in any tool"),
        ("make up", "Dagster's pages at http://127.0.0.1:3000, the simulated market live"),
    ):
        out.print(f"  {command}\n      [dim]{meaning}[/dim]", highlight=False, soft_wrap=True)


def _tables_grid() -> Grid:
    import duckdb

    from etl_assets.lake.tables import AEMO_TABLES

    grid = Grid("table", "rows", "from", "to", title="data/warehouse.duckdb", title_justify="left")
    grid.columns[1].justify = "right"
    with duckdb.connect(str(settings().warehouse_path), read_only=True) as warehouse:
        for table in AEMO_TABLES:
            row = warehouse.execute(
                f"SELECT count(*), min(market_day), max(market_day) FROM {table.full_name}"
            ).fetchone()
            rows, first, last = row or (0, None, None)
            grid.add_row(table.full_name, f"{rows:,}", str(first or ""), str(last or ""))
    return grid


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Dagster pages.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on; Dagster's pages have no log-in.")] = "127.0.0.1",
) -> None:
    """Dagster's pages and daemon, until interrupted; the simulator too where the data is simulated."""
    from etl_assets.processes import serve_all

    serve_all(settings(), host, port, out)


@app.command()
def tick(
    at: Annotated[
        str | None, typer.Option(help="The tick's time, ISO 8601; NEM time where no offset is given.")
    ] = None,
) -> None:
    """One tick by hand: fetch what is missing, check, publish."""
    from etl_assets.dagster_home import dagster_instance
    from etl_assets.demo import refuse_simulated
    from etl_assets.runs import tick as run_tick

    moment = _moment(at)
    refuse_simulated(settings())
    with dagster_instance(settings()) as instance:
        summary = run_tick(instance, moment)
    for table, counts in summary.records.items():
        shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count and name != "fetched")
        out.print(f"{table}: {counts['fetched']} fetched" + (f" ({shown})" if shown else ""), highlight=False)
    for check in summary.failed:
        out.print(f"{check.severity}: {check.asset} {check.name}: {check.description}", highlight=False)
    for error in summary.errors:
        err.print(f"[red]{error}[/red]", highlight=False)
    if not summary.success:
        raise typer.Exit(1)


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="SQL, read-only, over warehouse.duckdb.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON array of objects.")] = False,
) -> None:
    """A query against warehouse.duckdb, as a table, CSV or JSON."""
    import duckdb

    path = settings().warehouse_path
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist yet: run `make demo`, or `etl-assets tick` for the live market")
    with duckdb.connect(str(path), read_only=True) as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        try:
            result = warehouse.execute(query)
        except duckdb.Error as error:
            err.print(str(error), highlight=False, markup=False)
            raise typer.Exit(1) from None
        names = [column[0] for column in result.description or ()]
        if as_csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(names)
            writer.writerows(result.fetchall())
        elif as_json:
            rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
            sys.stdout.write(json.dumps(rows, default=str) + "\n")
        else:
            _print_rows(names, result.fetchmany(MAX_ROWS_SHOWN + 1))


def _print_rows(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    grid = Grid(*names)
    for row in rows[:MAX_ROWS_SHOWN]:
        grid.add_row(*("" if value is None else str(value) for value in row))
    out.print(grid)
    if len(rows) > MAX_ROWS_SHOWN:
        out.print(f"The first {MAX_ROWS_SHOWN} rows; --csv or --json prints all.")


@app.command()
def publish() -> None:
    """Write warehouse.duckdb from the lake's newest snapshot; after moving or restoring the data folder, too."""
    from etl_assets.lake.publish import publish as write_file
    from etl_assets.ops.state import copies_for_analysts

    published = write_file(settings(), now=utc_now(), extra=copies_for_analysts(settings()))
    out.print(
        f"{settings().warehouse_path}: snapshot {published.snapshot_id}, {published.lake_files} lake files, "
        f"{published.bytes:,} bytes",
        highlight=False,
    )


@app.command()
def simulate(
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8099,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(help="The same seed gives the same market.")] = 1,
    start: Annotated[str | None, typer.Option(help="Simulated time at the start, ISO 8601; now by default.")] = None,
) -> None:
    """NEMWeb, the 5MIN report and the price-and-demand files, simulated, until interrupted."""
    from etl_assets.simulator.app import serve

    url = f"http://{host}:{port}"
    out.print(f"A simulated AEMO at {url} (Ctrl-C stops it). To read from it:", highlight=False)
    for name, path in (
        ("NEMWEB_URL", ""),
        ("AEMO_API_URL", "/aemo/apps/api/report/5MIN"),
        ("PRICE_AND_DEMAND_URL", "/aemo/data/nem/priceanddemand"),
    ):
        out.print(f"  export {name}={url}{path}", highlight=False)
    serve(host, port, seed, _moment(start) if start else None)


@app.command()
def doctor() -> None:
    """What is configured, reachable, stale, and how big it is; secrets are not shown."""
    from etl_assets.doctor import examine

    findings = examine(settings(), utc_now())
    grid = Grid("", "what", "found", "to do")
    marks = {"ok": "[green]✓[/green]", "note": "[dim]·[/dim]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}
    for finding in findings:
        grid.add_row(marks[finding.level], finding.what, finding.found, finding.to_do)
    out.print(grid)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
