"""Figures as answers: JSON, made once for a publication, 304 for a browser that has it already."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec
from anyio import to_thread
from fastapi import Request, Response

from etl_assets.api.etags import etag, has_it
from etl_assets.api.parameters import YEARS, wrong

if TYPE_CHECKING:
    from etl_assets.api.warehouse import Warehouse

KEPT = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
"""A browser may keep a figure, and asks each time whether it is still the one."""

EARLIEST, LATEST = (int(datetime.fromisoformat(f"{year}-01-01T00:00Z").timestamp()) for year in (YEARS[0], YEARS[-1]))


async def of_publication(request: Request, asked: Mapping[str, Any], make: Callable[[], Any]) -> Response:
    """What ``make`` finds in the published file for what was asked: not made where the browser has it.

    ``make`` runs in a thread. Raises ``Problem`` as it does, and 503 where nothing has been published.
    """
    warehouse: Warehouse = request.app.state.warehouse
    snapshot = await to_thread.run_sync(lambda: warehouse.snapshot)
    # Another version of the package, or another address of Dagster, makes other answers of the same rows.
    form = f"{version('etl-assets')} {request.app.state.settings.dagster_url}"
    tag = etag(str(snapshot), {"path": request.url.path, **asked}, form)
    headers = {"ETag": tag, **KEPT}
    if has_it(request, tag):
        return Response(status_code=304, headers=headers)
    body = await to_thread.run_sync(lambda: msgspec.json.encode(make()))
    return Response(body, headers=headers, media_type="application/json")


async def of_now(request: Request, make: Callable[[], Any]) -> Response:
    """What ``make`` finds now, whatever it depends on; 304 where that is what the browser has."""
    body = await to_thread.run_sync(lambda: msgspec.json.encode(make()))
    headers = {"ETag": f'W/"{hashlib.sha256(body).hexdigest()[:32]}"', **KEPT}
    if has_it(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def seconds(moment: datetime | None) -> int | None:
    """An instant in whole epoch seconds."""
    return int(moment.timestamp()) if moment else None


def span(start: int | None, end: int | None, newest: int, *, usual_s: int, most_s: int) -> tuple[int, int]:
    """The stretch from ``start`` to ``end`` in epoch seconds; ``usual_s`` to the newest where they are not said.

    Raises ``Problem`` 422 where it has no length, more than ``most_s``, or lies outside the calendar.
    """
    last = newest if end is None else end
    first = last - usual_s if start is None else start
    for name, moment in (("from", first), ("to", last)):
        if not EARLIEST <= moment <= LATEST:
            raise wrong(name, f"is not between {EARLIEST} and {LATEST}, in epoch seconds")
    if first >= last:
        raise wrong("to", "is to be later than from")
    if last - first > most_s:
        raise wrong("to", f"is more than {most_s // 86_400} days after from: ask for less at once")
    return first, last
