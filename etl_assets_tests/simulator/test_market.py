from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.market_time import DAY, DISPATCH_INTERVAL, NEM_TIME, day_start, interval_ends
from etl_assets.simulator.limits import PRICE_FLOOR, price_cap
from etl_assets.simulator.market import Market
from etl_assets.simulator.network import REGION_NAMES

DAYS = st.dates(date(1999, 1, 1), date(2035, 12, 31))
INTERVALS = st.builds(lambda day, n: day_start(day) + DISPATCH_INTERVAL * n, DAYS, st.integers(1, 288))
FEW = settings(max_examples=40, deadline=None)


@FEW
@given(INTERVALS, st.integers(0, 2**31))
def test_an_interval_is_the_same_whatever_was_asked_before(interval_end: datetime, seed: int) -> None:
    asked = Market(seed)
    asked.regions(interval_end - DAY)
    asked.scada(interval_end + DAY)

    assert asked.regions(interval_end) == Market(seed).regions(interval_end)


@FEW
@given(INTERVALS)
def test_generation_and_response_less_load_and_demand_is_net_interchange(interval_end: datetime) -> None:
    for row in Market().regions(interval_end):
        balance = row.dispatchable_generation + row.wdr_dispatched - row.dispatchable_load - row.total_demand

        assert balance == row.net_interchange


@FEW
@given(INTERVALS)
def test_prices_lie_between_floor_and_the_cap_of_the_trading_day(interval_end: datetime) -> None:
    trading_day = (interval_end - timedelta(hours=4, microseconds=1)).date()

    for row in Market().regions(interval_end):
        assert PRICE_FLOOR <= row.rrp <= price_cap(trading_day)


@FEW
@given(st.dates(date(2021, 10, 1), date(2030, 1, 1)), st.integers(1, 288))
def test_a_trading_price_is_the_dispatch_price_rounded_half_up_to_cents(day: date, number: int) -> None:
    market, end = Market(), day_start(day) + DISPATCH_INTERVAL * number

    for row in market.regions(end):
        assert market.trading_price(end, row.region) == row.rrp.quantize(Decimal("0.01"), ROUND_HALF_UP)
        assert market.trading_demand(end, row.region) == row.total_demand


def test_before_october_2021_a_trading_price_is_the_mean_of_six_dispatch_prices() -> None:
    market, end = Market(), datetime(2021, 9, 30, 18, 30, tzinfo=NEM_TIME)

    six = [market.region(end - DISPATCH_INTERVAL * n, "SA1").rrp for n in range(6)]

    assert market.trading_price(end, "SA1") == (sum(six) / Decimal(6)).quantize(Decimal("0.01"), ROUND_HALF_UP)


@FEW
@given(DAYS)
def test_every_day_has_a_price_spike(day: date) -> None:
    prices = Market().day(day).region["rrp"]

    assert prices.max() >= 1000 * 10**5


def test_the_market_day_has_two_peaks_and_a_trough_of_sun() -> None:
    market, day = Market(), date(2025, 11, 12)
    demand = {
        hour: market.region(day_start(day) + timedelta(hours=hour), "NSW1").total_demand for hour in (4, 7, 12, 18)
    }

    assert demand[12] < demand[4] < demand[7] < demand[18]


def test_weekends_use_less() -> None:
    market = Market()

    def mean(day: date) -> float:
        return float(market.day(day).region["demand"].sum(axis=1).mean())

    weeks = [date(2025, 6, 2) + DAY * 7 * n for n in range(6)]
    assert sum(mean(monday + DAY * 6) for monday in weeks) < sum(mean(monday + DAY * 2) for monday in weeks)


def test_a_noon_in_spring_has_negative_prices_in_south_australia_and_victoria() -> None:
    market = Market()
    noons = [datetime(2025, 10, day, 12, 0, tzinfo=NEM_TIME) for day in range(1, 29)]

    negative = [region for noon in noons for region in ("SA1", "VIC1") if market.region(noon, region).rrp < 0]

    assert len(negative) > 20


def test_curves_join_at_midnight() -> None:
    market, midnight = Market(), datetime(2025, 6, 4, tzinfo=NEM_TIME)

    for region in REGION_NAMES:
        before = market.region(midnight, region).total_demand
        after = market.region(midnight + DISPATCH_INTERVAL, region).total_demand
        assert abs(after - before) < before * Decimal("0.03")


def test_rooftop_sub_regions_add_up_to_their_region() -> None:
    power = Market().rooftop_power(datetime(2025, 1, 5, 12, 30, tzinfo=NEM_TIME), "SATELLITE")

    assert power["QLDC"] + power["QLDN"] + power["QLDS"] == power["QLD1"] > 0
    assert power["TASN"] + power["TASS"] == power["TAS1"] > 0


def test_units_have_names_with_slash_and_hash_and_some_consume() -> None:
    scada = Market().scada(datetime(2025, 1, 5, 12, 30, tzinfo=NEM_TIME))

    assert len(scada) == 493
    assert any("/" in duid and "#" in duid for duid in scada)
    assert min(scada.values()) < 0


def test_a_revision_changes_one_price_and_nothing_else() -> None:
    market, end = Market(), datetime(2025, 1, 5, 12, 30, tzinfo=NEM_TIME)
    price = market.revised_rrp(end, "QLD1")

    revised = market.with_revisions({(end, "QLD1"): price})

    assert revised.region(end, "QLD1").rrp == price != market.region(end, "QLD1").rrp
    assert revised.region(end, "NSW1") == market.region(end, "NSW1")
    assert revised.trading_price(end, "QLD1") == price.quantize(Decimal("0.01"), ROUND_HALF_UP)


def test_interventions_are_a_few_intervals_of_the_day() -> None:
    day = date(2025, 3, 3)

    chosen = Market().interventions(day)

    assert 3 <= len(chosen) <= 8
    assert set(chosen) <= set(interval_ends(day))


def test_a_time_inside_an_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="not the end of a dispatch interval"):
        Market().region(datetime(2025, 1, 1, 0, 7, tzinfo=NEM_TIME), "NSW1")
