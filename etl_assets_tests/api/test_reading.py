"""Rows on their way: within the bounds of a whole reading, where it has any."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa
import pytest

from etl_assets.api import reading
from etl_assets.api.problems import Problem
from etl_assets.api.reading import Bounds, Reading, TooManyRowsError
from etl_assets.api.warehouse import Warehouse
from etl_assets_tests.api.published import at, intervals, published

PIECE = pa.RecordBatch.from_pydict({"value": [1.0, 2.0]})


@dataclass
class Pieces:
    """A query of five pieces of two rows, each of which takes 20 s by a clock of its own."""

    seconds: float = 0.0

    def clock(self) -> float:
        return self.seconds

    def batches(self, _connection) -> Iterator[pa.RecordBatch]:
        for _ in range(5):
            self.seconds += 20
            yield PIECE


@pytest.fixture
def warehouse(settings, monkeypatch):
    """A published file, of whose rows one piece is read at a time. A query may take 30 s."""
    monkeypatch.setattr(reading, "READ_AHEAD", 0)
    published(settings, intervals([{"interval_end": at("2026-11-20 00:05"), "region_id": "NSW1"}]))
    with closing(Warehouse(settings)) as opened:
        yield opened


def test_without_bounds_each_piece_has_the_time_of_a_query(warehouse):
    found = Reading(warehouse, Pieces())

    assert len(list(found)) == 5
    assert found.rows == 10


def test_the_time_of_a_bounded_reading_is_that_of_all_its_pieces(warehouse):
    pieces = Pieces()
    found = Reading(warehouse, pieces, Bounds(100, pieces.clock))

    with pytest.raises(Problem, match="stopped after 30 s") as refused:
        list(found)

    assert refused.value.status_code == 504
    assert found.rows == 4


def test_time_before_the_first_piece_counts_too(warehouse):
    pieces = Pieces()
    found = Reading(warehouse, pieces, Bounds(100, pieces.clock))
    pieces.seconds = 30.0

    with pytest.raises(Problem, match="stopped after 30 s"):
        list(found)

    assert found.rows == 0


@pytest.mark.parametrize(("most", "read"), [(10, None), (9, 10), (3, 4)])
def test_a_bounded_reading_ends_when_there_are_more_rows(warehouse, most, read):
    found = Reading(warehouse, Pieces(), Bounds(most, lambda: 0.0))

    if read is None:
        assert len(list(found)) == 5
    else:
        with pytest.raises(TooManyRowsError) as refused:
            list(found)
        assert refused.value.rows == read
