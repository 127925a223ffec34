"""The market's assets: one a table, partitioned by market day, made complete by ``collect``.

Assets that come from the same report are made together, so that each file is fetched once. What they do is in
``collect``; what is checked of them in ``checks``; here is only how Dagster sees it.
"""

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from etl_assets.aemo.account import Collection, Job
from etl_assets.aemo.aggregated import collect_month, days_of_month
from etl_assets.aemo.checks import forecast_is_recent, inquire_days, month_outcomes, questions
from etl_assets.aemo.collect import collect
from etl_assets.aemo.feeds import PRICE_AND_DEMAND_FEED, REPORTS, Feed, Report, feeds_of
from etl_assets.aemo.figures import DayFigures, day_figures, month_figures
from etl_assets.aemo.forecasts import collect_forecasts
from etl_assets.aemo.metadata import account_metadata, account_of_run, day_metadata, figure_metadata
from etl_assets.aemo.resource import Aemo
from etl_assets.asset_specs import (
    ERRORS_NAMED,
    EVERY_DAY,
    EVERY_TICK,
    FETCH_RETRIES,
    LIVE_TAG,
    MomentConfig,
    asset_key,
    check_result,
    is_range,
    partitioned_check,
    records,
    report_each,
    source_spec,
    summaries,
    table_spec,
)
from etl_assets.http import HttpStats, SourceError, shown
from etl_assets.lake.account import Account
from etl_assets.lake.connection import read_lake
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import PRICE_AND_DEMAND, REGION_FORECAST
from etl_assets.market_time import market_day, utc_now
from etl_assets.ops.state import SyncRun, record_sync_run
from etl_assets.partitions import MARKET_DAY, MARKET_MONTH, partition_days
from etl_assets.quality.outcome import Outcome
from etl_assets.settings import Settings, settings

GROUP = "market"

BACKFILL_DAYS_PER_RUN = 10
"""A run costs some 4 s beside its work, and a failed one repeats its days: ten days bound both."""

NEMWEB = source_spec(
    "nemweb",
    "NEMWeb, AEMO's public files: a zip an interval in `CURRENT`, a zip of zips a day in `ARCHIVE`, a zip a table and "
    "month in `MMSDM`. No key. Market days in NEM time (UTC+10), intervals stamped by their end.",
    kinds={"csv"},
    address=f"{shown(settings().nemweb_url)}/Reports/CURRENT/",
    keeps="`CURRENT` two days (TradingIS and rooftop solar: 14), `ARCHIVE` 13 months, `MMSDM` all of history, a month "
    "after its end",
    delay="a dispatch file appears when its interval begins; rooftop solar some 20 minutes after its half-hour",
)
FIVE_MINUTE_REPORT = source_spec(
    "five_minute_report",
    "The 5MIN report behind AEMO's dashboard: 5-minute price and demand of the regions, and what is forecast now. "
    "Fills in what NEMWeb lacks, and is the only source of `aemo/region_forecast`. Its end is announced.",
    kinds={"json"},
    address="https://visualisations.aemo.com.au/aemo/apps/visualisation/index.html",
    keeps="about the last 24 hours; a forecast only until the next is issued",
    delay="as NEMWeb's",
)
PRICE_AND_DEMAND_FILES = source_spec(
    "price_and_demand_files",
    "AEMO's aggregated price and demand: a CSV file a month and region. Half-hourly before 2021-10-01. No key.",
    kinds={"csv"},
    address="https://aemo.com.au/energy-systems/electricity/national-electricity-market-nem/data-nem/aggregated-data",
    keeps="all months from December 1998",
    delay="the open month's file grows every day",
)

_SOURCES = {"5MIN": FIVE_MINUTE_REPORT.key, "PRICE_AND_DEMAND": PRICE_AND_DEMAND_FILES.key}


class CollectConfig(MomentConfig):
    """How a collection runs. The defaults suit ticks, backfills and healing alike."""

    reread: bool = False
    """Fetch what is there already too, to notice revisions."""


