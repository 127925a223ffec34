"""The simulated ACE API: each endpoint as the real one answers, and as 001's documents have it."""

import base64
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from statistics import fmean
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.simulator.ace import DEMO_ACE_KEY
from etl_assets.simulator.ace_requests import PAGE_SIZES, AceRequest
from etl_assets.simulator.ace_world import AceSite, AceWorld
from etl_assets.simulator.app import LoggedRequest, SimulatorServer
from etl_assets.simulator.service import Simulator
from etl_assets_tests.simulator.ace_reading import END, HOUR, KEY, PAGES, START, client, pages, readings, rows, window
from etl_assets_tests.simulator.reading import NOW

POINT = "demo-client/building-a/10.0.0.1-100/analogInput/1"
POINT_PATH = f"points/{quote(POINT, safe='')}"


def test_the_sites_come_in_an_envelope_with_and_without_a_slash(account: httpx.Client) -> None:
    bare, slashed = account.get("sites").json(), account.get("sites/").json()

    assert bare == slashed
    assert {key: value for key, value in bare.items() if key != "items"} == {
        "page": 1, "pages": 1, "per_page": 10, "total": 2,
    }  # fmt: skip
    assert [site["name"] for site in bare["items"]] == ["building-a", "building-b"]
    assert "client_id" not in bare["items"][0]


def test_a_site_is_told_by_name(account: httpx.Client) -> None:
    told = account.get("sites/building-b").json()

    assert (told["name"], told["nice_name"], told["latitude"], told["archived"]) == (
        "building-b", "Building B", -37.81, False,
    )  # fmt: skip


def test_an_unknown_site_is_forbidden_and_all_null(account: httpx.Client) -> None:
    answer = account.get("sites/elsewhere")

    assert answer.status_code == 403
    assert set(answer.json().values()) == {None}
    assert answer.json().keys() == account.get("sites/building-a").json().keys()


@pytest.mark.parametrize("below", ["points", "configured_points", "timeseries/paginated", "timeseries", "weather"])
def test_below_an_unknown_site_nothing_is_found(account: httpx.Client, below: str) -> None:
    answer = account.get(f"sites/elsewhere/{below}", params=window())

    assert (answer.status_code, answer.json()) == (404, {"message": "Site elsewhere not found"})


def test_points_are_paged(account: httpx.Client) -> None:
    found = [account.get("sites/building-a/points", params={"page": n, "per_page": 50}).json() for n in (1, 2, 3, 4)]

    assert [len(page["items"]) for page in found] == [50, 50, 20, 0]
    assert {(page["pages"], page["total"], page["per_page"]) for page in found} == {(3, 120, 50)}
    assert len({point["name"] for page in found for point in page["items"]}) == 120


def test_points_say_how_they_are_collected(account: httpx.Client) -> None:
    points = account.get("sites/building-a/points", params={"per_page": 500}).json()["items"]
    intervals = [point["collect_interval"] for point in points]

    assert intervals.count(60) > 80
    assert intervals.count(300) > 5
    assert intervals.count(None) >= 1
    assert {point["collect_enabled"] for point in points} == {True, False}
    assert {point["site"] for point in points} == {"building-a"}
    assert "property: unknown-property" in points[0]["bacnet_data"].values()


def test_configured_points_are_those_that_are_collected(account: httpx.Client) -> None:
    points = account.get("sites/building-a/points", params={"per_page": 500}).json()["items"]
    configured = account.get("sites/building-a/configured_points", params={"per_page": 500}).json()["items"]

    assert configured == [point for point in points if point["collect_enabled"]]


def test_points_can_be_asked_for_by_when_they_were_made_or_changed(account: httpx.Client) -> None:
    points = account.get("sites/building-a/points", params={"per_page": 500}).json()["items"]
    bound = sorted(point["updated"] for point in points)[60]

    after, before = (
        account.get("sites/building-a/points", params={"per_page": 500, name: bound}).json()["items"]
        for name in ("updated_after", "updated_before")
    )

    assert after == [point for point in points if point["updated"] >= bound]
    assert before == [point for point in points if point["updated"] <= bound]


def test_all_points_of_the_account_are_listed_together(account: httpx.Client) -> None:
    assert account.get("points").json()["total"] == 180


