"""Every fault of the simulator: what is said of it, and that the data is right in the end."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from etl_assets.aemo.account import Collection
from etl_assets.aemo.completeness import State
from etl_assets.market_time import NEM_TIME, interval_ends
from etl_assets.simulator.faults import CATALOGUE, Scope
from etl_assets_tests.aemo.conftest import DAY, DUE, NOW, World

END = DUE[2]
"""00:15, the interval that most faults are about; overdue at 00:41."""
LATER = NOW + timedelta(minutes=30)
DUE_LATER = [*DUE, *(DUE[-1] + timedelta(minutes=5) * n for n in range(1, 7))]
FILE = "PUBLIC_DISPATCHIS_202611220015"
FOLDER = "*/DispatchIS_Reports/"

TESTED: set[str] = set()


def with_faults(*names: str) -> pytest.MarkDecorator:
    """Runs a test with each of these faults, and remembers that they are tested."""
    TESTED.update(names)
    return pytest.mark.parametrize("fault", names)


def region_of(results: list[Collection]) -> Collection:
    return results[0]


def assert_healed(world: World) -> None:
    """Without the fault, one more collection leaves nothing but the truth, no open gap and no revision."""
    world.server.faults.switch_off()

    results = world.collect()

    assert not region_of(results).errors
    world.assert_truth()
    assert world.query("SELECT * FROM lake.quality.gaps WHERE healed_at IS NULL") == []
    assert world.query("SELECT * FROM lake.quality.revisions") == []


def test_every_fault_of_the_catalogue_is_tested() -> None:
    of_others = {name for name, kind in CATALOGUE.items() if kind.scope in (Scope.ACE, Scope.WEBHOOK)}

    assert set(CATALOGUE) - of_others == TESTED


# --- answers --------------------------------------------------------------------------------------------


@with_faults("too_many_requests", "too_many_requests_silent", "server_error", "cut_body", "blocked")
def test_a_fault_of_a_moment_is_overcome_by_asking_again(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, "*.zip", times=1)

    results = world.with_settings(http_retries=1).collect()

    assert not region_of(results).errors
    world.assert_truth()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("too_many_requests_silent", "Status 429"),
        ("server_error", "Status 503"),
        ("blocked", "Status 403"),
        ("cut_body", "without sending complete message body"),
        ("html_with_200", "Expected a folder listing, got another page"),
    ],
)
def test_a_folder_that_cannot_be_listed_is_an_error_that_says_which_and_why(
    world: World, fault: str, said: str
) -> None:
    world.server.faults.switch_on(fault, FOLDER)

    [error] = region_of(world.collect()).errors

    assert said in error
    assert f"{world.server.url}/Reports/CURRENT/DispatchIS_Reports/" in error
    assert_healed(world)


@with_faults("html_with_200")
def test_a_page_with_status_200_is_an_error_and_never_zero_rows(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault)

    result = region_of(world.collect())

    assert any("Expected a folder listing, got another page" in error for error in result.errors)
    assert any("Expected JSON" in error for error in result.unfilled)
    assert result.missing_after == len(DUE)
    assert world.query("SELECT missing_intervals FROM lake.quality.gaps WHERE dataset = ?", result.feed.name) == [(7,)]
    assert_healed(world)


@with_faults("time_out")
def test_a_source_that_does_not_answer_is_given_up_after_the_time_out(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, FOLDER)

    result = region_of(world.with_settings(http_timeout=timedelta(seconds=0.3)).collect())

    assert any("No answer (ReadTimeout" in e and "/Reports/CURRENT/DispatchIS_Reports/" in e for e in result.errors)
    assert_healed(world)


def test_a_source_that_blocks_us_is_asked_for_no_further_file(world: World) -> None:
    world.server.faults.switch_on("blocked", "*.zip")

    results, requests = world.with_settings(http_concurrency=1).requests_of()

    assert [r.status for r in requests if r.path.endswith(".zip")] == [403]
    assert "Wait, lower HTTP_CONCURRENCY" in region_of(results).errors[0]
    assert_healed(world)


@with_faults("rolled_off")
def test_a_file_that_rolled_off_is_no_error(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, intervals=[END])

    result = region_of(world.collect())

    assert result.errors == []
    assert result.after[0].states[END] is State.PROVISIONAL
    assert_healed(world)


@with_faults("no_content")
def test_no_content_in_the_report_means_keep_what_you_have(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault)
    world.server.faults.switch_on("rolled_off", intervals=[END])

    result = region_of(world.collect())

    assert result.errors == []
    assert result.after[0].states[END] is State.MISSING
    assert_healed(world)


# --- contents -------------------------------------------------------------------------------------------

REFUSALS = {
    "cut_file": 'expected C,"END OF REPORT",N as the last line',
    "corrupt_zip": "not readable: Bad CRC-32",
    "wrong_footer": "lines by the footer, found",
}


@with_faults("cut_file", "corrupt_zip", "wrong_footer")
def test_a_damaged_file_is_refused_whole_and_the_report_helps_out(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, intervals=[END])

    result = region_of(world.collect())

    [refused] = result.refused
    assert refused.source_file.startswith(FILE)
    assert REFUSALS[fault] in refused.reason
    [(source, reason, day)] = world.query("SELECT source, reason, day FROM lake.quality.quarantine")
    assert (source, reason, day) == (refused.source_file, refused.reason, DAY)
    assert result.after[0].states[END] is State.PROVISIONAL
    assert all(world.regions()[END, region][0] == price for region, price in true_prices(world).items())
    assert_healed(world)


def true_prices(world: World, end: datetime = END) -> dict[str, Decimal]:
    return {row.region: row.rrp for row in world.market.regions(end)}


@with_faults("bad_row", "short_row")
def test_a_bad_row_lies_in_quarantine_with_its_text_and_its_neighbours_are_stored(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, intervals=[END])

    result = region_of(world.collect())

    [(source, raw, reason)] = world.query("SELECT source, raw, reason FROM lake.quality.quarantine")
    assert source.startswith(FILE)
    assert " line " in source
    assert raw.startswith("D,DISPATCH,PRICE,5,")
    assert ("RRP" in reason and "n/a" in raw) if fault == "bad_row" else "fields" in reason
    assert result.account.invalid == 1
    stored = {region: figures[0] for (end, region), figures in world.regions().items() if end == END}
    spoilt = raw.split(",")[6]
    assert stored == true_prices(world) | {spoilt: None}
    assert_healed(world)


@with_faults("missing_region")
def test_a_file_without_a_region_leaves_a_gap_of_that_region_which_the_report_fills(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, intervals=[END], region="SA1")
    world.server.faults.switch_on("no_content")

    without = region_of(world.collect())
    gaps = world.query(
        "SELECT entity, gap_start, healed_at FROM lake.quality.gaps WHERE dataset = ?", without.feed.name
    )
    world.server.faults.switch_off("no_content")
    filled = region_of(world.collect())

    assert without.after[0].lacking == {END: ("SA1",)}
    assert gaps == [("SA1", END, None)]
    assert filled.rows_by_source["5MIN REPORT"] == 1
    assert world.prices()[END, "SA1"] == true_prices(world)["SA1"]
    assert_healed(world)


@with_faults("quoted_commas", "quoted_newlines")
def test_quoted_text_disturbs_nothing(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault)

    result = region_of(world.collect())

    assert (result.errors, result.refused, result.account.invalid) == ([], [], 0)
    world.assert_truth()


# --- listings -------------------------------------------------------------------------------------------


@with_faults("empty_listing")
def test_an_empty_folder_is_no_error_and_the_report_helps_out(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault)

    result = region_of(world.collect())

    assert result.errors == []
    assert result.after[0].count(State.PROVISIONAL) == len(DUE)
    assert world.prices() == {key: figures[0] for key, figures in world.true_regions(DUE).items()}
    assert_healed(world)


@with_faults("lower_case_listing", "absolute_listing", "short_date_listing")
def test_a_listing_in_another_dress_is_read(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault)

    world.collect()

    world.assert_truth()


# --- what is published ----------------------------------------------------------------------------------


@with_faults("missing_interval")
def test_an_interval_that_was_never_published_is_a_gap_until_it_is(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, intervals=[END])

    result = region_of(world.collect())

    assert result.errors == []
    assert world.query("SELECT DISTINCT entity, gap_start, gap_end, missing_intervals FROM lake.quality.gaps") == [
        ("*", END, END, 1)
    ]
    assert_healed(world)


@with_faults("archive_missing_interval")
def test_an_interval_that_an_archive_lacks_comes_from_the_aggregated_file(world: World, fault: str) -> None:
    day = DAY - timedelta(days=4)
    end = datetime(day.year, day.month, day.day, 0, 15, tzinfo=NEM_TIME)
    world.server.faults.switch_on(fault, intervals=[end])

    result = region_of(world.collect(day))

    assert result.errors == []
    assert result.after[0].count(State.COMPLETE) == 287
    assert result.after[0].states[end] is State.PROVISIONAL
    stored = {region: price for (at, region), price in world.prices().items() if at == end}
    assert stored == {region: world.market.trading_price(end, region) for region in true_prices(world, end)}

    world.server.faults.switch_off()
    healed = region_of(world.collect(day))

    assert healed.after[0].count(State.COMPLETE) == 288
    assert {r: p for (at, r), p in world.prices().items() if at == end} == true_prices(world, end)


@with_faults("revised_row")
def test_a_revised_price_replaces_the_former_which_is_kept(world: World, fault: str) -> None:
    newest = DUE[-1]
    world.server.faults.switch_on(fault, intervals=[newest], region="VIC1")
    world.collect()
    former = world.prices()[newest, "VIC1"]

    result = region_of(world.collect(now=LATER, reread=True))

    truth = world.market.revised_rrp(newest, "VIC1")
    assert former == true_prices(world, newest)["VIC1"]
    assert world.prices()[newest, "VIC1"] == truth != former
    [(table, key, column, was, now_is)] = world.query(
        "SELECT table_name, row_key, column_name, former_value, new_value FROM lake.quality.revisions "
        "WHERE column_name = 'rrp'"
    )
    assert (table, column, Decimal(was), Decimal(now_is)) == ("aemo.dispatch_region", "rrp", former, truth)
    assert '"VIC1"' in key
    assert result.account.updated == 1


UNREADABLE = {
    "empty_listing": f"{len(DUE)} intervals are in no file that NEMWeb lists",
    "rolled_off": f"{len(DUE)} files are listed and not there",
    "server_error": "Status 503",
    "blocked": "Status 403",
    "corrupt_zip": "was refused: ",
}


@pytest.mark.parametrize(("fault", "reason"), UNREADABLE.items())
def test_a_complete_day_that_cannot_be_read_again_is_told_of(world: World, fault: str, reason: str) -> None:
    world.collect()
    world.server.faults.switch_on(fault, "*/Reports/*" if CATALOGUE[fault].scope is not Scope.CONTENT else "")

    results = world.collect(reread=True)

    assert [result.intervals_unread for result in results] == [len(DUE)] * 2
    assert all(any(reason in text for text in result.unread_because) for result in results)
    assert all(result.missing_after == 0 for result in results)
    world.assert_truth()


def test_a_day_that_was_read_again_has_nothing_to_tell(world: World) -> None:
    world.collect()

    assert [result.intervals_unread for result in world.collect(reread=True)] == [0, 0]
    assert [result.intervals_unread for result in world.collect()] == [0, 0]


ARCHIVED = DAY - timedelta(days=2)
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=NEM_TIME)
EARLY = interval_ends(ARCHIVED)[3]
"""Out of CURRENT when its day is read again: that keeps two days."""
RECHECKED = datetime(2026, 11, 22, 1, 31, tzinfo=NEM_TIME)


def reread(world: World, *faults: tuple[str, str, list[datetime]]) -> Collection:
    """The recheck of a day that is complete, under faults; the revision of noon's price in SA1 is out."""
    world.server.faults.switch_on("revised_row", intervals=[NOON], region="SA1")
    world.collect(ARCHIVED, now=RECHECKED)
    world.execute("UPDATE lake.aemo.dispatch_region SET rrp = 1.5 WHERE region_id = 'SA1' AND interval_end = ?", NOON)
    for name, path, intervals in faults:
        world.server.faults.switch_on(name, path, intervals=intervals)
    return region_of(world.collect(ARCHIVED, now=RECHECKED, reread=True))


