"""Limits of requests by client and address: exact, told in headers, and bounded in memory whoever asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from limits import parse

from etl_assets.api.guards import RequestFrame
from etl_assets.api.limits import AddressLimit, MovingWindows, RateLimitError, RateLimits, count_client, network_of
from etl_assets.settings import Settings
from etl_assets_tests.api.serving import served


@dataclass
class Clock:
    """A clock that a test sets."""

    moment: datetime = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def client_of(request: Request) -> None:
    """Stands for a verified token: its client is in a header."""
    if name := request.headers.get("client"):
        count_client(request, name)


def application(settings: Settings, clock: Clock) -> FastAPI:
    app = FastAPI()
    app.state.rate_limits = RateLimits(settings, clock)
    app.add_middleware(AddressLimit, app.state.rate_limits)
    app.add_middleware(RequestFrame, clock)

    @app.get("/read")
    def read(_: Annotated[None, Depends(client_of)]) -> str:
        return "read"

    @app.post("/token")
    def token() -> str:
        return "token"

    return app


@contextmanager
def limited(tmp_path: Path, **limits: str) -> Iterator[tuple[httpx.Client, Clock]]:
    clock = Clock()
    settings = Settings(_env_file=None, etl_data=tmp_path, **limits)
    with served(application(settings, clock)) as it, httpx.Client(base_url=it.url) as http:
        yield http, clock


def told(answer: httpx.Response) -> tuple[str, str, str]:
    names = ("limit", "remaining", "reset")
    assert [answer.headers[f"x-ratelimit-{n}"] for n in names] == [answer.headers[f"ratelimit-{n}"] for n in names]
    limit, remaining, reset = (answer.headers[f"ratelimit-{n}"] for n in names)
    return limit, remaining, reset


def test_an_address_may_send_as_many_as_its_limit_says_and_then_waits(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_address="3/minute") as (http, clock):
        first = http.get("/read")
        clock.advance(20)
        others = [http.get("/read"), http.get("/read")]
        refused = http.get("/read")
        clock.advance(refused_for := int(refused.headers["retry-after"]))
        again = http.get("/read")

    assert [answer.status_code for answer in (first, *others)] == [200, 200, 200]
    assert told(first) == ("3", "2", "60")
    assert told(others[1]) == ("3", "0", "40")
    assert refused.status_code == 429
    assert refused.json()["type"] == "/problems/rate-limited"
    assert refused_for == 40
    assert again.status_code == 200


def test_requests_that_are_refused_do_not_count(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_address="1/minute") as (http, clock):
        http.get("/read")
        for _ in range(5):
            clock.advance(10)
            assert http.get("/read").status_code == 429
        clock.advance(10)

        assert http.get("/read").status_code == 200


def test_a_client_has_a_limit_of_its_own_beside_its_address(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_client="2/minute", rate_limit_address="10/minute") as (http, _):
        busy = [http.get("/read", headers={"client": "a"}) for _ in range(3)]
        other = http.get("/read", headers={"client": "b"})

    assert [answer.status_code for answer in busy] == [200, 200, 429]
    assert "This client" in busy[2].json()["detail"]
    assert told(other) == ("2", "1", "60")


def test_an_answer_tells_of_the_limit_that_is_closer(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_client="9/minute", rate_limit_address="4/minute") as (http, _):
        answer = http.get("/read", headers={"client": "a"})

    assert told(answer)[:2] == ("4", "3")


def test_requests_for_tokens_are_fewer(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_token="2/minute") as (http, _):  # noqa: S106 (a limit)
        asked = [http.post("/token").status_code for _ in range(3)]
        read = http.get("/read").status_code

    assert asked == [200, 200, 429]
    assert read == 200


def test_an_unknown_address_of_the_api_is_counted_too(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit_address="2/minute") as (http, _):
        found = [http.get("/nothing").status_code for _ in range(3)]

    assert found == [404, 404, 429]


@pytest.mark.parametrize(
    ("name", "text"), [("rate_limit_client", "many"), ("rate_limit_address", ""), ("rate_limit_token", "0/minute")]
)
def test_a_setting_that_is_no_limit_is_named(name: str, text: str) -> None:
    limits = Settings(_env_file=None).model_copy(update={name: text})

    with pytest.raises(RateLimitError, match=f"{name.upper()} .*: write it as a number and a unit of time"):
        RateLimits(limits, Clock())


@given(
    gaps=st.lists(st.floats(0, 30), min_size=1, max_size=80),
    amount=st.integers(1, 6),
)
def test_no_window_ever_holds_more_than_the_limit(gaps: list[float], amount: int) -> None:
    clock = [0.0]
    windows = MovingWindows(lambda: clock[0])
    limit, allowed = parse(f"{amount}/minute"), []
    for gap in gaps:
        clock[0] += gap
        if windows.take("address", "a", limit).is_allowed:
            allowed.append(clock[0])

    assert all(sum(start <= at < start + 60 for at in allowed) <= amount for start in allowed)


@given(gaps=st.lists(st.floats(0, 30), min_size=1, max_size=80), amount=st.integers(1, 6))
def test_a_request_is_refused_only_where_the_window_is_full(gaps: list[float], amount: int) -> None:
    clock = [0.0]
    windows = MovingWindows(lambda: clock[0])
    limit, allowed = parse(f"{amount}/minute"), []
    for gap in gaps:
        clock[0] += gap
        standing = windows.take("address", "a", limit)
        before = sum(at > clock[0] - 60 for at in allowed)
        assert standing.is_allowed == (before < amount)
        assert standing.remaining == amount - min(before + 1, amount)
        if standing.is_allowed:
            allowed.append(clock[0])


def test_a_flood_from_many_addresses_costs_no_more_memory_than_is_set() -> None:
    windows = MovingWindows(lambda: 0.0, most=100)
    limit = parse("10/minute")
    for number in range(1_000):
        windows.take("address", f"10.0.{number // 256}.{number % 256}", limit)

    assert len(windows) == 100
    # The last ones are the ones that are remembered.
    assert windows.take("address", "10.0.3.231", limit).remaining == 8


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    clock = [1_000_000.0]
    windows = MovingWindows(lambda: clock[0])
    limit = parse("1/minute")
    windows.take("address", "a", limit)

    clock[0] -= 3600

    assert windows.take("address", "a", limit).is_allowed


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