def _feed_spec(feed: Feed) -> dg.AssetSpec:
    sources = [NEMWEB.key, *(_SOURCES[name] for name in feed.filled_from)]
    policy = dg.FreshnessPolicy.time_window(
        warn_window=timedelta(minutes=20) + max(feed.delay, timedelta()),
        fail_window=timedelta(hours=1) + max(feed.delay, timedelta()),
    )
    return table_spec(feed.table, GROUP, deps=sources, freshness_policy=policy, skippable=True)


def _check_specs(feed: Feed, partitions: dg.PartitionsDefinition[str] = MARKET_DAY) -> list[dg.AssetCheckSpec]:
    key = asset_key(feed.table)
    return [partitioned_check(name, key, question.__doc__, partitions) for name, question in questions(feed).items()]


def report_assets(report: Report) -> dg.AssetsDefinition:
    """The assets that one report supplies, collected together."""
    feeds = feeds_of(report)

    @dg.multi_asset(
        name=f"collect_{report.name.lower()}",
        specs=[_feed_spec(feed) for feed in feeds],
        check_specs=[spec for feed in feeds for spec in _check_specs(feed)],
        description=f"Makes market days of the {report.name} report's tables complete: compares what should be there "
        "with what is, and fetches the difference.",
        partitions_def=MARKET_DAY,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(BACKFILL_DAYS_PER_RUN),
        retry_policy=FETCH_RETRIES,
    )
    def _collect(
        context: dg.AssetExecutionContext, config: CollectConfig, lake: Lake, aemo: Aemo
    ) -> Iterator[dg.MaterializeResult[None]]:
        selected = [feed for feed in feeds if asset_key(feed.table) in context.selected_asset_keys]
        job = Job(selected, partition_days(context.partition_keys), config.moment(), context.run.run_id, config.reread)
        started = utc_now()
        with aemo.client() as http:
            results = collect(lake.settings, http, job)
            stats = http.stats.snapshot()
        for result in results:
            record_sync_run(lake.settings, sync_run(context, result, _span(job.days), stats, started))
        raise_if_failed(results, f"{report.name} {_span(job.days)}", retry=LIVE_TAG not in context.run.tags)
        for result in results:
            yield from _recorded(context, lake.settings, result, job)

    return _collect


def sync_run(
    context: dg.AssetExecutionContext, result: Collection, partition: str, stats: HttpStats, started: datetime
) -> SyncRun:
    """The record of an attempt for ``ops.sync_runs``: a step that is tried again accounts for each try."""
    account, finished = result.account, utc_now()
    return SyncRun(
        run_id=context.run.run_id,
        attempt=context.retry_number + 1,
        dataset=result.feed.name,
        partition=partition,
        started_at=started,
        finished_at=finished,
        duration_seconds=(finished - started).total_seconds(),
        **account.counts,
        missing_before=result.missing_before,
        missing_after=result.missing_after,
        files_read=result.files_read,
        files_refused=len(result.refused),
        requests_by_status=stats.requests_by_status,
        retries=stats.retries,
        bytes_received=stats.bytes,
        errors=tuple(dict.fromkeys([*result.errors, *result.unread_because])),
    )


def _span(days: Sequence[date]) -> str:
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"


def raise_if_failed(results: Sequence[Collection], what: str, *, retry: bool = True) -> None:
    """Fail the run where a source failed and overdue intervals are missing or partial for it; the message has both.

    And where intervals were to be read again and could not be: what was revised in them is not known. ``retry`` lets
    Dagster try the step again; a tick is not, since the next one asks for the same intervals.
    """
    errors = list(dict.fromkeys(error for result in results for error in result.errors))
    overdue = sum(len(status.lacking) for result in results for status in result.after)
    if errors and overdue:
        said = f"{what}: {overdue} intervals are missing or partial"
        raise _failure(said, errors, retry=retry, intervals_missing_or_partial=overdue)
    if unread := sum(result.intervals_unread for result in results):
        because = list(dict.fromkeys(reason for result in results for reason in result.unread_because))
        said = f"{what}: {unread} intervals could not be read again, so revisions may be missing,"
        raise _failure(said, because, retry=retry, intervals_unread=unread)


