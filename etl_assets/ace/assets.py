"""The buildings' assets, partitioned by market day and site: collected by ``sync``, derived, scored.

The assets of one sync are made together, site by site side by side, and scored where that is asked for, in one step: a
step that records its partitions one by one yields nothing, and Dagster would skip what comes after it. A site that
fails neither stops nor hides the others: what is finished of a market day and site is recorded at once, as an event
of its own, and the run fails at its end and names what is not.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from etl_assets.ace.resource import Ace
from etl_assets.asset_specs import (
    ERRORS_NAMED,
    EVERY_HOUR,
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
from etl_assets.http import shown
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import (
    DATA_QUALITY,
    GAPS,
    POINTS,
    QUERY_METADATA,
    SITES,
    TIMESERIES_AGG,
    TIMESERIES_RAW,
    WEATHER_RAW,
    Table,
)
from etl_assets.partitions import SITE_DAY, site_day_key, site_days
from etl_assets.quality.outcome import Outcome
from etl_assets.settings import settings

if TYPE_CHECKING:
    from etl_assets.ace.client import AceClient
    from etl_assets.ace.sync import SiteSync, SyncRequest
    from etl_assets.lake.upsert import UpsertCounts
    from etl_assets.ops.alerts import Alert
    from etl_assets.settings import Settings

GROUP = "buildings"
SITE_DAYS_PER_RUN = 10
"""A run costs some 4 s beside its work, and a failed one repeats its site days: ten bound both."""

ACE_API = source_spec(
    "ace_api",
    "The ACE IoT API: the points of an account's sites, their readings page by page, and the last known weather. "
    "Needs `ACE_API_KEY`. Times without an offset are UTC.",
    kinds={"json"},
    address=shown(settings().ace_api_url),
    keeps="readings from a site's first day; of the weather only what is known last",
    delay="readings some minutes after they were taken, each site's gateway as it will",
)
ACE_SITES = table_spec(SITES, GROUP, deps=[ACE_API.key])
"""Comes with the points of each site; one row a site needs no asset that is made on its own."""

WALKED = (TIMESERIES_RAW, WEATHER_RAW)
COLLECTED = (POINTS, *WALKED)
DERIVED = (TIMESERIES_AGG, QUERY_METADATA)
SCORED = (DATA_QUALITY, GAPS)


def keys_of(tables: Iterable[Table]) -> set[dg.AssetKey]:
    """The assets of some tables."""
    return {asset_key(table) for table in tables}


class SyncConfig(MomentConfig):
    """How sites are synced. The defaults suit backfills and healing."""

    mode: Literal["missing", "live", "reread"] = "missing"
    """`missing`: what is not complete yet; `live`: what is new since the last sync; `reread`: all of it again."""
    hours: int = 0
    """With `reread`: only so many last hours before the moment; 0 is all of the day."""


def _spec(table: Table, deps: Sequence[Table | dg.AssetSpec], **more: Any) -> dg.AssetSpec:  # noqa: ANN401 - AssetSpec's
    keys = [asset_key(dep) if isinstance(dep, Table) else dep.key for dep in deps]
    return table_spec(table, GROUP, deps=keys, skippable=True, **more)


def _check_specs() -> list[dg.AssetCheckSpec]:
    from etl_assets.ace.checks import QUESTIONS

    return [
        partitioned_check(question.__name__, asset_key(DATA_QUALITY), question.__doc__, SITE_DAY)
        for question in QUESTIONS
    ]


@dg.multi_asset(
    name="collect_sites",
    specs=[
        _spec(POINTS, [ACE_API], freshness_policy=EVERY_TICK),
        _spec(TIMESERIES_RAW, [ACE_API], freshness_policy=EVERY_TICK),
        _spec(WEATHER_RAW, [ACE_API], freshness_policy=EVERY_TICK),
        _spec(TIMESERIES_AGG, [TIMESERIES_RAW], freshness_policy=EVERY_TICK),
        _spec(QUERY_METADATA, [TIMESERIES_AGG], freshness_policy=EVERY_TICK),
        _spec(DATA_QUALITY, [TIMESERIES_RAW, TIMESERIES_AGG, POINTS], freshness_policy=EVERY_HOUR),
        _spec(GAPS, [TIMESERIES_RAW, POINTS], freshness_policy=EVERY_HOUR),
    ],
    description="Reads what is missing of sites' market days, all sites side by side; derives aggregates, and scores.",
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
    unfinished: dict[str, str] = {}
    if context.selected_asset_keys & keys_of(WALKED):
        for sync in _side_by_side(context, config, lake, ace):
            try:
                unfinished |= _record_finished(context, lake, sync)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other sites go on
                unfinished |= {
                    site_day_key(day, sync.request.site): f"not recorded: {error}" for day in sync.request.days
                }
    else:
        unfinished |= _without_readings(context, config.moment(), lake, ace)
    if context.selected_asset_keys & keys_of(SCORED):
        # All of them, also of a site that failed: what is missing shows in its score.
        failed = yield from _scored(context, lake, config.moment())
        unfinished = failed | unfinished
    if unfinished:
        named = [f"{key}: {why}" for key, why in sorted(unfinished.items())]
        more = f"; and {len(named) - ERRORS_NAMED} more" if len(named) > ERRORS_NAMED else ""
        raise dg.Failure(
            description=f"{len(named)} of {len(context.partition_keys)} site days are not finished: "
            + "; ".join(named[:ERRORS_NAMED])
            + more,
            metadata={"not_finished": dg.MetadataValue.json(named)},
            allow_retries=LIVE_TAG not in context.run.tags,
        )


def _record_finished(context: dg.AssetExecutionContext, lake: Lake, sync: "SiteSync") -> dict[str, str]:
    """Record the market days of a site that are finished; returns those that are not, and why."""
    unfinished = {}
    for day in sync.request.days:
        if problems := sync.problems(day):
            unfinished[site_day_key(day, sync.request.site)] = "; ".join(problems[:ERRORS_NAMED])
            continue
        if _was_asked_for(sync, day):
            _record(context, lake, sync, day)
        if wrong := sync.result(day).weather_errors:
            unfinished[site_day_key(day, sync.request.site)] = f"weather: {wrong[0]}"
    _tag(context, sync.alerts)
    return unfinished


def _was_asked_for(sync: "SiteSync", day: date) -> bool:
    """Whether a sync had anything to do on a day. A tick has not on the evening before: its record stays as it is.

    For other runs a day that is whole already is a day that they made sure of.
    """
    return sync.request.mode != "live" or any(result.day == day for result in sync.results)


def _side_by_side(context: dg.AssetExecutionContext, config: SyncConfig, lake: Lake, ace: Ace) -> "Iterator[SiteSync]":
    """Syncs as they end. One that breaks in a way nobody foresaw fails for its own site alone."""
    from etl_assets.ace.sync import Mode, SyncRequest

    chosen, moment = lake.settings, config.moment()
    requests = [
        SyncRequest(site, days, Mode(config.mode), moment, context.run.run_id, context.retry_number + 1, config.hours)
        for site, days in site_days(_not_recorded(context)).items()
    ]
    clients = _Clients()
    with ThreadPoolExecutor(chosen.site_concurrency) as pool:
        started = {pool.submit(_sync, chosen, ace, request, clients): request for request in requests}
        try:
            for future in as_completed(started):
                yield _outcome(future, started[future])
        except BaseException:
            # A run that is cancelled must not read on for hours: what is stored stays, the next goes on from there.
            pool.shutdown(wait=False, cancel_futures=True)
            clients.close()
            raise


class _Clients:
    """The clients of a run's syncs: closed all at once, one that is opened later than that too."""

    def __init__(self) -> None:
        self._open: list[AceClient] = []
        self._closed = False

    def add(self, client: "AceClient") -> None:
        self._open.append(client)
        if self._closed:
            client.close()

    def close(self) -> None:
        self._closed = True
        for client in self._open:
            client.close()


