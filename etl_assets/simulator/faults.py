"""Faults of the real service, declared: what each is, and a board on which they are switched on and off.

A fault applies to the requests whose path matches its pattern, for the next ``times`` of them or until it is
switched off. Faults about *intervals* change what the simulated operator has published: they apply to the
given intervals everywhere (files, archives, report), or to the newest one at the time they were switched
on.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from threading import RLock


class Scope(StrEnum):
    """What a fault acts on."""

    ANSWER = "answer"
    """The HTTP answer."""
    CONTENT = "content"
    """The bytes inside a file."""
    LISTING = "listing"
    """The page of a folder."""
    WORLD = "world"
    """What has been published at all."""
    ACE = "ace"
    """An answer of the ACE API."""
    WEBHOOK = "webhook"
    """An answer of a workflow's webhook."""


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One kind of fault: its name, what it acts on, what the real service did."""

    name: str
    scope: Scope
    meaning: str
    path: str = "*"
    """The pattern it applies to where none is given."""


_FILES = "*.zip"
_REPORT = "*/report/5MIN"
_ACE_PAGES = "*/timeseries/paginated"
_ACE_SITES = "*/sites/*"
_WEBHOOKS = "/webhook/*"
_KINDS = (
    FaultKind("too_many_requests", Scope.ANSWER, "429 with `Retry-After: 1`."),
    FaultKind("too_many_requests_silent", Scope.ANSWER, "429 without Retry-After."),
    FaultKind("blocked", Scope.ANSWER, "403 with an HTML page: the front door's rate block, and its answer to bots."),
    FaultKind("server_error", Scope.ANSWER, "503 with an HTML page."),
    FaultKind("time_out", Scope.ANSWER, "The answer is held for `seconds` (30), then 504; released at shutdown."),
    FaultKind("cut_body", Scope.ANSWER, "The connection closes in the middle of a body of announced length."),
    FaultKind("html_with_200", Scope.ANSWER, "A maintenance page with status 200 instead of the file."),
    FaultKind("rolled_off", Scope.ANSWER, "A listed file answers 404: it was removed since.", _FILES),
    FaultKind("no_content", Scope.ANSWER, "204 without a body: nothing new, keep what you have.", _REPORT),
    FaultKind(
        "cut_file",
        Scope.CONTENT,
        "A whole zip whose CSV ends in the middle of a row, without footer.",
        _FILES,
    ),
    FaultKind("corrupt_zip", Scope.CONTENT, "A zip with damaged bytes: the checksum of its member is wrong.", _FILES),
    FaultKind("wrong_footer", Scope.CONTENT, "A footer that counts more rows than the file has.", _FILES),
    FaultKind("bad_row", Scope.CONTENT, "A PRICE row whose RRP is not a number.", _FILES),
    FaultKind("short_row", Scope.CONTENT, "A PRICE row that ends after nine fields.", _FILES),
    FaultKind("missing_region", Scope.CONTENT, "A file without the rows of `region`; the footer agrees.", _FILES),
    FaultKind("quoted_commas", Scope.CONTENT, "Quoted region names, and a table with commas in quotes.", _FILES),
    FaultKind(
        "quoted_newlines",
        Scope.CONTENT,
        "A table with line breaks in quotes; the footer counts rows.",
        _FILES,
    ),
    FaultKind("empty_listing", Scope.LISTING, "A folder page without entries, as a real empty folder has."),
    FaultKind("lower_case_listing", Scope.LISTING, "A folder page with lower-case tags."),
    FaultKind("absolute_listing", Scope.LISTING, "A folder page whose links hold the whole address."),
    FaultKind("short_date_listing", Scope.LISTING, "A folder page with M/D/YYYY dates."),
    FaultKind(
        "missing_interval",
        Scope.WORLD,
        "Intervals never published: not listed, not in archive, month or report.",
    ),
    FaultKind("archive_missing_interval", Scope.WORLD, "Intervals left out of the daily and weekly archives only."),
    FaultKind(
        "revised_row",
        Scope.WORLD,
        "A second file, later and with a higher number, changes a price of `region`.",
    ),
    FaultKind("reissued_row", Scope.WORLD, "A second file, later, repeats the values with a later LASTCHANGED."),
    FaultKind("duplicate_file", Scope.WORLD, "A second file with a higher number and the very same content."),
    FaultKind("intervention", Scope.WORLD, "INTERVENTION = 1 rows beside the others; without intervals a few a day."),
    FaultKind(
        "stalling_cursor",
        Scope.ACE,
        "A page that begins and ends in one timestamp forgets the offset it began with: the cursor stands still.",
        _ACE_PAGES,
    ),
    FaultKind("expired_cursor", Scope.ACE, "400 for a request with a cursor.", _ACE_PAGES),
    FaultKind("missing_cursor", Scope.ACE, "`has_more` is true and `next_cursor` null.", _ACE_PAGES),
    FaultKind("missing_has_more", Scope.ACE, "A page without `has_more`.", _ACE_PAGES),
    FaultKind("repeated_page", Scope.ACE, "The readings of the page before instead of the cursor's own.", _ACE_PAGES),
    FaultKind("empty_pages", Scope.ACE, "A page without readings that says there are more, and where.", _ACE_PAGES),
    FaultKind("empty_window_not_found", Scope.ACE, "404 `No data for time period` for an empty window.", _ACE_PAGES),
    FaultKind("unknown_shape", Scope.ACE, "The readings are under `rows`, which no document knows.", _ACE_PAGES),
    FaultKind("both_shapes", Scope.ACE, "The readings are under `data` and again under `point_samples`.", _ACE_PAGES),
    FaultKind("record_outside_window", Scope.ACE, "A page begins with a reading an hour after the end.", _ACE_PAGES),
    FaultKind("records_out_of_order", Scope.ACE, "The readings of a page come last first.", _ACE_PAGES),
    FaultKind(
        "duplicate_records",
        Scope.ACE,
        "Every tenth reading before the page's last timestamp comes twice, first with the value -1.",
        _ACE_PAGES,
    ),
    FaultKind(
        "bad_values",
        Scope.ACE,
        "Every tenth reading, from the first, has for its value in turn null, nothing, `active`, `inf`.",
        _ACE_PAGES,
    ),
    FaultKind("missing_names", Scope.ACE, "Every tenth reading has in turn no name, an empty one, null.", _ACE_PAGES),
    FaultKind(
        "bad_times", Scope.ACE, "Every tenth reading has in turn words, month 13, null for its time.", _ACE_PAGES
    ),
    FaultKind("epoch_times", Scope.ACE, "Times are whole numbers: microseconds since 1970.", _ACE_PAGES),
    FaultKind(
        "clock_ahead",
        Scope.ACE,
        "The site's clock is ahead: readings are there up to `seconds` (30) before the time that they bear.",
        _ACE_PAGES,
    ),
    FaultKind("extra_keys", Scope.ACE, "Readings and page hold keys that no document knows.", _ACE_PAGES),
    FaultKind(
        "large_pages_break", Scope.ACE, "A page asked for with more than `limit` breaks in transfer.", _ACE_PAGES
    ),
    FaultKind("site_error", Scope.ACE, "500 `An unhandled exception occurred.` for a site.", _ACE_SITES),
    FaultKind("unknown_site", Scope.ACE, "A site is answered as one that the account does not have.", _ACE_SITES),
    FaultKind(
        "weather_null", Scope.ACE, "404 with weather that is all null, as for a site without a feed.", "*/weather"
    ),
    FaultKind("slow_webhook", Scope.WEBHOOK, "The workflow starts, and is answered after `seconds` (30).", _WEBHOOKS),
    FaultKind("failing_webhook", Scope.WEBHOOK, "500 `Error in workflow`: it started, and failed.", _WEBHOOKS),
    FaultKind("refusing_webhook", Scope.WEBHOOK, "The connection closes without any answer.", _WEBHOOKS),
    FaultKind("redirecting_webhook", Scope.WEBHOOK, "302 to the webhook `elsewhere`.", _WEBHOOKS),
)
CATALOGUE = {kind.name: kind for kind in _KINDS}


class UnknownFaultError(ValueError):
    """A name that is not in the catalogue; the message lists those that are."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Unknown fault {name!r}. Known: {', '.join(CATALOGUE)}.")


