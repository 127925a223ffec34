"""Healing is asked for at once, then after growing pauses, and never while it is at work."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from etl_assets.healing import Attempts, dump_attempts, load_attempts, plan_healing

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Sick:
    name: str


SICK = Sick("2026-11-22|building-a")


def at(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def test_what_ails_is_asked_for_at_once() -> None:
    asked, kept = plan_healing([SICK], {}, frozenset(), NOW)

    assert asked == [SICK]
    assert kept == {SICK.name: Attempts(1, NOW)}


def test_it_is_asked_for_again_after_5_then_15_then_every_60_minutes() -> None:
    attempts: dict[str, Attempts] = {}
    asked_at = []

    for minute in range(300):
        asked, attempts = plan_healing([SICK], attempts, frozenset(), at(minute))
        asked_at += [minute] if asked else []

    assert asked_at == [0, 5, 20, 80, 140, 200, 260]


def test_it_is_not_asked_for_while_its_run_is_in_progress() -> None:
    former = {SICK.name: Attempts(1, NOW)}

    asked, kept = plan_healing([SICK], former, frozenset({SICK.name}), at(600))

    assert asked == []
    assert kept == former


def test_what_is_healed_by_a_run_of_another_origin_is_not_remembered_as_asked_for() -> None:
    assert plan_healing([SICK], {}, frozenset({SICK.name}), NOW) == ([], {})


def test_what_is_whole_again_is_forgotten() -> None:
    assert plan_healing([], {SICK.name: Attempts(3, NOW)}, frozenset(), at(5)) == ([], {})


def test_each_waits_for_itself_alone() -> None:
    other = [Sick("2026-11-22|building-b"), Sick("2026-11-21|building-a")]

    asked, _ = plan_healing([SICK, *other], {SICK.name: Attempts(1, NOW)}, frozenset(), at(1))

    assert asked == other


def test_a_sensor_begins_without_a_cursor() -> None:
    assert load_attempts(None) == load_attempts("") == {}


@given(
    st.dictionaries(
        st.text(), st.builds(Attempts, st.integers(1, 99), st.datetimes(timezones=st.just(UTC))), max_size=4
    )
)
def test_a_cursor_gives_back_the_attempts_that_it_was_given(attempts: dict[str, Attempts]) -> None:
    cursor = dump_attempts(attempts)

    assert load_attempts(cursor) == attempts
    assert set(json.loads(cursor)) == set(attempts)
