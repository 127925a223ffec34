"""A record of every request, written beside the requests."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from etl_assets.api.analytics import Analytics
from etl_assets.api.guards import Answered
from etl_assets.ops.api_state import forget_requests, record_requests
from etl_assets.ops.database import begin
from etl_assets.ops.state import forget_old
from etl_assets.ops.tables import REQUEST_ANALYTICS
from etl_assets.settings import Settings

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def answered(number: int = 0, **more: Any) -> Answered:
    what = {"client_id": "a", "method": "GET", "route": "/data", "status": 200, "route_type": "cached", "samples": 7}
    how = {"duration_s": 0.0123456, "response_bytes": 99, "cache_hit": True}
    return Answered(**({"request_id": f"r{number}", "at": NOW} | what | how | more))


def rows(settings: Settings) -> list[dict[str, Any]]:
    with begin(settings) as connection:
        query = select(REQUEST_ANALYTICS).order_by(REQUEST_ANALYTICS.c.request_id)
        return [dict(row) for row in connection.execute(query).mappings()]


def written(settings: Settings, *requests: Answered, **more: int) -> Analytics:
    """Take requests in, and write what waits."""
    analytics = Analytics(settings, **more)
    for each in requests:
        analytics.ended(each)
    analytics.start()
    analytics.stop()
    return analytics


def test_a_request_is_on_record_with_how_it_went(settings: Settings) -> None:
    written(settings, answered())

    assert rows(settings) == [
        {
            "request_id": "r0",
            "at": NOW,
            "client_id": "a",
            "method": "GET",
            "route": "/data",
            "route_type": "cached",
            "status": 200,
            "duration_ms": 12.346,
            "response_bytes": 99,
            "samples": 7,
            "cache_hit": 1,
        }
    ]


def test_what_does_not_apply_is_empty(settings: Settings) -> None:
    written(settings, answered(client_id=None, route_type=None, samples=None, cache_hit=None))

    [row] = rows(settings)
    assert [row[name] for name in ("client_id", "route_type", "samples", "cache_hit")] == [None] * 4


def test_all_that_waits_is_written_at_the_end_in_several_batches(settings: Settings) -> None:
    analytics = written(settings, *[answered(number) for number in range(1_234)])

    assert len(rows(settings)) == 1_234
    assert analytics.dropped == 0


def test_what_is_too_much_is_dropped_and_counted(settings: Settings) -> None:
    analytics = written(settings, *[answered(number) for number in range(15)], most_waiting=10)

    assert [row["request_id"] for row in rows(settings)] == sorted(f"r{number}" for number in range(10))
    assert analytics.dropped == 5


def test_a_database_that_does_not_take_them_costs_the_records_and_nothing_else(tmp_path, settings: Settings) -> None:
    (tmp_path / "folder").mkdir()
    broken = settings.model_copy(update={"state_database": f"sqlite:///{tmp_path / 'folder'}"})

    analytics = written(broken, answered(1), answered(2))

    assert analytics.dropped == 2


def test_records_are_forgotten_after_their_time(settings: Settings) -> None:
    days: Callable[[int], datetime] = lambda n: NOW - timedelta(days=n)  # noqa: E731
    written(settings, answered(0), answered(29, at=days(29)), answered(31, at=days(31)), answered(32, at=days(32)))

    assert forget_requests(settings, now=NOW) == 2
    assert [row["request_id"] for row in rows(settings)] == ["r0", "r29"]


def test_maintenance_forgets_them(settings: Settings) -> None:
    written(settings, answered(31, at=NOW - timedelta(days=31)))

    assert forget_old(settings, now=NOW) == 1
    assert rows(settings) == []


def test_nothing_to_record_touches_nothing(settings: Settings) -> None:
    record_requests(settings, [])

    assert not (settings.etl_data / "state.sqlite").exists()


@pytest.mark.parametrize("started", [True, False])
def test_it_can_be_stopped_whether_it_was_started_or_not(settings: Settings, started: bool) -> None:
    analytics = Analytics(settings)
    if started:
        analytics.start()

    analytics.stop()

    assert analytics.dropped == 0
