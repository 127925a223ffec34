"""How many requests a client or an address may send: counted in moving windows, in this process's memory.

An address is counted before anything else is looked at, so that ten thousand bad tokens cost little; a client as soon
as its token is verified. Limits are texts such as ``600/minute``. Where a request is counted by both, its answer tells
of the one that is closer to its end.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal, Self

from fastapi import Request
from limits import RateLimitItem, parse
from starlette.types import ASGIApp, Receive, Scope, Send

from etl_assets.api.problems import Problem
from etl_assets.settings import Settings

Counted = Literal["client", "address", "token"]
"""What a limit is of: the requests of a client, of an address, or for tokens from an address."""

TOKEN_PATHS = frozenset({"/token", "/refresh", "/revoke", "/dashboard/session"})

MOST_REMEMBERED = 500_000
"""Requests that are remembered, of all windows together: some 20 MB. Beyond it the window that was used the longest ago
is forgotten, so that a flood from many addresses costs its senders' windows and no memory."""

NETWORK_BITS = 64
"""Of an IPv6 address: one household or machine has all addresses with the same first half."""

ADDRESSES_KNOWN = 4_096
"""Whose network is not worked out anew with each request."""


class RateLimitError(ValueError):
    """A setting that is no rate limit. The message names it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a client or address stands with its limit; ``reset_s`` is when its oldest request counts no more."""

    counted: Counted
    limit: int
    remaining: int
    reset_s: int
    is_allowed: bool

    @property
    def headers(self) -> dict[str, str]:
        """What an answer tells of it, under the names of the IETF's draft and the older ones; times in seconds."""
        limit, remaining, reset = str(self.limit), str(self.remaining), str(self.reset_s)
        return {
            "ratelimit-limit": limit,
            "ratelimit-remaining": remaining,
            "ratelimit-reset": reset,
            "x-ratelimit-limit": limit,
            "x-ratelimit-remaining": remaining,
            "x-ratelimit-reset": reset,
        }


class MovingWindows:
    """The times of the requests of late, by key. For one thread.

    Not the ``limits`` library's own memory: that never forgets a key, and walks through all of them ten milliseconds
    after each request. ``now`` gives seconds; of a clock that is set back, times to come are forgotten.
    """

    def __init__(self, now: Callable[[], float], *, most: int = MOST_REMEMBERED) -> None:
        self._now = now
        self._most = most
        self._held = 0
        self._windows: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        """How many requests are remembered."""
        return self._held

    def take(self, counted: Counted, key: str, limit: RateLimitItem) -> Standing:
        """Count a request, if there is room for it in the window."""
        now, length = self._now(), limit.get_expiry()
        window = self._window(f"{counted} {key}")
        while window and not now - length < window[0] <= now:
            window.popleft()
            self._held -= 1
        is_allowed = len(window) < limit.amount
        if is_allowed:
            window.append(now)
            self._held += 1
            self._make_room()
        reset = math.ceil(window[0] + length - now) if window else 0
        return Standing(counted, limit.amount, limit.amount - len(window), reset, is_allowed)

    def _window(self, name: str) -> "deque[float]":
        window = self._windows.setdefault(name, deque())
        self._windows.move_to_end(name)
        return window

    def _make_room(self) -> None:
        while self._held > self._most or len(self._windows) > self._most:
            _, oldest = self._windows.popitem(last=False)
            self._held -= len(oldest)


class RateLimits:
    """The three limits of the settings, and what was counted against them."""

    def __init__(self, settings: Settings, now: Callable[[], datetime]) -> None:
        self.client = parsed("RATE_LIMIT_CLIENT", settings.rate_limit_client)
        self.address = parsed("RATE_LIMIT_ADDRESS", settings.rate_limit_address)
        self.token = parsed("RATE_LIMIT_TOKEN", settings.rate_limit_token)
        self._windows = MovingWindows(lambda: now().timestamp())

    @classmethod
    def of(cls, request: Request) -> "Self | None":
        """The limits of a request's application; None where it has none."""
        return getattr(request.app.state, "rate_limits", None)

    def count_address(self, scope: Scope) -> None:
        """Count a request by its address. Raises ``Problem`` 429."""
        client = scope.get("client")
        key = network_of(client[0]) if client else ""
        if scope["method"] == "POST" and scope["path"] in TOKEN_PATHS:
            self._count(scope, "token", key, self.token)
        self._count(scope, "address", key, self.address)

    def count_client(self, scope: Scope, client_id: str) -> None:
        """Count a request by its client. Raises ``Problem`` 429."""
        self._count(scope, "client", client_id, self.client)

    def _count(self, scope: Scope, counted: Counted, key: str, limit: RateLimitItem) -> None:
        standing = self._windows.take(counted, key, limit)
        state = scope.setdefault("state", {})
        former: Standing | None = state.get("rate_limit")
        if former is None or not standing.is_allowed or standing.remaining < former.remaining:
            state["rate_limit"] = standing
        if not standing.is_allowed:
            raise _refusal(standing)


class AddressLimit:
    """Refuses the requests of an address that sends too many, before anything of them is looked at."""

    def __init__(self, app: ASGIApp, limits: RateLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raise ``Problem`` 429, or pass the request on."""
        if scope["type"] == "http":
            self._limits.count_address(scope)
        await self._app(scope, receive, send)


def count_client(request: Request, client_id: str) -> None:
    """Count a request whose token is verified, where there are limits. Raises ``Problem`` 429."""
    if limits := RateLimits.of(request):
        limits.count_client(request.scope, client_id)


def parsed(name: str, text: str) -> RateLimitItem:
    """A limit of a setting. Raises ``RateLimitError``."""
    example = "write it as a number and a unit of time, such as 600/minute"
    try:
        limit = parse(text)
    except ValueError:
        raise RateLimitError(f"{name} is no rate limit: {example}") from None
    if limit.amount < 1:
        raise RateLimitError(f"{name} allows no request at all: {example}")
    return limit


@lru_cache(maxsize=ADDRESSES_KNOWN)
def network_of(address: str) -> str:
    """What an address is counted as: itself, and of IPv6 its network."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ip_network((found, NETWORK_BITS), strict=False))
    return str(found)


def _refusal(standing: Standing) -> Problem:
    whose = {"client": "This client", "address": "This address", "token": "This address, for tokens,"}[standing.counted]
    return Problem(
        429,
        "Too Many Requests",
        f"{whose} has sent {standing.limit} requests, which is what it may; try again in {standing.reset_s} s.",
        kind="rate-limited",
        headers={"Retry-After": str(max(standing.reset_s, 1))},
    )
