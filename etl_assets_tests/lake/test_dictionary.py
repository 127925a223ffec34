"""The data dictionary is what the declarations and the published file say, wholly and today."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from etl_assets.lake.dictionary import declared, dictionary, published_columns
from etl_assets.lake.lifetimes import LIFETIMES, in_words
from etl_assets.lake.publish import Copied, publish
from etl_assets.lake.tables import DISPATCH_REGION, TABLES, VIEWS
from etl_assets.ops.state import copies_for_analysts
from etl_assets.settings import Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "data_dictionary.md"
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE))


def rows_of(section: str) -> list[list[str]]:
    """The lines of a section's table below its head, by cell."""
    lines = re.findall(r"^\| (`.+) \|$", section, re.MULTILINE)
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


def column(table: str, name: str) -> list[str]:
    [found] = [row for row in rows_of(SECTIONS[table]) if row[0] == f"`{name}`"]
    return found


@pytest.fixture
def warehouse(settings: Settings, now, store, region_rows, day):
    store(region_rows(day, intervals=2))
    publish(settings, now=now, extra=copies_for_analysts(settings))
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        yield connection


@pytest.fixture
def day(now):
    return now.date()


def test_the_document_is_what_the_command_writes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "etl_assets.lake.dictionary"], capture_output=True, text=True, check=True
    )

    assert done.stdout == DOCUMENT.read_text(), "python -m etl_assets.lake.dictionary > docs/data_dictionary.md"


def test_it_is_made_beside_what_the_environment_names(tmp_path: Path) -> None:
    named = {"ETL_DATA": "mine", "LAKE_CATALOG": "sqlite:mine.sqlite", "STATE_DATABASE": "sqlite:///mine.state"}

    subprocess.run(
        [sys.executable, "-m", "etl_assets.lake.dictionary"],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), **named},
        capture_output=True,
        check=True,
    )

    assert list(tmp_path.iterdir()) == []


def test_it_has_every_table_and_view_of_a_published_file_with_the_comments_of_the_file(warehouse) -> None:
    tables = dict(
        warehouse.execute(
            "SELECT schema_name || '.' || table_name, comment FROM duckdb_tables() UNION ALL "
            "SELECT schema_name || '.' || view_name, comment FROM duckdb_views() WHERE NOT internal"
        ).fetchall()
    )
    columns = warehouse.execute(
        "SELECT schema_name || '.' || table_name, column_name, data_type, comment FROM duckdb_columns() "
        "WHERE NOT internal ORDER BY schema_name, table_name, column_index"
    ).fetchall()

    assert set(SECTIONS) == set(tables)
    assert {name: text.strip().splitlines()[0] for name, text in SECTIONS.items()} == tables
    for name, section in SECTIONS.items():
        said = [(row[0].strip("`"), row[1], f"{row[4]} [{row[2]}]" if row[2] else row[4]) for row in rows_of(section)]
        assert said == [(column, kind, comment) for table, column, kind, comment in columns if table == name], name


def test_everything_published_says_what_it_means(warehouse) -> None:
    unsaid = [
        (name, c.name) for name, columns in published_columns(warehouse).items() for c in columns if not c.meaning
    ]

    assert unsaid == []


def test_keys_are_never_null_and_what_completes_a_row_may_be_for_a_time() -> None:
    assert column("aemo.dispatch_region", "region_id")[3] == "no"
    assert column("aemo.dispatch_region", "rop")[3] == "provisional"
    assert column("aemo.dispatch_region", "uigf")[3] == ""
    assert column("ops.sync_runs", "dataset")[3] == "no"
    assert column("ops.sync_runs", "site_name")[3] == ""


def test_columns_from_aemo_name_the_column_of_the_report() -> None:
    assert column("aemo.dispatch_region", "rrp")[5] == "PRICE.RRP"
    assert column("aemo.dispatch_region", "total_demand")[5] == "REGIONSUM.TOTALDEMAND"
    # In both tables alike.
    assert column("aemo.dispatch_region", "interval_end")[5] == "SETTLEMENTDATE"
    assert column("aemo.rooftop_pv", "quality_indicator")[5] == "QI"
    assert "NEMWeb, `DispatchIS_Reports`: MMS DISPATCH.PRICE, DISPATCH.REGIONSUM." in SECTIONS["aemo.dispatch_region"]


def test_a_view_has_the_key_of_the_table_that_it_shows_as_far_as_it_has_its_columns() -> None:
    assert "- **Key**: `interval_end`, `region_id`.\n" in SECTIONS["aemo.price"]
    assert "- **Stored as**: a view over `aemo.dispatch_region`." in SECTIONS["aemo.price"]


def test_tables_name_those_that_they_go_with() -> None:
    assert "`ace.points` by `site_name`, `point_name`" in SECTIONS["ace.timeseries_agg"]
    assert "`kpi.kpi_jobs` by `trace_id`" in SECTIONS["kpi.kpi_runs"]
    assert "`ops.sync_runs` by `sync_id`" in SECTIONS["ops.site_sync"]
    assert "Goes with" not in SECTIONS["aemo.price"]


def test_every_table_has_a_lifetime_and_no_other() -> None:
    assert set(LIFETIMES) == set(SECTIONS)
    assert {table.full_name for table in TABLES} | set(VIEWS) <= set(LIFETIMES)


def test_what_refreshes_a_table_is_a_schedule_or_sensor_that_there_is() -> None:
    from etl_assets.definitions import defs

    there = {each.name for each in (*(defs.schedules or ()), *(defs.sensors or ()))}
    named = {name for life in LIFETIMES.values() for name in re.findall(r"`([a-z_]+)`", life.refreshed)}

    assert named
    assert named <= there


def test_what_bounds_a_table_is_a_setting_with_its_default() -> None:
    assert "`RAW_RETENTION` (90 days)" in SECTIONS["ace.timeseries_raw"]
    assert "`SYNC_RUN_RETENTION` (30 days)" in SECTIONS["ops.sync_runs"]


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(days=400), "400 days"),
        (timedelta(days=1), "1 day"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(seconds=90), "90 seconds"),
        (timedelta(minutes=1), "1 minute"),
        (timedelta(milliseconds=1500), "1.5 seconds"),
    ],
)
def test_lengths_are_told_in_the_largest_unit_that_is_whole(length: timedelta, words: str) -> None:
    assert in_words(length) == words


def test_a_table_without_a_lifetime_is_named(settings: Settings, now) -> None:
    import pyarrow as pa

    publish(settings, now=now, extra=[Copied("ops", "unheard_of", "New.", pa.table({"n": [1]}))])

    with (
        duckdb.connect(str(settings.warehouse_path), read_only=True) as connection,
        pytest.raises(KeyError, match=r"ops\.unheard_of"),
    ):
        dictionary(connection)


def test_what_is_declared_of_a_table_is_the_catalogues() -> None:
    assert declared()[DISPATCH_REGION.full_name].key == DISPATCH_REGION.key
