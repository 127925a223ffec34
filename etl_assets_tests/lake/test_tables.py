"""The catalogue keeps its own rules."""

import re

import duckdb
import pytest

from etl_assets.lake.tables import AEMO_TABLES, DISPATCH_REGION, TABLES

EACH_TABLE = pytest.mark.parametrize("table", TABLES, ids=[t.full_name for t in TABLES])
WITHOUT_UNIT = {"marginal_loss", "quality_indicator", "quality_score"} | {
    "value",
    "avg_value",
    "min_value",
    "max_value",
}
"""A factor, an index, a share: pure numbers; and readings, whose unit is their point's own."""


def test_table_names_are_unique():
    assert len({t.full_name for t in TABLES}) == len(TABLES)


@EACH_TABLE
def test_column_names_are_unique_and_need_no_quotes(table):
    names = [c.name for c in table.stored_columns]

    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z][a-z0-9_]*", name)] == []


@EACH_TABLE
def test_every_column_that_a_table_refers_to_is_declared(table):
    referred = {*table.key, *table.sort, *table.complete_when} | ({table.time, table.version} - {""})

    assert referred <= {c.name for c in table.columns}


@EACH_TABLE
def test_a_key_is_complete_in_itself(table):
    assert table.key
    assert not any(table.column(name).provenance for name in table.key)
    assert set(table.complete_when) <= set(table.compared)


@EACH_TABLE
def test_time_is_an_instant_or_a_day_of_the_key(table):
    if table.time:
        assert table.time in table.key
        assert table.column(table.time).type == ("DATE" if table.marks == "day" else "TIMESTAMPTZ")


@EACH_TABLE
def test_the_version_of_a_row_is_a_stamp_of_its_source(table):
    if table.version:
        assert table.column(table.version).type == "TIMESTAMPTZ"
        assert table.column(table.version).provenance


@EACH_TABLE
def test_a_table_that_lies_by_market_day_is_published_as_a_view_and_any_other_as_a_copy(table):
    assert table.published == ("view" if table.time else "copy")
    assert ("market_day" in {c.name for c in table.stored_columns}) == bool(table.time)


@EACH_TABLE
def test_every_comment_is_a_sentence(table):
    comments = [table.comment, *(c.comment for c in table.stored_columns)]

    assert [comment for comment in comments if not comment.endswith(".") or not comment[0].isalnum()] == []


@EACH_TABLE
def test_every_physical_quantity_has_a_unit(table):
    without = {c.name for c in table.columns if c.type == "DOUBLE" and not c.unit}

    assert without <= WITHOUT_UNIT


@EACH_TABLE
def test_units_are_those_of_the_market_and_of_weather(table):
    assert {c.unit for c in table.columns} <= {"", "MW", "AUD/MWh", "degrees", "s", "degC", "%", "mm", "m/s"}


@EACH_TABLE
def test_every_type_is_one_of_duckdbs_own_names(table):
    with duckdb.connect() as connection:
        columns = ", ".join(f"{c.name} {c.type}" for c in table.stored_columns)
        connection.execute(f"CREATE TABLE declared ({columns})")
        types = dict(connection.execute("SELECT column_name, column_type FROM (DESCRIBE declared)").fetchall())

    assert {name: kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") for name, kind in types.items()} == {
        c.name: c.type for c in table.stored_columns
    }


@pytest.mark.parametrize("table", AEMO_TABLES, ids=[t.name for t in AEMO_TABLES])
def test_every_market_row_says_where_it_came_from(table):
    assert {"source", "source_file", "collected_at"} <= {c.name for c in table.columns if c.provenance}


def test_a_description_names_the_unit():
    assert DISPATCH_REGION.column("available_load").description == "Scheduled load offered as available. [MW]"
    assert DISPATCH_REGION.column("price_status").description == "FIRM or NOT FIRM."


def test_an_unknown_column_is_named():
    with pytest.raises(KeyError, match=r"aemo.dispatch_region has no column 'colour'"):
        DISPATCH_REGION.column("colour")
