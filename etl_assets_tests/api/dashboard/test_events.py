"""Server-sent events: what happens is told as it happens, and to who comes back once more, and no more than once."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Message

from etl_assets.api.app import create_app
from etl_assets.api.dashboard import events, happenings
from etl_assets.api.dashboard.events import Events, EventStream, Listener
from etl_assets.api.dashboard.happenings import MOST_MISSED, Position, Watch
from etl_assets.api.health import Health
from etl_assets.api.problems import Problem
from etl_assets.api.warehouse import Warehouse
from etl_assets.lake.publish import publish
from etl_assets.ops.alerts import Condition, evaluate
from etl_assets.ops.state import record_sync_run
from etl_assets.settings import Settings
from etl_assets_tests.api.dashboard.conftest import UNLIMITED
from etl_assets_tests.api.dashboard.filled import NOW, epoch
from etl_assets_tests.api.dashboard.test_runs import sync_run
from etl_assets_tests.api.operating import Operating, copied, operating
from etl_assets_tests.api.serving import PATIENCE_S, served

READER = {"client_id": "reader", "client_secret": "r"}


@dataclass(frozen=True, slots=True)
class Told:
    """One event as a browser takes it in."""

    id: str
    event: str
    data: dict[str, Any]


class Ear:
    """Somebody who listens. Iterating gives the events; comments and the rest are in ``heard``."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.heard: list[str] = []
        self._lines = answer.iter_lines()

    def lines(self) -> Iterator[str]:
        # A connection on which only heartbeats come would be listened to for ever.
        deadline = time.monotonic() + PATIENCE_S
        for line in self._lines:
            assert time.monotonic() < deadline, f"nothing of it came in {PATIENCE_S} s"
            self.heard.append(line)
            yield line

    def __iter__(self) -> Iterator[Told]:
        fields: dict[str, str] = {}
        for line in self.lines():
            name, _, value = line.partition(": ")
            if not line and "data" in fields:
                yield Told(fields["id"], fields["event"], json.loads(fields["data"]))
            fields = {**fields, name: value} if line else {}

    def next(self, kind: str) -> Told:
        return next(told for told in self if told.event == kind)

    def first(self, count: int, kind: str) -> list[Told]:
        found = (told for told in self if told.event == kind)
        return [next(found) for _ in range(count)]


@contextmanager
def listening(api: Operating, last: str | None = None, **headers: str) -> Iterator[Ear]:
    """A listener that was told where it stands: what happens from now on is told to it."""
    headers |= {"Last-Event-ID": last} if last is not None else {}
    with httpx.stream("GET", f"{api.url}/dashboard/events", headers=headers, timeout=PATIENCE_S) as answer:
        yield Ear(answer)


@pytest.fixture(scope="module")
def own(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operating]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "LOOKS_EVERY_S", 0.02)
        with operating(copied(published, tmp_path_factory.mktemp("events") / "data"), **UNLIMITED) as it:
            it.now = NOW
            yield it


@pytest.fixture(scope="module")
def happen(own: Operating) -> Callable[..., str]:
    """Lets a collection come to its end; the name of its run, which nothing else has."""
    numbers = iter(range(10**6))

    def recorded(settings: Settings = own.settings, **more: Any) -> str:
        run = sync_run(next(numbers), **more)
        record_sync_run(settings, run)
        return run.run_id

    return recorded


def test_who_listens_is_told_at_once_what_is_at_work_and_when_to_come_back(own: Operating) -> None:
    with listening(own, **{"Accept-Encoding": "zstd, br, gzip"}) as ear:
        told = ear.next("runs")
        headers = ear.answer.headers

    assert told.data == {"running": 0, "queued": 0}
    assert ear.heard[0] == "retry: 3000"
    assert headers["Content-Type"].startswith("text/event-stream")
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
    assert "Content-Encoding" not in headers


