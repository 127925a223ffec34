"""What Prometheus reads: exact counts of requests, gauges of the data as it is, and who may read them."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from etl_assets.ops.cache_state import CacheEntry, record_entry
from etl_assets.ops.job_state import Order, open_job
from etl_assets.ops.state import SyncRun, record_sync_run
from etl_assets.settings import Settings
from etl_assets_tests.api.authority import jwk
from etl_assets_tests.api.operating import DAY, NOW, SITE, Operating, copied, fill, operating

Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "data"
    fill(Settings(_env_file=None, etl_data=folder))
    return folder


@pytest.fixture
def api(published: Path, tmp_path: Path) -> Iterator[Operating]:
    with operating(copied(published, tmp_path / "data"), rate_limit_address="1000/minute") as it:
        yield it


def scraped(it: Operating) -> Found:
    answer = it.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def one(found: Found, name: str, **labels: str) -> float | None:
    return found.get((f"etl_assets_{name}", frozenset(labels.items())))


def test_requests_are_counted_by_route_and_status_and_not_by_what_was_asked_for(api: Operating) -> None:
    for path in ("/problems/not-found", "/problems/conflict", "/problems/of-no-kind", "/nothing", "/nothing/else"):
        api.get(path)
    api.http.request("PROPFIND", "/health/live")

    found = scraped(api)

    assert one(found, "http_requests_total", method="GET", route="/problems/{kind}", status="200") == 2
    assert one(found, "http_requests_total", method="GET", route="/problems/{kind}", status="404") == 1
    assert one(found, "http_requests_total", method="GET", route="none", status="404") == 2
    assert one(found, "http_requests_total", method="other", route="/health/live", status="405") == 1
    assert one(found, "http_request_duration_seconds_count", route="/problems/{kind}") == 3
    assert one(found, "http_response_bytes_total", route="/problems/{kind}")


def test_the_scrape_itself_is_the_one_request_at_work(api: Operating) -> None:
    api.get("/health/live")

    assert one(scraped(api), "http_requests_in_flight") == 1


def test_refusals_for_rate_are_counted(published: Path, tmp_path: Path) -> None:
    with operating(copied(published, tmp_path / "data"), rate_limit_token="1/minute") as it:  # noqa: S106 (a limit)
        for _ in range(3):
            it.post("/token", data={})

        assert one(scraped(it), "http_rate_limited_total") == 2


def test_verified_tokens_are_counted_by_outcome(api: Operating) -> None:
    api.get("/status", "reader")
    api.get("/status", headers={"Authorization": "Bearer nonsense"})

    found = scraped(api)

    assert one(found, "token_verifications_total", outcome="accepted") == 1
    assert one(found, "token_verifications_total", outcome="malformed") == 1


def test_the_published_file_is_told_by_age_gaps_and_quality(api: Operating) -> None:
    found = scraped(api)

    assert one(found, "published_age_seconds") == 90
    assert one(found, "gaps_open", dataset="aemo.dispatch_region") == 2
    assert one(found, "intervals_missing", dataset="aemo.dispatch_region") == 4
    assert one(found, "quality_score", site=SITE) == 0.625


def test_the_last_collection_of_every_dataset_is_told(api: Operating) -> None:
    counts = {"fetched": 10, "filtered": 1, "invalid": 2, "duplicate": 0, "unchanged": 3, "inserted": 4, "updated": 0}
    told: dict[str, Any] = {"requests_by_status": {"200": 5}, "retries": 0, "bytes_received": 9, "errors": ()}
    run = {"run_id": "r", "attempt": 1, "dataset": "aemo.rooftop_pv", "partition": str(DAY), "started_at": NOW}
    record_sync_run(api.settings, SyncRun(**run, **counts, **told, finished_at=NOW, duration_seconds=8.5))

    found = scraped(api)

    of = {"dataset": "aemo.rooftop_pv", "site": ""}
    assert {o: one(found, "last_sync_records", outcome=o, **of) for o in ("inserted", "invalid")} == {
        "inserted": 4,
        "invalid": 2,
    }
    assert one(found, "last_sync_requests", **of) == 5
    assert one(found, "last_sync_duration_seconds", **of) == 8.5
    assert one(found, "last_sync_timestamp_seconds", **of) == NOW.timestamp()


def test_jobs_and_the_cache_are_told(api: Operating) -> None:
    open_job(api.settings, Order("a", "timeseries", {}, "csv", 7), now=NOW)
    entry = CacheEntry("timeseries/a/b.json", "a", "v", "json", 1, 7, 900, 100, 5, NOW, NOW, NOW + timedelta(hours=1))
    record_entry(api.settings, entry)

    found = scraped(api)

    assert one(found, "export_jobs", status="queued") == 1
    assert one(found, "cache_entries") == 1
    assert one(found, "cache_bytes") == 100
    assert (one(found, "cache_hits"), one(found, "cache_misses")) == (5, 1)


def test_a_source_that_does_not_answer_is_left_out_and_named(tmp_path: Path) -> None:
    with operating(tmp_path / "data") as bare:
        found = scraped(bare)

    assert one(found, "source_up", source="published_file") == 0
    assert one(found, "source_up", source="sync_runs") == 1
    assert one(found, "published_age_seconds") is None


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_who_comes_through_a_proxy_needs_the_scope(api: Operating, header: str) -> None:
    through = {header: "for=192.0.2.7"}

    assert api.get("/metrics", headers=through).status_code == 401
    assert api.get("/metrics", "reader", headers=through).status_code == 403
    assert api.get("/metrics", "operator", headers=through).status_code == 200


def test_in_production_a_scraper_on_this_machine_needs_the_scope_too(published: Path, tmp_path: Path) -> None:
    keys = json.dumps([jwk("ES256")])
    with operating(copied(published, tmp_path / "data"), environment="production", signing_keys=keys) as it:
        assert it.get("/metrics").status_code == 401
        assert it.get("/metrics", "operator").status_code == 200


def test_an_address_behind_a_trusted_proxy_is_its_own(published: Path, tmp_path: Path) -> None:
    with operating(
        copied(published, tmp_path / "data"), trusted_proxies="127.0.0.1", rate_limit_address="2/minute"
    ) as it:
        first = [it.get("/health/live", headers={"X-Forwarded-For": "192.0.2.7"}).status_code for _ in range(3)]
        other = it.get("/health/live", headers={"X-Forwarded-For": "192.0.2.8"}).status_code

    assert first == [200, 200, 429]
    assert other == 200


def test_without_a_trusted_proxy_nobody_chooses_an_address(published: Path, tmp_path: Path) -> None:
    with operating(copied(published, tmp_path / "data"), rate_limit_address="2/minute") as it:
        found = [it.get("/health/live", headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code for n in range(3)]

    assert found == [200, 200, 429]
