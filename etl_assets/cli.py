"""The command line: ``etl-assets demo | up | tick | sql | kpi | publish | backup | restore | simulate | keys | …``.

``etl-assets kpi check | refresh | list`` is about the registry of KPIs; ``keys`` and ``token`` are in ``cli_api.py``,
``backup`` and ``restore`` in ``cli_backup.py``.
"""

import csv
import json
import sys
from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column
from rich.table import Table as Grid
from rich.text import Text

from etl_assets.cli_api import keys_app, token
from etl_assets.cli_backup import backup, restore
from etl_assets.market_time import DAY, NEM_TIME, market_day, utc_now
from etl_assets.settings import settings

if TYPE_CHECKING:
    from etl_assets.kpi.registry import Registry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Australian electricity-market intervals in DuckDB: pulled, checked, healed and published by Dagster.",
)
kpi_app = typer.Typer(no_args_is_help=True, help="The registry of KPIs: check it, bring it in, list its KPIs.")
app.add_typer(kpi_app, name="kpi")
app.add_typer(keys_app, name="keys")
app.command()(token)
app.command()(backup)
app.command()(restore)
# Into a pipe or file there is no width to fit: nothing is folded there.
out = Console() if sys.stdout.isatty() else Console(width=400)
err = Console(stderr=True)

MAX_ROWS_SHOWN = 200
WIDTH_OF_PIPES = 100_000


def main() -> None:
    """Run the command line; an error that a person can act on is one sentence and exit code 1."""
    from pydantic import ValidationError

    try:
        app()
    except ValidationError as error:
        if error.title != "Settings":
            raise
        for wrong in error.errors(include_input=False, include_url=False, include_context=False):
            name = ".".join(str(part) for part in wrong["loc"]).upper()
            _complain(f"etl-assets: {name} {wrong['msg'].removeprefix('Value error, ')}")
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, _expected()):
            raise
        _complain(f"etl-assets: {error}")
        sys.exit(1)


def _expected() -> tuple[type[Exception], ...]:
    """Errors that a person can act on. Asked only once something was raised: DuckDB is among what it loads."""
    from etl_assets.api.credentials import CredentialsError
    from etl_assets.backup.manifest import BackupError
    from etl_assets.http import SourceError
    from etl_assets.kpi.registry import RegistryError
    from etl_assets.lake.connection import LakeBusyError
    from etl_assets.lake.unreachable import LakeUnreachableError
    from etl_assets.processes import AlreadyUpError, ProcessEndedError
    from etl_assets.settings import MixedDataError

    processes = (AlreadyUpError, ProcessEndedError)
    configured = (MixedDataError, RegistryError, CredentialsError)
    unreachable = (FileNotFoundError, PermissionError, LakeUnreachableError)
    return (SourceError, LakeBusyError, BackupError, *unreachable, *configured, *processes)


def _complain(text: str) -> None:
    """An error in red; brackets in it are no markup."""
    err.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def _say(text: str) -> None:
    """A line for people and pipes alike, not broken; brackets in it are no markup."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


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
    from etl_assets.demo_summary import print_summary

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
    print_summary(out, settings(), plan, summaries)
    if not all(summary.success for summary in summaries) or any(c.is_error for s in summaries for c in s.failed):
        raise typer.Exit(1)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the Dagster pages.")] = 3000,
    host: Annotated[str, typer.Option(help="Address of the Dagster pages, which have no log-in.")] = "127.0.0.1",
    api_port: Annotated[int, typer.Option(help="Port of the API.")] = 8000,
    api_host: Annotated[str, typer.Option(help="Address of the API; it wants tokens.")] = "127.0.0.1",
) -> None:
    """Dagster's pages and daemon and the API, until interrupted; the simulator too where the data is simulated."""
    from etl_assets.processes import serve_all

    serve_all(settings(), host, port, out, api_host=api_host, api_port=api_port)