def test_a_collection_that_ended_is_told_with_its_metrics(own: Operating, happen: Callable[..., str]) -> None:
    with listening(own) as ear:
        ear.next("runs")
        happen(sync_id="sync_1_abc", partition="2025-11-21|tower", errors=("one", "two"))
        told = ear.next("sync_complete").data

    assert (told["type"], told["syncId"]) == ("sync_complete", "sync_1_abc")
    expected = {"dataset": "aemo.dispatch_region", "partition": "2025-11-21|tower", "fetched": 10, "inserted": 7,
                "updated": 0, "duration_s": 2.0, "errors": 2, "status": "partial"}  # fmt: skip
    assert {name: told["metrics"][name] for name in expected} == expected


def test_who_comes_back_is_told_what_was_missed_in_order_and_once(own: Operating, happen: Callable[..., str]) -> None:
    with listening(own) as ear:
        ear.next("runs")
        known = [happen() for _ in range(2)]
        first = ear.first(2, "sync_complete")
    missed = [happen() for _ in range(MOST_MISSED // 2)]

    with listening(own, first[0].id) as ear:
        again = ear.first(1 + len(missed), "sync_complete")
        later = happen()
        last = ear.next("sync_complete")

    assert [told.data["syncId"] for told in first] == known
    assert [told.data["syncId"] for told in again] == [known[1], *missed]
    assert last.data["syncId"] == later


def test_who_was_away_for_too_long_is_told_the_last_and_keeps_nobody_waiting(
    own: Operating, happen: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happenings, "MOST_MISSED", 3)
    last = [happen() for _ in range(4)][1:]
    watch = Watch(own.settings, own.app.state.warehouse, own.app.state.health)

    look = watch.look(Position(0, 0, 0, 0), NOW)

    assert [row["run_id"] for _, row in look.syncs] == last
    assert look.newest.sync == look.syncs[-1][0]


def test_a_server_that_was_started_anew_goes_on_where_the_former_left_off(
    own: Operating, happen: Callable[..., str]
) -> None:
    with listening(own) as ear:
        position = ear.next("runs").id
    missed = happen()

    with operating(own.settings.etl_data) as another:
        another.now = NOW
        with listening(another, position) as ear:
            told = ear.next("sync_complete")

    assert told.data["syncId"] == missed


@pytest.mark.parametrize("last", ["", "garbage", "1-2-3", "-1-0-0-0", "9" * 18 + "-0-0-0", "9" * 400, "1;DROP-0-0-0"])
def test_who_comes_back_with_nonsense_begins_now(own: Operating, happen: Callable[..., str], last: str) -> None:
    happen()

    with listening(own, last) as ear:
        ear.next("runs")
        new = happen()
        told = ear.next("sync_complete")

    assert told.data["syncId"] == new


def test_an_alert_is_told_when_it_is_raised(own: Operating) -> None:
    with listening(own) as ear:
        ear.next("runs")
        evaluate(own.settings, [Condition("gap:tower", "gap", "Gap in readings", {}, firing=True)], now=NOW)
        told = ear.next("alert")

    assert told.data == {"kind": "gap", "subject": "tower", "message": "Gap in readings", "raised_at": epoch(NOW)}


def test_a_publication_is_told_once_also_to_who_was_away(own: Operating) -> None:
    with listening(own) as ear:
        before = ear.next("runs").id
        publish(own.settings, now=NOW)
        told = ear.next("published")
    with listening(own, before) as ear:
        missed = ear.next("published")
    with listening(own, told.id) as ear:
        kinds = next(iter(ear)).event

    assert told.data["published_at"] == epoch(NOW)
    assert missed == told
    # The next that there is to tell is what every listener is told first.
    assert kinds == "runs"


def test_where_nothing_happens_a_comment_keeps_the_connection(own: Operating, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.02)

    with listening(own) as ear:
        assert any(line.startswith(":") for line in ear.lines())


def test_one_listener_too_many_is_told_to_come_later(own: Operating, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Events = own.app.state.events
    while told.listening:
        own.get("/health/live")
    monkeypatch.setattr(events, "MOST_LISTENERS", 1)

    with listening(own) as ear:
        ear.next("runs")
        refused = own.get("/dashboard/events")

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")


def test_one_client_cannot_take_the_places_of_all_others(own: Operating, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_OF_ONE", 1)

    with listening(own, **own.bearer("reader")) as ear:
        ear.next("runs")
        refused = own.get("/dashboard/events", "reader")
        with listening(own, **own.bearer("operator")) as other:
            told = other.next("runs")

    assert (refused.status_code, told.event) == (503, "runs")


def test_a_listener_whose_session_ends_is_let_go(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.02)

    with (
        operating(copied(published, tmp_path / "data"), dashboard="token", **UNLIMITED) as closed,
        httpx.Client(base_url=closed.url, timeout=PATIENCE_S) as browser,
    ):
        browser.post("/dashboard/session", json=READER)
        with browser.stream("GET", "/dashboard/events") as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 3000"
            browser.delete("/dashboard/session")
            rest = list(lines)
        refused = browser.get("/dashboard/events")

    assert not [line for line in rest if line.startswith("event: sync")]
    assert refused.status_code == 401


def test_a_listener_whose_session_ends_is_let_go_however_much_happens() -> None:
    asked: list[int] = []

    async def may_listen() -> None:
        asked.append(len(sent))
        raise Problem(401, "Unauthorized", "The session has ended.")

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))
        listener.queue.put_nowait(b"more\n\n")

    async def never() -> Message:
        return await asyncio.Future()

    async def listen() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await EventStream(watching, listener, may_listen=may_listen)({}, never, send)

    sent: list[bytes] = []
    listener = Listener(None)
    watching = Events(None, None, None, now=lambda: NOW)  # type: ignore[arg-type] # it looks at nothing here
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "HEARTBEAT_S", 0.05)
        asyncio.run(listen())

    assert len(asked) == 1
    assert sent[-1] == b""


def test_a_server_that_is_to_end_does_not_wait_for_listeners(own: Operating) -> None:
    app = create_app(own.settings, now=lambda: NOW, submits=False)

    # Far longer than the test waits: the end must come from the listener being let go.
    with served(app, timeout_graceful_shutdown=3600) as server:
        with httpx.stream("GET", f"{server.url}/dashboard/events", timeout=PATIENCE_S) as answer:
            lines = answer.iter_lines()
            assert next(lines) == "retry: 3000"
            server.stop()
            list(lines)
        assert server.ended()


def test_who_does_not_keep_up_is_let_go_and_misses_nothing(
    own: Operating, happen: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MOST_WAITING", 20)
    warehouse = Warehouse(own.settings)
    watching = Events(own.settings, warehouse, own.app.state.health, now=lambda: NOW)

    async def fallen_behind() -> list[bytes]:
        listener = watching.join(None)
        parts = [await listener.queue.get()]
        happened.extend([happen() for _ in range(events.MOST_WAITING + 10)])
        await _watcher_ended()
        while (part := await listener.queue.get()) is not None:
            parts.append(part)
        return [part for part in parts if part]

    happened: list[str] = []
    taken = asyncio.run(fallen_behind())
    position = taken[-1].split(b"\n", 1)[0].removeprefix(b"id: ").decode()
    with listening(own, position) as ear:
        rest = [told.data["syncId"] for told in ear.first(len(happened) - _syncs(taken), "sync_complete")]
    warehouse.close()

    assert 0 < _syncs(taken) < len(happened)
    assert rest == happened[_syncs(taken) :]


def test_nothing_is_looked_at_while_nobody_listens(own: Operating) -> None:
    looks: list[object] = []

    class Counting(Health):
        def instance(self) -> Any:
            looks.append(self)
            return own.instance

    warehouse = Warehouse(own.settings)
    watching = Events(own.settings, warehouse, Counting(own.settings, warehouse), now=lambda: NOW)

    async def come_and_go() -> int:
        listener = watching.join(None)
        await listener.queue.get()
        watching.leave(listener)
        await _watcher_ended()
        return len(looks)

    assert asyncio.run(come_and_go()) >= 1
    warehouse.close()


async def _watcher_ended() -> None:
    """The watcher's task comes to its end by itself."""
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})


def _syncs(parts: list[bytes]) -> int:
    return sum(b"event: sync_complete" in part for part in parts)
