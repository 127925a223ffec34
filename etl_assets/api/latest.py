"""The newest interval of each region: made once for each publication and format, then handed out as it is.

It is what most clients ask for, every few seconds; so there is no query, no rendering and no waiting in its way.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from fastapi import Response

from etl_assets.api.answers import CACHE_CONTROL, VARY, snapshot_meta
from etl_assets.api.data_queries import latest_statements
from etl_assets.api.etags import etag
from etl_assets.api.formats import Format, render
from etl_assets.api.published_file import snapshot_of
from etl_assets.api.regions import links_of
from etl_assets.api.warehouse import Warehouse
from etl_assets.lake.tables import DISPATCH_REGION

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


FIRST_DAY = date(1998, 12, 1)
"""Where there are no rows yet, any day will do."""


@dataclass(frozen=True, slots=True)
class Latest:
    """An answer that is ready: its body, its entity tag, how many rows it has, and its headers as they are sent."""

    body: bytes
    tag: str
    rows: int
    raw_headers: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, body: bytes, tag: str, rows: int, form: Format) -> "Latest":
        """With the headers that go with them."""
        headers = {"ETag": tag, "Cache-Control": CACHE_CONTROL, "Vary": VARY}
        made = Response(body, headers=headers, media_type=form.media_type)
        return cls(body, tag, rows, tuple(made.raw_headers))


class ReadyResponse(Response):
    """An answer of which nothing is to be made any more."""

    def __init__(self, ready: Latest) -> None:
        self.status_code = 200
        self.background = None
        self.body = ready.body
        # A copy: what stands around the routes adds to it.
        self.raw_headers = list(ready.raw_headers)


async def latest(warehouse: Warehouse, form: Format) -> Latest:
    """The answer in a format. Raises ``Problem`` 503 where nothing has been published."""
    name = f"latest as {form}"
    made: Latest | None = warehouse.made(name)
    if made is None:
        made = await to_thread.run_sync(warehouse.once, name, partial(_made, warehouse, form))
    return made


def _made(warehouse: Warehouse, form: Format, connection: "DuckDBPyConnection") -> Latest:
    # A newer file may have come meanwhile: then this is made for requests that are being answered, and not again.
    last = warehouse.last_day(DISPATCH_REGION.full_name) or FIRST_DAY
    regions, flows = (list(statement.batches(connection)) for statement in latest_statements(last))
    rows = sum(batch.num_rows for batch in regions)
    if form is not Format.JSON:
        body = b"".join(render(regions, form))
        return Latest.of(body, etag("", {"body": hashlib.sha256(body).hexdigest()}, form), rows, form)
    data = _with_flows(_records(regions), _records(flows))
    meta = {"rows": rows, **snapshot_meta(snapshot_of(connection)), "route": "direct", "cacheHit": False}
    body = json.dumps({"data": data, "_meta": meta}, ensure_ascii=False, separators=(",", ":")).encode()
    return Latest.of(body, etag("", {"data": data}, form), rows, form)


def _records(batches: "Iterable[pa.RecordBatch]") -> list[dict[str, Any]]:
    """A few rows as JSON has them: through the text that all answers have."""
    records: list[dict[str, Any]] = json.loads(b"".join(render(batches, Format.JSON)))["data"]
    return records


def _with_flows(regions: list[dict[str, Any]], flows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each region with the flows of the interconnectors that begin or end in it."""
    by_name = {flow["interconnector_id"]: flow for flow in flows}
    return [
        {**region, "interconnectors": [by_name[i] for i in _links(region["region_id"]) if i in by_name]}
        for region in regions
    ]


def _links(region_id: str) -> tuple[str, ...]:
    return tuple(link.interconnector_id for link in links_of(region_id))
