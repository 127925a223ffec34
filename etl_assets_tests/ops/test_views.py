"""What analysts find of jobs, cache and requests: records without clients, and figures worked out from them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import duckdb
import pytest
from sqlalchemy import insert

from etl_assets.lake.publish import publish
from etl_assets.ops import state
from etl_assets.ops.cache_state import CacheEntry, note_hit, record_entry
from etl_assets.ops.database import begin
from etl_assets.ops.job_records import put_away
from etl_assets.ops.job_state import Order, advance, claim_due, complete, give_back, open_job, take_up
from etl_assets.ops.state import copies_for_analysts
from etl_assets.ops.tables import REQUEST_ANALYTICS

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ORDER = Order("client-north", "timeseries", {"points": ["asked-for-this"]}, "csv", 120_000, "tower", 4)


def at_work(settings, order=ORDER, now=NOW):
    open_job(settings, order, now=now)
    [job] = claim_due(settings, now=now, limit=1)
    return job


def done(settings, order=ORDER, *, wait, took, samples):
    job = at_work(settings, order)
    take_up(settings, job.job_id, job.run_id, now=NOW + wait * SECOND)
    end = NOW + (wait + took) * SECOND
    return complete(
        settings, job.job_id, job.run_id, samples=samples, result_bytes=10 * samples, now=end, put_in_place=lambda: None
    )


def request(settings, number, **more):
    row = {"request_id": str(number), "at": NOW + number * SECOND, "client_id": "client-north", "method": "GET"}
    row |= {"route": "/timeseries", "route_type": "cached", "status": 200, "duration_ms": 10.0, "response_bytes": 100}
    with begin(settings) as connection:
        connection.execute(insert(REQUEST_ANALYTICS).values(**row | more))


def published(settings, query):
    publish(settings, now=NOW, extra=copies_for_analysts(settings))
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_active_jobs_are_those_that_have_not_ended_with_their_progress(settings):
    done(settings, wait=1, took=1, samples=1)
    job = at_work(settings)
    take_up(settings, job.job_id, job.run_id, now=NOW)
    advance(settings, job.job_id, job.run_id, points_done=3, samples=900, now=NOW)
    waiting = open_job(settings, replace(ORDER, points_total=0), now=NOW)

    found = published(settings, "SELECT job_id, status, progress, samples FROM ops.v_active_jobs ORDER BY status DESC")

    assert found == [(job.job_id, "running", 0.75, 900), (waiting.job_id, "queued", None, None)]


def test_job_performance_is_by_site_and_counts_also_what_was_put_away(settings):
    done(settings, wait=2, took=10, samples=100)
    done(settings, wait=4, took=20, samples=200)
    put_away(settings, now=NOW + timedelta(days=8))
    settings = settings.model_copy(update={"job_retries": 0})
    failed = at_work(settings, replace(ORDER, site_name="annex"))
    give_back(settings, failed.job_id, failed.run_id, error="asked-for-this is gone", now=NOW)

    found = published(settings, "FROM ops.v_job_performance ORDER BY site_name")

    assert found == [
        ("annex", 1, 0, 1, 0, None, None, 0, None, None, None),
        ("tower", 2, 2, 0, 0, 300, 3_000, 0, 3.0, 15.0, 20.0),
    ]


def test_cache_performance_is_by_site(settings):
    entry = CacheEntry("a", "tower", "v1", "json", 2, 5_000, 1_000, 200, 0, NOW, NOW, NOW + SECOND)
    record_entry(settings, entry)
    record_entry(settings, replace(entry, cache_key="b", compressed_bytes=300, last_used_at=NOW - SECOND))
    for _ in range(6):
        note_hit(settings, "a", now=NOW + SECOND)

    found = published(
        settings, "SELECT site_name, entries, hits, misses, hit_rate, round(saved, 6) FROM ops.v_cache_performance"
    )

    assert found == [("tower", 2, 6, 2, 0.75, 0.75)]


def test_request_stats_are_by_how_a_request_was_answered(settings):
    for number, hit in enumerate((1, 0, 1, 1)):
        request(settings, number, duration_ms=10.0 * (number + 1), cache_hit=hit, samples=1_000)
    request(settings, 9, route_type=None, status=503)
    request(settings, 10, route_type=None, status=404)

    columns = "route_type, requests, client_errors, server_errors, mean_ms, median_ms, longest_ms, samples, hit_rate"
    found = published(settings, f"SELECT {columns} FROM ops.v_request_stats ORDER BY route_type NULLS LAST")

    assert found == [
        ("cached", 4, 0, 0, 25.0, 25.0, 40.0, 4_000, 0.75),
        (None, 2, 1, 1, 10.0, 10.0, 10.0, None, None),
    ]


def test_no_client_and_nothing_that_was_asked_is_in_the_file(settings):
    settings = settings.model_copy(update={"job_retries": 0})
    job = at_work(settings)
    give_back(settings, job.job_id, job.run_id, error="asked-for-this is gone", now=NOW)
    request(settings, 1)

    published(settings, "FROM ops.queue_jobs")

    stored = settings.warehouse_path.read_bytes()
    assert [text for text in (b"client-north", b"asked-for-this") if text in stored] == []
    assert job.job_id.encode() in stored


def test_the_newest_records_are_copied_where_there_are_many(settings, monkeypatch):
    monkeypatch.setattr(state, "RECORDS_COPIED", 2)
    for number in range(4):
        request(settings, number)

    assert published(settings, "SELECT request_id FROM ops.request_analytics ORDER BY 1") == [("2",), ("3",)]


@pytest.mark.parametrize("view", ["v_active_jobs", "v_job_performance", "v_cache_performance", "v_request_stats"])
def test_a_file_without_any_job_or_request_has_the_views(settings, view):
    assert published(settings, f"FROM ops.{view}") == []
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        [(comment,)] = connection.execute("SELECT comment FROM duckdb_views() WHERE view_name = ?", [view]).fetchall()
    assert comment
