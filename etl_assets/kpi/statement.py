"""What the SQL of a KPI may be: one SELECT over the published tables, with the market day as its parameter.

Looked at as text and as a parse tree, and never executed here; what its tables hold is not known here either.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from etl_assets.kpi.query import KpiSqlError
from etl_assets.lake.sql import literal, one_row

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Statement

MARKET_DAY = "market_day"
"""The one parameter of a KPI's query, a date."""

TABLE_FUNCTIONS = frozenset({"generate_series", "range", "unnest"})
"""Those that make rows from their arguments; others read files, run text as SQL, change the database, or take the
addresses of objects in memory."""

LONGEST_SQL = 100_000
"""Characters. The parser takes 5 s for two millions of them."""

LONGEST_REASON = 500
"""Characters of what DuckDB says: a query may have it say anything, of any length."""


def checked_statement(connection: "DuckDBPyConnection", sql: str) -> "Statement":
    """The one statement of a KPI's query, ready to be executed. Raises ``KpiSqlError`` as ``check_sql`` does."""
    import duckdb

    _refuse_text(sql)
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise KpiSqlError(f"The query cannot be parsed: {in_a_line(error)}") from error
    if not statements:
        raise KpiSqlError("The query is empty; give one SELECT statement.")
    if len(statements) > 1:
        # DuckDB makes two of a PIVOT without a list of values.
        raise KpiSqlError(f"The query has {len(statements)} statements; give one SELECT, a PIVOT with its IN list.")
    [statement] = statements
    _refuse_parameters(statement.named_parameters)
    if statement.type != duckdb.StatementType.SELECT:
        raise KpiSqlError(f"The query is no SELECT but {statement.type.name}; a KPI only reads.")
    _refuse_functions(connection, sql)
    return statement


def _refuse_text(sql: str) -> None:
    """What parsers stumble over: two of them could take such a text for two different queries."""
    if len(sql) > LONGEST_SQL:
        raise KpiSqlError(f"The query has {len(sql):,} characters; give at most {LONGEST_SQL:,}.")
    if any(character == "\0" or "\ud800" <= character <= "\udfff" for character in sql):
        raise KpiSqlError("The query has a NUL or half a character (a lone surrogate); take it out.")


def in_a_line(error: Exception) -> str:
    """What DuckDB says is wrong, without the excerpt of the query that it draws below."""
    said = " ".join(str(error).partition("\nLINE ")[0].split())
    return said if len(said) <= LONGEST_REASON else f"{said[: LONGEST_REASON - 1]}…"


def _refuse_parameters(named: set[str]) -> None:
    if others := sorted(named - {MARKET_DAY}):
        shown = ", ".join(f"${name}" for name in others)
        raise KpiSqlError(f"The query has the parameter {shown}; the only one there is a value for is $market_day.")
    if not named:
        raise KpiSqlError("The query does not use $market_day; without it every day would have the same value.")


def _refuse_functions(connection: "DuckDBPyConnection", sql: str) -> None:
    # Not a bound parameter: for the first of them DuckDB imports pandas, 0.3 s.
    [text] = one_row(connection, f"SELECT json_serialize_sql({literal(sql)})")
    try:
        tree = json.loads(text)
    except RecursionError as error:
        raise KpiSqlError("The query is nested too deeply; make it flatter.") from error
    if tree["error"]:
        # A PRAGMA passes as a SELECT by its type, and is found out here.
        raise KpiSqlError(f"The query is no plain SELECT: {tree['error_message']}")
    if refused := sorted({str(name) for name in _table_functions(tree)} - TABLE_FUNCTIONS):
        raise KpiSqlError(
            f"The query reads from {', '.join(f'{name}()' for name in refused)}; a KPI reads the published tables, and "
            f"of table functions {', '.join(sorted(TABLE_FUNCTIONS))}."
        )


def _table_functions(tree: object) -> Iterator[object]:
    """Names of the table functions anywhere in a parse tree."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            if node.get("type") == "TABLE_FUNCTION":
                yield node["function"].get("function_name")
            left.extend(node.values())
        elif isinstance(node, list):
            left.extend(node)
