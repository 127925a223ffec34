"""Old readings: out of the lake into Parquet files that are written once, and read together with it.

The archive is a folder (or s3:// address) of ``timeseries_raw/market_day=…/site_name=…/readings-0001.parquet`` with
a manifest ``readings-0001.json`` beside each: rows, checksum, when. The manifest is written last, so a file without
one is the leaving of a killed process and is written again. The highest number is what holds: readings that arrive
for an archived day are merged with the former file into the next one. What is archived leaves the lake only after the
file was read back and equals, row for row, what it was made from. Killed anywhere, a reading is in the lake, in the
archive, or in both; a second run goes on, and whoever reads through ``readings`` or ``all_readings_sql`` sees it once.

An s3:// archive takes its account from the environment, as DuckDB's httpfs reads it: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, and for another store than Amazon's ``DUCKDB_S3_ENDPOINT``.
"""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from etl_assets.lake.connection import LakeBusyError, load_extension, read_lake, write_lake
from etl_assets.lake.publish import lake_snapshot
from etl_assets.lake.sql import literal
from etl_assets.lake.tables import TIMESERIES_RAW
from etl_assets.lake.upsert import in_days, transaction
from etl_assets.market_time import instant_day
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, DuckDBPyRelation

TRIES = 3
"""Where readings arrive for a day while it is archived; after so many it is left to the next run."""

MEMORY = "1GB"
"""For sorting and merging a day; 4,500 points of a minute each took 2.0 GiB without, and no longer with it."""

COLUMNS = ", ".join(c.name for c in TIMESERIES_RAW.stored_columns)

_KEY = ", ".join(TIMESERIES_RAW.key)

_log = logging.getLogger(__name__)


class ArchiveDamagedError(RuntimeError):
    """An archived file does not hold what its manifest says, or what was just written into it."""


@dataclass(frozen=True, slots=True)
class ArchivedDay:
    """The readings of one market day and site in the archive; ``removed`` is how many left the lake for it just now."""

    market_day: date
    site_name: str
    rows: int
    file: str
    archived_at: datetime
    removed: int = 0


@dataclass(frozen=True, slots=True, order=True)
class _File:
    """One file of the archive, by what its address says."""

    market_day: date
    site_name: str
    number: int

    @property
    def folder(self) -> str:
        """Inside the archive; the site's name is written so that it is one folder whatever is in it."""
        return f"timeseries_raw/market_day={self.market_day}/site_name={quote(self.site_name, safe='')}"

    def path(self, settings: Settings, suffix: str = "parquet") -> str:
        """Its address, or that of its manifest."""
        return f"{settings.archive_files}/{self.folder}/readings-{self.number:04d}.{suffix}"

    @property
    def where(self) -> str:
        """The filter that finds its rows in the lake, in literals that files are pruned by."""
        return f"market_day = DATE '{self.market_day}' AND site_name = {literal(self.site_name)}"


@dataclass(frozen=True, slots=True)
class _Fingerprint:
    """Rows and the sum of their hashes: equal for equal rows in any order; a row that is there twice counts twice."""

    rows: int
    checksum: int


def archive_old(settings: Settings, *, now: datetime) -> list[ArchivedDay]:
    """Archive every market day that lies wholly before ``RAW_RETENTION``, one day and site at a time.

    Safe to run at any time, twice, or beside syncs. Raises ``ArchiveDamagedError`` where a file is not what it was,
    before anything is removed for it and after all other days were archived; ``LakeBusyError`` where another process
    archives.
    """
    with _one_archiver(settings):
        with read_lake(settings) as connection:
            _load_remote(connection, settings)
            _clean(connection, settings, now)
            due = _due(connection, settings, now)
        archived, damaged = [], []
        for first in due:
            try:
                archived += [done] if (done := _archive(settings, first, now)) else []
            except ArchiveDamagedError as error:
                damaged.append(error)
        if damaged:
            raise damaged[0]
        return archived


