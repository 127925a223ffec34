"""The ACE account over HTTP: the vendor's API under ``/api``, that of 001's documents under ``/v1``.

Endpoints, closed lists of sizes, errors and their bodies are those of the real API, its faults included where
``faults`` has them switched on. No network here.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus

import numpy as np

from etl_assets.simulator import ace_wire as wire
from etl_assets.simulator.ace_damage import DAMAGING, damaged
from etl_assets.simulator.ace_pages import Page, Position, Window, last_timestamp
from etl_assets.simulator.ace_requests import (
    INVALID,
    PAGE_SIZES,
    PER_PAGE,
    AceRequest,
    Ask,
    Refusal,
    as_json,
    not_found,
    unhandled,
)
from etl_assets.simulator.ace_samples import Samples, microseconds
from etl_assets.simulator.ace_sites import Layout
from etl_assets.simulator.ace_wire import KEYS, Json, Shape
from etl_assets.simulator.ace_world import AceWorld
from etl_assets.simulator.answers import Answer, spoiled
from etl_assets.simulator.faults import FaultBoard, Scope

DEMO_ACE_KEY = "simulated-ace-key"
"""The key that the simulated account takes."""


class AceApi:
    """Answers for a world at a simulated time. Thread-safe."""

    def __init__(
        self, world: AceWorld, clock: Callable[[], datetime], faults: FaultBoard, key: str = DEMO_ACE_KEY
    ) -> None:
        self.world = world
        self.clock = clock
        self.faults = faults
        self.key = key

    def answer(self, request: AceRequest) -> Answer:
        """The answer to a request, faults included."""
        ask = Ask(request, self.clock())
        ask.faults = self.faults.take(ask.path, (Scope.ANSWER, Scope.ACE), ask.applies)
        failure = spoiled(ask.faults)
        if failure is not None:
            return failure
        try:
            self._let_in(ask)
            answer = self._route(ask)
        except Refusal as refusal:
            return refusal.answer
        cut = answer.status == HTTPStatus.OK and ask.spoilt & {"cut_body", "large_pages_break"}
        return replace(answer, cut=True) if cut else answer

    def _let_in(self, ask: Ask) -> None:
        """The real API answers a wrong key with 500; 001's documents say 401."""
        given = ask.request.authorization
        if not given:
            raise Refusal(401, "Missing Authorization Header")
        if given != f"Bearer {self.key}":
            raise unhandled() if ask.shape is Shape.ACE else Refusal(401, "Invalid API key")

    def _route(self, ask: Ask) -> Answer:
        if (ask.request.method, ask.segments) == ("POST", ["points", "get_timeseries"]):
            return self._of_points(ask, _posted_names(ask.request.body))
        if ask.request.method not in ("GET", "HEAD"):
            raise Refusal(405, "The method is not allowed for the requested URL.")
        match ask.segments:
            case ["sites"]:
                return _envelope(ask, self._sites())
            case ["sites", name]:
                return self._one_site(ask, name)
            case ["sites", name, *rest]:
                return self._of_site(ask, name, tuple(rest))
            case ["points"]:
                return _envelope(ask, [point for name in self.world.sites for point in self._points(name)])
            case ["points", name, *rest]:
                return self._of_point(ask, name, rest)
            case _:
                raise not_found()

    def _sites(self) -> list[Json]:
        return [wire.site(place, told) for place, told in enumerate(self.world.sites.values())]

    def _points(self, site: str) -> tuple[Json, ...]:
        return wire.points(self.world.layout(site))

    def _one_site(self, ask: Ask, name: str) -> Answer:
        if "site_error" in ask.spoilt:
            raise unhandled()
        if name not in self.world.sites or "unknown_site" in ask.spoilt:
            return as_json(wire.NO_SITE, 403)
        return as_json(next(told for told in self._sites() if told["name"] == name))

    def _of_site(self, ask: Ask, site: str, rest: tuple[str, ...]) -> Answer:
        if "site_error" in ask.spoilt:
            raise unhandled()
        routes: dict[tuple[str, ...], Callable[[Ask, str], Answer]] = {
            ("points",): self._site_points,
            ("configured_points",): self._configured_points,
            ("timeseries",): self._timeseries,
            ("timeseries", "paginated"): self._paginated,
            ("weather",): self._weather,
        }
        if rest not in routes:
            raise not_found()
        if site not in self.world.sites or "unknown_site" in ask.spoilt:
            raise Refusal(404, f"Site {site} not found")
        return routes[rest](ask, site)

    def _site_points(self, ask: Ask, site: str) -> Answer:
        return _envelope(ask, _between(ask, self._points(site)))

    def _configured_points(self, ask: Ask, site: str) -> Answer:
        configured = [point for point in self._points(site) if point["collect_enabled"]]
        return _envelope(ask, _between(ask, configured))

    def _timeseries(self, ask: Ask, site: str) -> Answer:
        window = self._window(ask, site, raw=True)
        body = _object({KEYS[ask.shape].records: wire.records(self.world.layout(site), window.all(), ask.shape)})
        return Answer(200, body, "application/json")

    def _window(self, ask: Ask, site: str, *, raw: bool) -> Window:
        start, end = ask.window()
        ahead = sum(fault.seconds for fault in ask.faults if fault.name == "clock_ahead")
        return Window(self.world, site, start, end, microseconds(ask.as_of + timedelta(seconds=ahead)), raw)

    def _paginated(self, ask: Ask, site: str) -> Answer:
        size = ask.choice("page_size", 10_000, PAGE_SIZES)
        window = self._window(ask, site, raw=ask.flag("raw_data"))
        position, spaces = self._position(ask)
        page = _spoilt_page(ask, window, position, size)
        if not len(page.samples) and "empty_window_not_found" in ask.spoilt:
            raise Refusal(404, "No data for time period")
        # Each empty page has a cursor of its own, or a client would only see the same cursor twice.
        again = spaces + 1 if "empty_pages" in ask.spoilt else 0
        cursor = wire.encoded(_told(ask, page, position), ask.shape, spaces=again)
        body = self._page_body(ask, window, page.samples, cursor)
        if ask.spoilt & DAMAGING:
            told = damaged(json.loads(body), ask.faults, ask.shape, window.end)
            body = json.dumps(told).encode()
        return Answer(200, body, "application/json")

    def _position(self, ask: Ask) -> tuple[Position | None, int]:
        cursor = ask.query.get("cursor")
        if not cursor:
            return None, 0
        if "expired_cursor" in ask.spoilt:
            raise Refusal(400, "The cursor has expired")
        try:
            return wire.decoded(cursor, ask.shape)
        except ValueError:
            raise Refusal(400, INVALID, cursor="The cursor is not valid") from None

    def _page_body(self, ask: Ask, window: Window, samples: Samples, cursor: str | None) -> bytes:
        tail: Json = {"next_cursor": cursor, "has_more": cursor is not None}
        records = wire.records(self.world.layout(window.site), samples, ask.shape)
        if ask.shape is Shape.ACE:
            return _object({"point_samples": records}, tail)
        return _object({"data": records}, {"pagination": tail, "total_count": window.count()})

    def _weather(self, ask: Ask, site: str) -> Answer:
        layout = self.world.layout(site)
        none = "weather_null" in ask.spoilt or not layout.weather
        if ask.shape is Shape.SEED:
            return as_json({"data": [] if none else wire.observations(layout, self._window(ask, site, raw=True).all())})
        if none:
            return as_json({"weather": wire.NO_WEATHER}, 404)
        return as_json({"weather": wire.last_weather(self.world, site, ask.as_of)})

    def _of_point(self, ask: Ask, name: str, rest: Sequence[str]) -> Answer:
        found = self._place(name)
        if found is None:
            raise Refusal(404, f"Point {name} not found")
        if not rest:
            layout, number = found
            return as_json(wire.points(layout)[number])
        if list(rest) == ["timeseries"]:
            return self._of_points(ask, [name])
        raise not_found()

    def _of_points(self, ask: Ask, names: Sequence[str]) -> Answer:
        """The readings of some points, site by site; names that are not there have none."""
        ask.window()
        wanted: dict[str, list[int]] = {}
        for layout, number in filter(None, map(self._place, names)):
            wanted.setdefault(layout.site.name, []).append(number)
        parts = [self._chosen(ask, site, numbers) for site, numbers in wanted.items()]
        joined = b",".join(part for part in parts if part)
        return Answer(200, _object({KEYS[ask.shape].records: joined}), "application/json")

    def _chosen(self, ask: Ask, site: str, numbers: Sequence[int]) -> bytes:
        samples = self._window(ask, site, raw=True).all()
        chosen = samples.take(np.flatnonzero(np.isin(samples.point, list(numbers))))
        return wire.records(self.world.layout(site), chosen, ask.shape)

    def _place(self, name: str) -> tuple[Layout, int] | None:
        layouts = map(self.world.layout, self.world.sites)
        return next(((layout, layout.number[name]) for layout in layouts if name in layout.number), None)


