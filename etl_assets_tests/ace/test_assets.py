"""The buildings' assets through real Dagster runs: one event a market day and site, checks, subsets, failures."""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import dagster as dg
import msgspec
import pytest
from sqlalchemy import create_engine, text

from etl_assets.ace import assets
from etl_assets.ace.assets import (
    COLLECTED,
    DERIVED,
    SCORED,
    SyncConfig,
    _side_by_side,
    collect_sites,
    keys_of,
)
from etl_assets.ace.automation import site_range_tags, sites_daily, sites_heal, sites_live, sites_scored, sync_config
from etl_assets.ace.checks import QUESTIONS
from etl_assets.ace.resource import Ace
from etl_assets.aemo.assets import FETCH_RETRIES
from etl_assets.asset_specs import asset_key
from etl_assets.lake.connection import read_lake
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import (
    DATA_QUALITY,
    GAPS,
    POINTS,
    TIMESERIES_AGG,
    TIMESERIES_RAW,
    WEATHER_RAW,
    Table,
)
from etl_assets.market_time import NEM_TIME
from etl_assets.ops.alerts import TAG
from etl_assets.settings import settings as process_settings
from etl_assets.simulator.ace_world import AceSite, AceWorld
from etl_assets.simulator.app import SimulatorServer

DAY = date(2025, 11, 22)
"""A past day, so that it is a partition whenever the tests run."""
BEFORE = DAY - timedelta(days=1)
NOW = datetime(2025, 11, 22, 0, 40, tzinfo=NEM_TIME)
MINUTES = 40
"""Readings of each point in the part of the day that is past: one a minute."""
POINTS_OF = {"b": 3, "a": 2, "c": 3, "d": 2, "e": 2, "park": 20}
"""Plain sites: every point is read each minute. Only ``park`` is large enough to have weather."""
FIVE = ["b", "a", "c", "d", "e"]

CONFIG = SyncConfig(as_of=NOW.isoformat())

Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture(scope="module")
def _running() -> Iterator[SimulatorServer]:
    world = AceWorld(1, [AceSite(name, count, plain=True) for name, count in POINTS_OF.items()])
    with SimulatorServer(now=lambda: NOW, ace=world) as running:
        yield running


