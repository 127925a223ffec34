"""Each check passes on true data and fails on planted bad data."""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest

from etl_assets.aemo import checks
from etl_assets.aemo.checks import (
    Inquiry,
    Outcome,
    forecast_is_recent,
    inquire,
    inquire_days,
    month_outcomes,
    questions,
)
from etl_assets.aemo.feeds import (
    DISPATCH_REGION_FEED,
    FEEDS,
    PRICE_AND_DEMAND_FEED,
    TRADING_PRICE_FEED,
    UNIT_SCADA_FEED,
    Feed,
)
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.tables import PRICE_AND_DEMAND, QUARANTINE, REGION_FORECAST, TRADING_PRICE, UNIT_SCADA, Table
from etl_assets.lake.upsert import QuarantinedRecord, quarantine, transaction, upsert
from etl_assets.market_time import interval_ends
from etl_assets_tests.aemo.conftest import DAY, DUE, NOW, World

REGION = DISPATCH_REGION_FEED.table
END = DUE[0]


@pytest.fixture
def store(world: World) -> Callable[..., None]:
    def store(table: Table, *rows: dict[str, Any]) -> None:
        with write_lake(world.settings, "a test") as lake, transaction(lake):
            upsert(lake, table, pa.Table.from_pylist(list(rows)), now=NOW)

    return store


@pytest.fixture
def ask(world: World) -> Callable[..., Outcome]:
    def ask(name: str, feed: Feed = DISPATCH_REGION_FEED, now: datetime = NOW, day: date = DAY) -> Outcome:
        with read_lake(world.settings) as lake:
            return questions(feed)[name](inquire(lake, feed, day, now))

    return ask


def region_row(region: str = "NSW1", **values: Any) -> dict[str, Any]:
    return {"interval_end": END, "region_id": region, "intervention": 0, "rrp": 50.0} | values


# --- true data ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def true_outcomes(
    _running_server: Any, empty_lake: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Outcome]]:
    """The answers on what the simulated market published by 00:41, for dispatch, trading and units."""
    import shutil

    from etl_assets_tests.aemo.conftest import settings_for

    data = tmp_path_factory.mktemp("true") / "data"
    shutil.copytree(empty_lake, data)
    world = World(_running_server, settings_for(_running_server, data))
    world.collect()
    world.collect(feeds=[TRADING_PRICE_FEED])
    world.collect(feeds=[UNIT_SCADA_FEED])
    with read_lake(world.settings) as lake:
        yield {
            f"{feed.table.name}.{name}": question(inquire(lake, feed, DAY, NOW))
            for feed in (DISPATCH_REGION_FEED, TRADING_PRICE_FEED, UNIT_SCADA_FEED)
            for name, question in questions(feed).items()
        }


def test_every_check_passes_on_what_the_market_published(true_outcomes: dict[str, Outcome]) -> None:
    assert {name for name, outcome in true_outcomes.items() if not outcome.passed} == set()
    assert len(true_outcomes) == 6 + 5 + 4


def test_prices_are_really_compared(true_outcomes: dict[str, Outcome]) -> None:
    agreement = true_outcomes["trading_price.prices_agree_across_sources"]

    assert agreement.metadata["prices_compared"] == 5 * len(DUE)


def test_every_feed_is_asked_whether_it_is_complete_unique_and_out_of_quarantine() -> None:
    general = {"intervals_are_complete", "keys_are_unique", "nothing_is_quarantined"}

    assert all(general <= questions(feed).keys() for feed in (*FEEDS, PRICE_AND_DEMAND_FEED))


# --- complete -------------------------------------------------------------------------------------------


def test_a_missing_interval_fails_and_is_named(ask: Callable[..., Outcome]) -> None:
    outcome = ask("intervals_are_complete")

    assert not outcome.passed
    assert outcome.metadata["intervals_missing"] == 7
    assert outcome.metadata["first_missing"] == "00:05, 00:10, 00:15, 00:20, 00:25"
    assert "7 missing" in outcome.description


@pytest.mark.parametrize(("now", "is_error"), [(NOW, False), (NOW + timedelta(days=2), True)])
def test_an_open_day_warns_where_a_closed_one_fails(ask: Callable[..., Outcome], now: datetime, is_error: bool) -> None:
    assert ask("intervals_are_complete", now=now).is_error is is_error


