"""Partitions: which market days and months there are at a moment."""

from datetime import date, datetime, timedelta

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.market_time import NEM_TIME
from etl_assets.partitions import MARKET_DAY, MARKET_MONTH, SITE_DAY, partition_days, site_day_key, site_days


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


def test_a_sites_market_day_is_a_partition_of_every_site_and_the_open_day_too() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("site", ["b", "a"])
        now = datetime(2024, 1, 2, 0, 0, 1, tzinfo=NEM_TIME)

        with dg.partition_loading_context(effective_dt=now, dynamic_partitions_store=instance):
            keys = SITE_DAY.get_partition_keys()

    assert set(keys) == {"2024-01-01|a", "2024-01-01|b", "2024-01-02|a", "2024-01-02|b"}


def test_without_a_site_there_is_no_partition() -> None:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.partition_loading_context(dynamic_partitions_store=instance),
    ):
        assert SITE_DAY.get_partition_keys() == []


def test_a_site_days_key_is_the_one_that_dagster_gives_it() -> None:
    key = dg.MultiPartitionKey({"site": "building-a", "date": "2026-11-22"})

    assert site_day_key(date(2026, 11, 22), "building-a") == str(key)


NAMES = st.from_regex(r"\A[^|/\\\s]+\Z")


@given(st.dictionaries(NAMES, st.sets(st.dates(), min_size=1, max_size=4), max_size=4))
def test_keys_give_back_the_days_of_each_site_in_order(days: dict[str, set[date]]) -> None:
    keys = [site_day_key(day, site) for site, found in days.items() for day in found]

    assert site_days(keys) == {site: sorted(found) for site, found in days.items()}
