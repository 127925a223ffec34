"""KPIs as Dagster sees them: an asset each, by market day, and the registry that they come from.

All KPIs are made in one step, which works through them in threads: an in-process run takes independent assets one after
the other. A KPI that fails leaves the others recorded; the run fails at its end and names it. The definitions read the
registry's last good copy only: no network at import.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import dagster as dg

from etl_assets.asset_specs import (
    ERRORS_NAMED,
    EVERY_DAY,
    EVERY_HOUR,
    FETCH_RETRIES,
    OWNERS,
    MomentConfig,
    check_result,
    column_schema,
    partitioned_check,
)
from etl_assets.kpi.checks import questions
from etl_assets.kpi.events import Recorder, kpi_key
from etl_assets.kpi.registry import Kpi
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import KPI_VALUES
from etl_assets.market_time import DAY, instant_day, utc_now
from etl_assets.partitions import MARKET_DAY, partition_days
from etl_assets.quality.outcome import Outcome
from etl_assets.settings import Settings, settings

if TYPE_CHECKING:
    from etl_assets.kpi.run import Done

GROUP = "kpi"
COMPUTE_KPIS = "compute_kpis"
BACKFILL_TAG = "dagster/backfill"
KPI_REGISTRY_KEY = dg.AssetKey("kpi_registry")
REGISTRY_IS_GOOD = "newest_registry_is_valid"
REGISTRY_IS_LOADED = "registry_is_loaded"

LOADED_TAG = "etl_assets/kpis_loaded"
"""On the runs of the registry's schedule: the digest of the registry that the code server has loaded."""

COMES_WITH = {"ace.sites": "ace.points"}
"""A table that has no asset of its own, and the one that it is made with."""

_log = logging.getLogger(__name__)


@dg.asset(
    key=KPI_REGISTRY_KEY,
    group_name=GROUP,
    kinds={"json"},
    owners=OWNERS,
    freshness_policy=EVERY_HOUR,
    check_specs=[
        dg.AssetCheckSpec(
            REGISTRY_IS_GOOD,
            asset=KPI_REGISTRY_KEY,
            description="The registry could be fetched and is valid; where not, the last good copy stays in force.",
        ),
        dg.AssetCheckSpec(
            REGISTRY_IS_LOADED,
            asset=KPI_REGISTRY_KEY,
            description="The KPIs shown here are those of the registry in force; where not, reload the code location.",
        ),
    ],
)
def kpi_registry(context: dg.AssetExecutionContext, lake: Lake) -> Iterator[dg.MaterializeResult[None]]:
    """The registry of KPIs, fetched from `KPI_REGISTRY` and validated. Hourly.

    What is valid becomes the last good copy, which the definitions read; what is not leaves that copy in force.
    """
    from etl_assets.kpi.loaded import REGISTRY
    from etl_assets.kpi.registry import refresh

    status = refresh(lake.settings, now=utc_now())
    # This process has loaded the newest one anyway; the schedule says what the pages show.
    is_loaded = status.digest == context.run.tags.get(LOADED_TAG, REGISTRY.digest)
    said = f"{status.total} KPIs, {status.active} active"
    yield dg.MaterializeResult(
        metadata={
            "source": status.source or "built-in KPIs alone",
            "version": status.version,
            "kpis": status.total,
            "kpis_active": status.active,
        },
        check_results=[
            check_result(KPI_REGISTRY_KEY, REGISTRY_IS_GOOD, Outcome(status.is_good, status.error or said)),
            check_result(
                KPI_REGISTRY_KEY,
                REGISTRY_IS_LOADED,
                Outcome(
                    is_loaded,
                    said if is_loaded else f"The registry has changed ({said}): reload the code location to see it.",
                    is_error=False,
                ),
            ),
        ],
    )


class KpiConfig(MomentConfig):
    """How KPIs are run. The defaults suit a click on one day, and backfills."""

    workflows: Literal["", "call", "skip", "force"] = ""
    """`call`: trigger workflows that were not triggered for the day; `skip`: values alone; `force`: trigger again.
    Empty: `call` for a single market day, if it is no older than the day before the one that was `GAP_HORIZON` ago;
    `skip` for an older day, for several days, and in a backfill."""


