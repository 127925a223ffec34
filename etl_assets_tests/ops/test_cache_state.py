"""Cached results on record: what is good, what goes first, how often it answered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from etl_assets.ops.cache_state import (
    CacheEntry,
    Kept,
    entries_beyond,
    find_entry,
    forget_entries,
    kept,
    list_entries,
    note_hit,
    record_entry,
    stale_entries,
)

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
KEY = "timeseries/tower/1.json"
ENTRY = CacheEntry(KEY, "tower", "v1", "json", 2, 5_000, 1_000, 250, 0, NOW, NOW, NOW + 60 * MINUTE)


def keys(entries):
    return [entry.cache_key for entry in entries]


def test_an_entry_is_found_under_its_key(settings):
    record_entry(settings, ENTRY)

    assert find_entry(settings, KEY) == ENTRY
    assert find_entry(settings, "timeseries/tower/2.json") is None


def test_an_entry_is_good_for_its_version_until_its_time_is_over():
    assert ENTRY.is_good("v1", NOW + 60 * MINUTE - timedelta(microseconds=1))
    assert not ENTRY.is_good("v1", NOW + 60 * MINUTE)
    assert not ENTRY.is_good("v2", NOW)


def test_the_compression_ratio_is_the_share_that_was_saved():
    assert ENTRY.compression_ratio == 0.75
    assert replace(ENTRY, bytes=0).compression_ratio == 0.0


def test_a_hit_is_counted_and_timed(settings):
    record_entry(settings, ENTRY)

    note_hit(settings, KEY, now=NOW + MINUTE)
    note_hit(settings, KEY, now=NOW + 2 * MINUTE)

    assert find_entry(settings, KEY) == replace(ENTRY, hits=2, last_used_at=NOW + 2 * MINUTE)


def test_an_entry_that_is_made_again_keeps_the_counts_of_the_former(settings):
    record_entry(settings, ENTRY)
    note_hit(settings, KEY, now=NOW)

    record_entry(settings, replace(ENTRY, version="v2", created_at=NOW + MINUTE))

    found = find_entry(settings, KEY)
    assert (found.version, found.created_at, found.hits, found.misses) == ("v2", NOW + MINUTE, 1, 2)


def test_entries_are_listed_by_prefix_as_it_is_written(settings):
    for name in ("tower/1", "tower/2", "Tower/1", "tower_x/1"):
        record_entry(settings, replace(ENTRY, cache_key=f"timeseries/{name}.json"))

    assert keys(list_entries(settings, "timeseries/tower/")) == [
        "timeseries/tower/1.json",
        "timeseries/tower/2.json",
    ]
    assert keys(list_entries(settings, "timeseries/tower_")) == ["timeseries/tower_x/1.json"]
    assert len(list_entries(settings)) == 4


def test_what_is_past_its_time_or_made_too_long_ago_is_stale(settings):
    record_entry(settings, ENTRY)
    record_entry(settings, replace(ENTRY, cache_key="old", created_at=NOW - MINUTE))
    record_entry(settings, replace(ENTRY, cache_key="over", expires_at=NOW))

    assert keys(stale_entries(settings, now=NOW, made_before=NOW)) == ["old", "over"]


@pytest.mark.parametrize(
    ("limit", "gone"), [(750, []), (749, ["b"]), (500, ["b"]), (499, ["b", "c"]), (0, list("bca"))]
)
def test_the_least_recently_used_goes_first_and_no_more_than_must(settings, limit, gone):
    for name, minutes in (("a", 3), ("b", 1), ("c", 2)):
        record_entry(settings, replace(ENTRY, cache_key=name, last_used_at=NOW + minutes * MINUTE))

    assert keys(entries_beyond(settings, limit)) == gone


def test_everything_is_added_up(settings):
    assert kept(settings) == Kept(0, 0, 0, 0, 0)
    record_entry(settings, ENTRY)
    record_entry(settings, replace(ENTRY, cache_key="b"))
    for _ in range(6):
        note_hit(settings, KEY, now=NOW)

    assert kept(settings) == Kept(entries=2, bytes=2_000, compressed_bytes=500, hits=6, misses=2)
    assert kept(settings).hit_ratio == 0.75
    forget_entries(settings, [KEY, "b"])
    assert kept(settings).hit_ratio == 0.0