@pytest.fixture
def account(
    _running: SimulatorServer, empty_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimulatorServer]:
    """The simulated account, which this process's environment names, and nothing collected yet."""
    shutil.copytree(empty_lake, tmp_path / "data")
    chosen = {
        "ETL_DATA": tmp_path / "data",
        "ACE_API_URL": _running.ace_url,
        "ACE_API_KEY": "simulated-ace-key",
        "ACE_RETRY_DELAY": "PT0S",
        "ACE_RETRIES": "0",
        "ACE_REQUESTS_PER_MINUTE": "100000",
        "SITES": ",".join(POINTS_OF),
    }
    for name, value in chosen.items():
        monkeypatch.setenv(name, str(value))
    process_settings.cache_clear()
    yield _running
    _running.faults.switch_off()
    process_settings.cache_clear()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def run(account: SimulatorServer, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of a job over some days and sites, asked for as schedules and sensors do."""
    from etl_assets.definitions import defs

    # A failed step is tried again after ten seconds and more; the tests of that set their own policy.
    monkeypatch.setattr(collect_sites.op, "_retry_policy", None)

    def run(
        job: Any = sites_live,
        sites: list[str] | None = None,
        days: tuple[date, ...] = (DAY,),
        now: datetime = NOW,
        only: set[dg.AssetKey] | None = None,
        at: dg.DagsterInstance = instance,
        **config: Any,
    ) -> dg.ExecuteInProcessResult:
        account.set_time(now)
        at.add_dynamic_partitions("site", sites or ["b"])
        tags = site_range_tags(days, at.get_dynamic_partitions("site"))
        return defs.resolve_job_def(job.name).execute_in_process(
            run_config=sync_config(now, **config),
            instance=at,
            tags=tags,
            partition_key=tags.get("dagster/partition"),
            asset_selection=list(only) if only else None,
            raise_on_error=False,
        )

    return run


def recorded(instance: dg.DagsterInstance, table: Table) -> dict[str, dict[str, Any]]:
    """The metadata of each partition's newest materialisation, read back from the instance."""
    newest: dict[str, dict[str, Any]] = {}
    for record in instance.fetch_materializations(asset_key(table), limit=100).records:
        event = record.asset_materialization
        newest.setdefault(event.partition, {name: value.value for name, value in event.metadata.items()})
    return newest


def query(sql: str) -> list[tuple]:
    with read_lake(process_settings()) as lake:
        return lake.execute(sql).fetchall()


def failure(result: dg.ExecuteInProcessResult) -> Any:
    [data] = [e.step_failure_data.user_failure_data for e in result.all_events if e.is_step_failure]
    return data


def asked_of(account: SimulatorServer, since: int) -> list[str]:
    return [request.path for request in account.requests[since:]]


# --- one run, some days and sites -----------------------------------------------------------------------


def test_a_run_of_two_sites_and_two_days_records_each_with_its_own_counts(
    run: Run, instance: dg.DagsterInstance
) -> None:
    result = run(sites=["b", "a"], days=(BEFORE, DAY))

    assert result.success
    assert {
        key: (found["records_fetched"], found["records_inserted"], found["dagster/partition_row_count"])
        for key, found in recorded(instance, TIMESERIES_RAW).items()
    } == {
        f"{BEFORE}|b": (1440 * 3,) * 3,
        f"{BEFORE}|a": (1440 * 2,) * 3,
        f"{DAY}|b": (MINUTES * 3,) * 3,
        f"{DAY}|a": (MINUTES * 2,) * 3,
    }
    assert query("SELECT market_day, site_name, count(*) FROM lake.ace.timeseries_raw GROUP BY 1, 2 ORDER BY 1, 2") == [
        (BEFORE, "a", 1440 * 2),
        (BEFORE, "b", 1440 * 3),
        (DAY, "a", MINUTES * 2),
        (DAY, "b", MINUTES * 3),
    ]


def test_every_asset_of_a_site_day_is_materialised_as_the_pages_ask_for_it(
    run: Run, instance: dg.DagsterInstance
) -> None:
    run(sites_heal, sites=["b", "a"], days=(BEFORE, DAY))

    everything = {f"{day}|{site}" for day in (BEFORE, DAY) for site in ("b", "a")}
    for key in collect_sites.keys:
        assert instance.get_materialized_partitions(key) == everything, key
    counts = instance.event_log_storage.get_latest_storage_id_by_partition(
        asset_key(GAPS), dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    assert set(counts) == everything


def test_metadata_says_what_was_done(run: Run, instance: dg.DagsterInstance) -> None:
    run(sites_heal, sites=["park"])

    key = f"{DAY}|park"
    readings, weather = recorded(instance, TIMESERIES_RAW)[key], recorded(instance, WEATHER_RAW)[key]
    parts = ("filtered", "invalid", "duplicate", "unchanged", "inserted", "updated")
    assert readings["records_fetched"] == sum(readings[f"records_{part}"] for part in parts)
    assert (readings["pages"], readings["windows_complete"], readings["windows_deferred"]) == (1, 1, 0)
    assert readings["sync_id"] == weather["sync_id"]
    assert weather["records_fetched"] == weather["records_inserted"] == 1
    # 40 minutes, 8 stretches of five, an hour and a day, of each of twenty points.
    made = recorded(instance, TIMESERIES_AGG)[key]
    assert made["rows_inserted"] == 20 * (40 + 8 + 1 + 1)
    assert recorded(instance, DATA_QUALITY)[key]["points_scored"] == 20
    assert recorded(instance, DATA_QUALITY)[key]["mean_score"] == 1
    assert recorded(instance, GAPS)[key] == {"gaps_open": 0, "gaps_healed": 0}


def test_the_list_of_points_is_accounted_for_once_whatever_the_number_of_days(
    run: Run, instance: dg.DagsterInstance
) -> None:
    run(days=(BEFORE, DAY))

    found = recorded(instance, POINTS)
    assert found[f"{DAY}|b"]["records_fetched"] == 3
    assert found[f"{BEFORE}|b"]["list"] == f"accounted for on {DAY}"


def test_the_same_run_again_finds_everything_as_it_was(run: Run, instance: dg.DagsterInstance) -> None:
    run(sites_heal, sites=["b", "a"])
    before = query("FROM lake.ace.timeseries_raw ORDER BY ALL"), query("FROM lake.quality.data_quality ORDER BY ALL")

    result = run(sites_heal, sites=["b", "a"], mode="reread")

    assert result.success
    for site, points in (("b", 3), ("a", 2)):
        again = recorded(instance, TIMESERIES_RAW)[f"{DAY}|{site}"]
        assert again["records_fetched"] == again["records_unchanged"]
        assert (again["records_inserted"], again["records_updated"]) == (0, 0)
        assert again["dagster/partition_row_count"] == points * MINUTES
        assert recorded(instance, TIMESERIES_AGG)[f"{DAY}|{site}"]["rows_updated"] == 0
    assert before == (
        query("FROM lake.ace.timeseries_raw ORDER BY ALL"),
        query("FROM lake.quality.data_quality ORDER BY ALL"),
    )


def test_two_runs_of_one_partition_at_once_double_nothing(run: Run) -> None:
    # Each with storage of its own: Dagster's, in memory, takes one run at a time.
    with dg.DagsterInstance.ephemeral() as one, dg.DagsterInstance.ephemeral() as other, ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, at=one), pool.submit(run, at=other)]
        assert [each.result().success for each in both] == [True, True]
        inserted = [recorded(each, TIMESERIES_RAW)[f"{DAY}|b"]["records_inserted"] for each in (one, other)]

    [(rows, keys)] = query("SELECT count(*), count(DISTINCT (point_name, timestamp)) FROM lake.ace.timeseries_raw")
    assert (rows, keys) == (MINUTES * 3,) * 2
    assert sum(inserted) == MINUTES * 3