def is_archived(settings: Settings, site: str, day: date) -> bool:
    """Whether the archive holds a market day of a site."""
    with read_lake(settings) as connection:
        _load_remote(connection, settings)
        return bool(_files(connection, settings, day=str(day), site=quote(site, safe="")))


def archived_days(settings: Settings) -> list[ArchivedDay]:
    """What the archive holds, oldest day first."""
    with read_lake(settings) as connection:
        _load_remote(connection, settings)
        return [_described(connection, settings, file) for file in _current(connection, settings)]


def readings(
    connection: "DuckDBPyConnection",
    settings: Settings,
    site: str,
    points: Sequence[str] | None,
    *,
    start: datetime,
    end: datetime,
) -> "DuckDBPyRelation":
    """The readings of some points (None: all) of a site in [start, end), from lake and archive, each once.

    All columns of ``ace.timeseries_raw``, by point and time. ``connection`` is one of ``read_lake``, and the relation
    is read before that is closed.
    """
    _load_remote(connection, settings)
    since, until = (moment.astimezone(UTC).isoformat() for moment in (start, end))
    first, last = (instant_day(moment) for moment in (start, end))
    wanted = f"site_name = {literal(site)} AND timestamp >= TIMESTAMPTZ '{since}' AND timestamp < TIMESTAMPTZ '{until}'"
    wanted += f" AND market_day BETWEEN DATE '{first}' AND DATE '{last}'"
    if points is not None:
        wanted += f" AND point_name IN ({', '.join(map(literal, points)) or 'NULL'})"
    # The snapshot first, the archive's list after it: what has left the lake by then is in the list.
    snapshot = lake_snapshot(connection)
    kept = f"SELECT {COLUMNS} FROM {TIMESERIES_RAW.lake_name} AT (VERSION => {snapshot}) WHERE {wanted}"
    files = [f for f in _current(connection, settings) if f.site_name == site and first <= f.market_day <= last]
    archived = f"SELECT * FROM ({_archived_rows(settings, files)}) WHERE {wanted}"
    return connection.sql(
        f"WITH kept AS ({kept}), archived AS ({archived}) "
        f"FROM kept UNION ALL (FROM archived ANTI JOIN kept USING ({_KEY})) ORDER BY {', '.join(TIMESERIES_RAW.sort)}"
    )


def all_readings_sql(
    connection: "DuckDBPyConnection", settings: Settings, snapshot: int, lake_view: str = "ace.timeseries_raw"
) -> str:
    """The query of a view over lake and archive in the analysts' file, each reading once.

    ``lake_view`` is the view over the files of the lake's ``snapshot``, which the caller has fixed before. Archived
    days that the lake has readings of as well, which is rare, are compared by key; all others are read as they lie.
    """
    _load_remote(connection, settings)
    files = _current(connection, settings)
    days = sorted({f.market_day for f in files})
    both = connection.execute(
        f"SELECT DISTINCT market_day, site_name FROM {TIMESERIES_RAW.lake_name} AT (VERSION => {snapshot}) "
        f"WHERE {in_days(days)}"
    ).fetchall()
    shared = [f for f in files if (f.market_day, f.site_name) in set(both)]
    parts = [f"SELECT {COLUMNS} FROM {lake_view}"]
    if alone := sorted(set(files) - set(shared)):
        parts.append(_archived_rows(settings, alone))
    if shared:
        same_key = " AND ".join(f"kept.{name} = archived.{name}" for name in TIMESERIES_RAW.key)
        in_both = in_days({f.market_day for f in shared}, "kept.market_day")
        parts.append(
            f"SELECT {COLUMNS} FROM ({_archived_rows(settings, shared)}) AS archived "
            f"WHERE NOT EXISTS (FROM {lake_view} AS kept WHERE {in_both} AND {same_key})"
        )
    return " UNION ALL ".join(parts)


