"""The analysts' file: what it shows, who can open it, and what it survives."""

import json
import os
import shutil
import stat
from datetime import UTC, date, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest

from etl_assets.lake import publish as publish_module
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.maintenance import maintain, merge_small_files
from etl_assets.lake.publish import Copied, lake_snapshot, publish, published_snapshot
from etl_assets.lake.tables import (
    DISPATCH_REGION,
    QUARANTINE,
    REGION_FORECAST,
    TABLES,
    TIMESERIES_AGG,
    TIMESERIES_RAW,
    UNIT_SCADA,
)
from etl_assets.lake.upsert import QuarantinedRecord, quarantine, transaction, upsert
from etl_assets.market_time import NEM_TIME
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
NEXT_DAY = date(2026, 11, 21)
PRICES = "SELECT count(*), count(DISTINCT (interval_end, region_id)), min(rrp), max(rrp) FROM aemo.price"

OF_READINGS = ("ace.timeseries_all", "ace.timeseries_raw_text", "ace.timeseries_agg_epoch")
"""Views beside the tables: with the archive, and in the predecessor's forms."""
OF_READINGS_NAMES = tuple(name.partition(".")[2] for name in OF_READINGS)


def published(settings: Settings, sql: str) -> list[tuple]:
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_publication_says_which_snapshot_it_shows(settings, now, store, region_rows):
    store(region_rows(DAY, NEXT_DAY, intervals=1))

    publication = publish(settings, now=now)

    with read_lake(settings) as lake:
        assert publication.snapshot_id == lake_snapshot(lake)
    assert (publication.lake_files, publication.published_at) == (2, now)
    assert publication.bytes == settings.warehouse_path.stat().st_size
    assert published(settings, "FROM ops.publication") == [(publication.snapshot_id, now, 2)]
    assert published_snapshot(settings) == publication.snapshot_id


def test_nothing_is_published_before_the_first_publication(settings):
    assert published_snapshot(settings) is None


def test_a_file_that_cannot_be_read_counts_as_no_publication_and_is_replaced(settings, now):
    settings.warehouse_path.write_bytes(b"no database" * 1000)

    before = published_snapshot(settings)
    publication = publish(settings, now=now)

    assert before is None
    assert published_snapshot(settings) == publication.snapshot_id


def test_the_published_snapshot_is_the_newest_although_the_process_holds_an_older_file_open(
    settings, now, store, region_rows
):
    publish(settings, now=now)
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as held:
        held.execute("FROM ops.publication").fetchall()
        store(region_rows(DAY, intervals=1))
        publication = publish(settings, now=now)

        assert published_snapshot(settings) == publication.snapshot_id


def test_the_file_is_read_only(settings, now):
    publish(settings, now=now)

    assert stat.S_IMODE(settings.warehouse_path.stat().st_mode) == 0o444


def test_plain_duckdb_without_extensions_reads_every_table_and_view(settings, now, store, region_rows, start, finish):
    store(region_rows(DAY))
    with write_lake(settings, "a test") as lake, transaction(lake):
        quarantine(lake, [QuarantinedRecord("a", "b", "c", "d")], run_id="run", day=DAY, now=now)
    publish(settings, now=now)
    relations = [f"{t.schema}.{t.name}" for t in TABLES] + ["aemo.price", "ops.publication", *OF_READINGS]
    counts = [f"SELECT count(*) FROM (FROM {name})" for name in relations]
    listed = (
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() UNION ALL "
        "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE NOT internal"
    )

    answer = json.loads(finish(start("query", "", listed, *counts))[-1])

    found = dict(zip(relations, (rows[0][0] for rows in answer["answers"][1:]), strict=True))
    assert sorted(name for (name,) in answer["answers"][0]) == sorted(relations)
    assert {name: count for name, count in found.items() if count} == {
        "aemo.dispatch_region": 576, "aemo.price": 576, "quality.quarantine": 1, "ops.publication": 1,
    }  # fmt: skip
    assert answer["extensions"] is False


def test_an_analyst_keeps_one_snapshot_while_the_file_is_replaced_two_hundred_times(
    settings, now, store, start, finish, await_line, tmp_path, monkeypatch
):
    store(pa.table({"interval_end": [now], "duid": ["A"], "scada_value": [1.0]}), UNIT_SCADA)
    publish(settings, now=now)
    analysts = [start(command, tmp_path / "stop") for command in ("keep_open", "open_again_and_again")]
    for analyst in analysts:
        await_line(analyst, "open")

    # Six publications, then 200 swaps, as publishing does them, of copies of the last two.
    for number in range(2, 8):
        unit = pa.table({"interval_end": [now], "duid": [f"A{number}"], "scada_value": [1.0]})
        store(unit, UNIT_SCADA)
        publication = publish(settings, now=now)
        shutil.copy(settings.warehouse_path, tmp_path / f"copy-{number}")
    numbers = iter([6, 7] * 100)

    def copy_draft(_settings, draft, _now, _extra):
        shutil.copy(tmp_path / f"copy-{next(numbers)}", draft)
        return publication

    monkeypatch.setattr(publish_module, "_write_settled_draft", copy_draft)
    for _ in range(200):
        publish(settings, now=now)
    (tmp_path / "stop").touch()
    kept, opened = (json.loads(finish(analyst)[-1]) for analyst in analysts)

    assert kept == [1]
    assert set(opened) <= set(range(1, 8))
    assert opened[-1] == 7