def test_a_tick_leaves_the_record_of_a_day_that_it_asked_nothing_of(run: Run, instance: dg.DagsterInstance) -> None:
    run(sites_live, days=(BEFORE, DAY), mode="live")
    first = recorded(instance, TIMESERIES_RAW)

    result = run(sites_live, days=(BEFORE, DAY), now=NOW + timedelta(minutes=5), mode="live")

    second = recorded(instance, TIMESERIES_RAW)
    assert result.success
    assert second[f"{BEFORE}|b"] == first[f"{BEFORE}|b"]
    assert first[f"{BEFORE}|b"]["records_inserted"] == (1440 - MINUTES) * 3
    # Ten minutes of look-back and five new ones, in whole minutes.
    assert (second[f"{DAY}|b"]["records_fetched"], second[f"{DAY}|b"]["records_inserted"]) == (15 * 3, 5 * 3)


# --- checks ---------------------------------------------------------------------------------------------


def evaluations(instance: dg.DagsterInstance, name: str) -> dict[str | None, Any]:
    key = dg.AssetCheckKey(asset_key(DATA_QUALITY), name)
    found = instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    events = [record.event.dagster_event for record in found if record.event]
    data = [event.asset_check_evaluation_data for event in events if event.event_type_value == "ASSET_CHECK_EVALUATION"]
    newest: dict[str | None, Any] = {}
    for each in data:
        newest.setdefault(each.partition, each)
    return newest