def _not_recorded(context: dg.AssetExecutionContext) -> list[str]:
    """The partitions to work on: a step that is tried again leaves alone what it has recorded, counts and all."""
    if not context.retry_number:
        return list(context.partition_keys)
    of_type = dg.DagsterEventType.ASSET_MATERIALIZATION
    made = context.instance.get_records_for_run(context.run.run_id, of_type=of_type).records
    walked = keys_of(WALKED) & set(context.selected_asset_keys)
    done = {(record.asset_key, record.partition_key) for record in made}
    return [key for key in context.partition_keys if not {(asset, key) for asset in walked} <= done]


def _sync(settings: "Settings", ace: Ace, request: "SyncRequest", clients: _Clients) -> "SiteSync":
    from etl_assets.ace.sync import sync_site

    with ace.client() as client:
        clients.add(client)
        return sync_site(settings, client, request)


def _outcome(future: "Future[SiteSync]", request: "SyncRequest") -> "SiteSync":
    from etl_assets.ace.sync import SiteSync

    if (error := future.exception()) is None:
        return future.result()
    return SiteSync(request, [], errors=[f"{type(error).__name__}: {error}"])


def _tag(context: dg.AssetExecutionContext, alerts: "Sequence[Alert]") -> None:
    """Add alerts that were raised to the tags of the run, behind those of its other sites."""
    from etl_assets.ops.alerts import alert_tags

    if tags := alert_tags(alerts):
        run = context.instance.get_run_by_id(context.run.run_id)
        former = run.tags if run else {}
        joined = {name: "; ".join(filter(None, (former.get(name), text))) for name, text in tags.items()}
        context.instance.add_run_tags(context.run.run_id, joined)


