"""The data dictionary: every table and view of ``warehouse.duckdb``, as Markdown.

What the columns are and mean is read from a published file, whose comments are the catalogue's (``tables.py``,
``ops/tables.py``, ``ops/views.py``). Keys, files and sources come from the declarations; how long rows are kept
is in ``lifetimes.py``.

``python -m etl_assets.lake.dictionary > docs/data_dictionary.md`` writes it, from a lake that it makes and removes
again: it reads nobody's data.
"""

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from etl_assets.aemo.feeds import FEEDS, Feed
from etl_assets.lake.connection import write_lake
from etl_assets.lake.lifetimes import LIFETIMES
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import PRICE_AND_DEMAND, REGION_FORECAST, TABLES, VIEWS, Table
from etl_assets.market_time import utc_now
from etl_assets.ops.state import copies_for_analysts
from etl_assets.ops.tables import METADATA
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy
    from duckdb import DuckDBPyConnection

HEAD = """\
# Data dictionary

Every table and view of `warehouse.duckdb`. Generated from the declarations in the code, like the comments in the
file itself: `python -m etl_assets.lake.dictionary`. How to ask is in the [analyst's guide](analyst.md).

**Times.** `TIMESTAMP WITH TIME ZONE` is an instant; DuckDB prints it in the session's zone. `settlement_date` is NEM
time: UTC+10 all year, without a zone. A market day is a day of NEM time, by the end of an interval, or by the instant
of a reading. It is not the 04:00 trading day.

**Units** are those of the column's comment. A number without one is a count, a share (0 to 1), a factor or a flag;
readings are in the unit of their point (`kv_tags` in `ace.points`).

**null**: *no* is never null, *provisional* is null at most until the source has it after all. All else may be null.
"""

SCHEMAS = {
    "aemo": "The market: what AEMO publishes.",
    "ace": "Buildings: what the ACE IoT account records.",
    "quality": "How good the data is: scores, gaps, revisions, what could not be accepted.",
    "kpi": "Key figures of market days.",
    "ops": "What the machinery did: copies of its own records.",
}

MARKS = {
    "interval_end": "the interval's end; 24:00 belongs to the day that ends",
    "instant": "an instant, or an interval's start; 00:00 belongs to the day that begins",
    "day": "a market day",
}

SOURCES = {
    PRICE_AND_DEMAND.full_name: "AEMO's aggregated files, `PRICE_AND_DEMAND_<month>_<region>.csv`",
    REGION_FORECAST.full_name: "the 5MIN report, rows whose PERIODTYPE is FORECAST",
}

JOINS = {
    "aemo.price": ("interval_end", "region_id"),
    "ace.sites": ("site_name",),
    "ace.points": ("site_name", "point_name"),
    "kpi.kpi_jobs": ("trace_id",),
    "kpi.kpi_runs": ("trace_id", "kpi_id"),
    "ops.sync_runs": ("sync_id",),
}
"""Tables that others lead to, and by which columns."""


