"""The monthly price-and-demand files: whole months, the open month's growth, and what is not fetched again."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from etl_assets.aemo.account import Collection
from etl_assets.aemo.aggregated import collect_month, days_of_month
from etl_assets.http import HttpClient
from etl_assets.market_time import NEM_TIME, interval_ends
from etl_assets.simulator.app import LoggedRequest
from etl_assets_tests.aemo.conftest import World

MONTH = date(2026, 11, 1)
NOW = datetime(2026, 11, 3, 6, 15, tzinfo=NEM_TIME)
"""The file holds two days."""
REGIONS = ("NSW1", "QLD1", "SA1", "TAS1", "VIC1")


def collect(
    world: World, month: date = MONTH, now: datetime = NOW, *, reread: bool = False
) -> tuple[Collection, list[LoggedRequest]]:
    world.server.set_time(now)
    before = len(world.server.requests)
    with HttpClient(world.settings) as http:
        result = collect_month(world.settings, http, month, now=now, run_id="a run", reread=reread)
    return result, world.server.requests[before:]


def stored(world: World) -> dict[tuple[datetime, str], tuple[Decimal, Decimal]]:
    rows = world.query("SELECT interval_end, region_id, rrp, total_demand FROM lake.aemo.price_and_demand")
    return {row[:2]: (Decimal(str(row[2])), Decimal(str(row[3]))) for row in rows}


def truth(world: World, ends: list[datetime]) -> dict[tuple[datetime, str], tuple[Decimal, Decimal]]:
    market = world.market
    return {
        (end, region): (market.trading_price(end, region), market.trading_demand(end, region))
        for end in ends
        for region in REGIONS
    }


@pytest.mark.parametrize(
    ("month", "first", "last", "days"),
    [
        (date(2026, 11, 1), date(2026, 11, 1), date(2026, 11, 30), 30),
        (date(2028, 2, 1), date(2028, 2, 1), date(2028, 2, 29), 29),
        (date(2026, 12, 1), date(2026, 12, 1), date(2026, 12, 31), 31),
    ],
)
def test_a_months_days_are_all_of_them(month: date, first: date, last: date, days: int) -> None:
    found = days_of_month(month)

    assert (found[0], found[-1], len(found)) == (first, last, days)


def test_the_open_months_file_holds_the_days_that_are_over(world: World) -> None:
    result, requests = collect(world)

    ends = [*interval_ends(date(2026, 11, 1)), *interval_ends(date(2026, 11, 2))]
    assert stored(world) == truth(world, ends)
    assert (result.account.inserted, len(requests)) == (5 * 576, 5)
    assert result.account.fetched == result.account.inserted


def test_what_is_there_is_not_fetched_again(world: World) -> None:
    collect(world)

    result, requests = collect(world)

    assert requests == []
    assert result.account.fetched == 0


def test_the_day_that_was_added_since_is_fetched(world: World) -> None:
    collect(world)

    result, _ = collect(world, now=NOW + timedelta(days=1))

    assert (result.account.inserted, result.account.unchanged) == (5 * 288, 5 * 576)


def test_a_region_that_lost_an_early_interval_is_fetched_again_and_it_alone(world: World) -> None:
    collect(world)
    lost = interval_ends(date(2026, 11, 1))[3]
    world.execute("DELETE FROM lake.aemo.price_and_demand WHERE interval_end = ? AND region_id = 'SA1'", lost)

    result, requests = collect(world)

    assert [request.path.rpartition("/")[2] for request in requests] == ["PRICE_AND_DEMAND_202611_SA1.csv"]
    assert (result.account.inserted, result.account.unchanged) == (1, 575)


def test_reading_again_asks_for_every_region(world: World) -> None:
    collect(world)

    result, requests = collect(world, reread=True)

    assert len(requests) == 5
    assert result.account.unchanged == 5 * 576


def test_months_before_five_minute_settlement_are_half_hourly(world: World) -> None:
    collect(world, date(2021, 9, 1), NOW.replace(year=2021, month=9))

    ends = [end for n in (1, 2) for end in interval_ends(date(2021, 9, n), timedelta(minutes=30))]
    assert len(ends) == 2 * 48
    assert stored(world) == truth(world, ends)


def test_a_file_that_is_not_there_is_no_error(world: World) -> None:
    result, requests = collect(world, date(1998, 11, 1))

    assert {request.status for request in requests} == {404}
    assert result.errors == []


def test_a_region_whose_file_fails_does_not_stop_the_others(world: World) -> None:
    world.server.faults.switch_on("html_with_200", "*QLD1.csv")

    result, _ = collect(world)

    [error] = result.errors
    assert "Expected CSV text, got b'<html>" in error
    assert "PRICE_AND_DEMAND_202611_QLD1.csv" in error
    assert {region for _, region in stored(world)} == set(REGIONS) - {"QLD1"}
