"""The ACE API: what can be asked of it, and what its refusals mean.

Here: addresses and parameters, the key, the retry policy, the rate limit, lists page by page. What an answer means is
in ``wire``; how a window is walked to its end, in ``walk``.

The key travels in the Authorization header alone; no error and no log line holds it.
"""

import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, urlencode

import httpx
from httpx_retries import Retry

from etl_assets.http import (
    LONGEST_PAUSE_S,
    Answer,
    Expect,
    HttpClient,
    HttpPolicy,
    HttpStats,
    NotThere,
    SourceError,
    Unavailable,
)
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from etl_assets.ace.walk import Window
    from etl_assets.ace.wire import Listing, Page, Weather

RETRIED_STATUSES = (408, 429, *range(500, 600))
PER_PAGE = 1_000
"""Sites or points asked for at once; ACE takes a closed list of numbers."""
MOST_LISTING_PAGES = 1_000
"""A million points; a list without an end is a fault."""
JITTER = 0.1
"""Waits grow by up to so much, so that sites that failed together do not try again together."""
BODY_PATIENCE = 2
"""A body may take this many time-outs in all: with pages of 17 MB, more would hold a sync for an hour."""
RATE_LIMIT_FILE = "rate_limit.sqlite"
USER_AGENT = "etl-assets"
EMPTY_PAGE = b'{"point_samples":[],"next_cursor":null,"has_more":false}'


class UnknownSite(NotThere):
    """The account shows no such site (403 or 404)."""

    hint = "See SITES, and the list of sites that the account shows."


class AceRetry(Retry):
    """Waits by what went wrong: after 429 2, 4, 8 … units, after all else 1, 2, 3 …; ``backoff_factor`` is the unit."""

    _status: int | None = None

    def sleep(self, response: httpx.Response | Exception) -> None:
        """Wait for Retry-After if given, else by the rule."""
        self._status = response.status_code if isinstance(response, httpx.Response) else None
        super().sleep(response)

    def backoff_strategy(self) -> float:
        """Seconds to wait before the next try."""
        limited = self._status == httpx.codes.TOO_MANY_REQUESTS
        units = 2**self.attempts_made if limited else self.attempts_made
        spread = 1 + self.backoff_jitter * random.random()  # noqa: S311 - no secret, a spread
        return min(self.backoff_factor * units * spread, self.max_backoff_wait)


def ace_policy(settings: Settings, before_try: Callable[[], None]) -> HttpPolicy:
    """How ACE is asked. ``before_try`` is the rate limit's: repeated requests count as well."""
    retry = AceRetry(
        total=settings.ace_retries,
        status_forcelist=RETRIED_STATUSES,
        backoff_factor=settings.ace_retry_delay.total_seconds(),
        backoff_jitter=JITTER,
        max_backoff_wait=LONGEST_PAUSE_S,
    )
    return HttpPolicy(
        retry=retry,
        timeout=settings.ace_timeout.total_seconds(),
        concurrency=settings.site_concurrency,
        headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        patience=BODY_PATIENCE,
        before_try=before_try,
        is_whole=ends_as_it_began,
    )


def ends_as_it_began(body: bytes) -> bool:
    """Whether JSON that begins with a bracket ends with its counterpart; ACE sends long answers without a length."""
    closing = {b"{": b"}", b"[": b"]"}.get(body[:64].lstrip()[:1])
    return closing is None or body[-64:].rstrip().endswith(closing)