def test_the_day_is_shown_as_a_picture_that_is_well_formed(ask: Callable[..., Outcome]) -> None:
    picture = ask("intervals_are_complete").pictures["day"]

    assert len(picture) < 1000
    address = picture.removeprefix(f"![{DAY} by interval](").removesuffix(")")
    assert address.startswith("data:image/svg+xml,")
    assert ET.fromstring(unquote(address.partition(",")[2])).tag.endswith("svg")  # noqa: S314 - our own


def test_a_missing_region_fails_and_is_named(store: Callable[..., None], ask: Callable[..., Outcome]) -> None:
    store(REGION, *(region_row(region) for region in ("NSW1", "QLD1", "SA1", "TAS1")))

    outcome = ask("entities_are_all_there")

    assert not outcome.passed
    assert outcome.description == "1 intervals lack VIC1"


def test_a_key_that_is_there_twice_fails(world: World, ask: Callable[..., Outcome]) -> None:
    insert = (
        "INSERT INTO lake.aemo.dispatch_region (interval_end, region_id, intervention, market_day) VALUES (?,?,?,?)"
    )
    world.execute(insert, END, "NSW1", 0, DAY)
    world.execute(insert, END, "NSW1", 0, DAY)

    assert not ask("keys_are_unique").passed


# --- plausible ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "rrp", "passes"),
    [
        (DAY, 20300.0, True),
        (DAY, 20300.01, False),
        (DAY, -1000.0, True),
        (DAY, -1000.01, False),
        (DAY, -45.3, True),
        (date(2025, 6, 30), 17500.0, True),
        (date(2025, 6, 30), 17500.01, False),
        (date(2025, 7, 1), 17500.01, True),
    ],
)
def test_a_price_lies_between_the_floor_and_the_cap_of_its_year(
    store: Callable[..., None], ask: Callable[..., Outcome], day: date, rrp: float, passes: bool
) -> None:
    store(REGION, region_row(interval_end=interval_ends(day)[-1], rrp=rrp))

    assert ask("price_is_within_cap", day=day).passed is passes


def test_the_price_of_a_physical_run_is_no_price(store: Callable[..., None], ask: Callable[..., Outcome]) -> None:
    store(REGION, region_row(rrp=30000.0, intervention=1))

    assert ask("price_is_within_cap").passed


@pytest.mark.parametrize(("net", "passes"), [(-500.0, True), (-499.98, True), (-499.97, False), (-500.03, False)])
def test_generation_less_demand_is_the_net_interchange_within_two_hundredths(
    store: Callable[..., None], ask: Callable[..., Outcome], net: float, passes: bool
) -> None:
    figures = {"total_demand": 7000.0, "dispatchable_generation": 6500.0, "dispatchable_load": 20.0}
    store(REGION, region_row(**figures, wdr_dispatched=20.0, net_interchange=net))

    outcome = ask("energy_identity_holds")

    assert outcome.passed is passes
    assert not outcome.is_error


def test_versions_without_demand_response_balance_without_it(
    store: Callable[..., None], ask: Callable[..., Outcome]
) -> None:
    store(REGION, region_row(total_demand=7000.0, dispatchable_generation=6500.0, net_interchange=-500.0))

    assert ask("energy_identity_holds").passed


# --- consistent -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dispatch", "trading", "agree"),
    [
        (50.004, 50.0, True),
        (50.005, 50.01, True),
        (50.005, 50.0, False),
        (-50.005, -50.01, True),
        (-50.005, -50.0, False),
        (0.005, 0.01, True),
        (1.005, 1.01, True),
        (2.675, 2.68, True),
        (-0.004, 0.0, True),
        (50.0, 50.01, False),
        (20300.0, 20300.0, True),
    ],
)
def test_the_dispatch_price_rounded_half_up_is_the_trading_price(
    store: Callable[..., None], ask: Callable[..., Outcome], dispatch: float, trading: float, agree: bool
) -> None:
    store(REGION, region_row(rrp=dispatch))
    store(TRADING_PRICE, {"interval_end": END, "region_id": "NSW1", "rrp": trading})

    outcome = ask("prices_agree_across_sources", TRADING_PRICE_FEED)

    assert outcome.passed is agree
    assert outcome.metadata["prices_compared"] == 1


