"""A published file that is not the lake, closed days in many files, and a past that nobody forgot are found."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from etl_assets.lake.connection import write_lake
from etl_assets.lake.maintenance import merge_small_files
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import day_start
from etl_assets.settings import Settings
from etl_assets_tests.conftest import make_region_rows
from soak.storage_checks import compact, forgotten, nothing_ails, published_is_lake
from soak.truth import Truth

CLOSED = date(2025, 9, 30)
NOW = datetime(2025, 10, 1, 3, 0, tzinfo=UTC)


def stored(settings: Settings, intervals: int, price: float = 50.0) -> None:
    with write_lake(settings, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, make_region_rows(CLOSED, price=price, intervals=intervals), now=NOW)


def ending(truth: Truth, end: datetime) -> Truth:
    return replace(truth, plan=replace(truth.plan, end=end))


def test_what_was_just_published_is_the_lake(lake_settings: Settings, truth: Truth) -> None:
    stored(lake_settings, 2)
    publish(lake_settings, now=NOW)

    found = published_is_lake(lake_settings, truth)

    assert (found.holds, found.seen) == (True, "4 rows")


def test_rows_that_came_after_the_publication_are_found(lake_settings: Settings, truth: Truth) -> None:
    stored(lake_settings, 2)
    publish(lake_settings, now=NOW)
    stored(lake_settings, 3)

    found = published_is_lake(lake_settings, truth)

    assert (found.holds, found.seen) == (False, "aemo.dispatch_region: 6 against 4")


def test_a_value_that_changed_after_the_publication_is_found(lake_settings: Settings, truth: Truth) -> None:
    stored(lake_settings, 2)
    publish(lake_settings, now=NOW)
    stored(lake_settings, 2, price=60.0)

    found = published_is_lake(lake_settings, truth)

    assert not found.holds
    assert "aemo.dispatch_region: 4 against 4" in found.seen


def test_a_closed_day_in_more_files_than_two_is_found_until_they_are_merged(
    lake_settings: Settings, truth: Truth
) -> None:
    for intervals in (1, 2, 3):
        stored(lake_settings, intervals)
    later = ending(truth, day_start(CLOSED) + timedelta(days=2))

    before = compact(lake_settings, later)
    merge_small_files(lake_settings)

    assert not before.holds
    assert before.seen.startswith("1 closed days in more, such as dispatch_region ")
    assert compact(lake_settings, later).holds


def test_a_day_that_is_open_may_lie_in_many_files(lake_settings: Settings, truth: Truth) -> None:
    for intervals in (1, 2, 3):
        stored(lake_settings, intervals)

    assert compact(lake_settings, ending(truth, day_start(CLOSED) + timedelta(hours=20))).holds


@pytest.fixture
def present(truth: Truth) -> Truth:
    """The lake's snapshots bear the wall clock's time."""
    return ending(truth, datetime.now(UTC))


def test_what_retention_has_the_lake_remember_holds(lake_settings: Settings, present: Truth) -> None:
    stored(lake_settings, 2)

    assert forgotten(lake_settings, present).holds


def test_snapshots_older_than_retention_has_them_are_found(lake_settings: Settings, present: Truth) -> None:
    stored(lake_settings, 2)
    late = ending(present, present.plan.end + lake_settings.lake_retention + timedelta(days=2, hours=1))

    found = forgotten(lake_settings, late)

    assert not found.holds
    assert not found.seen.startswith("0 old snapshots")


@pytest.mark.parametrize(("age", "holds"), [(timedelta(days=20), False), (timedelta(days=1), True)])
def test_a_file_that_nothing_names_is_found_when_it_is_old(
    lake_settings: Settings, present: Truth, age: timedelta, holds: bool
) -> None:
    folder = lake_settings.catalog_path.parent / "files" / "aemo"
    folder.mkdir(parents=True, exist_ok=True)
    left = folder / "left-by-a-kill.parquet"
    left.write_bytes(b"PAR1")
    moment = (present.plan.end - age).timestamp()
    os.utime(left, (moment, moment))

    found = forgotten(lake_settings, present)

    assert found.holds is holds
    assert f"{0 if holds else 1} old files that nothing names" in found.seen


def test_deletes_of_a_file_that_is_gone_are_found(lake_settings: Settings, present: Truth) -> None:
    with closing(sqlite3.connect(lake_settings.catalog_path)) as catalog:
        catalog.execute(
            "INSERT INTO ducklake_delete_file (delete_file_id, data_file_id, path) VALUES (1, 4711, 'deletes.parquet')"
        )
        catalog.commit()

    found = forgotten(lake_settings, present)

    assert not found.holds
    assert found.seen.endswith("1 deletes of files that are gone")


def test_a_lake_without_the_last_hours_ails(lake_settings: Settings, truth: Truth) -> None:
    found = nothing_ails(lake_settings, truth)

    assert not found.holds
    assert "2025-09-30" in found.seen