def test_a_point_is_told_by_its_name_with_slashes_escaped(account: httpx.Client) -> None:
    assert account.get(POINT_PATH).json()["name"] == POINT
    assert account.get("points/nowhere%2F1").status_code == 404


@pytest.mark.parametrize(
    ("path", "params", "field"),
    [
        ("sites", {"per_page": 11}, "per_page"),
        ("sites", {"page": 0}, "page"),
        (PAGES, window(page_size=1234), "page_size"),
        (PAGES, window(page_size="many"), "page_size"),
        (PAGES, window(raw_data="perhaps"), "raw_data"),
        (PAGES, window(cursor="abc123"), "cursor"),
        (PAGES, window(cursor=base64.b64encode(b'{"offset": -1, "timestamp": "2026-04-20"}').decode()), "cursor"),
        (PAGES, window(cursor=base64.b64encode(b'{"offset": 1, "timestamp": 5}').decode()), "cursor"),
        (PAGES, window(cursor=base64.b64encode(b"[]").decode()), "cursor"),
        (PAGES, {"end_time": "2026-04-20T00:00:00Z"}, "start_time"),
        (PAGES, {"start_time": "2026-04-20T00:00:00Z"}, "end_time"),
        (PAGES, {"start_time": "yesterday", "end_time": "2026-04-20T00:00:00Z"}, "start_time"),
    ],
)
def test_what_is_not_allowed_is_refused_by_field(
    account: httpx.Client, path: str, params: dict[str, object], field: str
) -> None:
    answer = account.get(path, params=params)

    assert answer.status_code == 400
    assert answer.json()["message"] == "Input payload validation failed"
    assert list(answer.json()["errors"]) == [field]


def test_a_window_that_ends_before_it_starts_is_refused(account: httpx.Client) -> None:
    answer = account.get(PAGES, params=window(END, START))

    assert (answer.status_code, list(answer.json())) == (400, ["message"])


def test_a_missing_key_is_401_and_a_wrong_one_500(server: SimulatorServer) -> None:
    with client(server.ace_url, "another") as wrong:
        refused = wrong.get("sites")

    assert httpx.get(f"{server.ace_url}/sites").status_code == 401
    assert (refused.status_code, refused.json()) == (500, {"message": "An unhandled exception occurred."})


def test_the_documents_answer_a_wrong_key_with_401(server: SimulatorServer) -> None:
    with client(server.ace_v1_url, "another") as wrong:
        assert wrong.get("sites").status_code == 401


@pytest.mark.parametrize("path", ["nowhere", "sites/building-a/nowhere", f"{POINT_PATH}/nowhere"])
def test_an_unknown_path_is_not_found(account: httpx.Client, path: str) -> None:
    assert account.get(path).status_code == 404


def test_a_path_with_everything_escaped_is_nobodys(server: SimulatorServer) -> None:
    assert httpx.get(f"{server.url}/api%2Fsites").status_code == 404


def test_nothing_can_be_written(account: httpx.Client) -> None:
    assert account.post("sites/building-a/timeseries", json={"point_samples": []}).status_code == 405


def test_a_page_is_readings_as_text_with_naive_times_and_a_cursor(account: httpx.Client) -> None:
    body = account.get(PAGES, params=window(page_size=3)).json()
    cursor = json.loads(base64.b64decode(body["next_cursor"]))

    assert list(body) == ["point_samples", "next_cursor", "has_more"]
    assert [list(sample) for sample in body["point_samples"]] == [["name", "value", "time"]] * 3
    assert all(isinstance(sample["value"], str) for sample in body["point_samples"])
    assert cursor == {"offset": 3, "timestamp": body["point_samples"][-1]["time"]}
    assert datetime.fromisoformat(cursor["timestamp"]).tzinfo is None


@pytest.mark.parametrize("page_size", [3, 10, 50, 100, 500, 1000, 5000, 100_000])
def test_a_walk_by_any_page_size_reads_the_truth(
    server: SimulatorServer, account: httpx.Client, page_size: int
) -> None:
    end = START + timedelta(minutes=4) if page_size <= 10 else END
    bodies = list(pages(account, end=end, page_size=page_size))
    truth = rows(server.ace.table("building-a", START, end, NOW))

    assert readings(iter(bodies)) == truth
    assert len(bodies) == -(-len(truth) // page_size)
    assert bodies[-1]["next_cursor"] is None
    assert {len(body["point_samples"]) for body in bodies[:-1]} <= {page_size}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(0, 3_000_000), st.integers(0, 1800), st.sampled_from(PAGE_SIZES), st.booleans())