@pytest.mark.parametrize("sites", [["b"], ["b", "a"]])
def test_every_check_is_recorded_under_its_partition(run: Run, instance: dg.DagsterInstance, sites: list[str]) -> None:
    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
    from dagster._core.storage.event_log.base import PartitionKeyFilter

    run(sites_heal, sites=sites)

    expected = {f"{DAY}|{site}" for site in sites}
    for question in QUESTIONS:
        assert set(evaluations(instance, question.__name__)) - {None} == expected
    complete = evaluations(instance, "readings_are_complete")
    assert all(complete[partition].passed for partition in expected)
    # As the pages look them up.
    key = dg.AssetCheckKey(asset_key(DATA_QUALITY), "keys_are_unique")
    for partition in expected:
        [newest] = instance.event_log_storage.get_asset_check_execution_history(
            key, limit=1, partition_filter=PartitionKeyFilter(key=partition)
        )
        assert newest.status == AssetCheckExecutionRecordStatus.SUCCEEDED


def test_the_picture_of_a_day_and_of_its_month_are_with_the_check(run: Run, instance: dg.DagsterInstance) -> None:
    run(sites_heal)

    metadata = evaluations(instance, "readings_are_complete")[f"{DAY}|b"].metadata
    day, month = metadata["points_by_hour"], metadata["month"]
    assert isinstance(day, dg.MarkdownMetadataValue)
    assert isinstance(month, dg.MarkdownMetadataValue)
    assert day.value.startswith("![b 2025-11-22, points by hour](data:image/svg+xml,")
    assert "3 points, worst first" in day.value
    assert month.value.startswith("![b, November 2025](data:image/svg+xml,")
    assert len(month.value) < 1000


def test_an_open_day_that_falls_short_warns_and_a_closed_one_is_an_error(
    run: Run, instance: dg.DagsterInstance
) -> None:
    run(days=(BEFORE, DAY))
    with_holes(f"{BEFORE}")
    with_holes(f"{DAY}")

    run(sites_scored, days=(BEFORE, DAY))

    complete = evaluations(instance, "readings_are_complete")
    assert not complete[f"{DAY}|b"].passed
    assert complete[f"{DAY}|b"].severity is dg.AssetCheckSeverity.WARN
    assert not complete[f"{BEFORE}|b"].passed
    assert complete[f"{BEFORE}|b"].severity is dg.AssetCheckSeverity.ERROR


def with_holes(day: str) -> None:
    """Take away half of the readings of a day, every other minute."""
    with Lake().get_connection(purpose="a test") as lake:
        lake.execute(
            f"DELETE FROM lake.ace.timeseries_raw WHERE market_day = DATE '{day}' AND minute(timestamp) % 2 = 1"
        )


# --- some of the assets ---------------------------------------------------------------------------------


def test_aggregates_alone_are_derived_again_without_asking_ace(
    run: Run, account: SimulatorServer, instance: dg.DagsterInstance
) -> None:
    run()
    with Lake().get_connection(purpose="a test") as lake:
        lake.execute("DELETE FROM lake.ace.timeseries_agg WHERE \"interval\" = '1h'")
    before = len(account.requests)

    result = run(only={asset_key(TIMESERIES_AGG)})

    assert result.success
    assert asked_of(account, before) == []
    assert recorded(instance, TIMESERIES_AGG)[f"{DAY}|b"]["rows_inserted"] == 3
    assert query("SELECT count(*), sum(sample_count) FROM lake.ace.timeseries_agg WHERE \"interval\" = '1h'") == [
        (3, 3 * MINUTES)
    ]
    assert len(instance.fetch_materializations(asset_key(TIMESERIES_RAW), limit=9).records) == 1


def test_points_alone_are_listed_anew_and_no_reading_is_asked_for(
    run: Run, account: SimulatorServer, instance: dg.DagsterInstance
) -> None:
    run(only={asset_key(POINTS)})
    before = len(account.requests)

    result = run(only={asset_key(POINTS)})

    assert result.success
    assert {path.rpartition("/")[2] for path in asked_of(account, before)} & {"points", "configured_points"}
    assert not [path for path in asked_of(account, before) if "timeseries" in path or "weather" in path]
    assert recorded(instance, POINTS)[f"{DAY}|b"]["records_unchanged"] == 3
    assert query("SELECT count(*) FROM lake.ace.points") == [(3,)]
    assert instance.get_materialized_partitions(asset_key(TIMESERIES_RAW)) == set()