def _is_remote(settings: Settings) -> bool:
    return "://" in settings.archive_files


def _load_remote(connection: "DuckDBPyConnection", settings: Settings) -> None:
    if _is_remote(settings):
        load_extension(connection, "httpfs")


@contextmanager
def _one_archiver(settings: Settings) -> Iterator[None]:
    from filelock import FileLock, Timeout

    settings.etl_data.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(settings.etl_data / "archive.lock", timeout=settings.lake_lock_timeout.total_seconds()):
            yield
    except Timeout as error:
        raise LakeBusyError(f"Another process has been archiving {settings.archive_files}; try again.") from error


@contextmanager
def _bounded(connection: "DuckDBPyConnection", settings: Settings) -> Iterator[None]:
    """What does not fit into ``MEMORY`` is sorted on the disk, beside the data."""
    import duckdb

    folder = (settings.etl_data / "spill").absolute()
    # A database that has spilled before keeps its folder.
    with suppress(duckdb.NotImplementedException):
        connection.execute(f"SET temp_directory = {literal(str(folder))}")
    connection.execute(f"SET memory_limit = '{MEMORY}'")
    try:
        yield
    finally:
        connection.execute("RESET memory_limit")


def _due(connection: "DuckDBPyConnection", settings: Settings, now: datetime) -> list[_File]:
    """What of the lake is older than it is to be, each day and site as the first file that it could have."""
    first_kept = instant_day(now - settings.raw_retention)
    rows = connection.execute(
        f"SELECT DISTINCT market_day, site_name FROM {TIMESERIES_RAW.lake_name} "
        f"WHERE market_day < DATE '{first_kept}' ORDER BY ALL"
    ).fetchall()
    return [_File(day, site, 1) for day, site in rows]


def _archive(settings: Settings, first: _File, now: datetime) -> ArchivedDay | None:
    for _ in range(TRIES):
        with read_lake(settings) as connection, _bounded(connection, settings):
            _load_remote(connection, settings)
            file, in_lake = _seal(connection, settings, first, now)
            done = _described(connection, settings, file, removed=in_lake.rows)
        if _remove_from_lake(settings, file, in_lake):
            return done
    _log.warning("Readings of %s of %s keep arriving; it is archived later.", first.site_name, first.market_day)
    return None


def _seal(
    connection: "DuckDBPyConnection", settings: Settings, first: _File, now: datetime
) -> tuple[_File, _Fingerprint]:
    """See that a verified file holds what the lake has of a day and site; returns it, and what the lake has."""
    snapshot = lake_snapshot(connection)
    rows = f"SELECT {COLUMNS} FROM {TIMESERIES_RAW.lake_name} AT (VERSION => {snapshot}) WHERE {first.where}"
    in_lake = _fingerprint(connection, rows)
    former = next((f for f in _current(connection, settings) if f.folder == first.folder), None)
    if former is None:
        _write(connection, settings, first, (rows, in_lake), now)
        return first, in_lake
    archived = _checked(connection, settings, former)
    if archived == in_lake:
        return former, in_lake
    merged = _merged(rows, _file_rows(former.path(settings)))
    wanted = _fingerprint(connection, merged)
    if archived == wanted:
        return former, in_lake
    successor = _File(former.market_day, former.site_name, former.number + 1)
    _write(connection, settings, successor, (merged, wanted), now)
    return successor, in_lake


def _merged(incoming: str, archived: str) -> str:
    """Archived rows with those of the lake, by its own rules: a null says nothing, an equal value changes nothing."""
    changed = " OR ".join(
        f"(new.{n} IS NOT NULL AND new.{n} IS DISTINCT FROM old.{n})" for n in TIMESERIES_RAW.compared
    )
    columns = []
    for column in TIMESERIES_RAW.stored_columns:
        latest, former = (
            f"coalesce(new.{column.name}, old.{column.name})",
            f"coalesce(old.{column.name}, new.{column.name})",
        )
        if column.first:
            latest = former
        elif column.provenance:
            latest = f"CASE WHEN {changed} THEN {latest} ELSE {former} END"
        columns.append(f"{latest} AS {column.name}")
    same_key = " AND ".join(f"new.{name} = old.{name}" for name in TIMESERIES_RAW.key)
    return f"SELECT {', '.join(columns)} FROM ({incoming}) AS new FULL JOIN ({archived}) AS old ON {same_key}"


