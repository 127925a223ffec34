"""When a webhook's host is left alone, and when it is called again."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.kpi.breaker import Host, HostAtRest, Hosts

NOON = datetime(2025, 8, 14, 12, tzinfo=UTC)
PAUSE = timedelta(minutes=1)


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def host(clock: Clock) -> Host:
    return Host("http://n8n.example", 3, PAUSE, clock)


def call(host: Host, failure: str = "") -> None:
    host.admit()
    host.note(failure)


def test_a_host_that_does_not_answer_three_calls_in_a_row_is_left_alone(host: Host) -> None:
    for _ in range(3):
        call(host, "status 503")

    with pytest.raises(HostAtRest) as caught:
        host.admit()

    assert str(caught.value) == (
        "left alone until 2025-08-14 12:01:00Z after 3 calls in a row without an answer (the last: status 503)"
    )


def test_an_answer_between_makes_no_row(host: Host) -> None:
    for failure in ("refused", "refused", "", "refused", "refused"):
        call(host, failure)

    host.admit()


def test_the_rest_ends_after_the_pause_and_not_before(host: Host, clock: Clock) -> None:
    for _ in range(3):
        call(host, "refused")
    clock.time = NOON + PAUSE - timedelta(microseconds=1)
    with pytest.raises(HostAtRest):
        host.admit()
    clock.time = NOON + PAUSE

    host.admit()


def test_after_the_rest_one_call_finds_out_and_the_others_are_turned_away(host: Host, clock: Clock) -> None:
    for _ in range(3):
        call(host, "refused")
    clock.time = NOON + PAUSE
    host.admit()

    with pytest.raises(HostAtRest, match="while one call finds out whether it answers again, after 3 calls"):
        host.admit()


def test_a_host_that_answers_after_its_rest_is_called_as_before(host: Host, clock: Clock) -> None:
    for _ in range(3):
        call(host, "refused")
    clock.time = NOON + PAUSE
    call(host)

    for _ in range(2):
        call(host, "refused")
    host.admit()


def test_a_host_that_does_not_answer_after_its_rest_rests_again_at_once(host: Host, clock: Clock) -> None:
    for _ in range(3):
        call(host, "refused")
    clock.time = NOON + PAUSE
    call(host, "status 502")

    with pytest.raises(HostAtRest, match=r"until 2025-08-14 12:02:00Z after 4 calls .*status 502"):
        host.admit()


def test_what_ends_during_the_rest_neither_shortens_nor_lengthens_it(host: Host, clock: Clock) -> None:
    for _ in range(5):
        host.admit()
    for failure in ("refused", "refused", "refused"):
        host.note(failure)
    clock.time = NOON + PAUSE / 2
    host.note("refused")
    host.note()

    with pytest.raises(HostAtRest, match="12:01:00Z"):
        host.admit()


def test_the_log_says_that_a_host_is_left_alone(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        call(host, "refused")

    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("Webhooks at http://n8n.example: left alone until 2025-08-14 12:01:00Z after 3 calls")


def test_hosts_rest_each_by_itself(clock: Clock) -> None:
    hosts = Hosts(1, PAUSE, clock)
    call(hosts.named("http://a:80"), "refused")

    hosts.named("http://a:81").admit()
    with pytest.raises(HostAtRest):
        hosts.named("http://a:80").admit()


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 6))
def test_a_host_rests_exactly_after_its_number_of_failures_in_a_row(answers: list[bool], failures: int) -> None:
    host = Host("http://n8n.example", failures, PAUSE, lambda: NOON)
    in_a_row = 0
    for answered in answers:
        if in_a_row == failures:
            with pytest.raises(HostAtRest):
                host.admit()
            return
        call(host, "" if answered else "refused")
        in_a_row = 0 if answered else in_a_row + 1
