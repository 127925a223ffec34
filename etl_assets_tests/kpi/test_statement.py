"""What the SQL of a KPI may be: one SELECT of the market day, whose table functions make rows and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.kpi.query import KpiSqlError, check_sql
from etl_assets.kpi.statement import LONGEST_SQL

MEAN = "SELECT avg(rrp) FROM aemo.price WHERE market_day = $market_day"
BY_REGION = "SELECT region_id, avg(rrp) FROM aemo.price WHERE market_day = $market_day GROUP BY region_id"


@pytest.mark.parametrize(
    "sql",
    [
        MEAN,
        BY_REGION + ";",
        "-- a comment\n" + MEAN + " -- and another",
        "FROM aemo.price SELECT avg(rrp) WHERE market_day = $market_day",
        "WITH a AS (SELECT $market_day AS day) SELECT count(*) FROM a",
        "SELECT sum(x) FROM range(3) t(x), generate_series(1, 2), unnest([$market_day]) WHERE x > 0",
        "SELECT count(*) FROM ops.sync_runs WHERE started_at::DATE = $market_day",
        "SELECT 1 FROM no.such_table WHERE $market_day IS NULL",
        "WITH RECURSIVE a AS (SELECT 1 x UNION ALL SELECT x + 1 FROM a WHERE x < 5) SELECT x, $market_day FROM a",
        "SELECT * FROM (PIVOT aemo.price ON region_id IN ('SA1') USING avg(rrp)) WHERE market_day = $market_day",
    ],
)
def test_one_select_of_the_market_day_passes(sql):
    check_sql(sql)


COPIED = "COPY (SELECT 1) TO '/data/a.parquet' (FORMAT parquet)"

REFUSED_TEXTS = [
    ("", "is empty"),
    ("  ;;  ", "is empty"),
    ("-- nothing", "is empty"),
    ("SELECT", "cannot be parsed"),
    ("SELECT $market_day FROM", "cannot be parsed"),
    (MEAN + "; " + MEAN, "has 2 statements"),
    (MEAN + "; " + COPIED, "has 2 statements"),
    ("PIVOT aemo.price ON region_id USING avg(rrp)", "has 2 statements"),
    ("SELECT 1", "does not use $market_day"),
    ("SELECT $day", "has the parameter $day"),
    ("SELECT $market_day, $other, $more", "has the parameter $more, $other"),
    ("SELECT ?", "has the parameter $1"),
    ("SELECT $1", "has the parameter $1"),
    ("COPY (SELECT $market_day) TO '/data/a.parquet'", "no SELECT but COPY"),
    ("CREATE TABLE memory.t AS SELECT $market_day", "no SELECT but CREATE"),
    ("INSERT INTO aemo.price SELECT $market_day", "no SELECT but INSERT"),
    ("UPDATE kpi.kpi_values SET date = $market_day", "no SELECT but UPDATE"),
    ("DELETE FROM kpi.kpi_values WHERE date = $market_day", "no SELECT but DELETE"),
    ("EXPLAIN ANALYZE COPY (SELECT $market_day) TO '/data/a.parquet'", "no SELECT but EXPLAIN"),
    ("CALL range($market_day)", "no SELECT but CALL"),
    ("SET VARIABLE x = $market_day", "no SELECT but SET"),
    ("EXECUTE prepared($market_day)", "no SELECT but EXECUTE"),
    # Without a place for the parameter.
    (COPIED, "does not use $market_day"),
    ("ATTACH '/data/state.sqlite' AS state (TYPE sqlite)", "does not use $market_day"),
    ("INSTALL sqlite", "does not use $market_day"),
    ("LOAD sqlite", "does not use $market_day"),
    ("EXPORT DATABASE '/data/export'", "does not use $market_day"),
    ("RESET memory_limit", "does not use $market_day"),
    ("PRAGMA database_list", "does not use $market_day"),
    # A PRAGMA counts as a SELECT, and takes a parameter.
    ("PRAGMA table_info($market_day)", "The query"),
    ("WITH a AS (INSERT INTO t VALUES ($market_day) RETURNING *) SELECT * FROM a", "cannot be parsed"),
    ("SELECT $market_day \0 FROM read_text('/etc/passwd')", "has a NUL"),
    ("SELECT '\ud800', $market_day", "half a character"),
    ("SELECT $market_day, " + "+" * 900 + "1", "nested too deeply"),
    ("SELECT $market_day, " + "(" * 90_000 + "1" + ")" * 9_000, "cannot be parsed"),
    ("SELECT $market_day" + " " * LONGEST_SQL, "has 100,018 characters"),
]

REFUSED_FUNCTIONS = [
    "read_text('/etc/passwd')",
    "read_blob('/etc/passwd')",
    "read_csv('/etc/passwd')",
    "read_json('/etc/passwd')",
    "read_parquet('/data/b.parquet')",
    "read_parquet('/data/a.parquet')",
    "read_duckdb('/data/warehouse.duckdb')",
    "parquet_metadata('/data/a.parquet')",
    "sniff_csv('/etc/passwd')",
    "glob('/etc/*')",
    "sqlite_scan('/data/state.sqlite', 'checkpoints')",
    "query('SELECT 1')",
    "query('COPY (SELECT 1) TO ''/data/a.parquet''')",
    "query_table('aemo.price')",
    "json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "enable_logging(storage = 'file', storage_path = '/data/log')",
    "checkpoint()",
    "force_checkpoint('memory')",
    "duckdb_secrets()",
    "duckdb_settings()",
    "pandas_scan(1, 2, 3)",
    "arrow_scan(1, 2, 3)",
    "READ_TEXT('/etc/passwd')",
    "system.main.read_text('/etc/passwd')",
    "\"read_text\"('/etc/passwd')",
]

HIDING_PLACES = [
    "SELECT $market_day FROM {function}",
    "SELECT $market_day, (SELECT count(*) FROM {function})",
    "WITH a AS (SELECT * FROM {function}) SELECT $market_day FROM a",
    "SELECT $market_day FROM range(2) a LEFT JOIN (VALUES (1), ((SELECT count(*) FROM {function}))) b ON true",
    "SELECT $market_day UNION ALL (SELECT 1 FROM range(1), LATERAL (SELECT * FROM {function}))",
    "SELECT $market_day WHERE EXISTS (FROM {function}) ORDER BY (SELECT 1 FROM {function}) LIMIT (FROM {function})",
]


@pytest.mark.parametrize(("sql", "wrong"), REFUSED_TEXTS)
def test_what_is_not_one_select_of_the_market_day_is_refused(sql, wrong):
    with pytest.raises(KpiSqlError) as refused:
        check_sql(sql)

    assert wrong in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("function", REFUSED_FUNCTIONS)
def test_table_functions_beside_those_that_make_rows_are_refused(function):
    name = function.partition("(")[0].rpartition(".")[2].strip('"').lower()

    with pytest.raises(KpiSqlError, match=rf"reads from {name}\(\)"):
        check_sql(f"SELECT $market_day FROM {function}")


@pytest.mark.parametrize("place", HIDING_PLACES)
def test_a_table_function_is_found_wherever_it_stands(place):
    with pytest.raises(KpiSqlError, match=r"reads from read_text\(\)"):
        check_sql(place.replace("{function}", "read_text('/etc/passwd')"))


PARTS = ["SELECT", "$market_day", "FROM", "aemo.price", "read_text('x')", "(", ")", ",", ";", "--", "'", "WITH a AS",
         "UNION ALL", "COPY", "TO", "1", "$other", "?", "\0", "\n", "PRAGMA", "PIVOT", "ON"]  # fmt: skip


@given(sql=st.one_of(st.text(), st.lists(st.sampled_from(PARTS), max_size=8).map(" ".join)))
def test_whatever_a_text_says_it_passes_or_is_refused_with_a_reason(sql):
    try:
        check_sql(sql)
    except KpiSqlError as error:
        reason = str(error)
    else:
        reason = ""

    assert reason.startswith("The query ") if reason else "$market_day" in sql