def test_a_revised_row_is_published_once_with_its_new_value(settings, now, store, region_rows):
    store(region_rows(DAY, price=50.0))
    publish(settings, now=now)
    store(region_rows(DAY, price=-3.0, intervals=1, regions=("NSW1",)))

    publish(settings, now=now)

    assert published(settings, PRICES) == [(576, 576, -3.0, 50.0)]
    assert published(settings, "SELECT former_value, new_value FROM quality.revisions") == [("50.0", "-3.0")]


def test_an_open_connection_keeps_its_values_through_a_revision_and_maintenance(settings, now, store, region_rows):
    store(region_rows(DAY, price=50.0, intervals=3))
    publish(settings, now=now)
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as analyst:
        store(region_rows(DAY, price=70.0, intervals=6))
        publish(settings, now=now)
        merge_small_files(settings)
        maintain(settings, now=datetime.now(UTC))
        publish(settings, now=now)

        seen = analyst.execute(PRICES).fetchall()

    assert seen == [(6, 6, 50.0, 50.0)]
    assert published(settings, PRICES) == [(12, 12, 70.0, 70.0)]


def test_a_log_left_by_a_killed_read_write_session_changes_nothing(
    settings, now, store, region_rows, start, await_line
):
    store(region_rows(DAY, intervals=2))
    publish(settings, now=now)
    analyst = start("spoil")
    await_line(analyst, "spoilt")
    analyst.kill()
    analyst.wait()
    log = settings.etl_data / "warehouse.duckdb.wal"
    log_was_left = log.exists() and log.stat().st_size > 0
    spoilt = published(settings, "FROM aemo.mine")

    publish(settings, now=now)

    assert log_was_left
    assert spoilt == [(42,)]
    assert not log.exists()
    assert published(settings, PRICES) == [(4, 4, 50.0, 50.0)]
    assert published(settings, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'mine'") == [(0,)]
    assert published(settings, "SELECT count(*) FROM aemo.unit_scada") == [(0,)]
    assert stat.S_IMODE(settings.warehouse_path.stat().st_mode) == 0o444


def test_publishers_at_once_all_succeed_and_the_file_shows_the_newest_snapshot(settings, start, finish):
    publishers = [start("write_and_publish", f"w{n}", 2) for n in range(2)]

    for publisher in publishers:
        finish(publisher)

    with read_lake(settings) as lake:
        assert published_snapshot(settings) == lake_snapshot(lake)
    assert published(settings, "SELECT count(*), count(DISTINCT (duid, interval_end)) FROM aemo.unit_scada") == [
        (50, 50)
    ]
    assert list(settings.etl_data.glob(".warehouse*")) == []


def test_a_publisher_is_not_stopped_by_a_writer_who_revises_without_pause(
    settings, now, start, finish, await_line, tmp_path
):
    reviser = start("revise", tmp_path / "stop")
    await_line(reviser, "revised")

    shown = []
    for _ in range(3):
        publish(settings, now=now)
        shown += published(settings, "SELECT count(*), max(scada_value) FROM aemo.unit_scada")
        await_line(reviser, "revised")
    (tmp_path / "stop").touch()
    finish(reviser)

    assert [rows for rows, _ in shown] == [1] * 3
    values = [value for _, value in shown]
    assert values == sorted(values)
    assert values[-1] > values[0]


def test_a_revision_between_the_look_and_the_listing_is_settled_under_the_lock(
    settings, now, store, region_rows, monkeypatch
):
    store(region_rows(DAY, price=50.0))
    original = publish_module._tables_with_deletes
    looks = []

    def revised_after_the_first_look(lake):
        found = original(lake)
        looks.append(found)
        if len(looks) == 1:
            store(region_rows(DAY, price=60.0, intervals=1))
        return found

    monkeypatch.setattr(publish_module, "_tables_with_deletes", revised_after_the_first_look)
    publish(settings, now=now)
    publish(settings, now=now)

    assert published(settings, PRICES) == [(576, 576, 50.0, 60.0)]


def test_comments_are_those_of_the_catalogue(settings, now):
    publish(settings, now=now)

    tables = published(
        settings,
        "SELECT schema_name, table_name, comment FROM duckdb_tables() WHERE table_name != 'publication' UNION ALL "
        "SELECT schema_name, view_name, comment FROM duckdb_views() WHERE NOT internal AND view_name != 'price' "
        f"AND view_name NOT IN {OF_READINGS_NAMES}",
    )
    columns = published(
        settings,
        "SELECT schema_name, table_name, column_name, comment FROM duckdb_columns() "
        "WHERE NOT internal AND table_name NOT IN ('publication', 'price') AND column_name != 'settlement_date' "
        f"AND table_name NOT IN {OF_READINGS_NAMES}",
    )
    assert sorted(tables) == sorted((t.schema, t.name, t.comment) for t in TABLES)
    assert sorted(columns) == sorted(
        (t.schema, t.name, c.name, f"{c.comment} [{c.unit}]" if c.unit else c.comment)
        for t in TABLES
        for c in t.stored_columns
    )


@pytest.mark.parametrize("filled", [False, True])
def test_columns_are_the_declared_ones_with_their_types_and_the_nem_clock(settings, now, store, region_rows, filled):
    if filled:
        store(region_rows(DAY, intervals=1))
        store(region_rows(NEXT_DAY, intervals=1))
        merge_small_files(settings)
    types = {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}
    publish(settings, now=now)

    for table in TABLES:
        expected = [(c.name, types.get(c.type, c.type)) for c in table.stored_columns]
        if table.published == "view" and "interval_end" in table.key:
            at = [name for name, _ in expected].index("interval_end") + 1
            expected.insert(at, ("settlement_date", "TIMESTAMP"))
        assert published(settings, f"SELECT column_name, column_type FROM (DESCRIBE {table.full_name})") == expected


@pytest.mark.parametrize(("zone", "environment"), [("", "UTC"), ("Australia/Sydney", "Australia/Sydney")])
def test_settlement_date_is_nem_time_on_days_when_sydney_changes_its_clocks(
    settings, now, store, region_rows, start, finish, zone, environment
):
    store(region_rows(date(2025, 10, 5), date(2026, 4, 5), regions=("NSW1",)))
    publish(settings, now=now)
    by_day = (
        "SELECT market_day, count(DISTINCT settlement_date), min(settlement_date), max(settlement_date), "
        "min(epoch(interval_end)) FROM aemo.{} GROUP BY 1 ORDER BY 1"
    )

    process = start(
        "query", zone, by_day.format("dispatch_region"), by_day.format("price"), env={**os.environ, "TZ": environment}
    )
    answer = json.loads(finish(process)[-1])

    # 00:05 at UTC+10 is 14:05 UTC of the day before: 1759586700 and 1775311500 seconds after 1970.
    days = [
        ["2025-10-05", 288, "2025-10-05 00:05:00", "2025-10-06 00:00:00", 1759586700.0],
        ["2026-04-05", 288, "2026-04-05 00:05:00", "2026-04-06 00:00:00", 1775311500.0],
    ]
    assert answer["answers"] == [days, days]


def test_the_settlement_date_of_a_forecast_is_that_of_its_half_hour(settings, now, store):
    half_hour = datetime(2026, 11, 23, 0, 30, tzinfo=NEM_TIME)
    store(
        pa.table({"interval_end": [half_hour], "region_id": ["SA1"], "issued_at": [now], "rrp": [1.0]}), REGION_FORECAST
    )

    publish(settings, now=now)

    rows = published(settings, "SELECT settlement_date, market_day FROM aemo.region_forecast")
    assert rows == [(datetime(2026, 11, 23, 0, 30), date(2026, 11, 22))]  # noqa: DTZ001 (a wall clock)


def test_tables_without_a_row_are_there_and_empty(settings, now):
    publication = publish(settings, now=now)

    counts = {t.full_name: published(settings, f"SELECT count(*) FROM {t.full_name}") for t in TABLES}
    assert publication.lake_files == 0
    assert counts == {t.full_name: [(0,)] for t in TABLES}


def test_a_file_written_before_a_column_was_added_reads_null(older_lake, now, region_rows):
    with write_lake(older_lake, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, region_rows(NEXT_DAY, intervals=1, uigf=7.5), now=now)

    publish(older_lake, now=now)

    rows = published(older_lake, "SELECT DISTINCT market_day, rrp, uigf FROM aemo.dispatch_region ORDER BY 1")
    assert rows == [(DAY, 50.0, None), (NEXT_DAY, 50.0, 7.5)]


def test_an_older_lake_may_be_published_before_it_is_written_to(older_lake, now):
    publish(older_lake, now=now)

    assert published(older_lake, "SELECT count(*), count(uigf) FROM aemo.dispatch_region") == [(2, 0)]
    assert published(older_lake, "SELECT count(*) FROM aemo.rooftop_pv") == [(0,)]


@pytest.mark.parametrize("folder", ["it's a lake", 'the "best" lake', "lakes/../lake", "[a]*{b}%20"])
def test_the_data_folder_may_have_any_ordinary_name(tmp_path, now, region_rows, folder):
    (tmp_path / "lakes").mkdir()
    settings = Settings(_env_file=None, etl_data=tmp_path / folder)
    with write_lake(settings, "a test") as lake, transaction(lake):
        upsert(lake, DISPATCH_REGION, region_rows(DAY), now=now)
    merge_small_files(settings)

    publish(settings, now=now)
    maintain(settings, now=datetime.now(UTC) + timedelta(days=30))

    assert published(settings, PRICES) == [(576, 576, 50.0, 50.0)]


def test_a_moved_data_folder_is_published_from_its_new_place(settings, now, store, region_rows, tmp_path):
    store(region_rows(DAY))
    publish(settings, now=now)
    shutil.move(settings.etl_data, tmp_path / "moved")
    moved = Settings(_env_file=None, etl_data=tmp_path / "moved")

    publish(moved, now=now)

    assert published(moved, PRICES) == [(576, 576, 50.0, 50.0)]


def test_the_price_view_leaves_out_the_physical_runs_of_interventions(settings, now, store, region_rows):
    pricing = region_rows(DAY, intervals=1, regions=("NSW1",))
    physical = region_rows(DAY, intervals=1, regions=("NSW1",), price=999.0).set_column(
        2, "intervention", pa.array([1])
    )
    store(pa.concat_tables([pricing, physical]))

    publish(settings, now=now)

    assert published(settings, "SELECT rrp FROM aemo.price") == [(50.0,)]
    assert published(settings, "SELECT rrp FROM aemo.dispatch_region ORDER BY 1") == [(50.0,), (999.0,)]


def test_tables_from_elsewhere_are_copied_with_their_comment(settings, now):
    publish(settings, now=now, extra=[Copied("extra", "things", "It's a copy.", pa.table({"n": [1, 2]}))])

    assert published(settings, "FROM extra.things") == [(1,), (2,)]
    comment = published(settings, "SELECT comment FROM duckdb_tables() WHERE table_name = 'things'")
    assert comment == [("It's a copy.",)]


def test_a_publication_that_fails_leaves_the_file_as_it_was(settings, now, store, region_rows):
    publish(settings, now=now)
    before = settings.warehouse_path.read_bytes()
    store(region_rows(DAY))

    with pytest.raises(duckdb.CatalogException):
        publish(settings, now=now, extra=[Copied(QUARANTINE.schema, QUARANTINE.name, "Twice.", pa.table({"n": [1]}))])

    assert settings.warehouse_path.read_bytes() == before
    assert list(settings.etl_data.glob(".warehouse*")) == []


def test_readings_are_there_in_the_forms_of_the_predecessor_and_with_the_archive(settings, now):
    at = datetime(2026, 11, 20, 14, 0, 5, 250_001, tzinfo=UTC)
    reading = {"site_name": "a", "point_name": "p", "timestamp": at, "value": 1.5, "quality": "good", "metadata": "{}"}
    aggregate = {
        "site_name": "a", "point_name": "p", "interval": "1min", "timestamp": at.replace(second=0, microsecond=0),
        "avg_value": 1.5, "min_value": 1.5, "max_value": 1.5, "sample_count": 1,
    }  # fmt: skip
    with write_lake(settings, "a test") as lake, transaction(lake):
        for table, row in ((TIMESERIES_RAW, reading), (TIMESERIES_AGG, aggregate)):
            upsert(lake, table, pa.Table.from_pylist([row]), now=now)
    publish(settings, now=now)

    assert published(settings, 'SELECT "timestamp" FROM ace.timeseries_raw_text') == [("2026-11-20T14:00:05.250001Z",)]
    assert published(settings, 'SELECT "timestamp" FROM ace.timeseries_agg_epoch') == [(1795183200,)]
    assert published(settings, "SELECT value, market_day FROM ace.timeseries_all") == [(1.5, date(2026, 11, 21))]


def test_a_file_of_which_first_some_rows_and_then_the_rest_were_revised_does_not_hold_up_publishing(
    settings, now, store, region_rows
):
    """DuckLake ends such a file and leaves its list of deleted rows in force, which nothing settles."""
    rows = region_rows(DAY, regions=("SA1",), intervals=4)
    place = rows.schema.get_field_index("rrp")
    store(rows)
    for price, many in ((70.0, 2), (60.0, 4)):
        store(rows.set_column(place, "rrp", pa.array([price] * 4)).slice(0, many))

    publication = publish(settings, now=now)

    assert publication.lake_files == 1
    assert published(settings, "SELECT count(*), min(rrp), max(rrp) FROM aemo.price") == [(4, 60.0, 60.0)]
