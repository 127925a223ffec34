"""Cached results: whole, of the asked version, in their time, and no more of them than there is room for."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.exports.cache import Payload, ResultCache, cache_key
from etl_assets.ops.database import begin_alone

START = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
BODY = b'[{"timestamp":"2026-11-22T00:00:00Z","value":21.5}]' * 40
PAYLOAD = Payload(BODY, points=2, samples=40)
KEY = "timeseries/tower/0123.json"


class Clock:
    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        return self.time

    def later(self, **more: float) -> None:
        self.time += timedelta(**more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(settings, clock) -> ResultCache:
    return ResultCache(settings, now=clock)


def test_what_was_put_is_got(cache):
    cache.put(KEY, "v1", PAYLOAD, site="tower")

    assert cache.get(KEY, "v1") == PAYLOAD
    assert cache.exists(KEY, "v1")


def test_what_was_not_put_is_not_there(cache):
    assert cache.get(KEY, "v1") is None
    assert not cache.exists(KEY, "v1")
    assert cache.info(KEY) is None


def test_the_result_of_another_version_is_never_given_and_goes(cache):
    cache.put(KEY, "v1", PAYLOAD, site="tower")

    assert cache.get(KEY, "v2") is None
    assert not cache.path(KEY).exists()


def test_a_result_is_good_for_an_hour_and_no_longer(cache, clock):
    cache.put(KEY, "v1", PAYLOAD, site="tower")

    clock.later(hours=1, microseconds=-1)
    assert cache.get(KEY, "v1") == PAYLOAD
    clock.later(microseconds=1)
    assert cache.get(KEY, "v1") is None


@pytest.mark.parametrize("compression", [True, False])
def test_compression_can_be_turned_off(settings, clock, compression):
    cache = ResultCache(settings.model_copy(update={"cache_compression": compression}), now=clock)

    entry = cache.put(KEY, "v1", PAYLOAD, site="tower")

    assert (entry.compression_ratio > 0.6) == compression
    assert (BODY in cache.path(KEY).read_bytes()) != compression
    assert cache.get(KEY, "v1") == PAYLOAD


@hypothesis_settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10_000), st.sampled_from(["flip", "cut", "grow"]))
def test_a_damaged_file_is_a_miss_and_goes_or_gives_what_was_put(cache, where, how):
    cache.put(KEY, "v1", PAYLOAD, site="tower")
    path = cache.path(KEY)
    stored = path.read_bytes()
    at = where % len(stored)
    damaged = {
        "flip": stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :],
        "cut": stored[:at],
        "grow": stored[:at] + b"x" + stored[at:],
    }[how]
    path.write_bytes(damaged)

    found = cache.get(KEY, "v1")

    # Of the header, which no checksum covers, counts may change; what is answered is whole.
    assert found is None or found.body == BODY
    assert path.exists() == (found is not None)


def test_an_empty_result_is_kept_like_any_other(cache):
    cache.put(KEY, "v1", Payload(b"[]", 0, 0), site="tower")

    assert cache.get(KEY, "v1") == Payload(b"[]", 0, 0)


def test_metadata_says_what_an_entry_is(cache, clock):
    cache.put(KEY, "v1", PAYLOAD, site="tower")
    clock.later(minutes=5)
    cache.get(KEY, "v1")

    entry = cache.info(KEY)

    assert (entry.site_name, entry.format, entry.version) == ("tower", "json", "v1")
    assert (entry.points_count, entry.samples_count, entry.bytes) == (2, 40, len(BODY))
    assert entry.compressed_bytes == cache.path(KEY).stat().st_size
    assert (entry.hits, entry.misses, entry.last_used_at) == (1, 1, START + timedelta(minutes=5))


def test_a_hit_waits_for_nobody_who_writes_to_the_state_database_and_is_counted_all_the_same(settings, cache, clock):
    cache.put(KEY, "v1", PAYLOAD, site="tower")

    with begin_alone(settings, "a long one"):
        for _ in range(3):
            clock.later(minutes=1)
            assert cache.get(KEY, "v1") == PAYLOAD

    entry = cache.info(KEY)
    assert (entry.hits, entry.last_used_at) == (3, START + timedelta(minutes=3))


def test_entries_are_listed_by_site(cache):
    for site in ("tower", "annex"):
        cache.put(f"timeseries/{site}/1.json", "v1", PAYLOAD, site=site)

    assert [entry.cache_key for entry in cache.list("timeseries/annex/")] == ["timeseries/annex/1.json"]


def test_statistics_tell_how_often_the_cache_answered(cache):
    cache.put(KEY, "v1", PAYLOAD, site="tower")
    for _ in range(3):
        cache.get(KEY, "v1")

    found = cache.statistics()

    assert (found.entries, found.hits, found.misses, found.hit_ratio) == (1, 3, 1, 0.75)


def test_cleanup_removes_what_is_past_its_time_and_keeps_the_rest(cache, clock):
    cache.put("timeseries/tower/old.json", "v1", PAYLOAD, site="tower")
    clock.later(minutes=30)
    cache.put(KEY, "v1", PAYLOAD, site="tower")
    clock.later(minutes=30)

    assert cache.cleanup() == 1
    assert [entry.cache_key for entry in cache.list()] == [KEY]
    assert not cache.path("timeseries/tower/old.json").exists()


def test_cleanup_by_age_removes_what_is_older(cache, clock):
    cache.put(KEY, "v1", PAYLOAD, site="tower")
    clock.later(minutes=10)

    assert cache.cleanup(timedelta(minutes=10)) == 0
    assert cache.cleanup(timedelta(minutes=9)) == 1
    assert not cache.path(KEY).exists()


def test_cleanup_removes_what_a_killed_process_left(cache, clock):
    cache.put(KEY, "v1", PAYLOAD, site="tower")
    draft = cache.path(KEY).with_name(".0123.json.zst.4711.1.draft")
    draft.write_bytes(b"half")
    clock.time = datetime.fromtimestamp(draft.stat().st_mtime, UTC) + timedelta(days=1, seconds=1)

    cache.cleanup()

    assert not draft.exists()


def test_a_full_cache_makes_room_by_what_was_not_used_for_longest(settings, clock):
    entry = ResultCache(settings, now=clock).put(KEY, "v1", PAYLOAD, site="tower")
    room_for_two = settings.model_copy(update={"cache_max_bytes": 2 * entry.compressed_bytes})
    cache = ResultCache(room_for_two, now=clock)
    cache.cleanup(timedelta(seconds=-1))

    for name in ("a", "b"):
        clock.later(seconds=1)
        cache.put(f"timeseries/tower/{name}.json", "v1", PAYLOAD, site="tower")
    clock.later(seconds=1)
    cache.get("timeseries/tower/a.json", "v1")
    cache.put("timeseries/tower/c.json", "v1", PAYLOAD, site="tower")

    assert [found.cache_key[-6:] for found in cache.list()] == ["a.json", "c.json"]
    assert not cache.path("timeseries/tower/b.json").exists()


def test_equal_requests_have_one_key_however_they_are_written():
    assert cache_key("tower", {"a": 1, "b": [1]}, "csv") == cache_key("tower", {"b": [1], "a": 1}, "csv")


def test_other_requests_sites_and_formats_have_other_keys():
    made = {
        cache_key(site, request, form)
        for site in ("tower", "annex")
        for request in ({"a": 1}, {"a": 2})
        for form in ("csv", "json")
    }

    assert len(made) == 8


@pytest.mark.parametrize("site", ["..", ".", "../../etc", "a/b", "a\\b", "ein Haus", "%2e%2e", "x\0y"])
def test_no_site_leads_out_of_the_cache(cache, settings, site):
    key = cache_key(site, {}, "json")

    cache.put(key, "v1", PAYLOAD, site="tower")

    assert cache.path(key).resolve().parent.parent == (settings.api_folder / "cache" / "timeseries").resolve()
    assert cache.get(key, "v1") == PAYLOAD
