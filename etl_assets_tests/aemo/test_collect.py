"""Collecting against the simulated market: what is missing is fetched, and nothing else; whatever happens."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from etl_assets.aemo.completeness import State
from etl_assets.aemo.feeds import (
    DISPATCH_INTERCONNECTOR_FEED,
    DISPATCH_REGION_FEED,
    ROOFTOP_PV_FEED,
    TRADING_PRICE_FEED,
    UNIT_SCADA_FEED,
    Feed,
)
from etl_assets.lake.account import Account
from etl_assets.market_time import interval_ends
from etl_assets.simulator.mirror import write_mirror
from etl_assets_tests.aemo.conftest import DAY, DUE, NOW, World, assert_balanced

FIVE = timedelta(minutes=5)
ARCHIVED = date(2026, 11, 15)
MONTHLY = date(2024, 9, 15)


# --- ticks ----------------------------------------------------------------------------------------------


def test_a_tick_brings_exactly_the_newest_interval_as_the_market_has_it(world: World) -> None:
    world.collect(now=NOW - FIVE)

    results, requests = world.requests_of(now=NOW)

    assert [r.path.rpartition("/")[2][:30] for r in requests] == ["", "PUBLIC_DISPATCHIS_202611220045"]
    assert [result.account.inserted for result in results] == [5, 6]
    assert_balanced(results)
    world.assert_truth(DUE)


def test_a_second_run_asks_for_nothing(world: World) -> None:
    world.collect()

    results, requests = world.requests_of()

    assert requests == []
    assert [result.account for result in results] == [Account(result.feed.name) for result in results]
    world.assert_truth()


def test_rows_say_where_they_came_from_and_when(world: World) -> None:
    world.collect()

    [(source, file, collected)] = world.query(
        "SELECT DISTINCT source, source_file, collected_at FROM lake.aemo.dispatch_region WHERE interval_end = ?",
        DUE[0],
    )

    assert source == "NEMWEB CURRENT"
    assert file.startswith("PUBLIC_DISPATCHIS_202611220005_")
    assert collected == NOW


def test_only_rows_that_were_lost_are_fetched_again(world: World) -> None:
    world.collect()
    world.execute("DELETE FROM lake.aemo.dispatch_region WHERE interval_end IN (?, ?)", DUE[1], DUE[5])

    results, requests = world.requests_of()

    fetched = sorted(r.path.rpartition("PUBLIC_DISPATCHIS_")[2][:12] for r in requests if r.path.endswith(".zip"))
    assert fetched == ["202611220010", "202611220030"]
    assert [(r.account.inserted, r.account.unchanged) for r in results] == [(10, 0), (0, 12)]
    assert_balanced(results)
    world.assert_truth()


def test_the_interval_that_ends_at_midnight_is_the_days_before(world: World) -> None:
    day = DAY - timedelta(days=1)
    midnight = interval_ends(day)[-1]

    world.collect(day, now=midnight - FIVE)

    assert (midnight, "NSW1") in world.prices()
    assert world.query("SELECT DISTINCT market_day FROM lake.aemo.dispatch_region") == [(day,)]


def test_two_days_are_collected_together(world: World) -> None:
    yesterday = DAY - timedelta(days=1)
    world.collect(yesterday, now=NOW)

    results = world.collect(yesterday, DAY)

    assert [len(result.after) for result in results] == [2, 2]
    world.assert_truth([*interval_ends(yesterday), *DUE])


# --- rungs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "source", "requests_made"),
    [(ARCHIVED, "NEMWEB ARCHIVE", 2), (MONTHLY, "MMSDM", 4)],
)
def test_a_whole_day_of_the_past_is_as_the_market_had_it(
    world: World, day: date, source: str, requests_made: int
) -> None:
    results, requests = world.requests_of(day)

    assert [r.rows_by_source[source] for r in results] == [5 * 288, 6 * 288]
    assert [r.missing_after for r in results] == [0, 0]
    assert len([r for r in requests if r.status == 200]) == requests_made
    assert_balanced(results)
    world.assert_truth(interval_ends(day))


def test_rooftop_of_a_day_in_the_midst_of_a_week_comes_from_the_weeks_archives(world: World) -> None:
    day = date(2026, 10, 30)

    [result] = world.collect(day, feeds=[ROOFTOP_PV_FEED])

    assert result.missing_after == 0
    rows = world.query("SELECT interval_end, region_id, type, power FROM lake.aemo.rooftop_pv")
    truth = {
        (row.interval_end, row.region, row.type): row.power
        for end in interval_ends(day, timedelta(minutes=30))
        for row in world.market.rooftop(end)
    }
    assert {row[:3]: Decimal(str(row[3])) for row in rows} == truth


def test_rooftop_of_the_last_day_of_a_week_comes_from_two_weeks_archives(world: World) -> None:
    [result] = world.collect(date(2026, 10, 28), feeds=[ROOFTOP_PV_FEED])

    assert result.missing_after == 0


@pytest.mark.parametrize("feed", [UNIT_SCADA_FEED, TRADING_PRICE_FEED], ids=lambda feed: feed.name)
def test_the_other_five_minute_feeds_are_as_the_market_has_them(world: World, feed: Feed) -> None:
    [result] = world.collect(feeds=[feed])

    [entity], value = feed.entity_columns, {"unit_scada": "scada_value", "trading_price": "rrp"}[feed.table.name]
    stored = {
        row[:2]: Decimal(str(row[2]))
        for row in world.query(f"SELECT interval_end, {entity}, {value} FROM {feed.table.lake_name}")
    }
    truth = {
        "unit_scada": world.market.scada,
        "trading_price": lambda end: {r.region: world.market.trading_price(end, r.region) for r in market.regions(end)},
    }
    market = world.market
    assert result.missing_after == 0
    assert stored == {(end, name): v for end in DUE for name, v in truth[feed.table.name](end).items()}


# --- gaps and second-rate sources -----------------------------------------------------------------------


def test_a_withheld_interval_is_a_recorded_gap_and_healed_once_it_is_released(world: World) -> None:
    withheld = world.server.faults.switch_on("missing_interval", intervals=DUE[2:4])
    world.collect()
    gap = "SELECT gap_start, gap_end, missing_intervals, first_seen, healed_at FROM lake.quality.gaps WHERE dataset = ?"
    opened = world.query(gap, DISPATCH_REGION_FEED.name)
    world.server.faults.switch_off(withheld)

    world.collect(now=NOW + FIVE)

    assert opened == [(DUE[2], DUE[3], 2, NOW, None)]
    assert world.query(gap, DISPATCH_REGION_FEED.name) == [(DUE[2], DUE[3], 2, NOW, NOW + FIVE)]
    world.assert_truth([*DUE, DUE[-1] + FIVE])


def test_the_report_fills_what_nemweb_lacks_and_nemweb_completes_it_without_a_trace(world: World) -> None:
    world.server.faults.switch_on("empty_listing")
    [filled, _] = world.collect()
    prices = world.prices()
    world.server.faults.switch_off()

    results = world.collect()

    assert filled.rows_by_source["5MIN REPORT"] == 5 * len(DUE)
    assert filled.after[0].count(State.PROVISIONAL) == len(DUE)
    assert prices == {key: figures[0] for key, figures in world.true_regions(DUE).items()}
    assert results[0].account.updated == 5 * len(DUE)
    assert world.query("SELECT * FROM lake.quality.revisions") == []
    assert_balanced([filled, *results])
    world.assert_truth()


def test_the_report_is_not_asked_for_what_is_merely_on_its_way(world: World) -> None:
    world.collect(now=NOW - FIVE)
    world.server.faults.switch_on("missing_interval", intervals=DUE[-1:])

    _, requests = world.requests_of()

    assert not [r for r in requests if r.method == "POST"]


def test_an_empty_address_switches_the_report_off(world: World) -> None:
    world.server.faults.switch_on("empty_listing")

    [result, _] = world.with_settings(aemo_api_url="").collect()

    assert result.after[0].count(State.MISSING) == 7
    assert result.errors == []


def test_the_aggregated_files_are_the_last_resort_for_a_closed_day(world: World) -> None:
    world.server.faults.switch_on("empty_listing", "*/ARCHIVE/*/")

    results, requests = world.requests_of(ARCHIVED)

    end = interval_ends(ARCHIVED)[100]
    assert results[0].rows_by_source["PRICE AND DEMAND"] == 5 * 288
    assert results[0].after[0].count(State.PROVISIONAL) == 288
    assert world.prices()[end, "SA1"] == world.market.trading_price(end, "SA1")
    assert len([r for r in requests if "priceanddemand" in r.path]) == 5
    assert results[1].after[0].count(State.MISSING) == 288
    assert_balanced(results)


def test_reading_again_notices_a_revision(world: World) -> None:
    world.server.faults.switch_on("revised_row", intervals=DUE[:1], region="TAS1")
    world.collect(now=DUE[0])
    later = world.collect(now=NOW)
    before = world.prices()[DUE[0], "TAS1"]

    again = world.collect(now=NOW, reread=True)

    assert later[0].account.updated == 0
    assert before == world.market.region(DUE[0], "TAS1").rrp
    assert world.prices()[DUE[0], "TAS1"] == world.market.revised_rrp(DUE[0], "TAS1")
    assert again[0].account.updated == 1
    assert_balanced(again)


def test_a_rejected_file_is_filed_under_its_own_day_and_resolved_when_that_day_is_whole(world: World) -> None:
    yesterday = DAY - timedelta(days=1)
    spoilt = interval_ends(yesterday)[-1]
    world.collect(yesterday, now=spoilt - FIVE - timedelta(seconds=1))
    world.server.faults.switch_on("cut_file", intervals=[spoilt])
    state = "SELECT day, resolved_at FROM lake.quality.quarantine"

    world.collect(yesterday, DAY)
    lying = world.query(state)
    world.server.faults.switch_off()
    world.collect(yesterday, DAY, now=NOW + FIVE)

    assert lying == [(yesterday, None)]
    assert world.query(state) == [(yesterday, NOW + FIVE)]


# --- mirrors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True], ids=["zips", "plain CSV"])
def test_a_mirror_on_disk_is_read_like_the_site(world: World, tmp_path: Path, plain: bool) -> None:
    write_mirror(tmp_path / "mirror", DAY, DAY, plain=plain)
    mirrored = world.with_settings(nemweb_url=f"file://{tmp_path / 'mirror'}")

    results, requests = mirrored.requests_of(now=NOW + timedelta(days=30))

    assert requests == []
    assert [r.missing_after for r in results] == [0, 0]
    mirrored.assert_truth(interval_ends(DAY))


def test_a_mirror_of_archives_is_read_too(world: World, tmp_path: Path) -> None:
    write_mirror(tmp_path / "mirror", DAY, DAY, layouts=["archive"])
    mirrored = world.with_settings(nemweb_url=f"file://{tmp_path / 'mirror'}")

    results = mirrored.collect(now=NOW + timedelta(days=30))

    assert [r.rows_by_source["NEMWEB ARCHIVE"] for r in results] == [5 * 288, 6 * 288]
    mirrored.assert_truth(interval_ends(DAY))


def test_a_collection_of_interconnectors_alone_stores_no_prices(world: World) -> None:
    [result] = world.collect(feeds=[DISPATCH_INTERCONNECTOR_FEED])

    assert result.account.inserted == 6 * len(DUE)
    assert world.regions() == {}


def test_an_account_that_does_not_add_up_is_an_error() -> None:
    account = Account("aemo.dispatch_region", fetched=5, inserted=3, unchanged=1)

    with pytest.raises(RuntimeError, match=r"aemo\.dispatch_region: 5 records were fetched, but"):
        account.check()


def test_the_moment_may_be_given_in_any_zone(world: World) -> None:
    world.collect(now=NOW.astimezone(UTC))

    world.assert_truth([end for end in DUE if end <= datetime(2026, 11, 21, 14, 45, tzinfo=UTC)])
