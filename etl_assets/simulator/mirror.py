"""The operator's folders on disk, for ``NEMWEB_URL=file:///path``: the same names and bytes as over HTTP."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Literal

from etl_assets.market_time import DISPATCH_INTERVAL, HALF_HOUR, day_start, days_between, interval_ends
from etl_assets.simulator import mms, site
from etl_assets.simulator.faults import FaultBoard
from etl_assets.simulator.market import Market
from etl_assets.simulator.site import FEEDS, Feed, Item, Site

Layout = Literal["current", "archive"]


def write_mirror(
    path: Path,
    first_day: date,
    last_day: date,
    feeds: Iterable[str] = ("DispatchIS_Reports",),
    *,
    layouts: Sequence[Layout] = ("current",),
    plain: bool = False,
    seed: int = 1,
) -> list[Path]:
    """Write the files of whole market days, both days included; returns their paths.

    ``feeds`` are folder names (``DispatchIS_Reports``, ``ROOFTOP_PV/ACTUAL``). ``current`` is a file per
    interval, ``archive`` a zip of zips per day under the archive's name. ``plain`` writes CSV instead of
    zips (current only).
    """
    now = day_start(last_day) + timedelta(days=3)
    published = Site(Market(seed), FaultBoard(lambda: now))
    written: list[Path] = []
    for feed in (FEEDS[f"{name.strip('/')}/"] for name in feeds):
        for day in days_between(first_day, last_day):
            items = [item for end in _ends(feed, day) for item in published.files(feed, end, now)]
            if "current" in layouts:
                written += [_write(path / site.CURRENT[1:] / feed.folder, item, plain=plain) for item in items]
            if "archive" in layouts:
                written.append(_bundle(path / site.ARCHIVE[1:] / feed.folder, feed, day, items))
    return written


def _ends(feed: Feed, day: date) -> list[datetime]:
    length = HALF_HOUR if feed.half_hourly else DISPATCH_INTERVAL
    return interval_ends(day, Market.trading_interval(day) if feed.name == "TRADINGIS" else length)


def _write(folder: Path, item: Item, *, plain: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = item.make(())
    name = item.line.name
    if plain:
        with zipfile.ZipFile(io.BytesIO(content)) as container:
            name = container.namelist()[0]
            content = container.read(name)
    target = folder / name
    target.write_bytes(content)
    return target


def _bundle(folder: Path, feed: Feed, day: date, items: Sequence[Item]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    span = f"{day:%Y%m%d}" if feed.name != "TRADINGIS" else f"{day:%Y%m%d}_{day:%Y%m%d}"
    target = folder / f"PUBLIC_{feed.name}_{span}.zip"
    members = ((item.line.name, item.make(())) for item in items)
    target.write_bytes(mms.archive(members, day_start(day) + site.DAILY_DELAY, level=0))
    return target
