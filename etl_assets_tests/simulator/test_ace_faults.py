"""The faults of the simulated ACE API: what each does to the answer, and that nothing else changes."""

import base64
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.simulator.ace_requests import AceRequest
from etl_assets.simulator.app import SimulatorServer
from etl_assets.simulator.faults import CATALOGUE, Scope
from etl_assets.simulator.service import Simulator
from etl_assets_tests.simulator.ace_reading import END, HOUR, KEY, PAGES, START, client, pages, readings, rows, window
from etl_assets_tests.simulator.reading import NOW

ALL = [kind.name for kind in CATALOGUE.values() if kind.scope is Scope.ACE]
EMPTY = window(datetime(2019, 1, 1, tzinfo=UTC), datetime(2019, 1, 2, tzinfo=UTC))


def page(account: httpx.Client, **params: Any) -> httpx.Response:
    return account.get(PAGES, params=window(page_size=500, **params))


def samples(account: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page(account, **params).json()["point_samples"]
    return found


def truth(server: SimulatorServer, site: str = "building-a") -> list[Any]:
    return rows(server.ace.table(site, START, END, NOW))


@pytest.mark.parametrize("name", ALL)
def test_an_ace_fault_leaves_other_sites_and_later_requests_alone(
    server: SimulatorServer, account: httpx.Client, name: str
) -> None:
    server.faults.switch_on(name, path="*/sites/building-b*")

    assert readings(pages(account, page_size=5000)) == truth(server)

    server.faults.switch_off()
    path = "sites/building-b/timeseries/paginated"
    assert readings(pages(account, path, page_size=5000)) == truth(server, "building-b")


@pytest.mark.parametrize("page_size", [3, 10, 50])
def test_a_stalling_cursor_comes_back_where_a_page_begins_and_ends_in_one_timestamp(
    server: SimulatorServer, account: httpx.Client, page_size: int
) -> None:
    server.faults.switch_on("stalling_cursor")

    walk = [body["next_cursor"] for body in pages(account, most=6, page_size=page_size)]

    assert walk[1] == walk[0]
    assert json.loads(base64.b64decode(walk[0]))["offset"] == page_size
    assert len(set(walk)) == 1


def test_a_stalling_cursor_is_right_for_pages_larger_than_a_poll(
    server: SimulatorServer, account: httpx.Client
) -> None:
    server.faults.switch_on("stalling_cursor")

    assert readings(pages(account, page_size=500)) == truth(server)


def test_a_stalling_cursor_can_be_put_right_from_what_the_page_holds(
    server: SimulatorServer, account: httpx.Client
) -> None:
    server.faults.switch_on("stalling_cursor")
    read, asked, offset, last = [], window(page_size=50), 0, ""
    while True:
        body = account.get(PAGES, params=asked).json()
        read += readings(iter([body]))
        if not body["has_more"]:
            break
        stamp = body["point_samples"][-1]["time"]
        given = sum(sample["time"] == stamp for sample in body["point_samples"])
        offset, last = given + (offset if stamp == last else 0), stamp
        asked["cursor"] = base64.b64encode(json.dumps({"offset": offset, "timestamp": last}).encode()).decode()

    assert read == truth(server)


def test_an_expired_cursor_is_refused_and_a_first_request_is_not(
    server: SimulatorServer, account: httpx.Client
) -> None:
    cursor = page(account).json()["next_cursor"]
    server.faults.switch_on("expired_cursor", times=1)

    answers = [page(account), page(account, cursor=cursor), page(account, cursor=cursor)]

    assert [answer.status_code for answer in answers] == [200, 400, 200]


def test_a_missing_cursor_says_more_and_not_where(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("missing_cursor")

    body = page(account).json()

    assert (body["has_more"], body["next_cursor"], len(body["point_samples"])) == (True, None, 500)


def test_a_page_without_has_more_has_a_cursor_all_the_same(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("missing_has_more")

    assert list(page(account).json()) == ["point_samples", "next_cursor"]


def test_a_repeated_page_brings_the_readings_before_and_the_right_cursor(
    server: SimulatorServer, account: httpx.Client
) -> None:
    first, second, _ = list(pages(account, page_size=500))[:3]
    server.faults.switch_on("repeated_page", times=1)

    again = page(account, cursor=first["next_cursor"]).json()

    assert again["point_samples"] == first["point_samples"]
    assert again["next_cursor"] == second["next_cursor"]


def test_empty_pages_each_have_a_cursor_of_their_own_and_lose_nothing(
    server: SimulatorServer, account: httpx.Client
) -> None:
    server.faults.switch_on("empty_pages", times=3)

    bodies = list(pages(account, page_size=500))

    assert [len(body["point_samples"]) for body in bodies[:4]] == [0, 0, 0, 500]
    assert all(body["has_more"] for body in bodies[:3])
    assert len({body["next_cursor"] for body in bodies[:3]}) == 3
    assert readings(iter(bodies)) == truth(server)


def test_an_empty_window_can_be_answered_with_404(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("empty_window_not_found")

    answer = account.get(PAGES, params=EMPTY)

    assert (answer.status_code, answer.json()) == (404, {"message": "No data for time period"})
    assert page(account).status_code == 200


def test_an_unknown_shape_has_the_readings_under_rows(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("unknown_shape")

    assert list(page(account).json()) == ["rows", "next_cursor", "has_more"]


def test_both_shapes_are_in_one_body(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("both_shapes")

    body = page(account).json()

    assert body["data"] == body["point_samples"]
    assert len(body["data"]) == 500


def test_a_record_outside_the_window_is_an_hour_after_its_end(server: SimulatorServer, account: httpx.Client) -> None:
    good = samples(account)
    server.faults.switch_on("record_outside_window")

    read = readings(iter([page(account).json()]))

    assert read[0][1] == END + HOUR
    assert read[1:] == readings(iter([{"point_samples": good}]))


def test_records_out_of_order_come_last_first(server: SimulatorServer, account: httpx.Client) -> None:
    good = samples(account)
    server.faults.switch_on("records_out_of_order")

    assert samples(account) == good[::-1]


def test_a_duplicate_record_comes_first_with_a_wrong_value(server: SimulatorServer, account: httpx.Client) -> None:
    good = samples(account)
    server.faults.switch_on("duplicate_records")

    spoilt = samples(account)

    assert {(record["name"], record["time"]): record["value"] for record in spoilt} == {
        (record["name"], record["time"]): record["value"] for record in good
    }
    doubled = [record for record in spoilt if record["value"] == "-1"]
    assert len(spoilt) - len(good) == len(doubled) > 30
    assert good[-1]["time"] not in {record["time"] for record in doubled}


def test_bad_values_take_turns(server: SimulatorServer, account: httpx.Client) -> None:
    good = samples(account)
    server.faults.switch_on("bad_values")

    spoilt = samples(account)

    assert [record["value"] for record in spoilt[:40:10]] == [None, "", "active", "inf"]
    assert [record for n, record in enumerate(spoilt) if n % 10] == [record for n, record in enumerate(good) if n % 10]


def test_missing_names_take_turns(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("missing_names")

    spoilt = samples(account)

    assert "name" not in spoilt[0]
    assert [record["name"] for record in (spoilt[10], spoilt[20])] == ["", None]
    assert Counter(bool(record.get("name")) for record in spoilt) == {True: 450, False: 50}


def test_bad_times_take_turns(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("bad_times")

    assert [record["time"] for record in samples(account)[:30:10]] == ["yesterday", "2026-13-01T00:00:00", None]


def test_epoch_times_are_microseconds(server: SimulatorServer, account: httpx.Client) -> None:
    good = samples(account)
    server.faults.switch_on("epoch_times")

    spoilt = samples(account)

    stamps = [datetime.fromisoformat(record["time"]).replace(tzinfo=UTC) for record in good]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert [record["time"] / 1e6 for record in spoilt] == pytest.approx(
        [(stamp - epoch).total_seconds() for stamp in stamps], abs=1e-6
    )
    assert all(isinstance(record["time"], int) for record in spoilt)


def test_a_clock_that_is_ahead_gives_readings_of_the_future(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("clock_ahead", seconds=600)

    read = readings(pages(account, start=NOW - HOUR, end=NOW + HOUR, page_size=50_000))

    assert read == rows(server.ace.table("building-a", NOW - HOUR, NOW + HOUR, NOW + HOUR / 6))
    assert NOW + HOUR / 7 < max(stamp for _, stamp, _ in read) <= NOW + HOUR / 6


def test_extra_keys_are_on_the_page_and_on_each_reading(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("extra_keys")

    body = page(account).json()

    assert {"request_id", "server", "point_samples"} < body.keys()
    assert list(body["point_samples"][0]) == ["name", "value", "time", "unit", "source"]


def test_large_pages_break_in_transfer_and_smaller_ones_do_not(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("large_pages_break")

    with pytest.raises(httpx.RemoteProtocolError):
        account.get(PAGES, params=window(page_size=100_000))
    assert account.get(PAGES, params=window(page_size=50_000)).json()["has_more"] is False


def test_how_large_a_page_may_be_can_be_said(server: SimulatorServer, account: httpx.Client) -> None:
    body = {"name": "large_pages_break", "limit": 100}
    httpx.post(f"{server.url}/_control/faults", json=body).raise_for_status()

    with pytest.raises(httpx.RemoteProtocolError):
        account.get(PAGES, params=window(page_size=500))
    assert account.get(PAGES, params=window(page_size=100)).status_code == 200


def test_one_site_fails_while_the_other_works(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("site_error", path="*/sites/building-b*")

    answers = [account.get(f"sites/building-b{below}", params=window()) for below in ("", "/points", "/weather")]

    assert {answer.status_code for answer in answers} == {500}
    assert answers[0].json() == {"message": "An unhandled exception occurred."}
    assert page(account).status_code == 200


def test_a_site_can_become_unknown(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("unknown_site", path="*/sites/building-a*")

    assert account.get("sites/building-a").status_code == 403
    assert page(account).status_code == 404
    assert account.get("sites/building-b").status_code == 200


def test_weather_can_be_null(server: SimulatorServer, account: httpx.Client, documents: httpx.Client) -> None:
    server.faults.switch_on("weather_null")

    answer = account.get("sites/building-a/weather")

    assert (answer.status_code, set(answer.json()["weather"].values())) == (404, {None})
    assert documents.get("sites/building-a/weather", params=window()).json() == {"data": []}


@pytest.mark.parametrize(
    ("name", "status"),
    [("too_many_requests", 429), ("too_many_requests_silent", 429), ("server_error", 503), ("html_with_200", 200)],
)
def test_the_front_doors_faults_spoil_ace_too(
    server: SimulatorServer, account: httpx.Client, name: str, status: int
) -> None:
    server.faults.switch_on(name, path="/api/*", times=1)

    spoilt, good = page(account), page(account)

    assert spoilt.status_code == status
    assert spoilt.headers["content-type"].startswith("text/html")
    assert good.headers["content-type"] == "application/json"


def test_a_page_can_be_cut_in_transfer(server: SimulatorServer, account: httpx.Client) -> None:
    server.faults.switch_on("cut_body", path=PAGES)

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        page(account)


def test_a_fault_in_the_query_spoils_that_page_only(account: httpx.Client) -> None:
    assert "rows" in page(account, fault="unknown_shape").json()
    assert "point_samples" in page(account).json()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unknown_shape", {"rows", "pagination", "total_count"}),
        ("both_shapes", {"data", "point_samples", "pagination", "total_count"}),
        ("extra_keys", {"data", "pagination", "total_count", "request_id", "server"}),
    ],
)
def test_faults_come_in_the_documents_shape_too(
    server: SimulatorServer, documents: httpx.Client, name: str, expected: set[str]
) -> None:
    server.faults.switch_on(name)

    assert page(documents).json().keys() == expected


@pytest.mark.parametrize(
    ("name", "tail"),
    [("missing_cursor", {"next_cursor": None, "has_more": True}), ("missing_has_more", {"next_cursor": None})],
)
def test_the_documents_pagination_is_spoilt_in_its_place(
    server: SimulatorServer, documents: httpx.Client, name: str, tail: dict[str, Any]
) -> None:
    server.faults.switch_on(name)

    assert documents.get(PAGES, params=window(page_size=50_000)).json()["pagination"] == tail


def test_the_documents_cursor_stalls_and_cannot_be_read(server: SimulatorServer, documents: httpx.Client) -> None:
    server.faults.switch_on("stalling_cursor")

    walk = [body["pagination"]["next_cursor"] for body in pages(documents, most=5, page_size=50)]

    assert len(set(walk)) == 1
    with pytest.raises(ValueError, match=r"base64|padded|Expecting|codec"):
        json.loads(base64.b64decode(walk[0], validate=True))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(ALL), unique=True), st.sampled_from(["api", "v1"]), st.sampled_from([3, 50, 5000]))
def test_any_faults_together_still_make_an_answer(names: list[str], shape: str, page_size: int) -> None:
    simulator = Simulator(now=lambda: NOW)
    for name in names:
        simulator.faults.switch_on(name)
    query, cursor = f"start_time={START:%Y-%m-%dT%H:%M:%SZ}&end_time={END:%Y-%m-%dT%H:%M:%SZ}&page_size={page_size}", ""

    for _ in range(3):
        path = f"/{shape}/{PAGES}"
        answer = simulator.ace.answer(AceRequest("GET", path, f"{query}&cursor={quote(cursor)}", f"Bearer {KEY}"))
        body = json.loads(answer.body)
        cursor = body.get("pagination", body).get("next_cursor") or ""

        assert answer.status in {200, 400, 404, 500}
        assert answer.status == 200 or "message" in body


def test_a_site_by_its_pattern_is_spoilt_for_a_client_of_its_own(server: SimulatorServer) -> None:
    server.faults.switch_on("bad_values", path="*/sites/building-b/timeseries/paginated")

    with client(server.ace_url) as account:
        spoilt = account.get("sites/building-b/timeseries/paginated", params=window()).json()["point_samples"]
        good = account.get(PAGES, params=window()).json()["point_samples"]

    assert (spoilt[0]["value"], good[0]["value"]) == (None, truth(server)[0][2])
