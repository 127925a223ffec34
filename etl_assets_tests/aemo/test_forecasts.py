"""The report's forecasts: kept apart from what happened, each with the time it was issued."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from etl_assets.aemo.forecasts import collect_forecasts
from etl_assets.http import HttpClient, Unavailable, Unintelligible
from etl_assets.lake.account import Account
from etl_assets.market_time import NEM_TIME
from etl_assets.simulator.dashboard import forecast, forecast_ends
from etl_assets_tests.aemo.conftest import DUE, NOW, World


def collect(world: World, now: datetime = NOW) -> Account:
    world.server.set_time(now)
    with HttpClient(world.settings) as http:
        return collect_forecasts(world.settings, http, now=now, run_id="a run")


def stored(world: World) -> dict[tuple[datetime, str, datetime], Decimal]:
    rows = world.query("SELECT interval_end, region_id, issued_at, rrp FROM lake.aemo.region_forecast")
    return {row[:3]: Decimal(str(row[3])) for row in rows}


def truth(world: World, now: datetime, issued: datetime) -> dict[tuple[datetime, str, datetime], Decimal]:
    return {
        (end, row.region, issued): row.rrp
        for end in forecast_ends(now)
        for region in ("NSW1", "QLD1", "SA1", "TAS1", "VIC1")
        for row in [forecast(world.market, now, end, region)]
    }


def test_forecasts_are_stored_with_the_newest_actual_interval_as_their_issue(world: World) -> None:
    account = collect(world)

    assert stored(world) == truth(world, NOW, DUE[-1])
    assert account.fetched == account.filtered + account.inserted
    assert account.filtered == 288 * 5


def test_no_forecast_is_among_the_prices(world: World) -> None:
    collect(world)

    assert world.regions() == {}


def test_the_same_report_again_is_unchanged(world: World) -> None:
    first = collect(world)

    again = collect(world)

    assert (again.inserted, again.unchanged) == (0, first.inserted)


def test_a_later_issue_stands_beside_the_former(world: World) -> None:
    later = NOW + timedelta(minutes=30)
    collect(world)

    collect(world, later)

    newest = datetime(2026, 11, 22, 1, 15, tzinfo=NEM_TIME)
    assert stored(world) == truth(world, NOW, DUE[-1]) | truth(world, later, newest)


def test_no_content_stores_nothing(world: World) -> None:
    world.server.faults.switch_on("no_content")

    assert collect(world) == Account("aemo.region_forecast")
    assert stored(world) == {}


@pytest.mark.parametrize(("fault", "error"), [("server_error", Unavailable), ("html_with_200", Unintelligible)])
def test_a_report_that_cannot_be_had_or_understood_is_an_error(
    world: World, fault: str, error: type[Exception]
) -> None:
    world.server.faults.switch_on(fault)

    with pytest.raises(error, match="/report/5MIN"):
        collect(world)


def test_an_empty_address_switches_forecasts_off(world: World) -> None:
    before = len(world.server.requests)

    account = collect(world.with_settings(aemo_api_url=""))

    assert account.fetched == 0
    assert len(world.server.requests) == before
