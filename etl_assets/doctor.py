"""``etl-assets doctor``: what is configured, reachable, stale, and how big it is. Secrets are never shown."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from etl_assets.http import HttpClient, SourceError, shown
from etl_assets.redaction import without_secrets
from etl_assets.settings import Settings

Level = Literal["ok", "note", "warning", "error"]

STALE_AFTER = timedelta(minutes=15)
"""A tick comes every five minutes; three missed are a problem."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: how it is, and what to do where it is not well."""

    level: Level
    what: str
    found: str
    to_do: str = ""


def examine(settings: Settings, now: datetime) -> list[Finding]:
    """Look at everything; nothing here raises, a look that fails is a finding."""
    findings: list[Finding] = []
    for look in (_settings, _sources, _account, _lake, _sites, _warehouse, _kpi_registry, _state):
        try:
            findings += look(settings, now)
        except Exception as error:  # noqa: BLE001 (whatever is wrong, the other looks go on)
            said = without_secrets(f"{type(error).__name__}: {error}", settings)
            findings.append(Finding("error", look.__name__.strip("_"), said))
    return findings


def _settings(settings: Settings, _now: datetime) -> Iterator[Finding]:
    yield Finding("note", "data folder", str(settings.etl_data.absolute()))
    yield Finding("note", "source", "the simulator" if settings.is_demo else "live AEMO, or the mirror that is set")
    headers = ", ".join(sorted(settings.aemo_api_headers)) or "none"
    yield Finding("note", "5MIN headers", f"{headers} (values not shown)")
    if settings.mms_footer == "warn":
        yield Finding(
            "warning", "MMS_FOOTER", "warn: cut files are accepted", "Set it to enforce for AEMO's own files."
        )


def _sources(settings: Settings, now: datetime) -> Iterator[Finding]:
    from etl_assets.aemo.dashboard import fetch_5min
    from etl_assets.aemo.nemweb import NemWeb

    if settings.is_demo and settings.reads_live_market:
        yield Finding("note", "NEMWeb, 5MIN report", "the simulator, which `make up` and `etl-assets tick` start")
        return
    # One try each: a doctor's answer should not wait for a back-off.
    patient = settings.model_copy(update={"http_retries": 0, "http_timeout": timedelta(seconds=10)})
    with HttpClient(patient) as http:
        nemweb = NemWeb(settings.nemweb_url, http)
        yield _reached(
            f"NEMWeb {shown(settings.nemweb_url)}",
            lambda: f"{len(nemweb.listing('Reports/CURRENT/DispatchIS_Reports'))} files in CURRENT/DispatchIS_Reports",
        )
        if settings.aemo_api_url:
            url, headers = settings.aemo_api_url, settings.aemo_api_headers
            yield _reached(
                f"5MIN report {shown(url)}",
                lambda: f"{fetch_5min(http, url, headers, now).actual.num_rows} actual rows",
            )


def _account(settings: Settings, _now: datetime) -> Iterator[Finding]:
    """The ACE account, asked once for the first site that is configured."""
    from etl_assets.ace.client import AceClient

    if not settings.sites:
        yield Finding("note", "ACE account", "no site configured (SITES)")
        return
    if settings.is_demo and settings.reads_live_account:
        yield Finding("note", "ACE account", "the simulator, which `make up` starts")
        return
    patient = settings.model_copy(update={"ace_retries": 0, "ace_timeout": timedelta(seconds=10)})
    with AceClient(patient) as client:
        name = settings.sites[0].name
        yield _reached(
            f"ACE account {shown(settings.ace_api_url)}",
            lambda: f"{sum(page.num_rows for page in client.points(name)):,} points at {name}",
        )


