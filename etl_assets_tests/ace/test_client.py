"""The client against servers on the loopback interface: what is asked, what is tried again, what errors say."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx_retries.retry
import pytest

from etl_assets.ace.client import AceClient, UnknownSite, as_time, ends_as_it_began
from etl_assets.ace.walk import Window
from etl_assets.ace.wire import NotAPage
from etl_assets.http import LONGEST_PAUSE_S, BrokenTransfer, NotThere, SourceError, Unavailable
from etl_assets.settings import Settings
from etl_assets.simulator.ace import DEMO_ACE_KEY
from etl_assets.simulator.ace_world import AceSite, AceWorld
from etl_assets.simulator.app import SimulatorServer
from etl_assets_tests.ace.conftest import KEY, ScriptedServer

START = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = Window(START, START + timedelta(hours=1))
EMPTY = b'{"point_samples":[],"next_cursor":null,"has_more":false}'
OK = (200, {}, EMPTY)
MESSAGE = b'{"message":"An unhandled exception occurred."}'


@pytest.fixture
def ace(server: ScriptedServer, ace_settings: Callable[..., Settings]) -> Iterator[AceClient]:
    with AceClient(ace_settings(server.url)) as client:
        yield client


def page(client: AceClient, **changes: Any) -> bytes:
    return client.timeseries_page("hq", HOUR, **{"cursor": None, "page_size": 500} | changes).body


def test_a_page_is_asked_for_as_documented(ace: AceClient, server: ScriptedServer) -> None:
    server.answers = [OK]

    page(ace)
    page(ace, cursor="ab+/=", page_size=100_000)

    bounds = "start_time=2026-11-22T00%3A00%3A00Z&end_time=2026-11-22T01%3A00%3A00Z"
    assert server.asked == [
        f"/sites/hq/timeseries/paginated?{bounds}&page_size=500&raw_data=true",
        f"/sites/hq/timeseries/paginated?{bounds}&page_size=100000&raw_data=true&cursor=ab%2B%2F%3D",
    ]
    assert {seen[2]["Authorization"] for seen in server.seen} == {f"Bearer {KEY}"}


def test_a_time_keeps_its_microseconds_and_is_utc() -> None:
    moment = datetime.fromisoformat("2026-11-22T10:00:00.000001+10:00")

    assert (as_time(START), as_time(moment)) == ("2026-11-22T00:00:00Z", "2026-11-22T00:00:00.000001Z")


def test_without_a_key_nothing_is_asked(server: ScriptedServer, ace_settings: Callable[..., Settings]) -> None:
    with AceClient(ace_settings(server.url, ace_api_key="")) as ace, pytest.raises(SourceError, match="ACE_API_KEY"):
        page(ace)

    assert server.seen == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
def test_a_passing_refusal_is_tried_again(ace: AceClient, server: ScriptedServer, status: int) -> None:
    server.answers = [(status, {}, MESSAGE), OK]

    answer = ace.timeseries_page("hq", HOUR, cursor=None, page_size=500)

    assert (answer.body, answer.outcomes) == (EMPTY, (str(status), "200"))
    assert (ace.stats.requests_by_status, ace.stats.retries) == ({str(status): 1, "200": 1}, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_any_other_refusal_is_final_and_quoted(ace: AceClient, server: ScriptedServer, status: int) -> None:
    server.answers = [(status, {}, b'{"message":"' + b"x" * 600 + b'"}')]

    with pytest.raises(SourceError) as caught:
        page(ace)

    assert len(server.seen) == 1
    assert caught.value.status == status
    assert str(caught.value).startswith(f'API error {status}: {{"message":"xxx')
    assert str(caught.value).count("x") in range(480, 500)


@pytest.mark.parametrize(("status", "waits"), [(429, [2.0, 4.0, 8.0]), (503, [1.0, 2.0, 3.0]), (0, [1.0, 2.0, 3.0])])
def test_waits_grow_by_what_went_wrong(
    server: ScriptedServer,
    ace_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    waits: list[float],
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(httpx_retries.retry.time, "sleep", pauses.append)
    server.answers = [(status, {}, b"")]

    with (
        AceClient(ace_settings(server.url, ace_retry_delay=timedelta(seconds=1), ace_retries=3)) as ace,
        pytest.raises(Unavailable),
    ):
        page(ace)

    assert all(wait <= pause <= wait * 1.1 for pause, wait in zip(pauses, waits, strict=True))


@pytest.mark.parametrize(("asked", "slept"), [("7", 7.0), ("86400", LONGEST_PAUSE_S)])
def test_retry_after_goes_before_the_rule(
    ace: AceClient, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, asked: str, slept: float
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(httpx_retries.retry.time, "sleep", pauses.append)
    server.answers = [(429, {"Retry-After": asked}, b""), OK]

    page(ace)

    assert pauses == [slept]


def test_there_are_three_tries_and_each_passes_the_rate_limit(
    server: ScriptedServer, ace_settings: Callable[..., Settings]
) -> None:
    passed: list[int] = []
    server.answers = [(503, {}, b"")]

    with (
        AceClient(ace_settings(server.url), limiter=lambda: passed.append(len(server.seen))) as ace,
        pytest.raises(Unavailable),
    ):
        page(ace)

    assert passed == [0, 1, 2]


def test_the_count_of_requests_lies_in_the_data_folder(
    server: ScriptedServer, ace_settings: Callable[..., Settings]
) -> None:
    settings = ace_settings(server.url)
    server.answers = [OK]

    with AceClient(settings) as ace:
        page(ace)

    assert (settings.etl_data / "rate_limit.sqlite").exists()


def test_a_server_error_may_be_a_bad_key_and_says_so(ace: AceClient, server: ScriptedServer) -> None:
    server.answers = [(500, {}, MESSAGE)]

    with pytest.raises(Unavailable, match=r"unhandled exception.*ACE also answers so for a bad key: see ACE_API_KEY"):
        page(ace)

    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [403, 404])
def test_an_unknown_site_is_named_and_not_asked_for_again(ace: AceClient, server: ScriptedServer, status: int) -> None:
    server.answers = [(status, {}, b'{"name":null}')]

    with pytest.raises(UnknownSite, match="no site 'hq'") as caught:
        page(ace)

    assert isinstance(caught.value, NotThere)
    assert len(server.seen) == 1


def test_an_empty_window_may_be_answered_with_404(ace: AceClient, server: ScriptedServer) -> None:
    server.answers = [(404, {}, b'{"message": "No data for time period"}')]

    assert json.loads(page(ace)) == {"point_samples": [], "next_cursor": None, "has_more": False}


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"Content-Length": "100"}, EMPTY[:20]), ({}, EMPTY[:20]), ({}, EMPTY[:-1])],
)
def test_a_cut_body_is_asked_for_again_and_never_delivered(
    ace: AceClient, server: ScriptedServer, headers: dict[str, str], body: bytes
) -> None:
    server.answers = [(200, headers, body), OK]
    assert page(ace) == EMPTY

    server.answers = [(200, headers, body)]
    with pytest.raises(BrokenTransfer):
        page(ace)


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        (b"{}", True),
        (b' {"a": [1]} \n', True),
        (b"[]", True),
        (b"", True),
        (b"<html>", True),
        (b"{", False),
        (b"[1,", False),
    ],
)
def test_json_ends_as_it_began(body: bytes, whole: bool) -> None:
    assert ends_as_it_began(body) is whole


def test_the_key_is_neither_in_errors_nor_in_logs(
    ace: AceClient, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.answers = [(401, {}, f"bad header: Bearer {KEY}".encode())]

    with pytest.raises(SourceError, match="bad header: Bearer …") as caught:
        page(ace)

    assert KEY not in str(caught.value) + caught.value.body + caplog.text + repr(ace.__dict__)


def test_readings_of_a_few_points_are_asked_for_by_name(ace: AceClient, server: ScriptedServer) -> None:
    record = {"name": "a/b", "value": "1", "time": "2026-11-22T00:30:00"}
    late = record | {"time": "2026-11-22T02:00:00"}
    server.answers = [(503, {}, b""), (200, {}, json.dumps({"point_samples": [record, late]}).encode())]

    found = ace.point_timeseries(["a/b", "c"], HOUR)

    method, path, _, sent = server.seen[-1]
    assert (method, path.partition("?")[0]) == ("POST", "/points/get_timeseries")
    assert json.loads(sent) == {"points": [{"name": "a/b"}, {"name": "c"}]}
    assert (found.rows.num_rows, found.outside, found.has_more) == (1, 1, False)


def test_a_list_that_gives_the_same_page_again_is_an_error(ace: AceClient, server: ScriptedServer) -> None:
    server.answers = [(200, {}, b'{"items": [{"name": "a"}], "page": 1, "pages": 9}')]

    with pytest.raises(NotAPage, match="for page 2, got page 1"):
        list(ace.sites())

    assert len(server.seen) == 2


def test_points_without_a_list_of_configured_ones_have_no_flag(ace: AceClient, server: ScriptedServer) -> None:
    server.answers = [(404, {}, b""), (200, {}, b'["a", "b"]')]

    (points,) = ace.points("a/b c")

    assert points["is_configured"].to_pylist() == [None, None]
    assert server.asked[1] == "/sites/a%2Fb%20c/points?page=1&per_page=1000"


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    world = AceWorld(1, [AceSite("hq", 1_200, plain=True), AceSite("shed", 12, weather=False)])
    with SimulatorServer(now=lambda: START + timedelta(hours=5), ace=world) as server:
        yield server


@pytest.fixture
def account(simulator: SimulatorServer, ace_settings: Callable[..., Settings]) -> Iterator[AceClient]:
    with AceClient(ace_settings(simulator.ace_url, ace_api_key=DEMO_ACE_KEY)) as client:
        yield client


def test_the_accounts_sites_are_listed(account: AceClient) -> None:
    (sites,) = account.sites()

    assert sites["site_name"].to_pylist() == ["hq", "shed"]
    assert account.site("hq")["name"] == "hq"


def test_a_sites_points_come_in_pages_with_what_is_configured(account: AceClient, simulator: SimulatorServer) -> None:
    pages = list(account.points("hq"))

    names = [name for table in pages for name in table["point_name"].to_pylist()]
    assert [table.num_rows for table in pages] == [1_000, 200]
    assert names == list(simulator.ace.layout("hq").names)
    assert all(flag is not None for table in pages for flag in table["is_configured"].to_pylist())


def test_weather_is_read_and_a_site_without_a_feed_has_none(account: AceClient) -> None:
    assert account.weather("hq", HOUR).rows.num_rows >= 1
    assert account.weather("shed", HOUR).fetched == 0


def test_a_wrong_key_is_refused_with_a_hint(simulator: SimulatorServer, ace_settings: Callable[..., Settings]) -> None:
    with AceClient(ace_settings(simulator.ace_url)) as ace, pytest.raises(SourceError, match="see ACE_API_KEY"):
        list(ace.sites())