def _record(context: dg.AssetExecutionContext, lake: Lake, sync: "SiteSync", day: date) -> None:
    """The finished market day of a site, as an event for each asset that was asked for."""
    result, site = sync.result(day), sync.request.site
    metadata: dict[Table, dict[str, Any]] = {
        TIMESERIES_RAW: {
            "dagster/partition_row_count": _rows(lake, site, day),
            **records(result.readings),
            "pages": result.pages,
            "windows_complete": result.windows_complete,
            "windows_deferred": result.windows_deferred,
            "cursor_repairs": result.repairs,
            "points_skipped": len(result.skipped),
        },
        WEATHER_RAW: records(result.weather),
        TIMESERIES_AGG: _changes(result.aggregates),
        QUERY_METADATA: {},
        POINTS: _of_points(sync, day),
    }
    if result.weather_errors:
        del metadata[WEATHER_RAW]
    for table, found in metadata.items():
        if asset_key(table) in context.selected_asset_keys:
            _materialized(context, table, site_day_key(day, site), {**found, "sync_id": sync.request.sync_id})


def _of_points(sync: "SiteSync", day: date) -> dict[str, Any]:
    """The account of the list of points, which is the site's: on one of its days, so that sums count it once."""
    if sync.points is None:
        return {"list": "fresh enough, not asked for"}
    newest = sync.request.days[-1]
    return records(sync.points) if day == newest else {"list": f"accounted for on {newest}"}


def _rows(lake: Lake, site: str, day: date) -> int:
    """How many readings the lake holds of a site's market day, whoever brought them."""
    with lake.get_connection(read_only=True) as connection:
        row = connection.execute(
            f"SELECT count(*) FROM {TIMESERIES_RAW.lake_name} WHERE site_name = $site AND market_day = $day",
            {"site": site, "day": day},
        ).fetchone()
    return int(row[0])


def _changes(counts: "UpsertCounts") -> dict[str, int]:
    return {
        "rows_unchanged": counts.unchanged,
        "rows_inserted": counts.inserted,
        "rows_updated": counts.updated,
    }


def _materialized(context: dg.AssetExecutionContext, table: Table, partition: str, metadata: dict[str, Any]) -> None:
    context.log_event(dg.AssetMaterialization(asset_key(table), partition=partition, metadata=metadata))


def _without_readings(context: dg.AssetExecutionContext, now: datetime, lake: Lake, ace: Ace) -> dict[str, str]:
    """What was asked for without readings and weather: the lists of points, aggregates. Returns what failed."""
    unfinished: dict[str, str] = {}
    for site, days in site_days(context.partition_keys).items():
        if asset_key(POINTS) in context.selected_asset_keys:
            unfinished |= _list_points(context, lake, ace, (site, days), now)
        if context.selected_asset_keys & keys_of(DERIVED):
            for day in days:
                _derive_again(context, lake, site, day, now)
    return unfinished