def test_an_archive_is_enough_to_read_a_day_again(world: World) -> None:
    result = reread(world, ("server_error", "*/CURRENT/*", []))

    assert result.intervals_unread == 0
    assert world.prices()[NOON, "SA1"] == world.market.revised_rrp(NOON, "SA1")


AT_NOON = ("cut_file", "", [NOON])


@pytest.mark.parametrize(
    ("fault", "unread"),
    [
        # CURRENT's files begin at 01:35 of the day.
        (("server_error", "*/ARCHIVE/*", []), 18),
        # One of its members is spoilt.
        (("corrupt_zip", "*/ARCHIVE/*.zip", []), 0),
        # A file that is cut is cut in both.
        (AT_NOON, 1),
    ],
)
def test_what_an_archive_does_not_give_is_read_again_from_elsewhere(
    world: World, fault: tuple[str, str, list[datetime]], unread: int
) -> None:
    result = reread(world, fault)

    assert result.intervals_unread == unread
    assert (world.prices()[NOON, "SA1"] == world.market.revised_rrp(NOON, "SA1")) is (fault is not AT_NOON)


def test_an_interval_that_an_archive_left_out_is_no_failure(world: World) -> None:
    assert reread(world, ("archive_missing_interval", "", [EARLY])).intervals_unread == 0