class AceClient:
    """One account. Threads may share it; close it, or use it in a ``with``.

    Without ``http`` it makes its own, under ``ace_policy`` and the rate limit of the data folder; then it also closes
    them. ``limiter`` takes the place of that rate limit. All methods raise a ``SourceError`` where ACE does not
    answer, and ``wire.NotAPage`` where its answer cannot be read.
    """

    def __init__(
        self, settings: Settings, http: HttpClient | None = None, limiter: Callable[[], None] | None = None
    ) -> None:
        self._root = settings.ace_api_url
        self._key = settings.ace_api_key
        self.configured_points = settings.configured_points
        self._closing: list[Callable[[], None]] = []
        self._http = http or self._own_http(settings, limiter)

    def _own_http(self, settings: Settings, limiter: Callable[[], None] | None) -> HttpClient:
        if limiter is None:
            from etl_assets.ace.rate_limit import RateLimit

            shared = RateLimit(settings.etl_data / RATE_LIMIT_FILE, settings.ace_requests_per_minute)
            self._closing.append(shared.close)
            limiter = shared.acquire
        http = HttpClient(settings, policy=ace_policy(settings, limiter))
        self._closing.append(http.close)
        return http

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Give up the connections and the rate limit's file, where they are its own."""
        while self._closing:
            self._closing.pop()()

    @property
    def stats(self) -> HttpStats:
        """Counters of all requests so far."""
        return self._http.stats

    def sites(self) -> "Iterator[pa.Table]":
        """Sites of the account, page by page, as ``wire.SITE_COLUMNS``."""
        from etl_assets.ace.wire import decode_sites

        for listing in self._listings("/sites/", decode_sites):
            yield listing.rows

    def site(self, name: str) -> dict[str, Any]:
        """One site as the API describes it. Raises ``UnknownSite``."""
        from etl_assets.ace.page_wire import decode_object

        return decode_object(self._of_site(name, "").body)

    def points(self, site: str) -> "Iterator[pa.Table]":
        """Points of a site, page by page, as ``wire.POINT_COLUMNS`` and ``is_configured``.

        That is null throughout where the API has no list of configured points.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        from etl_assets.ace.wire import decode_points

        configured = self._configured_points(site)
        for listing in self._listings(_site_path(site, "/points"), decode_points, site):
            names = listing.rows["point_name"]
            if configured is None:
                flags = pa.nulls(len(names), pa.bool_())
            else:
                flags = pc.is_in(names, value_set=pa.array(sorted(configured), pa.string()))
            yield listing.rows.append_column("is_configured", flags)

    def _configured_points(self, site: str) -> set[str] | None:
        from etl_assets.ace.wire import decode_points

        listings = self._listings(_site_path(site, "/configured_points"), decode_points, site)
        try:
            return {name for listing in listings for name in listing.rows["point_name"].to_pylist()}
        except UnknownSite as error:
            if error.status == httpx.codes.NOT_FOUND:
                # 001's API has no such list. Where it is the site that is missing, asking for its points will say so.
                return None
            raise

    def timeseries_page(self, site: str, window: "Window", *, cursor: str | None, page_size: int) -> Answer:
        """One page of a site's readings as recorded, undecoded; a window without data may be a made-up empty page."""
        params = {**_bounds(window), "page_size": page_size, "raw_data": "true"} | (
            {"cursor": cursor} if cursor else {}
        )
        try:
            return self._of_site(site, "/timeseries/paginated", params)
        except UnknownSite as error:
            if error.status == httpx.codes.NOT_FOUND and "no data for time period" in error.body.lower():
                return Answer(error.url, httpx.codes.OK, {}, EMPTY_PAGE, (str(error.status),))
            raise

    def point_timeseries(self, points: Iterable[str], window: "Window") -> "Page":
        """All readings of a few points in a window, at once: for the repair of a gap."""
        from etl_assets.ace.wire import decode_page

        url = f"{self._root}/points/get_timeseries?{urlencode(_bounds(window))}"
        asked = {"points": [{"name": name} for name in points]}
        headers = self._headers(url)
        try:
            answer = self._http.post(url, asked, headers=headers, repeatable=True)
        except SourceError as error:
            self._explain(error, url)
        return decode_page(answer.body, paginated=False).within(window.start, window.end)

    def weather(self, site: str, window: "Window") -> "Weather":
        """Weather at a site: last known values, or those of the window, by what the API has; none where it has none."""
        from etl_assets.ace.wire import NO_WEATHER, decode_weather

        try:
            return decode_weather(self._of_site(site, "/weather", _bounds(window)).body)
        except UnknownSite as error:
            if error.status == httpx.codes.NOT_FOUND:
                return NO_WEATHER
            raise

    def _listings(
        self, path: str, decode: "Callable[[bytes], Listing]", site: str | None = None
    ) -> "Iterator[Listing]":
        from etl_assets.ace.wire import NotAPage

        for number in range(1, MOST_LISTING_PAGES + 1):
            listing = decode(self._get(path, {"page": number, "per_page": PER_PAGE}, site).body)
            if listing.page not in (0, number):
                raise NotAPage(f"Asked {path} for page {number}, got page {listing.page}.")
            yield listing
            if not listing.fetched or number >= listing.pages:
                return
        raise NotAPage(f"{path} has no end: {MOST_LISTING_PAGES} pages and more.")

    def _of_site(self, site: str, path: str, params: dict[str, Any] | None = None) -> Answer:
        return self._get(_site_path(site, path), params or {}, site)

    def _get(self, path: str, params: dict[str, Any], site: str | None = None) -> Answer:
        url = f"{self._root}{path}"
        headers = self._headers(url)
        try:
            return self._http.get(url, Expect.JSON, params=params, headers=headers)
        except SourceError as error:
            self._explain(error, url, site)

    def _headers(self, url: str) -> dict[str, str]:
        key = self._key.get_secret_value()
        if not key:
            raise SourceError(
                "There is no key to ask with", url, hint="Set ACE_API_KEY, in the environment or in .env."
            )
        return {"Authorization": f"Bearer {key}"}

    def _explain(self, error: SourceError, url: str, site: str | None = None) -> NoReturn:
        """The same refusal with ACE's own words, and with what it means there."""
        if error.status is None or error.status < httpx.codes.BAD_REQUEST:
            raise error
        kind, hint = _meaning(error, site)
        body = error.body.replace(self._key.get_secret_value(), "…")
        explained = kind(f"API error {error.status}: {body}", url, error.status, hint)
        explained.body = body
        raise explained from error


def _meaning(error: SourceError, site: str | None) -> tuple[type[SourceError], str]:
    match error.status:
        case 401:
            return SourceError, "ACE does not take the key: see ACE_API_KEY, and whether it has expired."
        case 403 | 404 if site is not None:
            return UnknownSite, f"The account shows no site {site!r}, or not this part of it. {UnknownSite.hint}"
        case 429:
            return Unavailable, "ACE limits the rate: lower ACE_REQUESTS_PER_MINUTE, or try again later."
        case 500:
            return Unavailable, "ACE also answers so for a bad key: see ACE_API_KEY. Else try again later."
    return type(error), ""


def _site_path(site: str, path: str) -> str:
    return f"/sites/{quote(site, safe='')}{path}"


def _bounds(window: "Window") -> dict[str, str]:
    return {"start_time": as_time(window.start), "end_time": as_time(window.end)}


def as_time(moment: datetime) -> str:
    """``2024-01-01T00:00:00Z``, with microseconds only where there are any."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