@pytest.mark.parametrize(("demand", "agree"), [(7251.07, True), (7251.08, False)])
def test_the_aggregated_demand_is_that_of_dispatch(
    store: Callable[..., None], ask: Callable[..., Outcome], demand: float, agree: bool
) -> None:
    store(REGION, region_row(total_demand=7251.07))
    store(PRICE_AND_DEMAND, {"interval_end": END, "region_id": "NSW1", "rrp": 50.0, "total_demand": demand})

    assert ask("prices_agree_across_sources", PRICE_AND_DEMAND_FEED).passed is agree


def test_half_hourly_prices_are_not_compared_with_dispatch(
    store: Callable[..., None], ask: Callable[..., Outcome]
) -> None:
    day = date(2021, 9, 30)
    end = interval_ends(day, timedelta(minutes=30))[0]
    store(REGION, region_row(interval_end=end, rrp=50.0))
    store(TRADING_PRICE, {"interval_end": end, "region_id": "NSW1", "rrp": 47.31})

    assert ask("prices_agree_across_sources", TRADING_PRICE_FEED, day=day).passed


@pytest.mark.parametrize(("units", "passes"), [(9, True), (8, False)])
def test_an_interval_with_few_units_is_noticed(
    store: Callable[..., None], ask: Callable[..., Outcome], units: int, passes: bool
) -> None:
    counts = [10, 10, 10, units]
    store(
        UNIT_SCADA,
        *(
            {"interval_end": end, "duid": f"U{n}", "scada_value": 1.0}
            for end, count in zip(DUE, counts, strict=False)
            for n in range(count)
        ),
    )

    assert ask("units_report_steadily", UNIT_SCADA_FEED).passed is passes


# --- quarantine -----------------------------------------------------------------------------------------


def test_a_record_in_quarantine_is_shown_until_it_is_resolved(
    world: World, store: Callable[..., None], ask: Callable[..., Outcome]
) -> None:
    record = QuarantinedRecord(REGION.full_name, "a file line 7", "D,DISPATCH,PRICE", "RRP 'n/a' is not a number")
    with write_lake(world.settings, "a test") as lake, transaction(lake):
        quarantine(lake, [record], run_id="a run", day=DAY, now=NOW)

    lying = ask("nothing_is_quarantined")
    store(QUARANTINE, {"id": record.id, "day": DAY, "resolved_at": NOW})
    resolved = ask("nothing_is_quarantined")

    assert not lying.passed
    assert "a file line 7 RRP 'n/a' is not a number" in lying.description
    assert resolved.passed
    assert ask("nothing_is_quarantined", UNIT_SCADA_FEED).passed


# --- what the reader does next --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["price_is_within_cap", "energy_identity_holds", "keys_are_unique", "nothing_is_quarantined"]
)
def test_a_checks_query_can_be_asked_as_it_stands(world: World, ask: Callable[..., Outcome], name: str) -> None:
    query = ask(name).metadata["query"]

    with read_lake(world.settings) as lake:
        lake.execute("USE lake")
        found = lake.execute(query).fetchall()
        lake.execute("USE memory")

    assert found == []


def test_the_first_offenders_are_named_and_the_others_counted(
    store: Callable[..., None], ask: Callable[..., Outcome]
) -> None:
    store(REGION, *(region_row(interval_end=end, rrp=99999.0) for end in DUE))

    outcome = ask("price_is_within_cap")

    assert outcome.metadata["found"] == len(DUE)
    assert outcome.metadata["first"].count("NSW1 99999.0") == checks.FIRST_OFFENDERS


def test_a_month_fails_with_one_of_its_days_and_names_it(world: World) -> None:
    days: Sequence[date] = [date(2026, 2, n) for n in range(1, 29)]
    ends = [end for day in days for end in interval_ends(day)]
    rows = pa.table(
        {
            "interval_end": [end for end in ends for _ in range(5)],
            "region_id": ["NSW1", "QLD1", "SA1", "TAS1", "VIC1"] * len(ends),
            "rrp": [50.0] * 5 * len(ends),
            "total_demand": [7000.0] * 5 * len(ends),
        }
    )
    with write_lake(world.settings, "a test") as lake, transaction(lake):
        upsert(lake, PRICE_AND_DEMAND, rows, now=NOW)
    world.execute("DELETE FROM lake.aemo.price_and_demand WHERE interval_end = ?", ends[300])

    outcomes = month_outcomes(world.settings, date(2026, 2, 1), NOW)

    assert {name for name, outcome in outcomes.items() if not outcome.passed} == {"intervals_are_complete"}
    assert outcomes["intervals_are_complete"].description.startswith("27 of 28 days passed: 2026-02-02")


