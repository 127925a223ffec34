"""ACE's lists of sites and points: the API's page envelope, or the bare lists that its documents show.

Pure: bytes in, rows out, one answer at a time. Names of columns are those of ``ace.sites`` and ``ace.points``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from etl_assets.ace.fields import INSTANT, microseconds, number
from etl_assets.ace.page_wire import RAW_LENGTH, BadRecord, NotAPage, as_json, decode_json, shown_keys

SITE_COLUMNS = pa.schema(
    [
        ("site_name", pa.string()),
        ("client", pa.string()),
        ("nice_name", pa.string()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("archived", pa.bool_()),
    ]
)
POINT_COLUMNS = pa.schema(
    [
        ("point_name", pa.string()),
        ("client", pa.string()),
        ("point_type", pa.string()),
        ("collect_enabled", pa.bool_()),
        ("collect_interval", pa.int32()),
        ("kv_tags", pa.string()),
        ("marker_tags", pa.string()),
        ("bacnet_data", pa.string()),
        ("collect_config", pa.string()),
        ("created", INSTANT),
        ("updated", INSTANT),
    ]
)
"""A further column, ``is_configured``, comes of comparing two lists: see ``client``."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One answer: ``fetched`` = rows + invalid. ``page`` of ``pages`` counts from 1; ``page`` is 0 where not said."""

    rows: pa.Table
    invalid: tuple[BadRecord, ...]
    page: int
    pages: int

    @property
    def fetched(self) -> int:
        """Entries of the answer."""
        return int(self.rows.num_rows) + len(self.invalid)


def decode_sites(body: bytes) -> Listing:
    """Sites of the account. Raises ``NotAPage`` where the answer holds no list of them."""
    return _listing(body, "sites", SITE_COLUMNS, _site)


def decode_points(body: bytes) -> Listing:
    """Points of a site. Raises ``NotAPage`` where the answer holds no list of them."""
    return _listing(body, "points", POINT_COLUMNS, _point)


def _listing(body: bytes, what: str, schema: pa.Schema, read: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Listing:
    whole = decode_json(body)
    fields = whole if isinstance(whole, dict) else {}
    lists = [whole] if isinstance(whole, list) else [fields[k] for k in ("items", "data", what) if _has_list(fields, k)]
    if len(lists) != 1:
        got = shown_keys(fields) if isinstance(whole, dict) else type(whole).__name__
        raise NotAPage(f"Expected a list of {what} under 'items', the answer has {got}. See ACE_API_URL.")
    named = [(entry, _name(entry)) for entry in lists[0]]
    rows = [read(entry if isinstance(entry, dict) else {"name": entry}) for entry, name in named if name]
    bad = [BadRecord(as_json(entry)[:RAW_LENGTH], "name is missing") for entry, name in named if not name]
    page, pages = _count(fields.get("page")), _count(fields.get("pages"))
    return Listing(pa.Table.from_pylist(rows, schema=schema), tuple(bad), page, max(pages, 1))


def _has_list(fields: Mapping[str, Any], key: str) -> bool:
    return isinstance(fields.get(key), list)


def _name(entry: object) -> str | None:
    if isinstance(entry, dict):
        entry = entry.get("name") or entry.get("point_name") or entry.get("site_name")
    return _text(entry) if isinstance(entry, str) else None


def _site(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "site_name": _name(entry),
        "client": _text(entry.get("client")),
        "nice_name": _text(entry.get("nice_name")),
        "latitude": number(entry.get("latitude")),
        "longitude": number(entry.get("longitude")),
        "archived": _flag(entry.get("archived")),
    }


def _point(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "point_name": _name(entry),
        "client": _text(entry.get("client")),
        "point_type": _text(entry.get("point_type")),
        "collect_enabled": _flag(entry.get("collect_enabled")),
        "collect_interval": _seconds(entry.get("collect_interval")),
        **{name: _json(entry.get(name)) for name in ("kv_tags", "marker_tags", "bacnet_data", "collect_config")},
        "created": microseconds(entry.get("created")),
        "updated": microseconds(entry.get("updated")),
    }


def _text(value: object) -> str | None:
    """Text that can be stored; anything else as JSON; nothing as null."""
    if value is None or value == "":
        return None
    return value if isinstance(value, str) and value.isprintable() else as_json(value)


def _json(value: object) -> str | None:
    return None if value is None else as_json(value)


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _seconds(value: object) -> int | None:
    read = number(value)
    return int(read) if read is not None and 0 < read < 2**31 else None


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
