"""Answers made of rows: the entity tag, 304, the body in the format asked for, and what goes with it.

Every route that reads the published file ends here; what it reads is a ``Query`` whose parameters were checked.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from etl_assets.api.etags import etag, has_it
from etl_assets.api.formats import Format, render
from etl_assets.api.problems import problem_responses
from etl_assets.api.published_file import Snapshot
from etl_assets.api.reading import Reading, StreamedRows, until_gone
from etl_assets.api.statements import Query
from etl_assets.api.warehouse import Warehouse

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

CACHE_CONTROL = "private, max-age=10"
"""Kept by the client alone: it came for a token. New intervals come every five minutes, ten seconds are nothing."""

VARY = "Accept, Authorization"

CLIENT_GONE = 499
"""Nobody reads it; it is the number by which logs know a client that went before the answer."""


async def answer(request: Request, query: Query, form: Format, meta: Mapping[str, Any] | None = None) -> Response:
    """The rows of a query, streamed; 304 where the client has them, and no body for HEAD."""
    warehouse: Warehouse = request.app.state.warehouse
    headers, is_known = await conditions(request, warehouse, query, form)
    if is_known:
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        return without_body(headers, form)
    request.state.route_type, request.state.cache_hit = "direct", False
    reading = Reading(warehouse, query)
    pieces = render(reading, form, partial(_meta, reading, meta or {}))
    try:
        first = await until_gone(request, partial(next, pieces), reading.interrupt)
    except Exception:
        reading.close()
        if reading.is_stopped:
            return Response(status_code=CLIENT_GONE)
        raise
    return StreamedRows(reading, first, pieces, media_type=form.media_type, headers=headers)


async def conditions(
    request: Request, warehouse: Warehouse, query: Query, form: Format
) -> tuple[dict[str, str], bool]:  # fmt: skip
    """The headers of an answer, and whether the client has said that it has it already."""
    version = await to_thread.run_sync(partial(warehouse.version, query.table, days=query.days, site=query.site))
    tag = etag(version, query.request(), form)
    headers = {"ETag": tag, "Cache-Control": CACHE_CONTROL, "Vary": VARY}
    return headers, has_it(request, tag)


def without_body(headers: Mapping[str, str], form: Format) -> Response:
    """The answer to HEAD. How long the body would be is not said: that would take making it."""
    response = Response(headers=headers, media_type=form.media_type)
    del response.headers["Content-Length"]
    return response


def _meta(reading: Reading, more: Mapping[str, Any], rows: int) -> dict[str, Any]:
    return {"rows": rows, **snapshot_meta(reading.snapshot), **more, "route": "direct", "cacheHit": False}


def snapshot_meta(snapshot: Snapshot) -> dict[str, Any]:
    """Which publication an answer is of, as ``_meta`` says it."""
    return {"snapshot": snapshot.id, "publishedAt": instant_text(snapshot.published_at)}


def instant_text(instant: datetime) -> str:
    """An instant as answers write it: ISO 8601, UTC, Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def declared(example: Mapping[str, Any], *problems: int) -> dict[int | str, dict[str, Any]]:
    """What a route that ends in ``answer`` may answer, for its OpenAPI declaration; ``example`` is a row."""
    meta = {"rows": 1, "snapshot": 4711, "publishedAt": "2026-11-22T02:01:12Z", "route": "direct", "cacheHit": False}
    rows = {"type": "array", "items": {"type": "object"}, "description": "The rows, in order."}
    schema = {
        "type": "object",
        "required": ["data", "_meta"],
        "properties": {"data": rows, "_meta": {"type": "object", "description": "Of what, and how it was come by."}},
    }
    content: dict[str, Any] = {
        Format.JSON.media_type: {"schema": schema, "example": {"data": [example], "_meta": meta}}
    }
    content |= {f.media_type: {"schema": {"type": "string", "format": "binary"}} for f in list(Format)[2:]}
    content[Format.CSV.media_type] = {"schema": {"type": "string"}}
    tag = {"ETag": {"schema": {"type": "string"}, "description": "For If-None-Match; see 304."}}
    return {
        200: {"description": "The rows, in the format asked for.", "content": content, "headers": tag},
        304: {"description": "The client has them: If-None-Match named their ETag."},
        **problem_responses(401, 403, 406, 422, 429, 500, 503, 504, *problems),
    }


def readable(router: APIRouter, path: str, **declared_as: Any) -> Callable[[Endpoint], Endpoint]:  # noqa: ANN401 (FastAPI's)
    """Register an endpoint of rows for GET and for HEAD, which is the same without the body."""

    def register(endpoint: Endpoint) -> Endpoint:
        router.get(path, response_class=Response, **declared_as)(endpoint)
        router.head(path, response_class=Response, include_in_schema=False)(endpoint)
        return endpoint

    return register