# --- forecasts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minutes", "passes"), [(0, True), (180, True), (180.1, False)])
def test_a_forecast_is_recent_for_three_hours(
    world: World, store: Callable[..., None], minutes: float, passes: bool
) -> None:
    former = {"interval_end": NOW, "region_id": "SA1", "rrp": 40.0, "issued_at": NOW - timedelta(days=2)}
    store(REGION_FORECAST, former, former | {"issued_at": NOW})

    outcome = forecast_is_recent(world.settings, NOW + timedelta(minutes=minutes))

    assert outcome.passed is passes
    assert not outcome.is_error
    # NOW is 00:41 NEM time, ten hours ahead of UTC.
    assert outcome.metadata == {"newest_issued_at": "2026-11-21 14:41+00:00", "minutes_since_issue": minutes}


def test_without_any_forecast_the_check_says_so_unless_none_is_asked_for(world: World) -> None:
    none_yet = forecast_is_recent(world.settings, NOW)
    switched_off = forecast_is_recent(world.with_settings(aemo_api_url="").settings, NOW)

    assert (none_yet.passed, none_yet.is_error) == (False, False)
    assert none_yet.description == "no forecast has ever come in"
    assert switched_off.passed


# --- several days together ------------------------------------------------------------------------------


def test_a_day_that_is_asked_among_others_answers_as_it_does_alone(world: World, store: Callable[..., None]) -> None:
    days = [date(2025, 6, 29), date(2025, 6, 30), date(2025, 7, 1), date(2025, 7, 2)]
    ends = [interval_ends(day)[0] for day in days]
    balance = {"total_demand": 7000.0, "dispatchable_generation": 6500.0}
    store(
        REGION,
        region_row(interval_end=ends[0], rrp=17500.01, net_interchange=-400.0, **balance),
        region_row(interval_end=ends[1], rrp=50.0),
        region_row(interval_end=ends[2], rrp=17500.01),
        region_row("SA1", interval_end=ends[3], rrp=-1000.01, net_interchange=-500.1, **balance),
    )
    store(TRADING_PRICE, *({"interval_end": end, "region_id": "NSW1", "rrp": 50.0} for end in ends))
    units = {ends[0]: 10, ends[3]: 10, interval_ends(days[3])[1]: 10, interval_ends(days[3])[2]: 1}
    store(UNIT_SCADA, *({"interval_end": end, "duid": f"U{n}"} for end, count in units.items() for n in range(count)))
    twice = "INSERT INTO lake.aemo.dispatch_region (interval_end, region_id, intervention, market_day) VALUES (?,?,?,?)"
    world.execute(twice, ends[0], "NSW1", 0, days[0])
    record = QuarantinedRecord(REGION.full_name, "a file", "D", "a reason")
    with write_lake(world.settings, "a test") as lake, transaction(lake):
        quarantine(lake, [record], run_id="a run", day=days[3], now=NOW)

    failed = set()
    with read_lake(world.settings) as lake:
        for feed in (DISPATCH_REGION_FEED, TRADING_PRICE_FEED, UNIT_SCADA_FEED):
            for asked in inquire_days(lake, feed, days, NOW):
                for name, question in questions(feed).items():
                    outcome = question(asked)
                    assert outcome == question(inquire(lake, feed, asked.day, NOW)), (name, asked.day)
                    failed |= set() if outcome.passed else {(asked.day.day, name)}

    incomplete = {(day.day, name) for day in days for name in ("intervals_are_complete", "entities_are_all_there")}
    assert failed - incomplete == {
        (29, "price_is_within_cap"),
        (29, "energy_identity_holds"),
        (29, "keys_are_unique"),
        (29, "prices_agree_across_sources"),
        (1, "prices_agree_across_sources"),
        (2, "price_is_within_cap"),
        (2, "energy_identity_holds"),
        (2, "units_report_steadily"),
        (2, "nothing_is_quarantined"),
    }


def test_an_inquiry_knows_its_feed_and_day(world: World) -> None:
    with read_lake(world.settings) as lake:
        asked: Inquiry = inquire(lake, UNIT_SCADA_FEED, DAY, NOW)

        assert (asked.feed, asked.day) == (UNIT_SCADA_FEED, DAY)
