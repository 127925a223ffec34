"""What a page becomes on its way into the lake: rows with their site and stamps, and records for quarantine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.ace.fields import microseconds, moment
from etl_assets.lake.tables import TIMESERIES_RAW
from etl_assets.lake.upsert import QuarantinedRecord
from etl_assets.market_time import instant_day

if TYPE_CHECKING:
    from etl_assets.ace.wire import BadRecord


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows for one table, and the columns that are the same in all of them, which need not be copied row by row."""

    rows: pa.Table
    constants: Mapping[str, str | datetime]


def stamped(rows: pa.Table, site: str, now: datetime) -> Batch:
    """Rows of a site with its name and when they were read, in the order in which the lake's files are sorted."""
    constants: dict[str, str | datetime] = {"site_name": site, "collected_at": now, "created_at": now}
    if "point_name" not in rows.column_names:
        return Batch(rows, constants)
    for name in ("quality", "metadata"):
        if len(found := rows[name].unique()) == 1 and found[0].is_valid:
            constants[name] = found[0].as_py()
            rows = rows.drop_columns([name])
    rows = rows.set_column(rows.column_names.index("point_name"), "point_name", rows["point_name"].dictionary_encode())
    return Batch(rows.take(_by_point_and_time(rows)), constants)


def _by_point_and_time(rows: pa.Table) -> pa.Array:
    """Positions of rows in the order of point and time, stable: of two with one key the later stays the later.

    By the rank of each distinct name, of which a page has some thousands, and not by its 100,000 names.
    """
    names = rows["point_name"].combine_chunks()
    names = names.chunk(0) if isinstance(names, pa.ChunkedArray) else names
    rank = np.empty(len(names.dictionary), dtype=np.int64)
    rank[pc.sort_indices(names.dictionary).to_numpy()] = np.arange(len(names.dictionary))
    return pa.array(np.lexsort((rows["timestamp"].cast(pa.int64()).to_numpy(), rank[names.indices.to_numpy()])))


def rejected_on(
    records: "Sequence[BadRecord]", site: str, day: date, *, dataset: str = TIMESERIES_RAW.full_name
) -> dict[date, list[QuarantinedRecord]]:
    """Records for quarantine by their own market day, or by ``day`` where their time cannot be read.

    Their source is the site alone: the same record, met again by the look-back, is the same one.
    """
    found: dict[date, list[QuarantinedRecord]] = {}
    for record in records:
        rejected = QuarantinedRecord(dataset, site, record.raw, record.reason)
        found.setdefault(_day_of(record.raw) or day, []).append(rejected)
    return found


def _day_of(raw: str) -> date | None:
    try:
        fields = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    at = microseconds(fields.get("time", fields.get("timestamp")))
    return instant_day(moment(at)) if at is not None else None