@dataclass(frozen=True, slots=True)
class ColumnEntry:
    """A column as the published file has it: its comment is the meaning, with the unit apart."""

    name: str
    type: str
    meaning: str
    unit: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What is known of a table beyond its comments.

    ``required`` columns are never null, ``provisional`` ones at most for a time. ``origins`` says for a column how
    its source names it; ``shows`` is the table whose rows a view has.
    """

    key: tuple[str, ...] = ()
    required: frozenset[str] = frozenset()
    provisional: tuple[str, ...] = ()
    lies: str = "a copy"
    time: str = ""
    source: str = ""
    origins: Mapping[str, str] = field(default_factory=dict)
    shows: str = ""


def dictionary(connection: "DuckDBPyConnection") -> str:
    """The dictionary of the published file that ``connection`` has open, as Markdown.

    Raises ``KeyError`` for a table that ``LIFETIMES`` lacks.
    """
    relations = published_columns(connection)
    comments = published_comments(connection)
    parts = [HEAD, _contents(comments)]
    for schema, about in SCHEMAS.items():
        parts.append(f"## {schema}\n\n{about}\n")
        parts += [
            _section(name, comments[name], columns, relations)
            for name, columns in sorted(relations.items(), key=lambda item: _order(item[0]))
            if name.startswith(f"{schema}.")
        ]
    return "\n".join(parts)


def published_columns(connection: "DuckDBPyConnection") -> dict[str, list[ColumnEntry]]:
    """The columns of every table and view, in their order, by ``schema.name``."""
    rows = connection.execute(
        "SELECT schema_name || '.' || table_name, column_name, data_type, coalesce(comment, '') FROM duckdb_columns() "
        "WHERE NOT internal ORDER BY schema_name, table_name, column_index"
    ).fetchall()
    found: dict[str, list[ColumnEntry]] = {}
    for relation, name, kind, comment in rows:
        unit = re.search(r" \[([^\]]+)\]$", comment)
        meaning = comment[: unit.start()] if unit else comment
        found.setdefault(relation, []).append(ColumnEntry(name, kind, meaning, unit[1] if unit else ""))
    return found


def published_comments(connection: "DuckDBPyConnection") -> dict[str, str]:
    """What a row of every table and view is, by ``schema.name``."""
    rows = connection.execute(
        "SELECT schema_name || '.' || table_name, coalesce(comment, '') FROM duckdb_tables() UNION ALL "
        "SELECT schema_name || '.' || view_name, coalesce(comment, '') FROM duckdb_views() WHERE NOT internal"
    ).fetchall()
    return dict(rows)


@cache
def declared() -> dict[str, Declared]:
    """What the declarations say of every table and view that has any, by ``schema.name``."""
    feeds = {feed.name: feed for feed in FEEDS}
    known = {table.full_name: _of_lake(table, feeds.get(table.full_name)) for table in TABLES}
    known |= {view: replace(known[table], lies=f"a view over `{table}`", shows=table) for view, table in VIEWS.items()}
    return known | {
        f"{schema}.{table.name}": _of_state(table) for table in METADATA.tables.values() for schema in ("ops", "kpi")
    }


def _of_lake(table: Table, feed: Feed | None) -> Declared:
    days = ("market_day", *table.also_by) if table.time else ()
    files = f"a view over Parquet files, by {_names(days)}" if days else "a view over Parquet files"
    return Declared(
        key=table.key,
        required=frozenset({*table.key, *days} | ({"settlement_date"} if "interval_end" in table.key else set())),
        provisional=table.complete_when,
        lies="a copy" if table.published == "copy" else f"{files}, sorted by {_names(table.sort)}",
        time=f"`{table.time}` is {MARKS[table.marks]}" if table.time else "",
        source=SOURCES.get(table.full_name, "") if feed is None else _source(feed),
        origins=_origins(feed) if feed else {},
    )


def _of_state(table: "sqlalchemy.Table") -> Declared:
    return Declared(
        key=tuple(column.name for column in table.primary_key.columns),
        required=frozenset(column.name for column in table.columns if not column.nullable),
    )


def _source(feed: Feed) -> str:
    tables = ", ".join(part.mms.name for part in feed.parts)
    return f"NEMWeb, `{feed.report.folder}`: MMS {tables}"


def _origins(feed: Feed) -> dict[str, str]:
    """For each column, how MMS names it: with the MMS table, where it is of one of several alone."""
    found: dict[str, list[str]] = {}
    for part in feed.parts:
        for ours, theirs in part.columns.items():
            found.setdefault(ours, []).append(f"{part.mms.name.rpartition('.')[2]}.{theirs}")
    return {
        ours: names[0] if len(names) < len(feed.parts) else names[0].rpartition(".")[2] for ours, names in found.items()
    }


def _order(name: str) -> tuple[int, str]:
    return list(LIFETIMES).index(name) if name in LIFETIMES else len(LIFETIMES), name


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _contents(comments: Mapping[str, str]) -> str:
    rows = "\n".join(
        f"| [`{name}`](#{name.replace('.', '')}) | {_cell(comments[name])} |" for name in sorted(comments, key=_order)
    )
    return f"| table | a row is |\n| --- | --- |\n{rows}\n"


def _section(
    name: str, comment: str, columns: Sequence[ColumnEntry], relations: Mapping[str, Sequence[ColumnEntry]]
) -> str:
    known = declared().get(name, Declared(lies="a table of one row" if name == "ops.publication" else "a view"))
    facts = "\n".join(f"- **{title}**: {text}." for title, text in _facts(name, known, relations) if text)
    return f"### {name}\n\n{comment}\n\n{facts}\n\n{_columns(columns, known)}\n"


def _facts(name: str, known: Declared, relations: Mapping[str, Sequence[ColumnEntry]]) -> Iterator[tuple[str, str]]:
    lifetime = LIFETIMES[name]
    there = {column.name for column in relations[name]}
    yield "Key", _names([column for column in known.key if column in there])
    yield "Stored as", known.lies
    yield "Time", known.time
    yield "Source", known.source
    yield "Refreshed", lifetime.refreshed
    yield "Kept", lifetime.kept
    yield "Goes with", ", ".join(_joins(name, known, there))


def _joins(name: str, known: Declared, there: set[str]) -> Iterator[str]:
    for other, by in JOINS.items():
        if other != name and set(by) <= there and name not in {declared()[other].shows, known.shows}:
            yield f"`{other}` by {_names(by)}"
    if name == "ace.sites":
        yield "`aemo.price` by `region_id`"


def _columns(columns: Sequence[ColumnEntry], known: Declared) -> str:
    head = ["column", "type", "unit", "null", "meaning"] + (["source's name"] if known.origins else [])
    lines = [head, ["---"] * len(head)]
    for column in columns:
        line = [f"`{column.name}`", column.type, column.unit, _null(column, known), column.meaning]
        lines.append(line + ([known.origins.get(column.name, "")] if known.origins else []))
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _null(column: ColumnEntry, known: Declared) -> str:
    if column.name in known.required:
        return "no"
    return "provisional" if column.name in known.provisional else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def written() -> str:
    """The dictionary of a published file that is made for it, empty, and removed again."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        # Each by name, because the environment may name the real ones.
        elsewhere = {"lake_catalog": "", "lake_data": "", "archive_data": "", "state_database": ""}
        chosen = Settings(_env_file=None, etl_data=Path(folder), **elsewhere)  # type: ignore[arg-type]
        with write_lake(chosen, "the data dictionary"):
            pass
        publish(chosen, now=utc_now(), extra=copies_for_analysts(chosen))
        with duckdb.connect(str(chosen.warehouse_path), read_only=True) as connection:
            return dictionary(connection)


if __name__ == "__main__":
    sys.stdout.write(written())