def test_points_that_cannot_be_listed_fail_their_own_site(
    run: Run, account: SimulatorServer, instance: dg.DagsterInstance
) -> None:
    account.faults.switch_on("site_error", path="*/sites/a/*")

    result = run(sites=["b", "a"], only={asset_key(POINTS)})

    assert failure(result).description.startswith(f"1 of 2 site days are not finished: {DAY}|a: ")
    assert instance.get_materialized_partitions(asset_key(POINTS)) == {f"{DAY}|b"}


def test_scores_alone_are_worked_out_anew_and_checked(
    run: Run, account: SimulatorServer, instance: dg.DagsterInstance
) -> None:
    run(sites_live, mode="live")
    before = len(account.requests)

    result = run(sites_scored, only={asset_key(DATA_QUALITY)})

    assert result.success
    assert asked_of(account, before) == []
    assert instance.get_materialized_partitions(asset_key(DATA_QUALITY)) == {f"{DAY}|b"}
    assert instance.get_materialized_partitions(asset_key(GAPS)) == set()
    assert len(result.get_asset_check_evaluations()) == len(QUESTIONS)


@pytest.mark.parametrize(
    ("job", "tables"),
    [
        (sites_live, (*COLLECTED, *DERIVED)),
        (sites_scored, SCORED),
        (sites_daily, (*COLLECTED, *DERIVED, *SCORED)),
        (sites_heal, (*COLLECTED, *DERIVED, *SCORED)),
    ],
)
def test_a_job_leaves_no_asset_of_its_selection_out(run: Run, job: Any, tables: tuple[Table, ...]) -> None:
    from etl_assets.definitions import defs

    result = run(job)

    assert result.success
    assert {e.asset_key for e in result.get_asset_materialization_events()} == keys_of(tables)
    assert defs.resolve_job_def(job.name).asset_layer.executable_asset_keys == keys_of(tables)
    assert not [event for event in result.all_events if event.is_step_skipped]


# --- failures -------------------------------------------------------------------------------------------


def test_one_site_of_five_that_fails_is_named_and_hides_no_other(
    run: Run, account: SimulatorServer, instance: dg.DagsterInstance
) -> None:
    account.faults.switch_on("site_error", path="*/sites/c/timeseries/paginated")

    result = run(sites=FIVE)

    assert not result.success
    assert failure(result).description.startswith(f"1 of 5 site days are not finished: {DAY}|c: ")
    assert "500" in failure(result).description
    [named] = failure(result).metadata["not_finished"].value
    assert named.startswith(f"{DAY}|c: ")
    assert {key: found["records_inserted"] for key, found in recorded(instance, TIMESERIES_RAW).items()} == {
        f"{DAY}|{site}": POINTS_OF[site] * MINUTES for site in FIVE if site != "c"
    }


def test_a_site_that_fails_is_scored_all_the_same(
    run: Run, account: SimulatorServer, instance: dg.DagsterInstance
) -> None:
    account.faults.switch_on("site_error", path="*/sites/a/timeseries/paginated")

    result = run(sites_daily, sites=["b", "a"], mode="reread", hours=24)

    assert not result.success
    assert set(recorded(instance, TIMESERIES_RAW)) == {f"{DAY}|b"}
    assert set(recorded(instance, DATA_QUALITY)) == {f"{DAY}|b", f"{DAY}|a"}
    complete = evaluations(instance, "readings_are_complete")
    assert {key: each.passed for key, each in complete.items() if key} == {f"{DAY}|b": True, f"{DAY}|a": False}


def test_sites_that_were_added_unsorted_are_all_covered_by_a_tick(run: Run, instance: dg.DagsterInstance) -> None:
    result = run(sites=FIVE, days=(BEFORE, DAY))

    assert result.success
    assert instance.get_materialized_partitions(asset_key(TIMESERIES_RAW)) == {
        f"{day}|{site}" for day in (BEFORE, DAY) for site in FIVE
    }


