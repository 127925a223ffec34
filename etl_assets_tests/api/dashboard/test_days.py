"""The calendar: what each day of each dataset should have, and has, by the checks' own logic."""

from datetime import UTC, date, timedelta
from typing import Any

import pytest

from etl_assets.aemo.completeness import State, day_statuses
from etl_assets.aemo.feeds import DISPATCH_REGION_FEED
from etl_assets.lake.connection import read_lake
from etl_assets.market_time import day_start
from etl_assets_tests.api.dashboard.filled import AGGREGATED_DAY, DAY, NOW, SITE, WHOLE_DAY
from etl_assets_tests.api.operating import Operating

NEXT_DAY = DAY + timedelta(days=1)


def days_of(api: Operating, dataset: str, month: str = "2025-11") -> dict[str, dict[str, Any]]:
    found = api.get("/dashboard/calendar", params={"month": month}).json()
    (wanted,) = (each for each in found["datasets"] if each["dataset"] == dataset)
    return {day["day"]: day for day in wanted["days"]}


def shown(days: dict[str, dict[str, Any]], *wanted: date) -> list[tuple[str, int, int]]:
    return [(days[str(day)]["state"], days[str(day)]["there"], days[str(day)]["expected"]) for day in wanted]


def test_a_market_day_is_complete_partial_to_come_or_before_the_first(api: Operating) -> None:
    days = days_of(api, "aemo.dispatch_region")

    # By 02:04 the intervals to 02:05 are due; 00:25 is missing and 00:30 lacks SA1.
    assert shown(days, AGGREGATED_DAY, WHOLE_DAY, DAY, NEXT_DAY) == [
        ("before", 0, 0),
        ("complete", 288, 288),
        ("partial", 22, 24),
        ("future", 0, 0),
    ]


def test_the_open_day_is_open_until_something_of_it_is_overdue(api: Operating) -> None:
    days = days_of(api, "aemo.price_and_demand")

    assert shown(days, AGGREGATED_DAY, DAY) == [("complete", 288, 288), ("open", 0, 0)]


def test_a_closed_day_of_which_nothing_is_there_is_missing(api: Operating) -> None:
    api.now = day_start(DAY).astimezone(UTC) + timedelta(days=3)
    try:
        days = days_of(api, "aemo.dispatch_region")
    finally:
        api.now = NOW

    assert shown(days, DAY, NEXT_DAY) == [("partial", 22, 288), ("missing", 0, 288)]


def test_the_calendar_says_what_the_checks_say(api: Operating) -> None:
    with read_lake(api.settings) as lake:
        (status,) = day_statuses(lake, DISPATCH_REGION_FEED, [DAY], NOW)

    (found,) = shown(days_of(api, "aemo.dispatch_region"), DAY)

    assert found == ("partial", status.count(State.COMPLETE), len(status.states) - status.count(State.EXPECTED))


def test_a_buildings_day_is_complete_when_its_check_holds(api: Operating) -> None:
    days = days_of(api, "ace.timeseries_raw")

    assert shown(days, AGGREGATED_DAY - timedelta(days=1), AGGREGATED_DAY, WHOLE_DAY, DAY, NEXT_DAY) == [
        ("before", 0, 0),
        ("partial", 720, 1440),
        ("complete", 1440, 1440),
        ("open", 0, 0),
        ("future", 0, 0),
    ]


def test_each_day_leads_to_its_partition_in_dagster(api: Operating) -> None:
    links = {
        dataset: days_of(api, dataset)[str(WHOLE_DAY)]["dagster_url"].removeprefix("http://127.0.0.1:3000/assets/")
        for dataset in ("aemo.dispatch_region", "aemo.price_and_demand", "ace.timeseries_raw")
    }

    assert links == {
        "aemo.dispatch_region": "aemo/dispatch_region?view=partitions&partition=2025-11-20",
        # Its partitions are months.
        "aemo.price_and_demand": "aemo/price_and_demand?view=partitions&partition=2025-11-01",
        "ace.timeseries_raw": "ace/timeseries_raw?view=partitions&partition=2025-11-20%7Ctower+a%2F%C3%BC",
    }


def test_without_a_month_it_is_that_of_the_newest_interval(api: Operating) -> None:
    found = api.get("/dashboard/calendar").json()

    assert (found["month"], found["first"], found["last"]) == ("2025-11", "2025-11-01", "2025-11-30")
    assert found["months"] == ["2025-11"]
    assert [each["entity"] for each in found["datasets"]] == [""] * 6 + [SITE]
    assert all(len(each["days"]) == 30 for each in found["datasets"])


def test_a_month_asked_for_again_is_the_same(api: Operating) -> None:
    first, again = (api.get("/dashboard/calendar", params={"month": "2025-11"}) for _ in range(2))

    assert first.json() == again.json()
    assert first.headers["ETag"] == again.headers["ETag"]


def test_a_leap_february_has_29_days(api: Operating) -> None:
    assert list(days_of(api, "aemo.unit_scada", "2024-02"))[-1] == "2024-02-29"


@pytest.mark.parametrize(
    "month",
    [
        "9999-99",
        "2025-13",
        "2025-00",
        "1066-01",
        "2025-1",
        "2025-011",
        "",
        "2025-11-01",
        "\u0662\u0660\u0662\u0665-\u0661\u0661",
        "-5-11",
    ],
)
def test_what_is_no_month_is_refused(api: Operating, month: str) -> None:
    answer = api.get("/dashboard/calendar", params={"month": month})

    assert answer.status_code == 422
    assert [error["name"] for error in answer.json()["errors"]] == ["month"]