def _write(
    connection: "DuckDBPyConnection",
    settings: Settings,
    file: _File,
    content: tuple[str, _Fingerprint],
    now: datetime,
) -> None:
    """Write the rows of a query, read them back, and only then say by a manifest that they are there."""
    rows, wanted = content
    path = file.path(settings)
    draft = path if _is_remote(settings) else str(_draft(path))
    connection.execute(
        f"COPY (FROM ({rows}) ORDER BY {', '.join(TIMESERIES_RAW.sort)}) TO {literal(draft)} "
        "(FORMAT parquet, COMPRESSION zstd)"
    )
    written = _fingerprint(connection, _file_rows(draft))
    if written != wanted:
        raise ArchiveDamagedError(
            f"{draft} was written with {wanted} and reads back as {written}; the lake keeps them."
        )
    if not _is_remote(settings):
        _settle(Path(draft), Path(path))
    _write_manifest(connection, settings, file, wanted, now)


def _draft(path: str) -> Path:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place.with_name(f".{place.name}.draft")


def _settle(draft: Path, path: Path) -> None:
    """Give a draft its name, on the disk and not only in its cache: the lake forgets these rows next."""
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_manifest(
    connection: "DuckDBPyConnection", settings: Settings, file: _File, content: _Fingerprint, now: datetime
) -> None:
    facts = {
        "market_day": file.market_day.isoformat(),
        "site_name": file.site_name,
        "rows": content.rows,
        "checksum": str(content.checksum),
        "checksum_by": _engine(),
        "archived_at": now.astimezone(UTC).isoformat(),
    }
    path = file.path(settings, "json")
    if _is_remote(settings):
        columns = ", ".join(f"{literal(str(value))} AS {name}" for name, value in facts.items())
        connection.execute(f"COPY (SELECT {columns}) TO {literal(path)} (FORMAT json)")
        return
    draft = _draft(path)
    draft.write_text(json.dumps(facts))
    _settle(draft, Path(path))


def _engine() -> str:
    import duckdb

    return f"hash() of DuckDB {duckdb.__version__}"


def _manifest(connection: "DuckDBPyConnection", settings: Settings, file: _File) -> dict[str, Any]:
    row = connection.execute("SELECT content FROM read_text(?)", [file.path(settings, "json")]).fetchone()
    assert row is not None  # noqa: S101 (a file that is not there is an error)
    return dict(json.loads(row[0]))


def _checked(connection: "DuckDBPyConnection", settings: Settings, file: _File) -> _Fingerprint:
    """What a file holds. Raises ``ArchiveDamagedError`` where its manifest says otherwise.

    DuckDB's hash may differ between its versions: a checksum of another version is not compared.
    """
    said = _manifest(connection, settings, file)
    found = _fingerprint(connection, _file_rows(file.path(settings)))
    same_engine = said["checksum_by"] == _engine()
    if found.rows != int(said["rows"]) or (same_engine and found.checksum != int(said["checksum"])):
        raise ArchiveDamagedError(
            f"{file.path(settings)} holds {found}, and not what its manifest says. Nothing was removed from the lake. "
            "Restore the file, or remove its manifest and backfill the day."
        )
    return found


def _fingerprint(connection: "DuckDBPyConnection", rows: str) -> _Fingerprint:
    row = connection.execute(
        f"SELECT count(*), coalesce(sum(CAST(hash({COLUMNS}) AS HUGEINT)), 0) FROM ({rows})"
    ).fetchone()
    assert row is not None  # noqa: S101 (an aggregate has one row)
    return _Fingerprint(int(row[0]), int(row[1]))