def _failure(said: str, errors: Sequence[str], *, retry: bool, **counts: int) -> dg.Failure:
    """A failure that names the first few of its reasons; all of them are in its metadata."""
    more = f"; and {len(errors) - ERRORS_NAMED} more" if len(errors) > ERRORS_NAMED else ""
    return dg.Failure(
        description=f"{said} because: {'; '.join(errors[:ERRORS_NAMED])}{more}",
        metadata={**counts, "errors": dg.MetadataValue.json(errors)},
        allow_retries=retry,
    )


def _recorded(
    context: dg.AssetExecutionContext, settings: Settings, result: Collection, job: Job
) -> Iterator[dg.MaterializeResult[None]]:
    """The result for Dagster: metadata of the run, and for each market day its rows, its strip and its checks."""
    key = asset_key(result.feed.table)
    by_day = _evaluate(settings, result, job)
    several = is_range(context)
    selected = {check.name for check in context.selected_asset_check_keys if check.asset_key == key}
    first_metadata, first_outcomes = next(iter(by_day.values()))
    if several:
        for partition, (metadata, _) in by_day.items():
            context.add_asset_metadata(asset_key=key, partition_key=partition, metadata=metadata)
    yield dg.MaterializeResult(
        asset_key=key,
        metadata=account_of_run(result, len(by_day)) if several else {**first_metadata, **account_metadata(result)},
        check_results=summaries(key, selected, [outcomes for _, outcomes in by_day.values()])
        if several
        else _single(key, selected, first_outcomes),
    )
    if several:
        for partition, (_, outcomes) in by_day.items():
            report_each(context, key, partition, {n: outcome for n, outcome in outcomes.items() if n in selected})


def _evaluate(settings: Settings, result: Collection, job: Job) -> dict[str, tuple[dict[str, Any], dict[str, Outcome]]]:
    """For each market day, its metadata and the answers to its checks: asked together, for the price of one."""
    with read_lake(settings) as lake:
        figures = day_figures(lake, result.feed.table, job.days)
        return {
            str(asked.day): (
                day_metadata(asked.status, figures.get(asked.day, DayFigures())),
                {name: question(asked) for name, question in questions(result.feed).items()},
            )
            for asked in inquire_days(lake, result.feed, job.days, job.now)
        }


@dg.multi_asset(
    name="collect_region_forecast",
    specs=[table_spec(REGION_FORECAST, GROUP, deps=[FIVE_MINUTE_REPORT.key], freshness_policy=EVERY_TICK)],
    # Of the table and not of a day: the report is alive or it is not.
    check_specs=[
        dg.AssetCheckSpec(
            forecast_is_recent.__name__, asset=asset_key(REGION_FORECAST), description=forecast_is_recent.__doc__
        )
    ],
    description="Brings in what the 5MIN report forecasts now; a past market day keeps what was stored at the time.",
    partitions_def=MARKET_DAY,
    backfill_policy=dg.BackfillPolicy.multi_run(BACKFILL_DAYS_PER_RUN),
    retry_policy=FETCH_RETRIES,
)
def region_forecast(
    context: dg.AssetExecutionContext, config: CollectConfig, lake: Lake, aemo: Aemo
) -> Iterator[dg.MaterializeResult[None]]:
    """The report holds only what is forecast now: a past day keeps what was stored at the time."""
    now, key = config.moment(), asset_key(REGION_FORECAST)
    selected = {check.name for check in context.selected_asset_check_keys}
    metadata = _collect_forecasts(context, lake.settings, aemo, now)
    answers = {forecast_is_recent.__name__: forecast_is_recent(lake.settings, now)}
    yield dg.MaterializeResult(metadata=metadata, check_results=_single(key, selected, answers))


