"""Prices, demand and flows as the page draws them: on a grid of intervals, with holes where something is missing."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.api.dashboard.replies import EARLIEST, LATEST, span
from etl_assets.api.problems import Problem
from etl_assets.market_time import day_start
from etl_assets_tests.api.dashboard.filled import AGGREGATED_DAY, DAY, ENDS, REGIONS, WHOLE_DAY, epoch, price
from etl_assets_tests.api.operating import Operating

DAY_S = 86_400
MOST_S = 35 * DAY_S


def test_without_a_stretch_it_is_the_last_day_to_the_newest_interval(api: Operating) -> None:
    found = api.get("/dashboard/market").json()

    newest = epoch(ENDS[-1])
    assert (found["from"], found["to"], found["step"]) == (newest - DAY_S, newest, 300)
    assert found["regions"]["VIC1"]["interval_end"] == list(range(newest - DAY_S + 300, newest + 1, 300))
    assert sorted(found["regions"]) == list(REGIONS)


def test_prices_are_those_that_settle(api: Operating) -> None:
    midnight = epoch(day_start(DAY))

    found = api.get("/dashboard/market", params={"from": midnight, "to": midnight + 600}).json()

    # The physical run of the intervention at 00:05 was dearer.
    assert found["regions"]["NSW1"]["price"] == [price("NSW1", 1), price("NSW1", 2)]
    assert found["regions"]["NSW1"]["demand"] == [7000.0, 7000.0]


def test_a_missing_interval_is_a_hole(api: Operating) -> None:
    midnight = epoch(day_start(DAY))

    found = api.get("/dashboard/market", params={"from": midnight + 900, "to": midnight + 2100}).json()["regions"]

    assert found["VIC1"]["price"] == [price("VIC1", 4), None, price("VIC1", 6), price("VIC1", 7)]
    assert found["SA1"]["price"] == [price("SA1", 4), None, None, price("SA1", 7)]
    assert found["SA1"]["demand"] == [7000.0, None, None, 7000.0]


def test_where_dispatch_was_not_collected_aggregated_prices_stand_in(api: Operating) -> None:
    start, change = epoch(day_start(AGGREGATED_DAY)), epoch(day_start(WHOLE_DAY))

    found = api.get("/dashboard/market", params={"from": start, "to": change + DAY_S}).json()["regions"]["TAS1"]

    assert len(found["price"]) == 2 * 288
    assert found["price"][:288] == [7.0] * 288
    assert found["price"][288:] == [price("TAS1", number) for number in range(1, 289)]


def test_before_five_minute_settlement_there_is_a_half_hourly_grid(api: Operating) -> None:
    found = api.get("/dashboard/market", params={"from": 1_600_000_200, "to": 1_600_005_600}).json()

    assert found["step"] == 1800
    assert found["regions"]["NSW1"]["interval_end"] == [1_600_002_000, 1_600_003_800, 1_600_005_600]


def test_the_forecast_is_the_newest_and_lies_apart(api: Operating) -> None:
    found = api.get("/dashboard/market").json()["forecast"]

    assert found["issued_at"] == epoch(ENDS[-1])
    assert found["regions"]["NSW1"]["price"] == [2.0, 2.0]
    assert min(found["regions"]["NSW1"]["interval_end"]) > found["issued_at"]


def test_the_limits_of_prices_are_those_of_the_financial_year(api: Operating) -> None:
    found = api.get("/dashboard/market").json()

    # AEMO's market price cap of 2025-26.
    assert (found["price_cap"], found["price_floor"]) == (20_300.0, -1000.0)


def test_flows_are_those_of_the_physical_run(api: Operating) -> None:
    newest = epoch(ENDS[-1])

    found = api.get("/dashboard/flows", params={"from": newest - 900, "to": newest}).json()["interconnectors"]

    assert len(found) == 6
    assert found["V-SA"] == {"interval_end": [newest - 600, newest - 300, newest], "flow": [None, 90.0, -200.0]}


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        ({"from": 1_700_000_000, "to": 1_700_000_000}, "to"),
        ({"from": 1_700_000_000, "to": 1_700_000_000 + MOST_S + 1}, "to"),
        ({"from": 1_700_000_000}, "to"),
        ({"from": -1}, "from"),
        ({"to": 10**18}, "from"),
        ({"from": 0, "to": 2**80}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"to": "1e3"}, "to"),
    ],
)
@pytest.mark.parametrize("path", ["/dashboard/market", "/dashboard/flows"])
def test_a_stretch_that_cannot_be_is_refused_by_name(
    api: Operating, path: str, asked: dict[str, object], wrong: str
) -> None:
    answer = api.get(path, params=asked)

    assert answer.status_code == 422
    assert [error["name"] for error in answer.json()["errors"]] == [wrong]


@given(st.none() | st.integers(), st.none() | st.integers())
def test_a_stretch_is_never_longer_than_allowed_nor_outside_the_calendar(start: int | None, end: int | None) -> None:
    with suppress(Problem):
        first, last = span(start, end, 1_700_000_000, usual_s=DAY_S, most_s=MOST_S)

        assert EARLIEST <= first < last <= LATEST
        assert last - first <= MOST_S


def test_what_the_browser_has_is_not_sent_again(api: Operating) -> None:
    first = api.get("/dashboard/market")

    again = api.get("/dashboard/market", headers={"If-None-Match": first.headers["ETag"]})
    other = api.get("/dashboard/market?to=1700000000", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert other.status_code == 200
    assert "no-cache" in first.headers["Cache-Control"]
