"""What Dagster is told of many days: an event and an answer to each check under each day's own partition."""

from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest

from etl_assets.kpi.events import ENTITIES_SHOWN, kpi_key, value_metadata
from etl_assets.kpi.query import KpiValue
from etl_assets.kpi.values import day_values
from etl_assets.market_time import utc_now
from etl_assets.settings import Settings
from etl_assets_tests.kpi.conftest import BY_REGION, DAY, FORTY, PRICE, Receivers, kpi, price_of, with_workflows
from etl_assets_tests.kpi.test_assets import failure, run

EMPTY = DAY + timedelta(days=1)


def of_days(instance: dg.DagsterInstance, name: str = "price") -> dict[str, dict[str, Any]]:
    """The metadata of each partition's newest materialisation."""
    newest: dict[str, dict[str, Any]] = {}
    for record in instance.fetch_materializations(dg.AssetKey(["kpi", name]), limit=100).records:
        event = record.asset_materialization
        newest.setdefault(event.partition, {key: value.value for key, value in event.metadata.items()})
    return newest


def answers(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str | None], bool]:
    return {(each.check_name, each.partition): each.passed for each in result.get_asset_check_evaluations()}


def test_the_asset_of_a_kpi_has_its_id_with_underscores() -> None:
    assert kpi_key(kpi("a-b_c", active=False)) == dg.AssetKey(["kpi", "a_b_c"])


def test_values_are_numbers_by_entity_and_unit_and_days_without_data_are_in_the_table_alone() -> None:
    found = value_metadata(kpi(sql=BY_REGION), [KpiValue("NSW1", 1.5), KpiValue("SA1", None)], "none")

    assert found == {
        "NSW1 (AUD/MWh)": 1.5,
        "values": dg.MetadataValue.md("| region | value |\n| --- | ---: |\n| NSW1 | 1.5 AUD/MWh |\n| SA1 | no data |"),
    }


def test_of_many_entities_the_first_are_shown() -> None:
    found = value_metadata(kpi(sql=BY_REGION), [KpiValue(f"r{n:03}", n) for n in range(100)], "none")

    assert len(found) == ENTITIES_SHOWN + 1


@pytest.mark.usefixtures("here")
def test_a_range_records_each_day_by_itself_and_its_values_are_those_of_single_days(
    here: Settings, instance: dg.DagsterInstance
) -> None:
    result = run(instance, [kpi(sql=BY_REGION, high=260.0)], FORTY[0], DAY)

    assert result.success
    recorded = of_days(instance)
    assert {day: found["NSW1 (AUD/MWh)"] for day, found in recorded.items()} == {
        str(day): price_of(day) for day in FORTY
    }
    passed = answers(result)
    # SA1 pays twice the price; 260 is passed when NSW1 pays more than 130.
    assert {day for (name, day), held in passed.items() if name == "is_not_above_high" and day and not held} == {
        str(day) for day in FORTY if price_of(day) > 130
    }
    assert {day for name, day in passed if name == "has_a_value" and day} == {str(day) for day in FORTY}
    of_range = day_values(here, ["price"], FORTY)
    for day in (FORTY[0], FORTY[17], DAY):
        run(instance, [kpi(sql=BY_REGION, high=260.0)], day)
    assert day_values(here, ["price"], FORTY) == of_range


@pytest.mark.usefixtures("here")
def test_a_day_without_data_has_no_value_and_the_others_have_theirs(instance: dg.DagsterInstance) -> None:
    result = run(instance, [kpi(sql=PRICE)], DAY - timedelta(days=1), EMPTY)

    assert result.success
    assert {day: held for (_, day), held in answers(result).items() if day} == {
        str(DAY - timedelta(days=1)): True,
        str(DAY): True,
        str(EMPTY): False,
    }
    [summary] = [each for each in result.get_asset_check_evaluations() if each.partition is None]
    assert summary.description == "2 of 3 days passed"


@pytest.mark.usefixtures("here")
def test_a_range_in_which_a_day_fails_records_the_others_and_names_that_day(instance: dg.DagsterInstance) -> None:
    ill = FORTY[1]
    fragile = kpi(sql=f"SELECT CAST(CASE WHEN $market_day = DATE '{ill}' THEN 'x' ELSE '5' END AS INTEGER)")

    result = run(instance, [fragile], FORTY[0], FORTY[2])

    assert failure(result).description.startswith(f"1 of 3 KPIs failed: price {ill}: ")
    assert of_days(instance).keys() == {str(FORTY[0]), str(FORTY[2])}


@pytest.mark.usefixtures("here")
def test_a_range_that_calls_workflows_is_told_of_days_that_have_reported_and_of_days_that_have_not(
    here: Settings, instance: dg.DagsterInstance, receivers: Receivers
) -> None:
    from etl_assets.kpi.callback import take_report
    from etl_assets.ops.kpi_state import newest_job

    first = DAY - timedelta(days=1)
    kpis = with_workflows(receivers, ["report"], high=5.0)
    run(instance, kpis, first, workflows="call")
    trace_id = newest_job(here, first).trace_id
    take_report(here, {"traceId": trace_id, "kpiId": "report", "status": "completed", "value": 7.5}, now=utc_now())

    result = run(instance, kpis, first, DAY, workflows="call")

    assert result.success
    assert of_days(instance, "report").keys() == {str(first), str(DAY)}
    assert answers(result) == {("is_not_above_high", str(first)): False, ("is_not_above_high", None): False}


@pytest.mark.usefixtures("here")
def test_the_picture_of_a_day_shows_the_thirty_days_before_it_although_they_came_in_another_run(
    instance: dg.DagsterInstance,
) -> None:
    judged = kpi(sql=PRICE, high=1000.0)
    run(instance, [judged], FORTY[0], FORTY[-2])

    result = run(instance, [judged], DAY)

    [check] = [each for each in result.get_asset_check_evaluations() if each.check_name == "is_not_above_high"]
    assert f"30 days to {date.isoformat(DAY)}" in check.metadata["last_30_days"].value