def test_an_archive_that_is_not_out_yet_leaves_what_is_in_no_other_file(world: World) -> None:
    world.collect(ARCHIVED, now=RECHECKED)

    result = region_of(world.collect(ARCHIVED, now=RECHECKED - timedelta(minutes=31), reread=True))

    assert result.unread_because == ["12 intervals are in no file that NEMWeb lists"]


@with_faults("reissued_row", "duplicate_file")
def test_a_repeated_file_is_counted_as_unchanged(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, intervals=[DUE[-1]])
    world.collect()

    result = region_of(world.collect(now=LATER, reread=True))

    assert (result.account.updated, result.account.inserted) == (0, 5 * 6)
    assert (result.account.duplicate, result.account.unchanged) == (5, 5 * len(DUE))
    assert world.query("SELECT * FROM lake.quality.revisions") == []
    world.assert_truth(DUE_LATER)


@with_faults("intervention")
def test_the_rows_of_an_intervention_stay_apart_from_those_that_settle(world: World, fault: str) -> None:
    world.server.faults.switch_on(fault, intervals=[END])

    world.collect()

    physical = world.true_regions([END], intervention=1)
    world.assert_truth()
    assert world.regions(intervention=1) == physical
    assert world.links(intervention=1).keys() == world.true_links([END]).keys()