def is_ace(raw_path: str) -> bool:
    """Whether a path, undecoded, is the ACE account's."""
    return raw_path.startswith(tuple(f"/{shape}/" for shape in Shape))


def _spoilt_page(ask: Ask, window: Window, position: Position | None, size: int) -> Page:
    """The page that a position asks for, or the one that a fault gives instead."""
    page = window.page(position, size)
    if "empty_pages" in ask.spoilt:
        return Page(page.samples.take(slice(0)), position or Position(0, window.start))
    if "repeated_page" in ask.spoilt and position is not None:
        return replace(page, samples=window.page_before(position, size))
    return page


def _told(ask: Ask, page: Page, position: Position | None) -> Position | None:
    """Where the answer says that the next page begins."""
    if page.next is None or position is None or "stalling_cursor" not in ask.spoilt or not len(page.samples):
        return page.next
    last, given = last_timestamp(page.samples)
    stalls = position.time == last == int(page.samples.time[0])
    return Position(given, last) if stalls else page.next


def _posted_names(body: bytes) -> list[str]:
    """The names in ``{"points": [{"name": …}]}``; the vendor's own client sends bare names there."""
    try:
        points = json.loads(body)["points"]
        return [point["name"] if isinstance(point, dict) else str(point) for point in points]
    except (ValueError, KeyError, TypeError):
        raise Refusal(400, INVALID, points="'points' is a required property") from None


