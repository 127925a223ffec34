"""Tables that are derived from others: SQL files with their values filled in, and a slice brought to what it should be.

What is derived never passes through Python: a day of a site has millions of rows.
"""

from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from etl_assets.lake.sql import Value, literal, one_row
from etl_assets.lake.tables import Table
from etl_assets.lake.upsert import UpsertCounts

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def statement(name: str, **values: Value) -> str:
    """The statement in ``sql/{name}.sql``, its ``$names`` replaced by literals, which the lake skips files by."""
    text = (files("etl_assets.ace") / "sql" / f"{name}.sql").read_text()
    return Template(text).substitute({key: literal(value) for key, value in values.items()})


def replace_slice(
    connection: "DuckDBPyConnection",
    table: Table,
    scope: str,
    *,
    differs: str = "",
    remove: bool = True,
) -> UpsertCounts:
    """Bring the rows of ``table`` in ``scope`` to those of the temporary table ``derived``.

    Call inside ``transaction``. ``scope`` is a condition in literals on the table's own columns, and every derived
    row lies in it. Rows of the same key are unchanged unless ``differs`` (of ``old`` and ``new``) says otherwise: by
    default any column that is not provenance. Only what changed is written. Rows that are no longer derived go,
    uncounted, unless ``remove`` is false.
    """
    key = ", ".join(f'"{name}"' for name in table.key)
    names = ", ".join(f'"{column.name}"' for column in table.stored_columns)
    differs = differs or " OR ".join(f'new."{name}" IS DISTINCT FROM old."{name}"' for name in table.compared)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE present AS SELECT {names} FROM {table.lake_name} WHERE {scope}")
    derived, present = one_row(connection, "SELECT (SELECT count(*) FROM derived), (SELECT count(*) FROM present)")
    if not present:
        if derived:
            _insert(connection, table, f"SELECT {names} FROM derived")
        return UpsertCounts(inserted=derived)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE changed AS
        SELECT new.* FROM derived AS new JOIN present AS old USING ({key}) WHERE {differs}
    """)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE fresh AS FROM derived ANTI JOIN present USING ({key})")
    gone = f"UNION ALL SELECT {key} FROM present ANTI JOIN derived USING ({key})" if remove else ""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE outdated AS SELECT {key} FROM changed {gone}")
    fresh, changed, outdated = one_row(
        connection,
        "SELECT (SELECT count(*) FROM fresh), (SELECT count(*) FROM changed), (SELECT count(*) FROM outdated)",
    )
    if outdated:
        same_key = " AND ".join(f'kept."{name}" = outdated."{name}"' for name in table.key)
        connection.execute(
            f"DELETE FROM {table.lake_name} AS kept WHERE {scope} AND EXISTS (FROM outdated WHERE {same_key})"
        )
    if fresh or changed:
        _insert(connection, table, f"SELECT {names} FROM fresh UNION ALL SELECT {names} FROM changed")
    return UpsertCounts(unchanged=derived - fresh - changed, inserted=fresh, updated=changed)


def _insert(connection: "DuckDBPyConnection", table: Table, rows: str) -> None:
    names = ", ".join(f'"{column.name}"' for column in table.stored_columns)
    # The lake sorts what it writes by the table's own order.
    connection.execute(f"INSERT INTO {table.lake_name} ({names}) {rows}")
