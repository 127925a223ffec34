"""The market's assets through real Dagster runs: rows, metadata, checks under their partitions, failures."""

import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from etl_assets.aemo import assets, feeds
from etl_assets.aemo.assets import (
    LIVE_ASSETS,
    REPORT_ASSETS,
    CollectConfig,
    asset_key,
    price_and_demand,
    raise_if_failed,
    report_assets,
)
from etl_assets.aemo.automation import collect_config, day_tags
from etl_assets.aemo.resource import Aemo
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import (
    DISPATCH_INTERCONNECTOR,
    DISPATCH_REGION,
    PRICE_AND_DEMAND,
    REGION_FORECAST,
    TRADING_PRICE,
    UNIT_SCADA,
)
from etl_assets.market_time import NEM_TIME, interval_ends
from etl_assets.runs import _summary
from etl_assets_tests.aemo.conftest import World

DAY = date(2025, 11, 22)
"""A past day, so that it is a partition whenever the tests run."""
NEXT = DAY + timedelta(days=1)
NOW = datetime(2025, 11, 22, 0, 11, tzinfo=NEM_TIME)
DUE = interval_ends(DAY)[:3]
[DISPATCH_IS] = [a for a in REPORT_ASSETS if asset_key(DISPATCH_REGION) in a.keys]
REGION = asset_key(DISPATCH_REGION)

Materialize = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def materialize(configured: World, instance: dg.DagsterInstance) -> Materialize:
    def materialize(
        asset: dg.AssetsDefinition, partition: date = DAY, now: datetime = NOW, *, reread: bool = False, **options: Any
    ) -> dg.ExecuteInProcessResult:
        configured.server.set_time(now)
        return dg.materialize(
            [asset],
            instance=instance,
            partition_key=str(partition),
            run_config=collect_config([asset], now, reread=reread),
            resources={"lake": Lake(), "aemo": Aemo()},
            **options,
        )

    return materialize


@pytest.fixture
def live(configured: World, instance: dg.DagsterInstance) -> Callable[..., dg.ExecuteInProcessResult]:
    """A run of ``market_live`` over some days, as the schedule asks for it."""
    from etl_assets.definitions import defs

    def live(*days: date) -> dg.ExecuteInProcessResult:
        configured.server.set_time(NOW)
        return defs.resolve_job_def("market_live").execute_in_process(
            instance=instance,
            tags=day_tags(days),
            run_config=collect_config(LIVE_ASSETS, NOW),
            partition_key=str(days[0]) if len(days) == 1 else None,
        )

    return live


def metadata_of(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    [event] = [e for e in result.get_asset_materialization_events() if e.asset_key == key]
    return {name: v.value for name, v in event.step_materialization_data.materialization.metadata.items()}


# --- one day --------------------------------------------------------------------------------------------


def test_a_materialised_day_shows_its_rows_its_account_and_its_strip_and_is_checked(
    configured: World, materialize: Materialize
) -> None:
    result = materialize(DISPATCH_IS)

    metadata = metadata_of(result, REGION)
    assert result.success
    assert metadata["dagster/partition_row_count"] == 15
    assert metadata["intervals_partial"] == 0
    assert {name: metadata[f"records_{name}"] for name in ("fetched", "inserted", "unchanged", "updated")} == {
        "fetched": 15,
        "inserted": 15,
        "unchanged": 0,
        "updated": 0,
    }
    assert (metadata["intervals_complete"], metadata["intervals_missing"], metadata["files_read"]) == (3, 0, 3)
    assert metadata["rows_by_source"] == {"NEMWEB CURRENT": 15}
    assert len(metadata["day"]) < 1000
    assert ET.fromstring(unquote(metadata["day"].partition("svg+xml,")[2].removesuffix(")"))).tag.endswith("svg")  # noqa: S314 - our own
    configured.assert_truth(DUE)

    evaluations = result.get_asset_check_evaluations()
    assert all(evaluation.passed for evaluation in evaluations)
    assert {e.check_name for e in evaluations if e.asset_key == REGION} == {
        "intervals_are_complete",
        "keys_are_unique",
        "nothing_is_quarantined",
        "entities_are_all_there",
        "price_is_within_cap",
        "energy_identity_holds",
    }


def test_runs_leave_their_records_in_the_state_database_and_a_second_one_changes_nothing(
    configured: World, materialize: Materialize
) -> None:
    first, second = materialize(DISPATCH_IS), materialize(DISPATCH_IS)

    metadata = metadata_of(second, REGION)
    engine = create_engine(configured.settings.state_url)
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT run_id, dataset, partition, fetched, inserted, missing_before, missing_after FROM sync_runs")
        ).all()
    engine.dispose()
    assert (metadata["records_fetched"], metadata["files_read"]) == (0, 0)
    assert metadata["dagster/partition_row_count"] == 15
    assert set(rows) == {
        (first.run_id, "aemo.dispatch_region", str(DAY), 15, 15, 3, 0),
        (first.run_id, "aemo.dispatch_interconnector", str(DAY), 18, 18, 3, 0),
        (second.run_id, "aemo.dispatch_region", str(DAY), 0, 0, 0, 0),
        (second.run_id, "aemo.dispatch_interconnector", str(DAY), 0, 0, 0, 0),
    }