def _between(ask: Ask, points: Iterable[Json]) -> list[Json]:
    """Points made and changed within the times asked for, both included."""
    kept = list(points)
    for field in ("created", "updated"):
        after, before = ask.since(f"{field}_after"), ask.since(f"{field}_before")
        if after is not None:
            kept = [point for point in kept if microseconds(wire.utc(point[field])) >= after]
        if before is not None:
            kept = [point for point in kept if microseconds(wire.utc(point[field])) <= before]
    return kept


def _envelope(ask: Ask, items: Sequence[Json]) -> Answer:
    """One page of a list, with how many there are in all."""
    page, per_page = ask.positive("page"), ask.choice("per_page", 10, PER_PAGE)
    shown = list(items[(page - 1) * per_page : page * per_page])
    pages = -(-len(items) // per_page)
    return as_json({"items": shown, "page": page, "pages": pages, "per_page": per_page, "total": len(items)})


def _object(lists: dict[str, bytes], rest: Json | None = None) -> bytes:
    """A JSON object of lists whose items are written already, and of other values."""
    parts: list[bytes] = []
    for name, items in lists.items():
        parts += [b",", json.dumps(name).encode(), b":[", items, b"]"]
    for name, value in (rest or {}).items():
        parts += [b",", json.dumps(name).encode(), b":", json.dumps(value).encode()]
    return b"".join([b"{", *parts[1:], b"}"])