def _description(kpi: Kpi) -> str:
    state = "" if kpi.active else "**Inactive: shown, never scheduled; its workflow is never triggered.**\n\n"
    rows = f"One value a {kpi.entity} and market day" if kpi.entity else "One value a market day"
    unit = f", in {kpi.unit}" if kpi.unit else ""
    source = f"{rows}{unit}, in `kpi.kpi_values`." if kpi.sql else "Its value is what its workflow reports."
    workflow = " Its workflow is triggered every day." if kpi.webhook_url and kpi.active else ""
    return f"{state}{kpi.name}. {kpi.description}\n\n{source}{workflow}"


def _metadata(kpi: Kpi) -> dict[str, Any]:
    thresholds = kpi.analysis_config.alert_thresholds
    about = {
        "kpi_id": kpi.id,
        "unit": kpi.unit,
        "alert_above": thresholds.high,
        "alert_below": thresholds.low,
        "source": kpi.metadata.source,
        "update_frequency": kpi.metadata.update_frequency,
        # A webhook's path may be a token.
        "workflow_at": urlsplit(kpi.webhook_url).hostname,
        "dagster/table_name": f"lake.{KPI_VALUES.full_name}",
        "dagster/column_schema": column_schema(KPI_VALUES),
    }
    found = {name: value for name, value in about.items() if value not in (None, "")}
    return found | ({"sql": dg.MetadataValue.md(f"```sql\n{kpi.sql.strip()}\n```")} if kpi.sql else {})


def _tag(text: str) -> str:
    """Text as a tag's value, which takes letters, digits and ``_.-``."""
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_.-") else "_" for letter in text)
    return kept[:63]


def runs_daily(cron: str) -> bool:
    """Whether a schedule's expression means once a day: minute and hour are set, the rest is every."""
    minute, hour, *days = cron.split()
    return days == ["*"] * 3 and minute.isdigit() and hour.isdigit()


def _spec(kpi: Kpi) -> dg.AssetSpec:
    tags = {"kpi/type": kpi.type, "kpi/category": kpi.metadata.category, "kpi/active": str(kpi.active).lower()}
    kinds = ({"sql", "duckdb"} if kpi.sql else set()) | ({"webhook"} if kpi.webhook_url else set())
    tables = dict.fromkeys(COMES_WITH.get(table, table) for table in kpi.depends_on)
    return dg.AssetSpec(
        kpi_key(kpi),
        description=_description(kpi),
        group_name=GROUP,
        # An inactive KPI may have neither.
        kinds=kinds or {"json"},
        owners=OWNERS,
        deps=[dg.AssetKey(table.split(".")) for table in tables] or [KPI_REGISTRY_KEY],
        tags={name: _tag(value) for name, value in tags.items() if value},
        metadata=_metadata(kpi),
        freshness_policy=EVERY_DAY if kpi.active and runs_daily(settings().kpi_cron) else None,
        code_version=sha256(kpi.sql.encode()).hexdigest()[:12] if kpi.sql else None,
        skippable=True,
    )