def _collect_forecasts(
    context: dg.AssetExecutionContext, settings: Settings, aemo: Aemo, now: datetime
) -> dict[str, Any]:
    """Bring in what is forecast now, where that is asked for; the account of it, or why there is none."""
    if market_day(now) not in partition_days(context.partition_keys):
        context.log.info("A forecast cannot be fetched afterwards; %s keeps what it has", context.partition_keys)
        return records(Account(REGION_FORECAST.full_name))
    with aemo.client() as http:
        try:
            return records(collect_forecasts(settings, http, now=now, run_id=context.run.run_id))
        except SourceError as error:
            # The report's end is announced, and forecasts heal by being issued again: no reason to fail a tick.
            context.log.warning("No forecasts: %s", error)
            return {"errors": str(error)}


@dg.multi_asset(
    name="collect_price_and_demand",
    specs=[table_spec(PRICE_AND_DEMAND, GROUP, deps=[PRICE_AND_DEMAND_FILES.key], freshness_policy=EVERY_DAY)],
    description="Makes months of AEMO's aggregated price and demand complete.",
    check_specs=_check_specs(PRICE_AND_DEMAND_FEED, MARKET_MONTH),
    partitions_def=MARKET_MONTH,
    # A month is five files; a run of twelve keeps a backfill from 1998 to some thirty runs.
    backfill_policy=dg.BackfillPolicy.multi_run(12),
    retry_policy=FETCH_RETRIES,
)
def price_and_demand(
    context: dg.AssetExecutionContext, config: CollectConfig, lake: Lake, aemo: Aemo
) -> Iterator[dg.MaterializeResult[None]]:
    """A month of AEMO's aggregated price and demand."""
    key, outcomes, results = asset_key(PRICE_AND_DEMAND), [], []
    months = partition_days(context.partition_keys)
    for month in months:
        started = utc_now()
        with aemo.client() as http:
            result = collect_month(
                lake.settings, http, month, now=config.moment(), run_id=context.run.run_id, reread=config.reread
            )
            stats = http.stats.snapshot()
        record_sync_run(lake.settings, sync_run(context, result, f"{month:%Y-%m}", stats, started))
        results.append(result)
        context.add_asset_metadata(
            asset_key=key,
            partition_key=f"{month}",
            metadata={**_month_metadata(lake, month), **account_metadata(result)},
        )
        outcomes.append(month_outcomes(lake.settings, month, config.moment()))
    # A month that fails keeps no other from being brought in.
    raise_if_failed(results, f"price and demand {', '.join(f'{month:%Y-%m}' for month in months)}")
    selected = {check.name for check in context.selected_asset_check_keys}
    reported = (
        summaries(key, selected, outcomes, "months") if is_range(context) else _single(key, selected, outcomes[0])
    )
    yield dg.MaterializeResult(asset_key=key, check_results=reported)
    if is_range(context):
        for month, answers in zip(context.partition_keys, outcomes, strict=True):
            report_each(context, key, month, answers)


def _single(key: dg.AssetKey, selected: set[str], outcomes: dict[str, Outcome]) -> list[dg.AssetCheckResult]:
    return [check_result(key, name, outcome) for name, outcome in outcomes.items() if name in selected]


def _month_metadata(lake: Lake, month: date) -> dict[str, Any]:
    with lake.get_connection(read_only=True) as connection:
        return figure_metadata(month_figures(connection, PRICE_AND_DEMAND, days_of_month(month)))


REPORT_ASSETS: list[dg.AssetsDefinition] = [report_assets(report) for report in REPORTS]
LIVE_ASSETS: list[dg.AssetsDefinition] = [*REPORT_ASSETS, region_forecast]
MARKET_ASSETS: list[dg.AssetsDefinition] = [*LIVE_ASSETS, price_and_demand]
EXTERNAL_SOURCES: list[dg.AssetSpec] = [NEMWEB, FIVE_MINUTE_REPORT, PRICE_AND_DEMAND_FILES]
