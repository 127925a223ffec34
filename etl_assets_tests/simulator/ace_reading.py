"""A client of the simulated ACE API that shares nothing with the code under test."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pyarrow as pa

KEY = "simulated-ace-key"
HOUR = timedelta(hours=1)
START = datetime(2026, 4, 20, 0, 30, tzinfo=UTC)
END = datetime(2026, 4, 20, 1, 10, tzinfo=UTC)
"""Three and a half hours before the simulated now: nothing of it is still to come."""

PAGES = "sites/building-a/timeseries/paginated"
Reading = tuple[str, datetime, str]


def client(url: str, key: str = KEY) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)


def window(start: datetime = START, end: datetime = END, **more: object) -> dict[str, Any]:
    return {"start_time": start.isoformat(), "end_time": end.isoformat(), "raw_data": "true", **more}


def pages(account: httpx.Client, path: str = PAGES, most: int = 400, **params: Any) -> Iterator[dict[str, Any]]:
    """The bodies of a walk, page after page."""
    asked = window(**params)
    for _ in range(most):
        body = account.get(path, params=asked).raise_for_status().json()
        yield body
        tail = body.get("pagination", body)
        if not tail["has_more"]:
            return
        asked["cursor"] = tail["next_cursor"]


def readings(bodies: Iterator[dict[str, Any]]) -> list[Reading]:
    """What a walk has read, in its order: name, instant, value as sent."""
    return [
        (sample["name"], datetime.fromisoformat(sample["time"]).replace(tzinfo=UTC), sample["value"])
        for body in bodies
        for sample in body["point_samples"]
    ]


def rows(table: pa.Table) -> list[Reading]:
    """The truth in the same form: the shortest text of a double is what the API sends."""
    return [
        (name, stamp, "NaN" if value != value else repr(value))  # noqa: PLR0124
        for name, stamp, value in zip(*(column.to_pylist() for column in table.columns), strict=True)
    ]