@dataclass(slots=True, eq=False)
class Fault:
    """A fault that is on. ``times`` counts down with each request it spoils; None is without end.

    A fault about intervals changes the world, not a request: its path and ``times`` play no part. ``region``,
    ``seconds`` and ``limit`` (readings a page) mean something to the kinds that name them.
    """

    kind: FaultKind
    path: str
    times: int | None = None
    intervals: frozenset[datetime] = field(default_factory=frozenset)
    region: str = "NSW1"
    seconds: float = 30.0
    limit: int = 50_000

    @property
    def name(self) -> str:
        """The fault's name in the catalogue."""
        return self.kind.name

    def matches(self, path: str) -> bool:
        """Whether a request path is spoiled.

        Patterns are shell-style and match anywhere at the end of a path.
        """
        return fnmatchcase(path, self.path) or fnmatchcase(path, f"*{self.path}")

    def describe(self) -> dict[str, object]:
        """The fault as the control endpoint shows it."""
        return {
            "name": self.name,
            "path": self.path,
            "times": self.times,
            "intervals": sorted(interval.isoformat() for interval in self.intervals),
            "region": self.region,
            "seconds": self.seconds,
            "limit": self.limit,
            "meaning": self.kind.meaning,
        }


class FaultBoard:
    """The faults that are on.

    ``newest`` gives the newest published interval, for faults without intervals.
    """

    def __init__(self, newest: Callable[[], datetime]) -> None:
        self._newest = newest
        self._faults: list[Fault] = []
        self._lock = RLock()
        self.version = 0
        """Rises whenever what has been published changes, so that caches know."""
        self.taken: Counter[str] = Counter()
        """How many requests each kind has spoilt so far."""

    def switch_on(
        self,
        name: str,
        path: str = "",
        *,
        times: int | None = None,
        intervals: Iterable[datetime] = (),
        region: str = "NSW1",
        seconds: float = 30.0,
        limit: int = 50_000,
    ) -> Fault:
        """Switch a fault on and return it, to be handed to ``switch_off``."""
        if name not in CATALOGUE:
            raise UnknownFaultError(name)
        kind = CATALOGUE[name]
        chosen = frozenset(intervals)
        if kind.scope is Scope.WORLD and not chosen and name != "intervention":
            chosen = frozenset({self._newest()})
        fault = Fault(kind, path or kind.path, times, chosen, region, seconds, limit)
        with self._lock:
            self._faults.append(fault)
            self.version += kind.scope is Scope.WORLD
        return fault

    def switch_off(self, fault: Fault | str | None = None) -> None:
        """Switch off one fault, all of a name, or (None) all; a withheld interval is thereby published."""
        with self._lock:
            gone = [on for on in self._faults if fault is None or fault in (on, on.name)]
            self._faults = [on for on in self._faults if on not in gone]
            self.version += any(on.kind.scope is Scope.WORLD for on in gone)

    def on(self) -> tuple[Fault, ...]:
        """The faults that are on now."""
        with self._lock:
            return tuple(self._faults)

    def world(self, name: str) -> tuple[Fault, ...]:
        """The faults of one kind that change what has been published."""
        return tuple(fault for fault in self.on() if fault.name == name)

    def holds(self, name: str, interval_end: datetime) -> bool:
        """Whether an interval is touched by a kind of fault."""
        return any(interval_end in fault.intervals for fault in self.world(name))

    def take(
        self, path: str, scopes: Iterable[Scope], applies: Callable[[Fault], bool] = lambda _: True
    ) -> tuple[Fault, ...]:
        """The faults of these scopes that spoil a request for ``path``; each is counted down once.

        ``applies`` says of a fault whether this request is one it can spoil at all.
        """
        wanted = frozenset(scopes)
        with self._lock:
            near = (f for f in self._faults if f.kind.scope in wanted and f.matches(path) and f.times != 0)
            hits = tuple(filter(applies, near))
            for fault in hits:
                self.taken[fault.name] += 1
                if fault.times is not None:
                    fault.times -= 1
            self._faults = [fault for fault in self._faults if fault.times != 0]
            return hits
