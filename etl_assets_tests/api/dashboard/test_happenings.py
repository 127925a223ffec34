"""How far a listener was told: whatever is read at once, and wherever the line breaks, each record is told once."""

from hypothesis import given
from hypothesis import strategies as st

from etl_assets.api.dashboard.happenings import Look, Position
from etl_assets_tests.api.dashboard.filled import NOW

NUMBERS = st.lists(st.integers(1, 10**6), unique=True, max_size=30).map(sorted)
POSITIONS = st.builds(Position, *[st.integers(0, 10**18 - 1)] * 4)


def look(numbers: list[int], newest: int, published: bool = True) -> Look:
    row = {"sync_id": "", "run_id": "r", "dataset": "d", "partition": "p", "started_at": NOW, "duration_seconds": 1.0,
           "fetched": 0, "inserted": 0, "updated": 0, "unchanged": 0, "invalid": 0, "errors": [],
           "status": "complete"}  # fmt: skip
    rows = tuple((number, {**row, "run_id": str(number)}) for number in numbers)
    return Look(Position(newest, 0, 7, 8), rows, published={"snapshot": 7} if published else None)


@given(POSITIONS)
def test_a_position_is_read_as_it_was_written(position: Position) -> None:
    assert Position.parse(str(position)) == position


@given(st.text())
def test_what_was_not_written_here_is_no_position(text: str) -> None:
    found = Position.parse(text)

    assert found is None or Position.parse(str(found)) == found


@given(NUMBERS, st.integers(1, 5), st.data())
def test_however_it_is_cut_each_record_is_told_once_in_order(
    numbers: list[int], page: int, data: st.DataObject
) -> None:
    newest = numbers[-1] if numbers else 0
    position, told = Position(0, 0, 7, 8), []
    while position.sync < newest:
        after = [number for number in numbers if number > position.sync][:page]
        found = list(look(after, newest).events_after(position))
        # The connection breaks after some of them; the browser knows the id of the last.
        taken = found[: data.draw(st.integers(1, len(found)))]
        told += [int(event.data["syncId"]) for event in taken]
        position = Position.parse(str(taken[-1].position)) or position

    assert told == numbers


def test_a_publication_is_told_where_another_one_was_known() -> None:
    known, former = Position(5, 0, 7, 8), Position(5, 0, 6, 8)

    assert [event.kind for event in look([], 5).events_after(known)] == []
    assert [event.kind for event in look([], 5).events_after(former)] == ["published"]
    assert [event.kind for event in look([], 5, published=False).events_after(former)] == []


def test_who_names_what_has_not_been_or_nothing_begins_now() -> None:
    found = look([], 100)

    assert found.start(Position(101, 0, 7, 8)) == found.newest
    assert found.start(None) == found.newest
    assert found.start(Position(99, 0, 7, 8)) == Position(99, 0, 7, 8)
