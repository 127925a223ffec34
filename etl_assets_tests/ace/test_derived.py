"""Statements with their values filled in."""

from datetime import UTC, date, datetime

from etl_assets.ace.derived import literal, statement


def test_a_name_with_a_quote_stays_one_text():
    assert literal("O'Brien's") == "'O''Brien''s'"


def test_instants_days_numbers_and_collections_are_written_with_their_types():
    assert literal(datetime(2026, 11, 20, 1, tzinfo=UTC)) == "TIMESTAMPTZ '2026-11-20T01:00:00+00:00'"
    assert literal(date(2026, 11, 20)) == "DATE '2026-11-20'"
    assert literal(0.95) == "0.95"
    assert literal({"b", "a"}) == "CAST(['a', 'b'] AS VARCHAR[])"
    assert literal(frozenset()) == "CAST([] AS VARCHAR[])"


def test_a_statement_is_the_file_with_its_names_replaced():
    sql = statement("silent_points", site="a site", day=date(2026, 11, 20))

    assert "site_name = 'a site'" in sql
    assert "market_day = DATE '2026-11-20'" in sql
