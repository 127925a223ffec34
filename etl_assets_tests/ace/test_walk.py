"""Windows walked to their end: against the simulated account, and against servers that no one would dare to write."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.ace.client import AceClient
from etl_assets.ace.walk import Position, WalkFailedError, Window, repaired, walk
from etl_assets.ace.wire import Page
from etl_assets.http import Answer, BrokenTransfer, SourceError, Unavailable
from etl_assets.settings import Settings
from etl_assets.simulator.ace import DEMO_ACE_KEY
from etl_assets.simulator.ace_world import AceSite, AceWorld
from etl_assets.simulator.app import SimulatorServer

START = datetime(2026, 11, 22, tzinfo=UTC)
SITE = "hq"
POINTS = 1_100
WINDOW = Window(START, START + timedelta(minutes=3))
READINGS = POINTS * 3  # one poll a minute, some seconds past it, and all its readings share one timestamp
LONGER = Window(START, START + timedelta(minutes=10))


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    world = AceWorld(1, [AceSite(SITE, POINTS, plain=True)])
    with SimulatorServer(now=lambda: START + timedelta(hours=5), ace=world) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_faults(simulator: SimulatorServer) -> Iterator[None]:
    yield
    simulator.faults.switch_off()


@pytest.fixture(params=["api", "v1"])
def client(
    request: pytest.FixtureRequest, simulator: SimulatorServer, ace_settings: Callable[..., Settings]
) -> Iterator[AceClient]:
    with AceClient(ace_settings(f"{simulator.url}/{request.param}", ace_api_key=DEMO_ACE_KEY)) as ace:
        yield ace


@pytest.fixture
def vendor(simulator: SimulatorServer, ace_settings: Callable[..., Settings]) -> Iterator[AceClient]:
    with AceClient(ace_settings(simulator.ace_url, ace_api_key=DEMO_ACE_KEY)) as ace:
        yield ace


def rows_of(pages: list[tuple[Page, Position]]) -> pa.Table:
    return pa.concat_tables([page.rows for page, _ in pages])


def distinct(rows: pa.Table) -> int:
    return rows.group_by(["point_name", "timestamp"]).aggregate([]).num_rows


@pytest.mark.parametrize("page_size", [500, 1_000, 100_000])
def test_a_window_is_read_to_its_end(client: AceClient, simulator: SimulatorServer, page_size: int) -> None:
    pages = list(walk(client, SITE, WINDOW, page_size=page_size))

    rows = rows_of(pages)
    truth = simulator.ace.table(SITE, WINDOW.start, WINDOW.end)
    keys = [("point_name", "ascending"), ("timestamp", "ascending")]
    read = rows.select(truth.column_names).sort_by(keys)
    assert read.equals(truth.sort_by(keys).cast(read.schema))
    assert rows.num_rows == READINGS
    assert pages[-1][1].complete
    assert [position.repairs for _, position in pages] == [0] * len(pages)


@pytest.mark.parametrize("page_size", [50, 100, 500])
def test_a_cursor_that_stalls_is_repaired(vendor: AceClient, simulator: SimulatorServer, page_size: int) -> None:
    simulator.faults.switch_on("stalling_cursor")

    pages = list(walk(vendor, SITE, WINDOW, page_size=page_size))

    rows = rows_of(pages)
    assert (rows.num_rows, distinct(rows)) == (READINGS, READINGS)
    assert len(pages) == -(-READINGS // page_size)
    assert pages[-1][1].repairs > 0


def test_a_page_is_handed_out_before_the_next_is_asked_for(vendor: AceClient) -> None:
    steps = walk(vendor, SITE, WINDOW, page_size=500)
    asked = [vendor.stats.requests_by_status.get("200", 0) for _ in steps]

    assert asked == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("fault", ["", "stalling_cursor"])
@pytest.mark.parametrize("stop", [1, 3])
def test_a_walk_goes_on_where_a_former_one_was_stopped(
    vendor: AceClient, simulator: SimulatorServer, stop: int, fault: str
) -> None:
    if fault:
        simulator.faults.switch_on(fault)
    steps = walk(vendor, SITE, WINDOW, page_size=500)
    former = [next(steps) for _ in range(stop)]
    saved = json.loads(json.dumps(former[-1][1].to_dict()))

    rest = list(walk(vendor, SITE, WINDOW, page_size=500, resume=Position.from_dict(saved)))

    assert len(former) + len(rest) == 7
    assert distinct(rows_of(former + rest)) == rows_of(former + rest).num_rows == READINGS
    assert rest[-1][1].complete
    assert list(walk(vendor, SITE, WINDOW, page_size=500, resume=rest[-1][1])) == []


def test_a_cursor_that_expired_is_replaced_by_the_last_time(client: AceClient, simulator: SimulatorServer) -> None:
    steps = walk(client, SITE, LONGER, page_size=5_000)
    former = [next(steps)]
    simulator.faults.switch_on("expired_cursor", times=1)

    rest = list(walk(client, SITE, LONGER, page_size=5_000, resume=former[-1][1]))

    assert distinct(rows_of(former + rest)) == POINTS * 10
    assert rest[0][0].first_time == former[0][0].last_time
    assert rest[-1][1].complete


def test_a_server_that_takes_no_cursor_at_all_is_walked_by_time(client: AceClient, simulator: SimulatorServer) -> None:
    simulator.faults.switch_on("expired_cursor")

    pages = list(walk(client, SITE, LONGER, page_size=5_000))

    assert distinct(rows_of(pages)) == POINTS * 10


def test_where_time_leads_no_further_either_the_walk_fails(client: AceClient, simulator: SimulatorServer) -> None:
    simulator.faults.switch_on("expired_cursor")

    with pytest.raises(WalkFailedError) as caught:
        list(walk(client, SITE, WINDOW, page_size=500))

    assert isinstance(caught.value.__cause__, SourceError)
    assert caught.value.position.pages > 0


def test_pages_that_break_in_transfer_are_asked_for_smaller(client: AceClient, simulator: SimulatorServer) -> None:
    simulator.faults.switch_on("large_pages_break", limit=1_000)

    pages = list(walk(client, SITE, WINDOW, page_size=10_000))

    assert distinct(rows_of(pages)) == rows_of(pages).num_rows == READINGS
    assert {position.page_size for _, position in pages} == {1_000}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("missing_cursor", "no cursor to reach it"),
        ("repeated_page", "came twice"),
        ("unknown_shape", "the keys 'rows'"),
        ("both_shapes", "Two lists"),
        ("empty_pages", "came twice|empty pages"),
        ("record_outside_window", "outside the window"),
        ("unknown_site", "shows no site 'hq'"),
        ("site_error", "ACE also answers so for a bad key"),
    ],
)
def test_a_fault_that_hides_data_ends_the_walk(
    client: AceClient, simulator: SimulatorServer, fault: str, reason: str
) -> None:
    simulator.faults.switch_on(fault)
    pages = []

    with pytest.raises(WalkFailedError, match=reason) as caught:
        pages.extend(walk(client, SITE, WINDOW, page_size=500))

    assert not caught.value.position.complete
    assert not pages or distinct(rows_of(pages)) <= READINGS


@pytest.mark.parametrize(
    "fault",
    ["missing_has_more", "records_out_of_order", "duplicate_records", "bad_values", "missing_names", "bad_times",
     "epoch_times", "extra_keys"],
)  # fmt: skip
@pytest.mark.parametrize("stalls", [False, True])
def test_under_a_fault_of_records_every_record_is_accounted_for(
    vendor: AceClient, simulator: SimulatorServer, fault: str, stalls: bool
) -> None:
    simulator.faults.switch_on(fault)
    if stalls:
        simulator.faults.switch_on("stalling_cursor")
    pages: list[Page] = []

    try:
        pages.extend(page for page, _ in walk(vendor, SITE, WINDOW, page_size=500))
        ended = True
    except WalkFailedError:
        ended = False

    assert all(page.fetched == page.rows.num_rows + len(page.invalid) + page.filtered for page in pages)
    told = {(row["point_name"], row["timestamp"]) for page in pages for row in page.rows.to_pylist()}
    spoiled = sum(len(page.invalid) for page in pages)
    assert not ended or len(told) + spoiled >= READINGS


def test_a_window_without_data_is_complete(client: AceClient, simulator: SimulatorServer) -> None:
    before = Window(datetime(2019, 1, 1, tzinfo=UTC), datetime(2019, 1, 2, tzinfo=UTC))
    for fault in ("", "empty_window_not_found"):
        if fault:
            simulator.faults.switch_on(fault)
        ((page, position),) = walk(client, SITE, before, page_size=500)

        assert (page.fetched, position.complete) == (0, True)


class Liar:
    """Readings of an account, told by the rules that a test gives; a base for faults that HTTP has no part in."""

    def __init__(self, tell: Callable[[int, str | None, int], dict[str, Any] | Exception]) -> None:
        self.tell = tell
        self.asked: list[tuple[str | None, int, datetime]] = []

    def timeseries_page(self, site: str, window: Window, *, cursor: str | None, page_size: int) -> Answer:
        self.asked.append((cursor, page_size, window.start))
        told = self.tell(len(self.asked), cursor, page_size)
        if isinstance(told, Exception):
            raise told
        outcomes = told.pop("outcomes", ("200",))
        return Answer(f"http://ace/{site}", 200, {}, json.dumps(told).encode(), outcomes)


def told(*minutes: float, more: bool = False, cursor: str | None = None, **rest: object) -> dict[str, Any]:
    times = [(START + timedelta(minutes=m)).replace(tzinfo=None).isoformat() for m in minutes]
    records = [{"name": f"p{n}", "value": "1", "time": time} for n, time in enumerate(times)]
    return {"point_samples": records, "has_more": more, "next_cursor": cursor, **rest}


def scripted(*answers: dict[str, Any] | Exception) -> Liar:
    return Liar(lambda n, _cursor, _size: answers[n - 1])


def test_a_limited_rate_makes_pages_smaller_for_the_rest_of_the_walk() -> None:
    liar = scripted(told(0, more=True, cursor="a", outcomes=("429", "200")), told(1, more=True, cursor="b"), told(2))

    list(walk(liar, SITE, WINDOW, page_size=100_000))

    assert [size for _, size, _ in liar.asked] == [100_000, 50_000, 50_000]


@pytest.mark.parametrize("broken", [BrokenTransfer("cut", "http://ace"), Unavailable("slow", "http://ace", 504)])
def test_pages_step_down_the_list_of_sizes_and_then_give_up(broken: SourceError) -> None:
    liar = Liar(lambda _n, _cursor, _size: broken)

    with pytest.raises(WalkFailedError) as caught:
        list(walk(liar, SITE, WINDOW, page_size=100_000))

    assert [size for _, size, _ in liar.asked] == [100_000, 50_000, 10_000, 5_000, 1_000]
    assert caught.value.__cause__ is broken


def test_a_server_that_is_away_is_not_asked_for_less() -> None:
    liar = Liar(lambda _n, _cursor, _size: Unavailable("away", "http://ace"))

    with pytest.raises(WalkFailedError):
        list(walk(liar, SITE, WINDOW, page_size=100_000))

    assert len(liar.asked) == 1


def test_a_failed_walk_keeps_the_last_good_position() -> None:
    liar = scripted(told(0, more=True, cursor="a"), told(1, more=True, cursor="a"))
    steps = walk(liar, SITE, WINDOW, page_size=1_000)
    stored = [next(steps), next(steps)]

    with pytest.raises(WalkFailedError, match=r"hq, .* after 2 pages: a cursor came twice") as caught:
        next(steps)

    assert caught.value.position == stored[-1][1]
    assert (caught.value.position.cursor, caught.value.position.complete) == ("a", False)


def test_a_circle_of_cursors_is_seen_after_a_restart_too() -> None:
    first = list(zip(range(2), walk(scripted(told(0, more=True, cursor="a"), told(1, more=True, cursor="b")),
                                    SITE, WINDOW, page_size=1_000), strict=False))  # fmt: skip

    with pytest.raises(WalkFailedError, match="a cursor came twice"):
        list(walk(scripted(told(2, more=True, cursor="a")), SITE, WINDOW, page_size=1_000, resume=first[-1][1][1]))


def test_readings_outside_the_window_are_not_stored_and_leave_it_incomplete() -> None:
    liar = scripted(told(0, 1, 99, more=True, cursor="a"), told(2))
    pages: list[tuple[Page, Position]] = []

    with pytest.raises(WalkFailedError, match="1 readings lay outside the window"):
        pages.extend(walk(liar, SITE, WINDOW, page_size=1_000))

    assert [page.rows.num_rows for page, _ in pages] == [2, 1]
    assert [(page.filtered, page.outside) for page, _ in pages] == [(1, 1), (0, 0)]


def test_fewer_records_than_the_api_counts_leave_the_window_incomplete() -> None:
    with pytest.raises(WalkFailedError, match="counts 5 records and gave 3"):
        list(walk(scripted(told(0, more=True, cursor="a"), told(1, 2, total_count=5)), SITE, WINDOW, page_size=1_000))


def test_a_few_empty_pages_are_borne() -> None:
    quiet = [told(more=True, cursor=f"c{n}") for n in range(4)]

    assert len(list(walk(scripted(*quiet[:3], told(0)), SITE, WINDOW, page_size=1_000))) == 4
    with pytest.raises(WalkFailedError, match="4 empty pages"):
        list(walk(scripted(*quiet), SITE, WINDOW, page_size=1_000))


def test_a_walk_has_an_end_whatever_the_server_says() -> None:
    liar = Liar(lambda n, _cursor, _size: told(1 + n / 1e6, more=True, cursor=f"c{n}"))

    with pytest.raises(WalkFailedError, match="no end after 20 pages"):
        list(walk(liar, SITE, WINDOW, page_size=1_000, max_pages=20))

    assert len(liar.asked) == 20


def test_an_unusual_page_size_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    list(walk(scripted(told(0)), SITE, WINDOW, page_size=12_345))

    assert "PAGE_SIZE 12345 is none of those that ACE takes" in caplog.text


def test_a_resumed_walk_keeps_to_the_smaller_pages() -> None:
    liar = scripted(told(0))

    list(walk(liar, SITE, WINDOW, page_size=100_000, resume=Position(cursor="a", pages=1, page_size=5_000)))

    assert liar.asked == [("a", 5_000, START)]


def test_a_server_without_time_order_is_never_resumed_by_time() -> None:
    steps = walk(scripted(told(2, 1, more=True, cursor="a")), SITE, WINDOW, page_size=1_000)

    assert next(steps)[1].last_time is None


class Account:
    """Twelve readings in three instants, four each, paged by the API's own kind of cursor, with some rules broken."""

    TIMES = tuple((START + timedelta(minutes=m)).replace(tzinfo=None).isoformat() for m in range(3))
    RECORDS = tuple({"name": f"p{n}", "value": str(n), "time": time} for time in TIMES for n in range(4))

    KEYS = frozenset((r["name"], datetime.fromisoformat(r["time"]).replace(tzinfo=UTC)) for r in RECORDS)

    def __init__(self, lies: list[str]) -> None:
        self.lies = lies
        self.asked = 0

    def timeseries_page(self, site: str, window: Window, *, cursor: str | None, page_size: int) -> Answer:
        assert site == SITE
        lie = self.lies[self.asked] if self.asked < len(self.lies) else ""
        self.asked += 1
        refusal = {"gone": SourceError("no", "http://a", 400), "cut": BrokenTransfer("cut", "http://a")}.get(lie)
        if refusal:
            raise refusal
        since = window.start.replace(tzinfo=None).isoformat()
        if cursor == "x":
            raise SourceError("no such cursor", "http://a", 400)
        held = json.loads(base64.b64decode(cursor)) if cursor else {"offset": 0, "timestamp": since}
        left = [r for r in self.RECORDS if r["time"] >= held["timestamp"]][held["offset"] :]
        page, rest = left[:page_size], left[page_size:]
        body: dict[str, Any] = {"point_samples": page, "has_more": bool(rest), "next_cursor": None}
        if rest:
            last = page[-1]["time"]
            given = sum(r["time"] == last for r in page) + (held["offset"] if last == held["timestamp"] else 0)
            stalls = lie == "stall" and page[0]["time"] == last
            offset = sum(r["time"] == last for r in page) if stalls else given
            body["next_cursor"] = base64.b64encode(json.dumps({"offset": offset, "timestamp": last}).encode()).decode()
        here = base64.b64encode(f"{json.dumps(held)}{' ' * self.asked}".encode()).decode()
        self.spoil(body, lie, cursor, here)
        return Answer("http://a", 200, {}, b"<html>" if lie == "html" else json.dumps(body).encode())

    @staticmethod
    def spoil(body: dict[str, Any], lie: str, cursor: str | None, here: str) -> None:
        match lie:
            case "empty":
                body.update(point_samples=[], has_more=True, next_cursor=here)
            case "no_cursor":
                body.update(has_more=True, next_cursor=None)
            case "silent":
                body.update(has_more=None)
            case "same":
                body.update(has_more=True, next_cursor=cursor or "x")
            case "reversed":
                body["point_samples"] = body["point_samples"][::-1]
            case "shape":
                body["rows"] = body.pop("point_samples")