def test_one_asset_of_a_report_may_be_made_alone(configured: World, materialize: Materialize) -> None:
    result = materialize(DISPATCH_IS, selection=[asset_key(DISPATCH_INTERCONNECTOR)])

    assert result.success
    assert configured.links() == configured.true_links(DUE)
    assert configured.regions() == {}


def test_a_month_of_aggregated_prices_is_a_partition(configured: World, materialize: Materialize) -> None:
    result = materialize(price_and_demand, date(2025, 11, 1), datetime(2025, 11, 3, 6, 15, tzinfo=NEM_TIME))

    [(rows, last)] = configured.query("SELECT count(*), max(interval_end) FROM lake.aemo.price_and_demand")
    assert result.success
    assert (rows, last) == (5 * 288 * 2, datetime(2025, 11, 3, tzinfo=NEM_TIME))
    assert metadata_of(result, asset_key(PRICE_AND_DEMAND))["dagster/partition_row_count"] == rows
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())


# --- several days ---------------------------------------------------------------------------------------


def test_a_run_over_two_days_records_each_days_rows_and_each_days_checks(
    configured: World, instance: dg.DagsterInstance, live: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    result = live(DAY, NEXT)

    assert result.success
    rows = {}
    for record in instance.fetch_materializations(REGION, limit=10).records:
        event = record.asset_materialization
        rows[event.partition] = event.metadata["dagster/partition_row_count"].value
    assert rows == {str(DAY): 15, str(NEXT): 0}
    for check in ("intervals_are_complete", "price_is_within_cap"):
        key = dg.AssetCheckKey(REGION, check)
        records = instance.event_log_storage.get_asset_check_execution_history(key, limit=10)
        partitions = [record.event.dagster_event.asset_check_evaluation_data.partition for record in records]
        assert sorted(p for p in partitions if p) == [str(DAY), str(NEXT)]
        # The pages show no evaluation but that of a partition's newest materialisation.
        shown = {
            info.partition_key: info.is_current
            for info in instance.event_log_storage.get_asset_check_partition_info([key])
        }
        assert shown[str(DAY)]
        assert shown[str(NEXT)]
    assert configured.prices() == {key: figures[0] for key, figures in configured.true_regions(DUE).items()}


def test_a_run_over_two_days_shows_its_account_in_one_piece_and_not_as_that_of_each_day(
    instance: dg.DagsterInstance, live: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    result = live(DAY, NEXT)

    for record in instance.fetch_materializations(REGION, limit=10).records:
        shown = record.asset_materialization.metadata
        assert "records_inserted" not in shown
        account = shown["account_of_the_run"].value
        assert (account["days"], account["records_inserted"]) == (2, 15)
    assert _summary(result.success, result.all_events).records["aemo.dispatch_region"]["inserted"] == 15


def test_a_day_shows_its_prices_and_demand_as_figures_with_units_and_as_curves(
    configured: World, materialize: Materialize
) -> None:
    result = materialize(DISPATCH_IS)

    metadata = metadata_of(result, REGION)
    true = configured.true_regions(DUE)
    prices = [float(price) for price, *_ in true.values()]
    assert metadata["mean_price_aud_per_mwh"] == pytest.approx(sum(prices) / len(prices), abs=0.01)
    assert metadata["lowest_demand_mw"] <= metadata["mean_demand_mw"] <= metadata["highest_demand_mw"]
    for curve in ("price_aud_per_mwh", "demand_mw"):
        assert metadata[curve].startswith("![")
        assert len(metadata[curve]) < 1000


def test_a_live_run_brings_every_feed_and_publishes_them(
    configured: World, live: Callable[..., dg.ExecuteInProcessResult]
) -> None:
    import duckdb

    result = live(DAY)

    assert result.success
    with duckdb.connect(str(configured.settings.warehouse_path), read_only=True) as warehouse:
        counts = {
            table.name: warehouse.execute(f"SELECT count(*) FROM {table.full_name}").fetchone()[0]
            for table in (DISPATCH_REGION, DISPATCH_INTERCONNECTOR, UNIT_SCADA, TRADING_PRICE)
        }
        [forecasts] = warehouse.execute(f"SELECT count(*) FROM {REGION_FORECAST.full_name}").fetchone()
    assert counts == {
        "dispatch_region": 15,
        "dispatch_interconnector": 18,
        "unit_scada": sum(len(configured.market.scada(end)) for end in DUE),
        "trading_price": 15,
    }
    assert forecasts > 0


# --- failures -------------------------------------------------------------------------------------------


def test_a_source_that_fails_fails_the_run_and_names_what_is_missing_and_where(
    configured: World, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "FETCH_RETRIES", None)
    configured.server.faults.switch_on("server_error")

    result = materialize(report_assets(feeds.DISPATCH_IS), raise_on_error=False)

    assert not result.success
    [failure] = [e.step_failure_data.user_failure_data for e in result.all_events if e.is_step_failure]
    assert failure.description.startswith(f"DispatchIS {DAY}: 2 intervals are missing or partial because: Status 503: ")
    assert f"{configured.server.url}/Reports/CURRENT/DispatchIS_Reports" in failure.description
    assert failure.metadata["intervals_missing_or_partial"].value == 2
    assert configured.query("SELECT count(*) FROM lake.quality.gaps WHERE healed_at IS NULL") == [(2,)]


def test_a_complete_day_that_cannot_be_read_again_fails_its_run(
    configured: World, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured.collect(DAY, now=NOW)
    configured.server.faults.switch_on("empty_listing")
    monkeypatch.setattr(assets, "FETCH_RETRIES", None)

    result = materialize(report_assets(feeds.DISPATCH_IS), reread=True, raise_on_error=False)

    assert not result.success
    [failure] = [e.step_failure_data.user_failure_data for e in result.all_events if e.is_step_failure]
    assert failure.description == (
        f"DispatchIS {DAY}: {2 * len(DUE)} intervals could not be read again, so revisions may be missing, because: "
        f"{len(DUE)} intervals are in no file that NEMWeb lists"
    )


def test_a_failure_of_a_moment_is_overcome_by_the_steps_own_retry(
    configured: World, materialize: Materialize, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "FETCH_RETRIES", dg.RetryPolicy(max_retries=1))
    configured.server.faults.switch_on("server_error", times=2)

    result = materialize(report_assets(feeds.DISPATCH_IS))

    assert [e.event_type for e in result.all_events].count(dg.DagsterEventType.STEP_RESTARTED) == 1
    configured.assert_truth(DUE)


def test_a_failure_names_some_errors_and_counts_the_others(configured: World) -> None:
    configured.server.faults.switch_on("server_error", "*.zip")
    configured.server.faults.switch_on("no_content")
    results = configured.collect()

    with pytest.raises(dg.Failure) as failed:
        raise_if_failed(results, "a day")

    assert failed.value.description.count("Status 503") == 5
    assert failed.value.description.endswith("; and 4 more")
    assert len(failed.value.metadata["errors"].value) == 9


def test_a_source_that_fails_does_not_fail_a_run_that_another_source_made_whole(
    configured: World, materialize: Materialize
) -> None:
    configured.server.faults.switch_on("server_error", "*.zip")

    result = materialize(DISPATCH_IS, selection=[REGION])

    metadata = metadata_of(result, REGION)
    assert result.success
    assert metadata["rows_by_source"]["5MIN REPORT"] == 15
    assert any("Status 503" in error for error in metadata["errors"])


def test_failed_fetches_are_tried_again_with_growing_pauses() -> None:
    policies = [asset.op.retry_policy for asset in (*LIVE_ASSETS, price_and_demand)]

    assert all(policy.max_retries == 2 and policy.backoff is dg.Backoff.EXPONENTIAL for policy in policies)


@pytest.mark.parametrize("fault", ["server_error", "html_with_200"])
def test_a_report_that_cannot_be_had_is_no_reason_to_fail_a_tick(
    configured: World, materialize: Materialize, fault: str
) -> None:
    [forecasts] = [asset for asset in LIVE_ASSETS if asset_key(REGION_FORECAST) in asset.keys]
    configured.server.faults.switch_on(fault)

    result = materialize(forecasts)

    assert result.success
    assert configured.settings.aemo_api_url in metadata_of(result, asset_key(REGION_FORECAST))["errors"]


def test_a_forecast_that_stays_out_turns_its_check_yellow(configured: World, materialize: Materialize) -> None:
    [forecasts] = [asset for asset in LIVE_ASSETS if asset_key(REGION_FORECAST) in asset.keys]
    [fresh] = materialize(forecasts).get_asset_check_evaluations()
    configured.server.faults.switch_on("server_error")

    [late] = materialize(forecasts, now=NOW + timedelta(hours=4)).get_asset_check_evaluations()

    assert (fresh.check_name, fresh.passed) == ("forecast_is_recent", True)
    assert (late.check_name, late.passed, late.severity) == ("forecast_is_recent", False, dg.AssetCheckSeverity.WARN)
    # Issued with the interval that ended at 00:15, the newest at 00:11; asked at 04:11.
    assert late.metadata["minutes_since_issue"].value == 236


def test_forecasts_of_a_past_day_stay_what_they_were(configured: World, materialize: Materialize) -> None:
    [forecasts] = [asset for asset in LIVE_ASSETS if asset_key(REGION_FORECAST) in asset.keys]
    before = len(configured.server.requests)

    result = materialize(forecasts, DAY - timedelta(days=1))

    assert result.success
    assert len(configured.server.requests) == before


def test_a_moment_is_the_ticks_where_it_has_one() -> None:
    assert CollectConfig(as_of="2025-11-22T00:11:00+10:00").moment() == NOW