@app.command()
def tick(
    at: Annotated[
        str | None, typer.Option(help="The tick's time, ISO 8601; NEM time where no offset is given.")
    ] = None,
) -> None:
    """One tick by hand: fetch what is missing, check, publish."""
    from etl_assets.dagster_home import dagster_instance
    from etl_assets.demo import configured_sources
    from etl_assets.runs import tick as run_tick

    moment = _moment(at)
    _must_be_a_market_day(moment)
    with configured_sources(settings(), moment), dagster_instance(settings()) as instance:
        summary = run_tick(instance, moment)
    for table, counts in summary.records.items():
        shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count and name != "fetched")
        _say(f"{table}: {counts['fetched']} fetched" + (f" ({shown})" if shown else ""))
    for check in summary.failed:
        _say(f"{check.severity}: {check.asset} {check.name}: {check.description}")
    for error in summary.errors:
        _complain(error)
    if not summary.success:
        raise typer.Exit(1)


def _must_be_a_market_day(moment: datetime) -> None:
    from etl_assets.aemo.automation import days_of_tick
    from etl_assets.partitions import MARKET_DAY

    days = days_of_tick(moment)
    if not days or not all(MARKET_DAY.has_partition_key(str(day)) for day in days):
        first, last = MARKET_DAY.get_first_partition_key(), MARKET_DAY.get_last_partition_key()
        raise typer.BadParameter(f"{market_day(moment)} is no market day from {first} (MARKET_START) to {last}")


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
    whole = as_csv or as_json
    try:
        with duckdb.connect(str(path), read_only=True) as warehouse:
            warehouse.execute("SET TimeZone = 'UTC'")
            result = warehouse.execute(query)
            names = _distinct([column[0] for column in result.description or ()])
            rows = result.fetchall() if whole else result.fetchmany(MAX_ROWS_SHOWN + 1)
    except duckdb.Error as error:
        _complain(str(error))
        raise typer.Exit(1) from None
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
    elif as_json:
        sys.stdout.write(json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=_as_json) + "\n")
    else:
        _print_rows(names, rows)


def _distinct(names: list[str]) -> list[str]:
    """Column names, a repeated one with a number as DuckDB's data frames have it: JSON objects keep every value."""
    found: list[str] = []
    for name in names:
        alike = (f"{name}_{n}" if n else name for n in count())
        found.append(next(candidate for candidate in alike if candidate not in found))
    return found