def kpi_assets(kpis: Sequence[Kpi]) -> dg.AssetsDefinition:
    """The assets of KPIs, worked off in one step. A backfill of any length is one run."""

    @dg.multi_asset(
        name=COMPUTE_KPIS,
        description="Works off the KPIs of market days side by side: the value first, then the workflow. Publishes.",
        specs=[_spec(kpi) for kpi in kpis],
        check_specs=[
            partitioned_check(name, kpi_key(kpi), asked, MARKET_DAY)
            for kpi in kpis
            for name, asked in questions(kpi).items()
        ],
        partitions_def=MARKET_DAY,
        can_subset=True,
        # A day costs milliseconds: hundreds of days in one run cost less than ten runs do to start.
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=FETCH_RETRIES,
    )
    def _compute_kpis(
        context: dg.AssetExecutionContext, config: KpiConfig, lake: Lake
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        selected = [kpi for kpi in kpis if kpi_key(kpi) in context.selected_asset_keys]
        days = partition_days(context.partition_keys)
        _publish_if_behind(lake.settings)
        done = _work(context, config, lake.settings, selected, days)
        yield from Recorder(context, lake.settings, done).results()
        _publish(lake.settings)
        _raise_if_failed([each for each in done if each.error], len(done))

    return _compute_kpis


def calls_of(config: KpiConfig, days: Sequence[date], tags: Mapping[str, str], horizon: timedelta) -> str:
    """Whether a run triggers workflows: nobody who computes a past day or year again wants to set them off."""
    if config.workflows:
        return config.workflows
    is_recent = min(days) >= _first_recent(config.moment(), horizon)
    return "call" if len(days) == 1 and is_recent and BACKFILL_TAG not in tags else "skip"


def _first_recent(moment: datetime, horizon: timedelta) -> date:
    """The first market day that matters at a moment: whose KPIs are still run again, and raise alerts."""
    return instant_day(moment - horizon) - DAY


def _work(
    context: dg.AssetExecutionContext, config: KpiConfig, chosen: Settings, kpis: Sequence[Kpi], days: Sequence[date]
) -> "list[Done]":
    from etl_assets.kpi.run import Calls, Order, compute_days, run_day

    calls = calls_of(config, days, context.run.tags, chosen.gap_horizon)
    if calls == Calls.SKIP:
        if without_sql := [kpi.id for kpi in kpis if not kpi.sql]:
            context.log.warning("No value is computed, and no workflow triggered, of %s", ", ".join(without_sql))
        return list(compute_days(chosen, kpis, days))
    # A run that takes the place of a crashed one goes on with what that one had in hand.
    order = Order(context.run.root_run_id or context.run.run_id, config.moment(), calls == Calls.FORCE)
    # Whoever selects all assets by hand does not mean the workflows that the registry has switched off.
    done = list(compute_days(chosen, [kpi for kpi in kpis if not kpi.active], days))
    if not (active := [kpi for kpi in kpis if kpi.active]):
        return done
    for day in days:
        job, of_day = run_day(chosen, active, day, order)
        context.log.info("Job %s of market day %s: %d KPIs", job.trace_id, day, len(of_day))
        done += of_day
        if _is_news(chosen, day, order.moment):
            _tell(context, chosen, of_day)
    return done


def _is_news(chosen: Settings, day: date, moment: datetime) -> bool:
    """Whether a day is worth alerts: neither one of long ago, nor one that the next day's job has overtaken."""
    from etl_assets.ops.kpi_state import newest_job

    return day >= _first_recent(moment, chosen.gap_horizon) and newest_job(chosen, day + DAY) is None


def _tell(context: dg.AssetExecutionContext, chosen: Settings, done: "Sequence[Done]") -> None:
    """Alerts of KPIs that failed, or whose values lie beyond their thresholds; and that clear."""
    from etl_assets.kpi.values import breaches
    from etl_assets.ops.alerts import alert_tags, evaluate, kpi_conditions

    conditions = [
        condition
        for each in done
        if not each.is_pending
        for condition in kpi_conditions(
            each.kpi.id,
            each.kpi.name,
            error=each.error or None,
            breaches=breaches(each.kpi, each.values or ()),
            day=each.day,
        )
    ]
    if tags := alert_tags(evaluate(chosen, conditions, now=utc_now())):
        context.instance.add_run_tags(context.run.run_id, tags)


def _publish_if_behind(chosen: Settings) -> None:
    """KPIs are computed from the published file: it should show what the lake has now."""
    from etl_assets.lake.connection import read_lake
    from etl_assets.lake.publish import lake_snapshot, published_snapshot

    try:
        with read_lake(chosen) as connection:
            newest = lake_snapshot(connection)
        if published_snapshot(chosen) != newest:
            _publish(chosen)
    except Exception:  # noqa: BLE001 - workflows need no file, and a query without one says so
        _log.exception("KPIs are computed from a file that may be behind the lake")


def _publish(chosen: Settings) -> None:
    from etl_assets.lake.publish import publish
    from etl_assets.ops.state import copies_for_analysts

    publish(chosen, now=utc_now(), extra=copies_for_analysts(chosen))


def _raise_if_failed(failed: "Sequence[Done]", worked_on: int) -> None:
    if not failed:
        return
    named = sorted(f"{each.kpi.id} {each.day}: {each.error}" for each in failed)
    more = f"; and {len(named) - ERRORS_NAMED} more" if len(named) > ERRORS_NAMED else ""
    raise dg.Failure(
        description=f"{len(failed)} of {worked_on} KPIs failed: {'; '.join(named[:ERRORS_NAMED])}{more}",
        metadata={"failed": dg.MetadataValue.json(named)},
        # The sensor asks again for those that failed, and for no other.
        allow_retries=False,
    )