def _sites(settings: Settings, now: datetime) -> Iterator[Finding]:
    """How far each configured site was read."""
    from etl_assets.ops.alerts import open_alerts
    from etl_assets.ops.site_state import failed_windows, last_sync

    for site in settings.sites:
        read = last_sync(settings, site.name)
        failed = len(failed_windows(settings, site.name))
        if read is None:
            yield Finding("note", f"site {site.name}", "never synced", "Start `make up`.")
            continue
        minutes = int((now - read).total_seconds() // 60)
        level: Level = "ok" if now - read <= STALE_AFTER and not failed else "warning"
        found = f"read without a hole to {read:%Y-%m-%d %H:%M} UTC, {minutes:,} minutes ago; {failed} windows failed"
        yield Finding(level, f"site {site.name}", found, "" if level == "ok" else "Is `make up` running?")
    for alert in open_alerts(settings) if settings.sites else ():
        yield Finding("warning", f"alert {alert.key}", f"{alert.message}, since {alert.raised_at:%Y-%m-%d %H:%M} UTC")


def _reached(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding("ok", what, look())
    except SourceError as error:
        return Finding("warning", what, f"not reached ({error.status or 'no answer'})", error.hint)


def _lake(settings: Settings, now: datetime) -> Iterator[Finding]:
    from etl_assets.lake.connection import read_lake
    from etl_assets.lake.publish import lake_snapshot
    from etl_assets.lake.tables import AEMO_TABLES

    if not settings.lake_catalog and not settings.catalog_path.exists():
        yield Finding("warning", "lake", "none yet", "Run `make demo`, or `etl-assets tick` for the live market.")
        return
    with read_lake(settings) as lake:
        snapshot = lake_snapshot(lake)
        files = sum(row[0] for row in lake.execute("SELECT file_count FROM ducklake_table_info('lake')").fetchall())
        newest = lake.execute("SELECT max(interval_end) FROM lake.aemo.dispatch_region").fetchone()
        counts = {t.full_name: lake.execute(f"SELECT count(*) FROM {t.lake_name}").fetchone() for t in AEMO_TABLES}
    size = _size(Path(settings.lake_files)) if "://" not in settings.lake_files else 0
    yield Finding("ok", "lake", f"snapshot {snapshot}, {files} files, {size / 1e6:,.1f} MB")
    for name, row in counts.items():
        yield Finding("note", name, f"{row[0] if row else 0:,} rows")
    yield _freshness(newest[0] if newest else None, now)


def _freshness(newest: datetime | None, now: datetime) -> Finding:
    what = "newest dispatch interval"
    if newest is None:
        return Finding("warning", what, "none", "Start `make up`, or run `etl-assets tick`.")
    age = now - newest
    if age <= STALE_AFTER:
        return Finding("ok", what, f"{newest:%Y-%m-%d %H:%M} UTC")
    minutes = int(age.total_seconds() // 60)
    return Finding("warning", what, f"{newest:%Y-%m-%d %H:%M} UTC, {minutes:,} minutes ago", "Is `make up` running?")


def _warehouse(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from etl_assets.lake.connection import read_lake
    from etl_assets.lake.publish import lake_snapshot, published_snapshot

    path = settings.warehouse_path
    published = published_snapshot(settings)
    if published is None:
        yield Finding("warning", path.name, "none yet", "Run `etl-assets publish`.")
        return
    with read_lake(settings) as lake:
        newest = lake_snapshot(lake)
    size = path.stat().st_size / 1e6
    if published == newest:
        yield Finding("ok", path.name, f"snapshot {published}, the newest; {size:.1f} MB")
    else:
        found = f"snapshot {published}, the lake is at {newest}; {size:.1f} MB"
        yield Finding("warning", path.name, found, "Run `etl-assets publish`; `make up` does it by itself.")
    if path.with_name(f"{path.name}.wal").exists():
        yield Finding("warning", f"{path.name}.wal", "left by a read-write session", "The next publication removes it.")


def _kpi_registry(settings: Settings, _now: datetime) -> Iterator[Finding]:
    """Which KPIs are in force, and whether the configured registry could be taken."""
    from etl_assets.kpi.registry import in_force, registry_status

    status = registry_status(settings)
    registry = in_force(settings)
    counted = f"KPIs in force: {len(registry.kpis):,} ({len(registry.active):,} active)"
    checked = f"checked {status.checked_at:%Y-%m-%d %H:%M} UTC" if status.checked_at else ""
    # Of several problems, the first line says whose they are; the command names them all.
    error = status.error.partition("\n")[0].removesuffix(":")
    found = "; ".join(filter(None, (status.source or "built-in KPIs alone", counted, checked, error, status.note)))
    if status.is_good:
        yield Finding("ok" if settings.kpi_registry else "note", "KPI registry", found)
    else:
        yield Finding("warning", "KPI registry", found, "Run `etl-assets kpi refresh`: it says what to correct.")


def _state(settings: Settings, _now: datetime) -> Iterator[Finding]:
    from etl_assets.ops.state import sync_runs

    home = settings.dagster_home
    yield Finding("note", "Dagster storage", f"{_size(home) / 1e6:,.1f} MB" if home.exists() else "none yet")
    if not settings.state_database and not (settings.etl_data / "state.sqlite").exists():
        yield Finding("note", "collections on record", "none yet")
        return
    runs = sync_runs(settings)
    failed = [run for run in runs if run["errors"]]
    last = f", the last {runs[-1]['finished_at']:%Y-%m-%d %H:%M} UTC" if runs else ""
    yield Finding("note", "collections on record", f"{len(runs)}{last}; {len(failed)} met errors")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
