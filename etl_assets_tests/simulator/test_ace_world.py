"""The truth behind the simulated ACE account."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.simulator.ace_hours import LATEST
from etl_assets.simulator.ace_samples import microseconds
from etl_assets.simulator.ace_signals import Kind
from etl_assets.simulator.ace_world import AceSite, AceWorld
from etl_assets_tests.simulator.ace_reading import HOUR, rows

DAY = datetime(2026, 4, 20, tzinfo=UTC)
LAST = DAY + 24 * HOUR - timedelta(microseconds=1)
WORLD = AceWorld()
A_DAY = WORLD.table("building-a", DAY, LAST)
MICROSECONDS = A_DAY["timestamp"].cast(pa.int64()).to_numpy()
MINUTE = 60_000_000


def by_point(table: pa.Table) -> dict[str, list[float]]:
    found = defaultdict(list)
    for name, value in zip(table["point_name"].to_pylist(), table["value"].to_pylist(), strict=True):
        found[name].append(value)
    return found


def of_kind(kind: Kind, site: str = "building-a") -> list[str]:
    layout = WORLD.layout(site)
    return [name for name, found in zip(layout.names, layout.kinds, strict=True) if found == kind]


def test_equal_seeds_give_equal_worlds_and_others_do_not() -> None:
    end = DAY + HOUR

    first, again, other = (rows(AceWorld(seed).table("building-a", DAY, end)) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_a_site_reads_the_same_whatever_other_sites_there_are() -> None:
    alone = AceWorld(1, [AceSite("building-b", 60, "VIC1", -37.81, 144.96)])

    read, expected = (rows(world.table("building-b", DAY, DAY + HOUR)) for world in (alone, WORLD))

    assert read == expected


def test_the_demo_has_two_sites_of_120_and_60_points() -> None:
    assert {name: len(WORLD.layout(name).names) for name in WORLD.sites} == {"building-a": 120, "building-b": 60}


@pytest.mark.parametrize("points", [1, 7, 19, 20, 2_400, 4_500])
def test_a_plain_site_reads_every_point_each_minute(points: int) -> None:
    world = AceWorld.of_size(1, points, plain=True)
    table = world.table("site-001", DAY, DAY + timedelta(minutes=10) - timedelta(microseconds=1))

    assert len(table) == 10 * points
    assert pc.count_distinct(table["point_name"]).as_py() == points
    assert not pc.any(pc.is_nan(table["value"])).as_py()


def test_sites_of_any_size_have_names_of_their_own() -> None:
    world = AceWorld.of_size(3, 250)

    names = [name for site in world.sites for name in world.layout(site).names]

    assert list(world.sites) == ["site-001", "site-002", "site-003"]
    assert len(set(names)) == 750


def test_all_points_of_a_poll_share_one_timestamp_with_microseconds() -> None:
    stamps = np.unique(MICROSECONDS)

    assert len(stamps) == len(set((stamps // MINUTE).tolist())) == 1440
    assert (stamps % 1_000_000 != 0).all()


def test_a_large_site_is_stamped_in_clusters_of_at_most_2400() -> None:
    world = AceWorld.of_size(1, 4_500, plain=True)

    stamps = Counter(world.readings("site-001", DAY, DAY + timedelta(minutes=1)).time.tolist())

    assert sorted(stamps.values()) == [2_250, 2_250]


def test_readings_are_in_time_order_and_each_is_there_once() -> None:
    keys = A_DAY.group_by(["timestamp", "point_name"]).aggregate([])

    assert (np.diff(MICROSECONDS) >= 0).all()
    assert len(keys) == len(A_DAY)


def test_most_points_are_read_each_minute_and_some_every_five() -> None:
    counts = Counter(len(values) // 10 * 10 for values in by_point(A_DAY).values())

    assert counts[1440] > 80
    assert counts[280] > 10
    # A point that says nothing for an hour has 60 or 12 fewer.
    assert counts.keys() <= {1440, 1380, 280, 270}
    assert counts[1380] + counts[270] >= 1


def test_some_points_are_disabled_and_some_give_nothing_although_enabled() -> None:
    layout = WORLD.layout("building-a")
    silent = set(layout.names) - set(by_point(A_DAY))
    disabled = {name for name, enabled in zip(layout.names, layout.enabled, strict=True) if not enabled}

    assert disabled
    assert disabled < silent


def test_names_have_the_form_of_real_ones() -> None:
    names = WORLD.layout("building-a").names

    assert names[0] == "demo-client/building-a/10.0.0.1-100/analogInput/1"
    assert names[-9] == "building-a/weather/temp"
    assert len(set(names)) == 120


def test_one_reading_in_4500_is_not_a_number() -> None:
    share = pc.mean(pc.cast(pc.is_nan(A_DAY["value"]), pa.float64())).as_py()

    assert 1 / 9_000 < share < 1 / 2_000


def test_counters_never_fall_and_rise_each_day() -> None:
    found = by_point(A_DAY)
    counters = [np.array(found[name]) for name in of_kind(Kind.COUNTER) if name in found]

    for values in counters:
        steps = np.diff(values[~np.isnan(values)])
        assert steps.min() >= 0
        assert steps.sum() > 0


def test_states_are_0_or_1_and_temperatures_those_of_rooms() -> None:
    found = by_point(A_DAY)
    states = {value for name in of_kind(Kind.STATE) for value in found.get(name, []) if value == value}  # noqa: PLR0124
    rooms = [value for name in of_kind(Kind.ZONE_TEMPERATURE) for value in found.get(name, []) if value == value]  # noqa: PLR0124

    assert states == {0.0, 1.0}
    assert min(rooms) > 15
    assert sorted({value for value in rooms if value > 30}) in ([], [60.0])


def test_now_and_then_a_temperature_spikes_or_a_sensor_sticks_for_a_day() -> None:
    world = AceWorld.of_size(1, 900)
    layout = world.layout("site-001")
    hours = [world.readings("site-001", DAY + n * 6 * HOUR, DAY + (n * 6 + 1) * HOUR) for n in range(4)]

    def distinct(point: int) -> int:
        return len({value for hour in hours for value in hour.values()[hour.point == point].tolist() if value < 60})

    rooms = np.flatnonzero((layout.kinds == Kind.ZONE_TEMPERATURE) & layout.reads & (layout.interval == 60))
    stuck = [point for point in rooms.tolist() if distinct(point) == 1]
    spikes = sum(int((np.isin(hour.point, rooms) & (hour.values() == 60)).sum()) for hour in hours)

    assert 1 <= len(stuck) <= 0.02 * len(rooms)
    assert 1 <= spikes < 20


def test_power_is_higher_at_work_than_at_night_and_at_the_weekend() -> None:
    def mean_power(start: datetime) -> float:
        found = by_point(WORLD.table("building-a", start, start + HOUR))
        return float(np.nanmean([value for name in of_kind(Kind.POWER) for value in found.get(name, [])]))

    monday_noon = datetime(2026, 4, 20, 2, tzinfo=UTC)

    assert mean_power(monday_noon) > 2 * mean_power(monday_noon + 12 * HOUR)
    assert mean_power(monday_noon) > 2 * mean_power(monday_noon - 24 * HOUR)


def test_one_reading_in_200_becomes_visible_minutes_later() -> None:
    end = DAY + 5 * HOUR

    at_once = WORLD.readings("building-a", DAY, end, end)
    at_last = WORLD.readings("building-a", DAY, end)

    late = len(at_last) - len(at_once)
    assert 0 < late < 0.005 * len(at_last)
    assert len(WORLD.readings("building-a", DAY, end, end + LATEST)) == len(at_last)


def test_over_a_day_half_a_per_cent_is_late() -> None:
    seen = sum(
        len(WORLD.readings("building-a", start, start + timedelta(minutes=1), start + timedelta(minutes=1)))
        for start in (DAY + timedelta(minutes=n) for n in range(0, 1440, 3))
    )
    there = sum(
        len(WORLD.readings("building-a", start, start + timedelta(minutes=1)))
        for start in (DAY + timedelta(minutes=n) for n in range(0, 1440, 3))
    )

    assert 0.003 < 1 - seen / there < 0.008


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 100_000), st.integers(0, 60), st.integers(0, 60))
def test_what_was_visible_stays_visible(minute: int, wait: int, longer: int) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    end = start + timedelta(minutes=30)

    earlier = WORLD.readings("building-b", start, end, start + timedelta(minutes=wait))
    later = WORLD.readings("building-b", start, end, start + timedelta(minutes=wait + longer))

    seen = set(zip(earlier.time.tolist(), earlier.point.tolist(), earlier.code.tolist(), strict=True))
    assert seen <= set(zip(later.time.tolist(), later.point.tolist(), later.code.tolist(), strict=True))
    assert all(time <= microseconds(start + timedelta(minutes=wait)) for time in earlier.time.tolist())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 7_200_000_000), min_size=1, max_size=5))
def test_windows_that_touch_give_every_reading_once(cuts: list[int]) -> None:
    begin = microseconds(DAY + 22 * HOUR)
    bounds = [begin, *sorted(begin + cut for cut in cuts), begin + 7_200_000_000]

    parts = [
        part.time.size
        for start, end in pairwise(bounds)
        for part in WORLD.parts("building-a", start, end - 1, begin * 2)
    ]

    assert sum(parts) == len(WORLD.readings("building-a", DAY + 22 * HOUR, DAY + 24 * HOUR - timedelta(microseconds=1)))


def test_both_bounds_of_a_window_are_included() -> None:
    stamps = A_DAY["timestamp"].unique()[:3].to_pylist()

    table = WORLD.table("building-a", stamps[0], stamps[2])

    assert sorted(set(table["timestamp"].to_pylist())) == stamps


def test_nothing_was_read_before_2020_and_asking_for_it_is_quick() -> None:
    assert len(WORLD.readings("building-a", datetime(1971, 1, 1, tzinfo=UTC), datetime(2019, 12, 31, tzinfo=UTC))) == 0


def test_nothing_is_visible_that_lies_ahead() -> None:
    seen = WORLD.readings("building-a", DAY, DAY + 24 * HOUR, DAY + HOUR)

    assert seen.time.max() <= microseconds(DAY + HOUR)
