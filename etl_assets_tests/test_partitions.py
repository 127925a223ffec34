"""Partitions: which market days and months there are at a moment."""

from datetime import date, datetime, timedelta

import pytest

from etl_assets.market_time import NEM_TIME
from etl_assets.partitions import MARKET_DAY, MARKET_MONTH, partition_days


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (datetime(2026, 11, 21, 23, 59, 59, tzinfo=NEM_TIME), "2026-11-21"),
        (datetime(2026, 11, 22, 0, 0, 1, tzinfo=NEM_TIME), "2026-11-22"),
        (datetime(2026, 11, 22, 14, 41, tzinfo=NEM_TIME), "2026-11-22"),
    ],
)
def test_the_day_that_is_open_is_the_last_partition(now: datetime, last: str) -> None:
    assert MARKET_DAY.get_partition_keys(current_time=now)[-1] == last


def test_days_begin_with_five_minute_settlement() -> None:
    assert MARKET_DAY.get_partition_keys()[0] == "2021-10-01"


def test_a_days_window_is_the_day_in_nem_time() -> None:
    window = MARKET_DAY.time_window_for_partition_key("2026-11-22")

    assert window.start == datetime(2026, 11, 22, tzinfo=NEM_TIME)
    assert window.end - window.start == timedelta(days=1)


def test_months_go_back_to_the_first_aggregated_file_and_include_the_open_one() -> None:
    months = MARKET_MONTH.get_partition_keys(current_time=datetime(2026, 11, 22, tzinfo=NEM_TIME))

    assert (months[0], months[-1]) == ("1998-12-01", "2026-11-01")


def test_partition_keys_are_days() -> None:
    assert partition_days(["2028-02-29", "2028-03-01"]) == [date(2028, 2, 29), date(2028, 3, 1)]