def test_an_error_that_nobody_foresaw_fails_its_own_site_alone(
    run: Run, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etl_assets.ace import sync

    true_sync = sync.sync_site

    def sync_site(settings: Any, client: Any, request: Any) -> Any:
        if request.site == "a":
            raise ZeroDivisionError("nobody foresaw this")
        return true_sync(settings, client, request)

    monkeypatch.setattr(sync, "sync_site", sync_site)

    result = run(sites=["b", "a"])

    assert f"{DAY}|a: ZeroDivisionError: nobody foresaw this" in failure(result).description
    assert instance.get_materialized_partitions(asset_key(TIMESERIES_RAW)) == {f"{DAY}|b"}


def test_a_step_that_is_tried_again_leaves_the_counts_of_finished_sites(
    run: Run, account: SimulatorServer, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect_sites.op, "_retry_policy", dg.RetryPolicy(max_retries=1))
    account.faults.switch_on("site_error", path="*/sites/a/timeseries/paginated", times=1)

    result = run(sites_heal, sites=["b", "a"], only=keys_of((*COLLECTED, *DERIVED)))

    assert result.success
    assert {key: found["records_inserted"] for key, found in recorded(instance, TIMESERIES_RAW).items()} == {
        f"{DAY}|b": 3 * MINUTES,
        f"{DAY}|a": 2 * MINUTES,
    }
    engine = create_engine(process_settings().state_url)
    with engine.connect() as connection:
        attempts = connection.execute(
            text("SELECT partition, attempt, inserted FROM sync_runs WHERE dataset = 'ace.timeseries_raw'")
        ).all()
    engine.dispose()
    assert set(attempts) == {(f"{DAY}|b", 1, 120), (f"{DAY}|a", 1, 0), (f"{DAY}|a", 2, 80)}


def test_a_tick_is_not_tried_again_step_by_step(run: Run, account: SimulatorServer) -> None:
    account.faults.switch_on("site_error", path="*/sites/b/timeseries/paginated")

    result = run(sites_live, mode="live")

    assert FETCH_RETRIES.max_retries == 2
    assert not result.success
    assert dg.DagsterEventType.STEP_RESTARTED not in [e.event_type for e in result.all_events]


def test_a_day_that_cannot_be_scored_does_not_keep_others_from_it(
    run: Run, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    import duckdb

    from etl_assets.ace import scoring

    true_score = scoring.score_site_day

    def score(settings: Any, site: str, day: date, *, now: datetime) -> Any:
        if site == "b":
            raise duckdb.OutOfMemoryException("no memory")
        return true_score(settings, site, day, now=now)

    monkeypatch.setattr(scoring, "score_site_day", score)

    result = run(sites_heal, sites=["b", "a"])

    assert failure(result).description == f"1 of 2 site days are not finished: {DAY}|b: not scored: no memory"
    assert instance.get_materialized_partitions(asset_key(TIMESERIES_RAW)) == {f"{DAY}|b", f"{DAY}|a"}
    assert instance.get_materialized_partitions(asset_key(DATA_QUALITY)) == {f"{DAY}|a"}


def test_a_key_that_is_missing_is_said_in_a_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACE_API_KEY", "")
    process_settings.cache_clear()

    result = run()

    assert "ACE_API_KEY" in failure(result).description


def test_the_real_account_is_never_read_into_the_simulators_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACE_API_URL")
    process_settings.cache_clear()
    marker = process_settings().simulated_marker
    marker.parent.mkdir(exist_ok=True)
    marker.touch()

    result = run()

    assert "MixedDataError" in failure(result).description
    assert "ACE_API_URL is the real account's" in failure(result).description


def test_an_unknown_mode_is_refused_before_anything_runs_and_the_known_ones_are_named(run: Run) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=r"'missing', 'live', 'reread'"):
        run(mode="everything")


# A connection that is being opened while its client is closed from outside is closed by nobody but the collector.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_run_that_is_cancelled_stops_asking(account: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_SIZE", "50")
    process_settings.cache_clear()
    account.set_time(NOW)
    monkeypatch.setattr(assets, "_not_recorded", lambda _: [f"{DAY}|nowhere", f"{BEFORE}|park"])
    syncs = _side_by_side(SimpleNamespace(run=SimpleNamespace(run_id="a"), retry_number=0), CONFIG, Lake(), Ace())

    first = next(syncs)
    syncs.close()

    assert first.request.site == "nowhere"
    [(stored,)] = query("SELECT count(*) FROM lake.ace.timeseries_raw WHERE site_name = 'park'")
    assert stored < 20 * 1440


# --- alerts ---------------------------------------------------------------------------------------------


class Hook(BaseHTTPRequestHandler):
    """A webhook that keeps what it is sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append(msgspec.json.decode(body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook(account: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What a webhook on loopback was sent."""
    assert account.url, "the account's settings come first"
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.taken = []  # type: ignore[attr-defined]
        for name in ("ALERT_WEBHOOK_URL", "METRICS_WEBHOOK_URL"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{server.server_port}/hook")
        process_settings.cache_clear()
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.taken  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


def alerts(taken: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["key"], message["status"]) for message in taken if "key" in message]


def test_alerts_are_sent_once_when_they_begin_and_once_when_they_clear(
    run: Run, hook: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_REQUESTS_ALERT", "1")
    process_settings.cache_clear()
    run(sites_live, sites=["b", "a"], days=(BEFORE, DAY), mode="live")
    run(sites_live, sites=["b", "a"], now=NOW + timedelta(minutes=5), mode="live")
    raised = sorted(alerts(hook))
    monkeypatch.setenv("SYNC_REQUESTS_ALERT", "100")
    process_settings.cache_clear()
    run(sites_live, sites=["b", "a"], now=NOW + timedelta(minutes=10), mode="live")

    assert raised == [("requests:a", "raised"), ("requests:b", "raised")]
    assert sorted(alerts(hook)[2:]) == [("requests:a", "resolved"), ("requests:b", "resolved")]


def test_a_run_bears_the_alerts_of_all_its_sites(
    run: Run, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNC_REQUESTS_ALERT", "1")
    process_settings.cache_clear()

    result = run(sites_live, sites=["b", "a"], days=(BEFORE, DAY), mode="live")

    tag = instance.get_run_by_id(result.run_id).tags[TAG]
    assert sorted(tag.split("; ")) == [
        "High number of API requests in ETL sync (requests:a)",
        "High number of API requests in ETL sync (requests:b)",
    ]


def test_low_scores_raise_an_alert_with_a_tag_and_clear_it_when_the_day_is_whole(
    run: Run, hook: list[dict[str, Any]], instance: dg.DagsterInstance
) -> None:
    later = NOW + timedelta(hours=2)
    run(sites_live, sites=["b"], days=(BEFORE, DAY), now=later, mode="live")
    with_holes(f"{DAY}")
    low = run(sites_scored, now=later)
    run(sites_scored, now=later)
    run(sites_daily, now=later + timedelta(minutes=1), mode="reread", hours=24)

    [raised, resolved] = [message for message in hook if message.get("kind") == "quality"]
    assert (raised["status"], raised["key"]) == ("raised", "quality:b")
    assert raised["payload"]["pointsBelow"] == 3
    assert resolved["status"] == "resolved"
    assert instance.get_run_by_id(low.run_id).tags[TAG] == "Low data quality detected (quality:b)"


def test_the_metrics_of_each_sync_are_reported(run: Run, hook: list[dict[str, Any]]) -> None:
    run()

    of_readings = [message for message in hook if message.get("dataset") == "ace.timeseries_raw"]
    assert [(each["site_name"], each["status"], each["records_inserted"]) for each in of_readings] == [
        ("b", "complete", 3 * MINUTES)
    ]
