"""Which intervals of a day are there, missing, partial, provisional, or merely not due yet."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from etl_assets.aemo.completeness import DayStatus, State, day_statuses, whole_intervals
from etl_assets.aemo.feeds import DISPATCH_REGION_FEED, REGIONS, ROOFTOP_PV_FEED, UNIT_SCADA_FEED, Feed
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.tables import DISPATCH_REGION
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import interval_ends
from etl_assets_tests.aemo.conftest import DAY, DUE, NOW, World

ENDS = interval_ends(DAY)


@pytest.fixture
def store(world: World) -> Callable[..., None]:
    def store(
        ends: Iterable[datetime], regions: Iterable[str] = REGIONS, *, intervention: int = 0, **values: Any
    ) -> None:
        figures = {"rrp": 50.0, "rop": 50.0, "total_demand": 7000.0, "available_generation": 9000.0} | values
        rows = [
            {"interval_end": end, "region_id": region, "intervention": intervention, **figures}
            for end in ends
            for region in regions
        ]
        with write_lake(world.settings, "a test") as lake, transaction(lake):
            upsert(lake, DISPATCH_REGION_FEED.table, pa.Table.from_pylist(rows), now=NOW)

    return store


@pytest.fixture
def status(world: World) -> Callable[..., DayStatus]:
    def status(now: datetime = NOW, feed: Feed = DISPATCH_REGION_FEED) -> DayStatus:
        with read_lake(world.settings) as lake:
            return day_statuses(lake, feed, [DAY], now)[0]

    return status


def test_an_empty_day_is_missing_where_overdue_and_expected_where_not(status: Callable[..., DayStatus]) -> None:
    found = status()

    assert list(found.states) == ENDS
    assert list(found.states.values()) == [State.MISSING] * 7 + [State.EXPECTED] * 281
    assert found.wanted == DUE
    assert found.lacking == dict.fromkeys(DUE[:7], ("*",))


def test_an_interval_with_all_regions_is_complete(store: Callable[..., None], status: Callable[..., DayStatus]) -> None:
    store(DUE)

    assert status().count(State.COMPLETE) == 9
    assert status().wanted == []
    assert status().gaps == []


def test_an_interval_that_lacks_a_region_is_partial_and_names_it(
    store: Callable[..., None], status: Callable[..., DayStatus]
) -> None:
    store(DUE)
    store([ENDS[20]], ["NSW1"])
    late = NOW + timedelta(hours=2)

    found = status(late)

    assert found.states[ENDS[20]] is State.PARTIAL
    assert found.lacking[ENDS[20]] == ("QLD1", "SA1", "TAS1", "VIC1")


def test_a_partial_interval_that_is_not_overdue_is_expected_and_wanted(
    store: Callable[..., None], status: Callable[..., DayStatus]
) -> None:
    store(DUE[:8])
    store([DUE[8]], ["NSW1"])

    found = status()

    assert found.states[DUE[8]] is State.EXPECTED
    assert found.wanted == [DUE[8]]


@pytest.mark.parametrize("column", DISPATCH_REGION_FEED.table.complete_when)
def test_a_row_without_a_column_that_its_table_calls_for_is_provisional_and_wanted_but_no_gap(
    store: Callable[..., None], status: Callable[..., DayStatus], column: str
) -> None:
    store(DUE[1:])
    store(DUE[:1], REGIONS[1:])
    store(DUE[:1], REGIONS[:1], **{column: None})

    found = status()

    assert found.states[DUE[0]] is State.PROVISIONAL
    assert found.wanted == DUE[:1]
    assert found.gaps == []


def test_an_intervention_alone_is_no_presence(store: Callable[..., None], status: Callable[..., DayStatus]) -> None:
    store(DUE[:1], intervention=1)

    assert status().states[DUE[0]] is State.MISSING


def test_an_unknown_region_is_no_presence(store: Callable[..., None], status: Callable[..., DayStatus]) -> None:
    store(DUE[:1], ["SNOWY1"])

    assert status().states[DUE[0]] is State.MISSING


def test_neighbouring_missing_intervals_are_one_gap(
    store: Callable[..., None], status: Callable[..., DayStatus]
) -> None:
    store([DUE[0], DUE[4], *DUE[7:]])

    gaps = status().gaps

    assert [(g.entity, g.gap_start, g.gap_end, g.missing_intervals) for g in gaps] == [
        ("*", DUE[1], DUE[3], 3),
        ("*", DUE[5], DUE[6], 2),
    ]


def test_a_gap_of_one_region_is_its_own(store: Callable[..., None], status: Callable[..., DayStatus]) -> None:
    store([DUE[0], *DUE[3:]])
    store(DUE[1:3], ["NSW1", "QLD1", "SA1", "TAS1"])

    [gap] = status().gaps

    assert (gap.entity, gap.gap_start, gap.gap_end) == ("VIC1", DUE[1], DUE[2])


def test_the_interval_that_ends_at_midnight_is_the_days_last(
    store: Callable[..., None], status: Callable[..., DayStatus]
) -> None:
    midnight = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
    store([midnight, midnight - timedelta(days=1)])

    found = status(midnight + timedelta(minutes=5))

    assert found.is_closed
    assert list(found.states)[-1] == midnight
    assert [end for end, state in found.states.items() if state is State.COMPLETE] == [midnight]


def test_a_feed_without_known_entities_is_there_when_any_row_is(world: World, status: Callable[..., DayStatus]) -> None:
    rows = pa.table({"interval_end": DUE[:1], "duid": ["BW01"], "scada_value": [1.0]})
    with write_lake(world.settings, "a test") as lake, transaction(lake):
        upsert(lake, UNIT_SCADA_FEED.table, rows, now=NOW)

    found = status(feed=UNIT_SCADA_FEED)

    assert found.states[DUE[0]] is State.COMPLETE
    assert found.states[DUE[1]] is State.MISSING


def test_rooftop_has_two_estimates_a_region(world: World, status: Callable[..., DayStatus]) -> None:
    end = interval_ends(DAY, timedelta(minutes=30))[0]
    rows = pa.table(
        {
            "interval_end": [end] * 5,
            "region_id": list(REGIONS),
            "type": ["MEASUREMENT"] * 5,
            "power": [0.0] * 5,
        }
    )
    with write_lake(world.settings, "a test") as lake, transaction(lake):
        upsert(lake, ROOFTOP_PV_FEED.table, rows, now=NOW)

    found = status(end + timedelta(hours=2), ROOFTOP_PV_FEED)

    assert len(found.states) == 48
    assert found.lacking[end] == tuple(f"{region} SATELLITE" for region in REGIONS)


# --- of rows that are at hand ------------------------------------------------------------------------------

FIRST, SECOND = (datetime(2026, 11, 21, 14, minute, tzinfo=UTC) for minute in (5, 10))


def dispatched(end: datetime, regions: Sequence[str], run: int = 0, **values: float | None) -> list[dict[str, object]]:
    whole: dict[str, object] = dict.fromkeys(DISPATCH_REGION.complete_when, 1.0) | values
    return [whole | {"interval_end": end, "region_id": name, "intervention": run} for name in regions]


def table_of(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows))


def test_an_interval_is_whole_with_a_complete_row_of_every_region() -> None:
    rows = table_of(*dispatched(FIRST, REGIONS), *dispatched(SECOND, REGIONS[1:]), *dispatched(SECOND, ["SNOWY1"]))

    assert whole_intervals(DISPATCH_REGION_FEED, rows) == {FIRST}


def test_a_row_without_price_or_of_the_physical_run_makes_no_interval_whole() -> None:
    bare = table_of(*dispatched(FIRST, REGIONS[1:]), *dispatched(FIRST, REGIONS[:1], rrp=None))
    physical = table_of(*dispatched(FIRST, REGIONS[1:]), *dispatched(FIRST, REGIONS[:1], run=1))

    assert "rrp" in DISPATCH_REGION.complete_when
    assert whole_intervals(DISPATCH_REGION_FEED, bare) == set()
    assert whole_intervals(DISPATCH_REGION_FEED, physical) == set()


def test_rooftop_intervals_need_both_estimates_and_units_any_row() -> None:
    stamp = pa.timestamp("us", "UTC")
    both = [(region, kind) for region in REGIONS for kind in ("MEASUREMENT", "SATELLITE")]
    measured = pa.table(
        {
            "interval_end": pa.array([FIRST] * len(both), stamp),
            "region_id": [region for region, _ in both],
            "type": [kind for _, kind in both],
            "power": [1.0] * len(both),
        }
    )
    metered = pa.table({"interval_end": pa.array([SECOND], stamp), "duid": ["A"], "scada_value": [0.5]})

    assert whole_intervals(ROOFTOP_PV_FEED, measured) == {FIRST}
    assert whole_intervals(ROOFTOP_PV_FEED, measured.slice(1)) == set()
    assert whole_intervals(UNIT_SCADA_FEED, metered) == {SECOND}