def test_walking_gives_each_visible_reading_once_and_in_order(
    points: int, begin: int, seconds: int, page_size: int, raw: bool
) -> None:
    start = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=begin)
    end = start + timedelta(seconds=seconds if page_size > 3 else seconds % 120)
    now = end + timedelta(minutes=begin % 50)
    simulator = Simulator(now=lambda: now, ace=AceWorld(2, [AceSite("here", points)]))
    query, read = f"start_time={start:%Y-%m-%dT%H:%M:%SZ}&end_time={end:%Y-%m-%dT%H:%M:%SZ}", []
    query, more = f"{query}&page_size={page_size}&raw_data={raw}", ""
    while more is not None:
        request = AceRequest("GET", "/api/sites/here/timeseries/paginated", query + more, f"Bearer {DEMO_ACE_KEY}")
        body = json.loads(simulator.ace.answer(request).body)
        read += readings(iter([body]))
        more = f"&cursor={quote(body['next_cursor'])}" if body["has_more"] else None

    if raw:
        assert read == rows(simulator.ace.world.table("here", start, end, now))
    assert len({(name, stamp) for name, stamp, _ in read}) == len(read)
    assert all(start <= stamp <= end for _, stamp, _ in read)


def test_without_raw_data_there_are_means_of_five_minutes(server: SimulatorServer, account: httpx.Client) -> None:
    buckets = defaultdict(list)
    for name, stamp, value in rows(server.ace.table("building-a", START, END - timedelta(microseconds=1), NOW)):
        if value != "NaN":
            buckets[name, stamp.replace(minute=stamp.minute // 5 * 5, second=0, microsecond=0)].append(float(value))

    read = readings(pages(account, end=END - timedelta(microseconds=1), raw_data="False", page_size=500))

    assert {(name, stamp): float(value) for name, stamp, value in read} == pytest.approx(
        {key: fmean(values) for key, values in buckets.items()}
    )


def test_an_empty_window_is_an_empty_page(account: httpx.Client) -> None:
    body = account.get(PAGES, params=window(datetime(2019, 1, 1, tzinfo=UTC), datetime(2019, 1, 2, tzinfo=UTC))).json()

    assert body == {"point_samples": [], "next_cursor": None, "has_more": False}


def test_readings_become_visible_as_time_passes() -> None:
    with SimulatorServer(now=lambda: NOW) as server, client(server.ace_url) as account:
        server.set_time(START + HOUR / 2)
        before = readings(pages(account, end=END, page_size=5000))
        server.advance(2 * HOUR)
        after = readings(pages(account, end=END, page_size=5000))

        assert before == rows(server.ace.table("building-a", START, END, START + HOUR / 2))
        assert set(before) < set(after)
        assert max(stamp for _, stamp, _ in before) <= START + HOUR / 2
        # One that was late is not only behind, but also between those that were there.
        assert {stamp for _, stamp, _ in set(after) - set(before)} & {stamp for _, stamp, _ in before}


def test_the_whole_window_comes_at_once_without_pages(server: SimulatorServer, account: httpx.Client) -> None:
    body = account.get("sites/building-a/timeseries", params=window()).json()

    assert list(body) == ["point_samples"]
    assert readings(iter([body])) == rows(server.ace.table("building-a", START, END, NOW))


def test_the_readings_of_one_point(server: SimulatorServer, account: httpx.Client) -> None:
    body = account.get(f"{POINT_PATH}/timeseries", params=window()).json()

    truth = rows(server.ace.table("building-a", START, END, NOW))
    assert readings(iter([body])) == [row for row in truth if row[0] == POINT]


@pytest.mark.parametrize("form", [lambda name: {"name": name}, str])
def test_the_readings_of_some_points_of_any_site(server: SimulatorServer, account: httpx.Client, form) -> None:
    names = [POINT, "building-b/weather/temp", "nowhere/1"]

    body = account.post("points/get_timeseries", params=window(), json={"points": list(map(form, names))}).json()

    truth = [row for site in server.ace.sites for row in rows(server.ace.table(site, START, END, NOW))]
    assert readings(iter([body])) == [row for row in truth if row[0] in names]
    assert len({name for name, _, _ in readings(iter([body]))}) == 2


def test_names_posted_in_another_form_are_refused(account: httpx.Client) -> None:
    answer = account.post("points/get_timeseries", params=window(), json={"point_names": [POINT]})

    assert answer.status_code == 400


def test_weather_is_the_last_value_of_each_weather_point(server: SimulatorServer, account: httpx.Client) -> None:
    weather = account.get("sites/building-a/weather").json()["weather"]
    last = {name: (stamp, value) for name, stamp, value in rows(server.ace.table("building-a", NOW - HOUR, NOW, NOW))}

    assert list(weather) == [
        "temp", "feels_like", "pressure", "humidity", "dew_point", "clouds", "wind_speed", "wind_deg", "wet_bulb",
    ]  # fmt: skip
    for told in weather.values():
        assert (datetime.fromisoformat(told["time"]).replace(tzinfo=UTC), told["value"]) == last[told["name"]]


def test_a_site_without_a_weather_feed_answers_404_and_all_null() -> None:
    world = AceWorld(1, [AceSite("bare", 30, weather=False)])
    with SimulatorServer(now=lambda: NOW, ace=world) as server, client(server.ace_url) as account:
        answer = account.get("sites/bare/weather")

    assert answer.status_code == 404
    assert set(answer.json()["weather"].values()) == {None}
    assert len(answer.json()["weather"]) == 9


def test_the_documents_shape_has_data_pagination_and_a_total(server: SimulatorServer, documents: httpx.Client) -> None:
    bodies = list(pages(documents, page_size=1000))
    read = [
        (record["point_name"], datetime.fromisoformat(record["timestamp"]), record["value"])
        for body in bodies
        for record in body["data"]
    ]
    truth = [
        (name, stamp, None if value == "NaN" else float(value))
        for name, stamp, value in rows(server.ace.table("building-a", START, END, NOW))
    ]

    assert list(bodies[0]) == ["data", "pagination", "total_count"]
    assert read == truth
    assert {body["total_count"] for body in bodies} == {len(truth)}
    assert bodies[0]["data"][0]["timestamp"].endswith("Z")
    assert bodies[0]["data"][0]["quality"] == "good"
    assert bodies[0]["data"][0]["metadata"] == {}


def test_the_documents_weather_is_a_range_of_observations(server: SimulatorServer, documents: httpx.Client) -> None:
    data = documents.get("sites/building-a/weather", params=window()).json()["data"]
    temperatures = [
        (stamp, round(float(value), 2))
        for name, stamp, value in rows(server.ace.table("building-a", START, END, NOW))
        if name == "building-a/weather/temp"
    ]

    assert [(datetime.fromisoformat(row["timestamp"]), row["temperature"]) for row in data] == temperatures
    assert len(data) == 8
    assert {"humidity", "precipitation", "wind_speed", "conditions"} < data[0].keys()


def test_the_documents_points_are_those_of_the_account(account: httpx.Client, documents: httpx.Client) -> None:
    assert documents.get("sites/building-b/points").json() == account.get("sites/building-b/points").json()


def test_requests_are_logged_as_they_were_sent() -> None:
    with SimulatorServer(now=lambda: NOW) as server, client(server.ace_url) as account:
        account.get(f"{POINT_PATH}?x=%20")
        account.get("sites", params={"per_page": 3})

        assert server.requests == [
            LoggedRequest("GET", f"/api/{POINT_PATH}", 200, "x=%20"),
            LoggedRequest("GET", "/api/sites", 400, "per_page=3"),
        ]
        logged = httpx.get(f"{server.url}/_control/requests").json()
        assert logged[1] == {"method": "GET", "path": "/api/sites", "status": 400, "query": "per_page=3"}


def test_the_operators_own_pages_are_served_beside_it(server: SimulatorServer) -> None:
    assert KEY == DEMO_ACE_KEY
    assert httpx.get(f"{server.url}/Reports/CURRENT/DispatchIS_Reports/").status_code == 200