LIES = ["", "", "stall", "gone", "cut", "empty", "no_cursor", "silent", "same", "reversed", "shape", "html"]


@settings(max_examples=200, deadline=None)
@given(lies=st.lists(st.sampled_from(LIES), max_size=8), page_size=st.integers(1, 13))
def test_a_walk_that_returns_has_given_everything(lies: list[str], page_size: int) -> None:
    account = Account(lies)
    told: list[tuple[Page, Position]] = []

    with suppress(WalkFailedError):
        told.extend(walk(account, SITE, WINDOW, page_size=page_size, max_pages=100))

    pages = [page for page, _ in told]
    assert account.asked <= 60
    assert all(page.fetched == page.rows.num_rows + len(page.invalid) + page.filtered for page in pages)
    if told and told[-1][1].complete:
        assert {(row["point_name"], row["timestamp"]) for row in rows_of(told).to_pylist()} == Account.KEYS


@settings(max_examples=100, deadline=None)
@given(page_size=st.integers(1, 13), stalls=st.lists(st.sampled_from(["", "stall"]), min_size=12, max_size=12))
def test_stalls_cost_neither_a_reading_nor_a_repeat(page_size: int, stalls: list[str]) -> None:
    pages = [page for page, _ in walk(Account(stalls), SITE, WINDOW, page_size=page_size)]

    assert sum(page.rows.num_rows for page in pages) == len(Account.RECORDS)


@pytest.mark.parametrize("cursor", [None, "abc123", "eyJvZmZzZXQiOiAxfQ==", "//8=", "W10="])
def test_a_cursor_of_another_form_is_left_alone(cursor: str | None) -> None:
    (page, _) = next(walk(scripted(told(0, more=True, cursor=cursor)), SITE, WINDOW, page_size=1_000))

    assert repaired(page, None) == (cursor, False)


def test_a_cursor_that_is_right_stays_letter_by_letter() -> None:
    text = json.dumps({"timestamp": "2026-11-22T00:00:00Z", "offset": 1}, separators=(",", ":"))
    cursor = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    (page, position) = next(walk(scripted(told(0, more=True, cursor=cursor)), SITE, WINDOW, page_size=1_000))

    assert repaired(page, None) == (cursor, False)
    assert (position.cursor, position.repairs) == (cursor, 0)