def _file_rows(path: str) -> str:
    return f"SELECT {COLUMNS} FROM read_parquet({literal(path)}, hive_partitioning = false)"


def _archived_rows(settings: Settings, files: Sequence[_File]) -> str:
    """A query over files of the archive, which opens only those of the days and sites that it is filtered by."""
    if not files:
        nulls = ", ".join(f"CAST(NULL AS {c.type}) AS {c.name}" for c in TIMESERIES_RAW.stored_columns)
        return f"SELECT {nulls} WHERE false"
    paths = ", ".join(literal(f.path(settings)) for f in files)
    return (
        f"SELECT {COLUMNS} FROM read_parquet([{paths}], hive_partitioning = true, "
        "hive_types = {market_day: DATE, site_name: VARCHAR})"
    )


def _remove_from_lake(settings: Settings, file: _File, in_lake: _Fingerprint) -> bool:
    """Remove a day and site from the lake, unless it holds anything else by now than what was archived."""
    rows = f"SELECT {COLUMNS} FROM {TIMESERIES_RAW.lake_name} WHERE {file.where}"
    purpose = f"removing archived readings of {file.site_name} of {file.market_day}"
    with write_lake(settings, purpose) as connection, transaction(connection):
        if _fingerprint(connection, rows) != in_lake:
            return False
        connection.execute(f"DELETE FROM {TIMESERIES_RAW.lake_name} WHERE {file.where}")
    return True


def _current(connection: "DuckDBPyConnection", settings: Settings) -> list[_File]:
    """The file that holds, for each day and site of the archive, in their order."""
    return sorted({(f.market_day, f.site_name): f for f in _files(connection, settings)}.values())


def _files(connection: "DuckDBPyConnection", settings: Settings, *, day: str = "*", site: str = "*") -> list[_File]:
    """Every file that has its manifest, those of a day and site in the order of their numbers."""
    found = f"timeseries_raw/market_day={day}/site_name={site}/readings-*.json"
    if _is_remote(settings):
        pattern = f"{settings.archive_files}/{found}"
        paths = [path for (path,) in connection.execute("SELECT file FROM glob(?)", [pattern]).fetchall()]
    else:
        paths = [path.as_posix() for path in Path(settings.archive_files).glob(found)]
    return sorted(map(_parsed, paths))


def _parsed(path: str) -> _File:
    day, site, name = path.rsplit("/", 3)[1:]
    number = name.removeprefix("readings-").removesuffix(".json")
    return _File(
        date.fromisoformat(day.removeprefix("market_day=")), unquote(site.removeprefix("site_name=")), int(number)
    )


def _described(connection: "DuckDBPyConnection", settings: Settings, file: _File, *, removed: int = 0) -> ArchivedDay:
    said = _manifest(connection, settings, file)
    archived_at = datetime.fromisoformat(said["archived_at"])
    return ArchivedDay(
        file.market_day, file.site_name, int(said["rows"]), file.path(settings), archived_at, removed=removed
    )


def _clean(connection: "DuckDBPyConnection", settings: Settings, now: datetime) -> None:
    """Remove drafts of killed processes, and files that were superseded longer ago than ``LAKE_RETENTION``.

    Until then a published warehouse.duckdb may name them. In an object store they stay: its own rules remove them.
    """
    if _is_remote(settings):
        return
    for draft in Path(settings.archive_files).glob("timeseries_raw/*/*/.readings-*.draft"):
        draft.unlink()
    holding = {f.folder: f for f in _current(connection, settings)}
    for file in _files(connection, settings):
        latest = holding[file.folder]
        if file == latest or _described(connection, settings, latest).archived_at > now - settings.lake_retention:
            continue
        for suffix in ("parquet", "json"):
            Path(file.path(settings, suffix)).unlink(missing_ok=True)
