"""The buildings' assets, partitioned by market day and site: collected by ``sync``, derived, scored.

The assets of one sync are made together, site by site side by side, and scored where that is asked for, in one step: a
step that records its partitions one by one yields nothing, and Dagster would skip what comes after it. A site that
fails neither stops nor hides the others: what is finished of a market day and site is recorded at once, as an event
of its own, and the run fails at its end and names what is not.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from etl_assets.ace.resource import Ace
from etl_assets.aemo.assets import ERRORS_NAMED, FETCH_RETRIES, LIVE_TAG
from etl_assets.asset_specs import (
    asset_key,
    check_result,
    partitioned_check,
    records,
    report_each,
    summaries,
    table_spec,
)
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import (
    DATA_QUALITY,
    GAPS,
    POINTS,
    QUERY_METADATA,
    TIMESERIES_AGG,
    TIMESERIES_RAW,
    WEATHER_RAW,
    Table,
)
from etl_assets.partitions import SITE_DAY, site_day_key, site_days
from etl_assets.quality.outcome import Outcome

if TYPE_CHECKING:
    from etl_assets.ace.sync import SiteSync, SyncRequest

GROUP = "buildings"
SITE_DAYS_PER_RUN = 10
"""A run costs some 4 s beside its work, and a failed one repeats its site days: ten bound both."""

ACE_API = dg.AssetSpec(
    "ace_api",
    group_name=GROUP,
    description="The ACE IoT API: points, their readings, and the last known weather of the sites of an account.",
    kinds={"json"},
    owners=["team:market-data"],
    metadata={"address": dg.MetadataValue.url("https://flightdeck.aceiot.cloud/api")},
)
COLLECTED = (POINTS, TIMESERIES_RAW, WEATHER_RAW)
DERIVED = (TIMESERIES_AGG, QUERY_METADATA)
SCORED = (DATA_QUALITY, GAPS)


def keys_of(tables: Iterable[Table]) -> set[dg.AssetKey]:
    """The assets of some tables."""
    return {asset_key(table) for table in tables}


class SyncConfig(dg.Config):
    """How sites are synced. The defaults suit backfills and healing."""

    as_of: str = ""
    """The moment to work for, ISO 8601 with offset; empty is now. A tick gives its scheduled time."""
    mode: str = "missing"
    """`missing`: what is not complete yet; `live`: what is new since the last sync; `reread`: all of it again."""
    hours: int = 0
    """With `reread`: only so many last hours before the moment; 0 is all of the day."""

    def moment(self) -> datetime:
        """``as_of`` as an instant."""
        return datetime.fromisoformat(self.as_of) if self.as_of else datetime.now(UTC)


def _spec(table: Table, deps: Sequence[Table | dg.AssetSpec], **more: Any) -> dg.AssetSpec:  # noqa: ANN401 - AssetSpec's
    keys = [asset_key(dep) if isinstance(dep, Table) else dep.key for dep in deps]
    return table_spec(table, GROUP, deps=keys, skippable=True, **more)


FRESH = dg.FreshnessPolicy.time_window(warn_window=timedelta(minutes=20), fail_window=timedelta(hours=1))


def _check_specs() -> list[dg.AssetCheckSpec]:
    from etl_assets.ace.checks import QUESTIONS

    return [
        partitioned_check(question.__name__, asset_key(DATA_QUALITY), question.__doc__, SITE_DAY)
        for question in QUESTIONS
    ]


@dg.multi_asset(
    name="collect_sites",
    specs=[
        _spec(POINTS, [ACE_API]),
        _spec(TIMESERIES_RAW, [ACE_API], freshness_policy=FRESH),
        _spec(WEATHER_RAW, [ACE_API], freshness_policy=FRESH),
        _spec(TIMESERIES_AGG, [TIMESERIES_RAW]),
        _spec(QUERY_METADATA, [TIMESERIES_AGG]),
        _spec(DATA_QUALITY, [TIMESERIES_RAW, TIMESERIES_AGG, POINTS]),
        _spec(GAPS, [TIMESERIES_RAW, POINTS]),
    ],
    check_specs=_check_specs(),
    partitions_def=SITE_DAY,
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.multi_run(SITE_DAYS_PER_RUN),
    retry_policy=FETCH_RETRIES,
)
def collect_sites(
    context: dg.AssetExecutionContext, config: SyncConfig, lake: Lake, ace: Ace
) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
    """Readings, weather and points of some sites and market days, what is derived from them, and how good they are."""
    unfinished: list[str] = []
    if context.selected_asset_keys & keys_of(COLLECTED):
        for sync in _side_by_side(context, config, lake, ace):
            unfinished += _record_finished(context, sync)
    elif context.selected_asset_keys & keys_of(DERIVED):
        _derive_again(context, lake, config.moment())
    if context.selected_asset_keys & keys_of(SCORED):
        # All of them, also of a site that failed: what is missing shows in its score.
        yield from _scored(context, lake, config.moment())
    if unfinished:
        raise dg.Failure(
            description=f"{len(unfinished)} of {len(context.partition_keys)} site days are not collected: "
            + "; ".join(sorted(unfinished)[:ERRORS_NAMED]),
            metadata={"not_collected": dg.MetadataValue.json(sorted(unfinished))},
            allow_retries=LIVE_TAG not in context.run.tags,
        )


def _record_finished(context: dg.AssetExecutionContext, sync: "SiteSync") -> list[str]:
    """Record the market days of a site that are finished; returns those that are not, and why."""
    unfinished = []
    for day in sync.request.days:
        if problems := sync.problems(day):
            unfinished.append(f"{day}|{sync.request.site}: {'; '.join(problems[:ERRORS_NAMED])}")
        else:
            _record(context, sync, day)
    _tag(context, sync)
    return unfinished


def _side_by_side(context: dg.AssetExecutionContext, config: SyncConfig, lake: Lake, ace: Ace) -> "Iterator[SiteSync]":
    """Syncs as they end. One that breaks in a way nobody foresaw fails for its own site alone."""
    from etl_assets.ace.sync import Mode, SyncRequest

    settings, moment = lake.settings, config.moment()
    requests = [
        SyncRequest(site, days, Mode(config.mode), moment, context.run.run_id, context.retry_number + 1, config.hours)
        for site, days in site_days(context.partition_keys).items()
    ]
    with ThreadPoolExecutor(settings.site_concurrency) as pool:
        started = {pool.submit(_sync, settings, ace, request): request for request in requests}
        for future in as_completed(started):
            yield _outcome(future, started[future])


def _sync(settings: Any, ace: Ace, request: "SyncRequest") -> "SiteSync":  # noqa: ANN401 - Settings
    from etl_assets.ace.sync import sync_site

    with ace.client() as client:
        return sync_site(settings, client, request)


def _outcome(future: "Future[SiteSync]", request: "SyncRequest") -> "SiteSync":
    from etl_assets.ace.sync import SiteSync

    if (error := future.exception()) is None:
        return future.result()
    return SiteSync(request, [], errors=[f"{type(error).__name__}: {error}"])


def _tag(context: dg.AssetExecutionContext, sync: "SiteSync") -> None:
    from etl_assets.ops.alerts import alert_tags

    if tags := alert_tags(sync.alerts):
        context.instance.add_run_tags(context.run.run_id, tags)


def _record(context: dg.AssetExecutionContext, sync: "SiteSync", day: date) -> None:
    """The finished market day of a site, as an event for each asset that was asked for."""
    result = sync.result(day)
    about: dict[str, Any] = {"sync_id": sync.request.sync_id}
    metadata: dict[Table, dict[str, Any]] = {
        TIMESERIES_RAW: {
            **records(result.readings),
            "pages": result.pages,
            "windows_complete": result.windows_complete,
            "windows_deferred": result.windows_deferred,
            "cursor_repairs": result.repairs,
            "points_skipped": len(result.skipped),
        },
        WEATHER_RAW: {
            **records(result.weather),
            **({"errors": result.weather_errors} if result.weather_errors else {}),
        },
        TIMESERIES_AGG: {
            "rows_unchanged": result.aggregates.unchanged,
            "rows_inserted": result.aggregates.inserted,
            "rows_updated": result.aggregates.updated,
        },
        QUERY_METADATA: {},
        POINTS: records(sync.points) if sync.points else {"list": "fresh enough, not asked for"},
    }
    for table, found in metadata.items():
        if asset_key(table) in context.selected_asset_keys:
            _materialized(context, table, site_day_key(day, sync.request.site), {**found, **about})


def _materialized(context: dg.AssetExecutionContext, table: Table, partition: str, metadata: dict[str, Any]) -> None:
    context.log_event(dg.AssetMaterialization(asset_key(table), partition=partition, metadata=metadata))


def _derive_again(context: dg.AssetExecutionContext, lake: Lake, now: datetime) -> None:
    """The aggregates anew from the readings that are there, without asking ACE."""
    from etl_assets.ace.aggregates import derive_day
    from etl_assets.ace.query_metadata import refresh_query_metadata
    from etl_assets.lake.upsert import transaction
    from etl_assets.market_time import DAY, day_start

    for site, days in site_days(context.partition_keys).items():
        for day in days:
            with lake.get_connection(purpose=f"aggregating {site}") as connection, transaction(connection):
                counts = derive_day(connection, site, day, now=now)
                refresh_query_metadata(
                    connection,
                    site,
                    since=day_start(day),
                    until=day_start(day) + DAY - timedelta(microseconds=1),
                    now=now,
                )
            for table in DERIVED:
                if asset_key(table) in context.selected_asset_keys:
                    found = {"rows_inserted": counts.inserted, "rows_updated": counts.updated}
                    _materialized(context, table, site_day_key(day, site), found)


def _scored(context: dg.AssetExecutionContext, lake: Lake, now: datetime) -> Iterator[dg.AssetCheckResult]:
    """Scores and gaps worked out anew from the readings, and what they say."""
    from etl_assets.ace.scoring import score_site_day

    selected = {check.name for check in context.selected_asset_check_keys}
    found: dict[str, dict[str, Outcome]] = {}
    for site, days in site_days(context.partition_keys).items():
        for day in days:
            scored = score_site_day(lake.settings, site, day, now=now)
            key = site_day_key(day, site)
            if asset_key(DATA_QUALITY) in context.selected_asset_keys:
                _materialized(context, DATA_QUALITY, key, scored.quality_metadata)
            if asset_key(GAPS) in context.selected_asset_keys:
                _materialized(context, GAPS, key, scored.gap_metadata)
            found[key] = {name: outcome for name, outcome in scored.outcomes.items() if name in selected}
    if len(found) == 1:
        [outcomes] = found.values()
        yield from (check_result(asset_key(DATA_QUALITY), name, outcome) for name, outcome in outcomes.items())
        return
    for key, outcomes in found.items():
        report_each(context, asset_key(DATA_QUALITY), key, outcomes)
    yield from summaries(asset_key(DATA_QUALITY), selected, list(found.values()), "site days")


SITE_ASSETS: list[dg.AssetsDefinition] = [collect_sites]
SITE_SOURCES: list[dg.AssetSpec] = [ACE_API]