def _as_json(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else str(value)


def _print_rows(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    grid = Grid(*(Column(Text(name), overflow="fold") for name in names))
    for row in rows[:MAX_ROWS_SHOWN]:
        grid.add_row(*(Text("" if value is None else str(value)) for value in row))
    _show(grid)
    if len(rows) > MAX_ROWS_SHOWN:
        out.print(f"The first {MAX_ROWS_SHOWN} rows; --csv or --json prints all.")


def _show(grid: Grid) -> None:
    # A pipe has no width: nothing is broken there.
    (out if out.is_terminal else Console(width=WIDTH_OF_PIPES)).print(grid)


@kpi_app.command("check")
def check_registry(
    registry: Annotated[str, typer.Argument(metavar="PATH_OR_URL", help="The registry, JSON.")],
) -> None:
    """Whether a registry would be taken; if not, all that is wrong with it, by KPI and field.

    Its queries are tried on warehouse.duckdb, where that is there.
    """
    from etl_assets.kpi.registry_source import load_registry

    found = load_registry(settings(), registry)
    _say(_counted(len(found.kpis), len(found.active)))
    failing = _failing_queries(found)
    for name, why in failing.items():
        _complain(f"{name}: its query does not run: {why}")
    if failing:
        raise typer.Exit(1)


def _failing_queries(registry: "Registry") -> dict[str, str]:
    """KPIs whose query fails on the published file as it is now, and why."""
    from etl_assets.kpi.query import KpiSqlError, PublishedFile

    failing: dict[str, str] = {}
    if not settings().warehouse_path.exists():
        return failing
    with PublishedFile(settings()) as published:
        for kpi in registry.kpis:
            try:
                if kpi.sql:
                    published.values(kpi.sql, market_day(utc_now()) - DAY, entity=kpi.entity)
            except KpiSqlError as error:
                failing[kpi.id] = str(error)
    return failing


@kpi_app.command("refresh")
def refresh_registry() -> None:
    """Fetch and check KPI_REGISTRY now; what is good comes into force, what is not changes nothing."""
    from etl_assets.kpi.registry import refresh

    status = refresh(settings(), now=utc_now())
    if not status.is_good:
        _complain(f"Not taken: {status.error}")
    version = f", version {status.version}" if status.version else ""
    _say(f"In force: {_counted(status.total, status.active)}{version}")
    if status.note:
        _say(f"Note: {status.note}")
    if status.changed:
        _say("Changed: reload the code location in Dagster (Deployment, Reload) to see it.")
    if not status.is_good:
        raise typer.Exit(1)


def _counted(total: int, active: int) -> str:
    return f"{total:,} KPI{'s' * (total != 1)}, {active:,} active"


@kpi_app.command("list")
def list_kpis() -> None:
    """The KPIs in force, and of each the last market day in warehouse.duckdb that has a value."""
    from etl_assets.kpi.registry import in_force

    last = _last_values()
    names = ("id", "name", "active", "unit", "entity", "workflow", "last day", "values")
    grid = Grid(*(Column(name, overflow="fold") for name in names))
    for kpi in in_force(settings()).kpis:
        marks = ("yes" if kpi.active else "no", kpi.unit, kpi.entity, "yes" if kpi.webhook_url else "no")
        grid.add_row(*(Text(cell) for cell in (kpi.id, kpi.name, *marks, *last.get(kpi.id, ("", "")))))
    _show(grid)


def _last_values() -> dict[str, tuple[str, str]]:
    """By KPI, the last market day with a value, and how many values it has; nothing without a published file."""
    import duckdb

    if not settings().warehouse_path.exists():
        return {}
    with duckdb.connect(str(settings().warehouse_path), read_only=True) as warehouse:
        try:
            rows = warehouse.execute(
                """
                SELECT kpi_id, date, count(*)
                FROM kpi.kpi_values
                WHERE value IS NOT NULL
                GROUP BY kpi_id, date
                QUALIFY date = max(date) OVER (PARTITION BY kpi_id)
                """
            ).fetchall()
        except duckdb.CatalogException:
            # Published before there were KPIs.
            return {}
    return {kpi_id: (str(day), f"{values:,}") for kpi_id, day, values in rows}


@app.command()
def publish() -> None:
    """Write warehouse.duckdb from the lake's newest snapshot; after moving or restoring the data folder, too."""
    from etl_assets.lake.publish import publish as write_file
    from etl_assets.ops.state import copies_for_analysts

    if not settings().lake_catalog and not settings().catalog_path.exists():
        raise FileNotFoundError(
            f"{settings().etl_data} holds no lake yet: run `make demo`, or `etl-assets tick` for the live market"
        )
    published = write_file(settings(), now=utc_now(), extra=copies_for_analysts(settings()))
    _say(
        f"{settings().warehouse_path}: snapshot {published.snapshot_id}, {published.lake_files} lake files, "
        f"{published.bytes:,} bytes"
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
    grid = Grid("", *(Column(name, overflow="fold") for name in ("what", "found", "to do")))
    marks = {"ok": "[green]✓[/green]", "note": "[dim]·[/dim]", "warning": "[yellow]![/yellow]", "error": "[red]✗[/red]"}
    for finding in findings:
        grid.add_row(marks[finding.level], Text(finding.what), Text(finding.found), Text(finding.to_do))
    _show(grid)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
