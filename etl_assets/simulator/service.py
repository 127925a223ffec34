"""The simulated operator: a market, a clock, a board of faults, and an answer to every path.

Beside it the simulated ACE account (``ace``) and the receivers of KPIs' webhooks (``webhooks``), which share the clock
and the faults.

No network here.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from hashlib import blake2b
from http import HTTPStatus
from re import compile as pattern
from threading import RLock

from etl_assets.market_time import NEM_TIME, day_start, utc_now
from etl_assets.simulator import monthly, site
from etl_assets.simulator.ace import AceApi
from etl_assets.simulator.ace_world import AceWorld
from etl_assets.simulator.answers import Answer, error_page, spoiled
from etl_assets.simulator.dashboard import five_minute_report, newest_interval
from etl_assets.simulator.faults import Fault, FaultBoard, Scope
from etl_assets.simulator.listing import Line, Style, page
from etl_assets.simulator.market import Market
from etl_assets.simulator.network import REGION_NAMES
from etl_assets.simulator.site import FEEDS, SCADA, Item, Site
from etl_assets.simulator.webhooks import REGISTRY_PATH, Webhooks, registry

REPORT_PATH = "/aemo/apps/api/report/5MIN"
PRICE_AND_DEMAND_PATH = "/aemo/data/nem/priceanddemand/"
CACHED_BYTES = 96 * 2**20
"""Generated files kept: a few archives and monthly tables, which cost seconds to make."""
_FOLDERS_CACHED = 16
_MONTHS = range(1, 13)
_STRAY_AGE = timedelta(days=251)
"""The DUPLICATE folder holds one old file."""

_MONTH_PATH = pattern(rf"{site.MMSDM}(\d{{4}})/MMSDM_\1_(\d\d)/{site.MMSDM_TAIL}$")
_AGGREGATED = pattern(r"PRICE_AND_DEMAND_(\d{4})(\d\d)_([A-Z]+1)\.csv$")
_STYLES = {
    "lower_case_listing": Style.LOWER_CASE,
    "absolute_listing": Style.ABSOLUTE,
    "short_date_listing": Style.SHORT_DATES,
}


class Clock:
    """The simulated time: follows ``source`` until it is set, and stands still from then on."""

    def __init__(self, source: Callable[[], datetime] = utc_now) -> None:
        self._source = source
        self._set: datetime | None = None

    def __call__(self) -> datetime:
        """The time now, aware, in NEM time."""
        return (self._set or self._source()).astimezone(NEM_TIME)

    def set_time(self, now: datetime) -> None:
        """Stop the clock at an instant (aware)."""
        self._set = now.astimezone(NEM_TIME)

    def advance(self, by: timedelta) -> None:
        """Move the stopped clock on."""
        self.set_time(self() + by)


class Simulator:
    """The operator's web sites at a simulated time. Thread-safe."""

    def __init__(self, seed: int = 1, now: Callable[[], datetime] = utc_now, *, ace: AceWorld | None = None) -> None:
        self.market = Market(seed)
        self.clock = Clock(now)
        self.faults = FaultBoard(lambda: newest_interval(self.clock()))
        self.ace = AceApi(ace or AceWorld(seed), self.clock, self.faults)
        self.webhooks = Webhooks(self.clock, self.faults)
        self._lock = RLock()
        self._site = Site(self.market, self.faults)
        self._site_version = self.faults.version
        self._folders: OrderedDict[tuple[object, ...], dict[str, Item] | None] = OrderedDict()
        self._files: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def set_time(self, now: datetime) -> None:
        """Stop the clock at an instant (aware)."""
        self.clock.set_time(now)

    def advance(self, by: timedelta) -> None:
        """Move the clock on."""
        self.clock.advance(by)

    @property
    def site(self) -> Site:
        """What is published, after the faults that are on."""
        with self._lock:
            if self._site_version != self.faults.version:
                self._site_version = self.faults.version
                self._site = Site(self.market, self.faults)
            return self._site

    def answer(self, method: str, path: str, *, body: bytes = b"", root: str = "") -> Answer:
        """The answer to a request, faults included; ``path`` is decoded once, as a server does."""
        faults = self.faults.take(path, (Scope.ANSWER, Scope.CONTENT, Scope.LISTING))
        failure = spoiled(faults)
        if failure is not None:
            return failure
        with self._lock:
            answer = self._route(method, path, body, root, faults)
        if any(fault.name == "cut_body" for fault in faults) and answer.status == HTTPStatus.OK:
            return replace(answer, cut=True)
        return answer

    def _route(self, method: str, path: str, body: bytes, root: str, faults: Sequence[Fault]) -> Answer:
        if path == REPORT_PATH:
            return self._report(method, body)
        if method not in ("GET", "HEAD"):
            return error_page(405, "Method Not Allowed")
        if path.startswith(PRICE_AND_DEMAND_PATH):
            return self._aggregated(path)
        if path == REGISTRY_PATH:
            return Answer(200, registry(root), "application/json")
        if path.endswith("/"):
            return self._listing(path, root, faults)
        return self._file(path, faults)

    def _report(self, method: str, body: bytes) -> Answer:
        if method != "POST" or not _is_request(body):
            return error_page(500, "Internal Server Error")
        content = five_minute_report(self.site.final.market, self.clock(), self.site.withheld)
        return Answer(200, content, "application/json", {"Cache-Control": "max-age=4"})

    def _aggregated(self, path: str) -> Answer:
        match = _AGGREGATED.fullmatch(path.removeprefix(PRICE_AND_DEMAND_PATH))
        if match is None or match[3] not in REGION_NAMES or int(match[2]) not in _MONTHS:
            return error_page(404, "Not Found")
        month = date(int(match[1]), int(match[2]), 1)
        now = self.clock()
        if month < date(1998, 12, 1):
            return error_page(404, "Not Found")
        content = self._cached(
            (path, now.date(), self.faults.version), lambda: self.site.price_and_demand(month, match[3], now)
        )
        return error_page(404, "Not Found") if content is None else _download(content, "text/csv", now)

    def _listing(self, path: str, root: str, faults: Sequence[Fault]) -> Answer:
        names = {fault.name for fault in faults}
        items = self._folder(path)
        folders = self._subfolders(path)
        if items is None and not folders:
            return error_page(404, "Not Found")
        lines = [*folders, *(item.line for item in (items or {}).values())]
        styles = [style for name, style in _STYLES.items() if name in names]
        return Answer(200, page(path, [] if "empty_listing" in names else lines, styles, root))

    def _file(self, path: str, faults: Sequence[Fault]) -> Answer:
        folder, _, name = path.rpartition("/")
        item = (self._folder(f"{folder}/") or {}).get(name.replace("%23", "#"))
        if item is None or _rolled_off(item, faults):
            return error_page(404, "Not Found")
        contents = [f for f in faults if f.kind.scope is Scope.CONTENT and _applies(f, item)]
        key = (
            path,
            self.faults.version,
            *(sorted((f.name, f.region, *map(str, sorted(f.intervals))) for f in contents)),
        )
        content = self._cached(key, lambda: item.make(contents)) or b""
        return _download(content, "application/x-zip-compressed", item.line.modified)

    def _folder(self, path: str) -> dict[str, Item] | None:
        now = self.clock()
        key = (path, now.replace(second=0, microsecond=0), self.faults.version)
        if key not in self._folders:
            items = self._items(path, now)
            self._folders[key] = None if items is None else {item.line.name: item for item in items}
            while len(self._folders) > _FOLDERS_CACHED:
                self._folders.popitem(last=False)
        return self._folders[key]

    def _items(self, path: str, now: datetime) -> list[Item] | None:
        for parent, files in ((site.CURRENT, self.site.current), (site.ARCHIVE, self.site.archive)):
            feed = FEEDS.get(path.removeprefix(parent)) if path.startswith(parent) else None
            if feed is not None:
                return files(feed, now)
        if path == f"{site.CURRENT}{SCADA.folder}DUPLICATE/":
            return list(self.site.files(SCADA, newest_interval(day_start((now - _STRAY_AGE).date())), now))
        match = _MONTH_PATH.fullmatch(path)
        if match and int(match[2]) in _MONTHS:
            month = date(int(match[1]), int(match[2]), 1)
            return (self.site.mmsdm(month, now) or None) if month >= monthly.FIRST_MMSDM_MONTH else None
        return None

    def _subfolders(self, path: str) -> list[Line]:
        known = [f"{parent}{folder}" for parent in (site.CURRENT, site.ARCHIVE) for folder in FEEDS]
        known += [f"{site.CURRENT}{SCADA.folder}DUPLICATE/", *self._month_folders()]
        names = {full.removeprefix(path).split("/")[0] for full in known if full.startswith(path) and full != path}
        made = datetime(2017, 5, 12, 10, 56, tzinfo=NEM_TIME)
        return [Line(name, made) for name in sorted(names)]

    def _month_folders(self) -> list[str]:
        last = self.clock().date() - timedelta(days=39)
        return [
            f"{site.MMSDM}{month:%Y}/MMSDM_{month:%Y_%m}/{site.MMSDM_TAIL}"
            for month in monthly.months(monthly.FIRST_MMSDM_MONTH, last)
        ]

    def _cached(self, key: tuple[object, ...], make: Callable[[], bytes | None]) -> bytes | None:
        if key in self._files:
            self._files.move_to_end(key)
            return self._files[key]
        content = make()
        if content is not None:
            self._files[key] = content
            while sum(map(len, self._files.values())) > CACHED_BYTES and len(self._files) > 1:
                self._files.popitem(last=False)
        return content


def _is_request(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False


def _applies(fault: Fault, item: Item) -> bool:
    """A fault with intervals spoils their files (in archives too).

    One without spoils every file it matches.
    """
    return not fault.intervals or item.interval is None or item.interval in fault.intervals


def _rolled_off(item: Item, faults: Sequence[Fault]) -> bool:
    return any(fault.name == "rolled_off" and _applies(fault, item) for fault in faults)


def _download(content: bytes, media: str, modified: datetime) -> Answer:
    utc = modified.astimezone(NEM_TIME) - timedelta(hours=10)
    headers = {
        "ETag": f'"{blake2b(content, digest_size=8).hexdigest()}"',
        "Last-Modified": f"{utc:%a, %d %b %Y %H:%M:%S} GMT",
    }
    return Answer(200, content, media, headers)
