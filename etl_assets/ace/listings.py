"""The lists of an account: which sites there are, and which points a site has."""

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from etl_assets.ace.client import UnknownSite
from etl_assets.ace.fields import number
from etl_assets.lake.account import Account
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.tables import POINTS, SITES
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.ops.state import load_checkpoint, save_checkpoint
from etl_assets.settings import Settings, SiteSettings

if TYPE_CHECKING:
    from etl_assets.ace.client import AceClient

REFRESH = timedelta(hours=1)
"""Points come and go over days, and their list costs some ten requests a site; a tick has a hundred a minute."""

INSTANT = pa.timestamp("us", tz="UTC")


def collect_points(
    settings: Settings, client: "AceClient", site: SiteSettings, *, now: datetime, force: bool = False
) -> Account | None:
    """Bring the list of a site's points into the lake, and the site itself; None where the last list is fresh enough.

    Page by page. Raises a ``SourceError`` or ``NotAPage`` where ACE does not give the list.
    """
    name = f"points:{site.name}"
    if not force and load_checkpoint(settings, name, now=now):
        return None
    account = Account(POINTS.full_name)
    listed: set[str] = set()
    for page in client.points(site.name):
        rows = _seen(page, site.name, now)
        listed |= set(page["point_name"].to_pylist())
        with write_lake(settings, f"storing points of {site.name}") as lake, transaction(lake):
            account.add(upsert(lake, POINTS, rows, now=now))
        account.fetched += page.num_rows
    _mark_gone(settings, site.name, listed, now)
    _store_site(settings, client, site, now)
    account.check()
    save_checkpoint(settings, name, {"fetched": account.fetched}, now=now, keep=REFRESH)
    return account


def _seen(page: pa.Table, site: str, now: datetime) -> pa.Table:
    count = page.num_rows
    stamps = pa.array([now] * count, INSTANT)
    page = page.append_column("site_name", pa.array([site] * count, pa.string()))
    page = page.append_column("is_listed", pa.array([True] * count, pa.bool_()))
    return page.append_column("first_seen", stamps).append_column("last_seen", stamps)


def _mark_gone(settings: Settings, site: str, listed: set[str], now: datetime) -> None:
    """Mark the points that the account lists no more: they owe no readings. An empty list says nothing of any point."""
    with read_lake(settings) as lake:
        known = lake.execute(
            f"SELECT point_name FROM {POINTS.lake_name} WHERE site_name = ? AND is_listed IS NOT false", [site]
        ).fetchall()
    gone = sorted({name for (name,) in known} - listed)
    if not gone or not listed:
        return
    rows = pa.table({"point_name": gone, "is_listed": [False] * len(gone)})
    with write_lake(settings, f"storing points of {site}") as lake, transaction(lake):
        upsert(lake, POINTS, rows, now=now, constants={"site_name": site})


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.isprintable() else None


def _store_site(settings: Settings, client: "AceClient", site: SiteSettings, now: datetime) -> None:
    try:
        described = client.site(site.name)
    except UnknownSite:
        # 001's API describes no sites; had the account no such site, its points would have said so.
        described = {}
    row = {
        "site_name": site.name,
        "client": _text(described.get("client")),
        "nice_name": _text(described.get("nice_name")),
        "latitude": number(described.get("latitude")),
        "longitude": number(described.get("longitude")),
        "archived": described.get("archived") if isinstance(described.get("archived"), bool) else None,
        "time_zone": site.time_zone,
        "region_id": site.region_id,
        "power_points": json.dumps(site.power_points),
        "first_seen": now,
        "last_seen": now,
    }
    columns = {column.name: column for column in SITES.columns}
    kinds = {"VARCHAR": pa.string(), "DOUBLE": pa.float64(), "BOOLEAN": pa.bool_(), "TIMESTAMPTZ": INSTANT}
    rows = pa.table({n: pa.array([value], kinds[columns[n].type]) for n, value in row.items()})
    with write_lake(settings, f"storing the site {site.name}") as lake, transaction(lake):
        upsert(lake, SITES, rows, now=now)
