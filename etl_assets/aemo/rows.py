"""From what was read to rows of our tables: join, rename, keep the days that were asked for.

Pure functions on Arrow tables; nothing is fetched or stored here.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.aemo.feeds import STAMP, Feed, MmsPart
from etl_assets.aemo.ladder import Source
from etl_assets.aemo.mms import InvalidRow, MmsReading, RefusedFile
from etl_assets.lake.tables import Table
from etl_assets.lake.upsert import QuarantinedRecord

_NEM_OFFSET_US = 36_000_000_000
_DAY_US = 86_400_000_000


def rows_of(feed: Feed, reading: MmsReading, source: Source) -> pa.Table:
    """All rows of a feed in what was read, later files last, with their source; not yet limited to any day."""
    parts = [_renamed(part, reading) for part in feed.parts]
    rows = parts[0]
    for part in parts[1:]:
        rows = _joined(rows, part, feed.table.key, same_file=source is not Source.MMSDM)
    rows = rows.sort_by("source_file")
    if "semi_scheduled_generation" in rows.column_names:
        rows = _with_scheduled_generation(rows)
    return stamped(rows, source, feed.constants)


def _renamed(part: MmsPart, reading: MmsReading) -> pa.Table:
    read = reading.tables[part.mms.name]
    names = [*part.columns, "source_file"]
    columns = [read[name] for name in part.columns.values()]
    return pa.table([*columns, pc.cast(read["source_file"], pa.string())], names=names)


def _joined(left: pa.Table, right: pa.Table, key: Sequence[str], *, same_file: bool) -> pa.Table:
    """Two parts of a row side by side. Parts of one file belong together; monthly files hold one part each."""
    on = [*key, "source_file"] if same_file else list(key)
    shared = [name for name in right.column_names if name in left.column_names and name not in on]
    return left.join(right.drop_columns(shared), keys=on, join_type="full outer")


def _with_scheduled_generation(rows: pa.Table) -> pa.Table:
    """The 5MIN report gives it; the dispatch files give its parts. Figures have five decimals at most.

    Dividing a whole number gives the double that is nearest to the decimal; ``round`` with digits does not.
    """
    difference = pc.subtract(rows["dispatchable_generation"], rows["semi_scheduled_generation"])
    return rows.append_column("scheduled_generation", pc.divide(pc.round(pc.multiply(difference, 1e5)), 1e5))


def stamped(rows: pa.Table, source: Source, constants: object = None) -> pa.Table:
    """Rows with the columns that say where they came from, and those that are the same for all."""
    fixed = {**(constants if isinstance(constants, dict) else {}), "source": source.value}
    for name, value in fixed.items():
        rows = rows.append_column(name, pa.array([value] * rows.num_rows, pa.string()))
    return rows


def collected(rows: pa.Table, now: datetime) -> pa.Table:
    """Rows with the time at which they were read."""
    return rows.append_column("collected_at", pa.repeat(pa.scalar(now, STAMP), rows.num_rows))


def within(rows: pa.Table, table: Table, days: Collection[date]) -> pa.Table:
    """The rows that belong to some market days."""
    instants = pc.cast(rows[table.time], pa.int64())
    number = pc.divide(pc.add(instants, _NEM_OFFSET_US - 1), _DAY_US)
    market_days = pc.cast(pc.cast(number, pa.int32()), pa.date32())
    return rows.filter(pc.is_in(market_days, pa.array(sorted(days), pa.date32())))


def quarantined(
    feeds: Sequence[Feed], invalid: Iterable[InvalidRow], refused: Iterable[RefusedFile]
) -> list[tuple[Feed, QuarantinedRecord, bool]]:
    """What could not be accepted, with the feed it was meant for; the flag says record (true) or whole file."""
    found = []
    for row in invalid:
        feed = _meant_for(feeds, row.raw)
        place = f"{row.source_file} line {row.line}"
        found.append((feed, QuarantinedRecord(feed.name, place, row.raw, row.reason), True))
    whole = [QuarantinedRecord(feeds[0].name, file.source_file, "", file.reason) for file in refused]
    return [*found, *((feeds[0], record, False) for record in whole)]


def _meant_for(feeds: Sequence[Feed], raw: str) -> Feed:
    for feed in feeds:
        if any(raw.startswith(f"D,{part.mms.name.replace('.', ',')},") for part in feed.parts):
            return feed
    return feeds[0]