def _list_points(
    context: dg.AssetExecutionContext, lake: Lake, ace: Ace, asked: tuple[str, list[date]], now: datetime
) -> dict[str, str]:
    """The list of a site's points anew, however fresh the last one is."""
    import duckdb

    from etl_assets.ace.listings import collect_points
    from etl_assets.ace.wire import NotAPage
    from etl_assets.http import SourceError
    from etl_assets.lake.connection import LakeBusyError

    site, days = asked
    try:
        with ace.client() as client:
            account = collect_points(lake.settings, client, lake.settings.site(site), now=now, force=True)
    except (SourceError, NotAPage, duckdb.Error, LakeBusyError) as error:
        return {site_day_key(day, site): str(error) for day in days}
    for day in days:
        counted = account is not None and day == days[-1]
        found = records(account) if counted else {"list": f"accounted for on {days[-1]}"}  # type: ignore[arg-type]
        _materialized(context, POINTS, site_day_key(day, site), found)
    return {}


def _derive_again(context: dg.AssetExecutionContext, lake: Lake, site: str, day: date, now: datetime) -> None:
    """The aggregates of a site's day anew from the readings that are there, without asking ACE."""
    from etl_assets.ace.aggregates import derive_day
    from etl_assets.ace.query_metadata import refresh_query_metadata
    from etl_assets.lake.upsert import transaction
    from etl_assets.market_time import DAY, day_start

    last = day_start(day) + DAY - timedelta(microseconds=1)
    with lake.get_connection(purpose=f"aggregating {site}") as connection, transaction(connection):
        counts = derive_day(connection, site, day, now=now)
        refresh_query_metadata(connection, site, since=day_start(day), until=last, now=now)
    found = {TIMESERIES_AGG: _changes(counts), QUERY_METADATA: {}}
    for table, metadata in found.items():
        if asset_key(table) in context.selected_asset_keys:
            _materialized(context, table, site_day_key(day, site), metadata)


def _scored(
    context: dg.AssetExecutionContext, lake: Lake, now: datetime
) -> Generator[dg.AssetCheckResult, None, dict[str, str]]:
    """Scores and gaps worked out anew from the readings, and what they say. Returns the site days that could not be."""
    import duckdb

    from etl_assets.ace.scoring import score_site_day
    from etl_assets.lake.connection import LakeBusyError

    selected = {check.name for check in context.selected_asset_check_keys}
    found: dict[str, dict[str, Outcome]] = {}
    failed = {}
    for key in context.partition_keys:
        [(site, [day])] = site_days([key]).items()
        try:
            scored = score_site_day(lake.settings, site, day, now=now)
        except (duckdb.Error, LakeBusyError) as error:
            failed[key] = f"not scored: {error}"
            continue
        quality = {**_pictures(scored.outcomes["readings_are_complete"]), **scored.quality_metadata}
        for table, metadata in ((DATA_QUALITY, quality), (GAPS, scored.gap_metadata)):
            if asset_key(table) in context.selected_asset_keys:
                _materialized(context, table, key, metadata)
        _tag(context, scored.alerts)
        found[key] = {name: outcome for name, outcome in scored.outcomes.items() if name in selected}
    yield from _checked(context, found, selected)
    return failed


def _pictures(complete: Outcome) -> dict[str, Any]:
    """The pictures that are short enough to be shown in place: a check's own page has all behind a click."""
    shown = {name: complete.pictures.get(name, "") for name in ("at_a_glance", "month")}
    return {name: dg.MetadataValue.md(text) for name, text in shown.items() if text}


def _checked(
    context: dg.AssetExecutionContext, found: dict[str, dict[str, Outcome]], selected: set[str]
) -> Iterator[dg.AssetCheckResult]:
    """The checks of each site day under its partition, and for a range one result a check that sums them up."""
    quality = asset_key(DATA_QUALITY)
    if is_range(context):
        for key, outcomes in found.items():
            report_each(context, quality, key, outcomes)
        yield from summaries(quality, selected if found else set(), list(found.values()), "site days")
        return
    for outcomes in found.values():
        yield from (check_result(quality, name, outcome) for name, outcome in outcomes.items())


SITE_ASSETS: list[dg.AssetsDefinition] = [collect_sites]
SITE_SOURCES: list[dg.AssetSpec] = [ACE_API, ACE_SITES]
