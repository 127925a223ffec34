"""Gaps that are open for nothing, revisions and rejects that no fault explains, and faults without trace are found."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import duckdb
import pytest

from etl_assets.market_time import NEM_TIME
from soak.plan import Plan
from soak.quality_checks import gaps, quarantined, revisions
from soak.spells import Spell
from soak.truth import Truth

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
FIRST = datetime(2025, 10, 1, 1, 5, tzinfo=NEM_TIME)
"""An interval in the middle of the time that the truth is about."""
SITE = "ace.timeseries_raw"


def gap(
    warehouse: duckdb.DuckDBPyConnection, dataset: str, entity: str, first: datetime = FIRST, *, healed: bool = False
) -> None:
    """A gap of an hour's minutes: the first of them ends at ``first``."""
    warehouse.execute(
        "INSERT INTO quality.gaps VALUES (?, ?, ?, ?, 60, ?, ?)",
        [dataset, entity, first, first + 59 * MINUTE, first + HOUR, first + 2 * HOUR if healed else None],
    )


def test_gaps_that_are_healed_hold(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    gap(warehouse, "aemo.dispatch_region", "*", healed=True)
    gap(warehouse, SITE, "plant", healed=True)

    found = gaps(warehouse, truth)

    assert (found.holds, found.seen) == (True, "2 healed; 0 where silent")


def test_a_gap_of_the_market_that_is_open_is_found(warehouse: duckdb.DuckDBPyConnection, truth: Truth) -> None:
    gap(warehouse, "aemo.dispatch_region", "SA1")

    found = gaps(warehouse, truth)

    assert not found.holds
    assert found.seen.startswith("1 open, such as aemo.dispatch_region SA1 ")


def test_a_gap_of_what_a_restored_folder_cannot_have_may_be_open(
    warehouse: duckdb.DuckDBPyConnection, plan: Plan, truth_of: Callable[[Plan], Truth]
) -> None:
    gap(warehouse, "aemo.dispatch_region", "*")
    out = Spell("archive_missing_interval", FIRST, None, {"intervals": [FIRST + 5 * n * MINUTE for n in range(60)]})
    fewer = replace(out, options={"intervals": out.options["intervals"][1:]})
    later = replace(plan, end=plan.end + timedelta(days=4))

    def found(spell: Spell, met_until: datetime | None) -> bool:
        return gaps(warehouse, replace(truth_of(replace(later, spells=(spell,))), met_until=met_until)).holds

    assert found(out, FIRST)
    assert not found(fewer, FIRST)
    assert not found(out, None)
    assert not found(out, FIRST + 12 * HOUR)
    warehouse.execute("UPDATE quality.gaps SET dataset = 'aemo.trading_price'")
    assert not found(out, FIRST)


def test_a_gap_of_a_site_or_of_its_point_is_found_where_there_were_readings(
    warehouse: duckdb.DuckDBPyConnection, truth: Truth
) -> None:
    point = truth.world.layout("plant").names[0]
    gap(warehouse, SITE, f"plant/{point}")
    gap(warehouse, SITE, "plant", FIRST + HOUR)

    found = gaps(warehouse, truth)

    assert not found.holds
    assert found.seen.startswith("2 open, such as plant")


def test_a_gap_of_a_point_that_had_nothing_to_say_may_stay_open(
    warehouse: duckdb.DuckDBPyConnection, truth: Truth
) -> None:
    gap(warehouse, SITE, "plant/a point that never read anything")
    gap(warehouse, SITE, "plant", truth.plan.end + HOUR)

    found = gaps(warehouse, truth)

    assert (found.holds, found.seen) == (True, "0 healed; 2 where silent")


@pytest.fixture
def revised(plan: Plan, truth_of: Callable[[Plan], Truth]) -> Truth:
    """A week's truth, in which one price was revised."""
    spell = Spell("revised_row", plan.start, None, {"intervals": [FIRST], "region": "SA1"})
    return truth_of(replace(plan, is_short=False, spells=(spell,)))


def revise(warehouse: duckdb.DuckDBPyConnection, end: datetime, region: str, price: float) -> None:
    warehouse.execute(
        "INSERT INTO quality.revisions (table_name, row_key, revised_at, column_name, former_value, new_value) "
        "VALUES ('aemo.dispatch_region', json_object('interval_end', ?::TIMESTAMPTZ::VARCHAR, 'region_id', ?, "
        "'intervention', '0'), ?, 'rrp', '1.0', ?)",
        [end, region, end + HOUR, str(price)],
    )


def price_after(truth: Truth) -> float:
    """What AEMO says of the price that it revised."""
    return float(truth.market.region(FIRST, "SA1").rrp)


def test_a_revision_that_was_injected_holds(warehouse: duckdb.DuckDBPyConnection, revised: Truth) -> None:
    revise(warehouse, FIRST, "SA1", price_after(revised))

    found = revisions(warehouse, revised)

    assert (found.holds, found.seen) == (True, "1 recorded of 1 injected")


def test_a_revision_to_another_price_is_found(warehouse: duckdb.DuckDBPyConnection, revised: Truth) -> None:
    revise(warehouse, FIRST, "SA1", price_after(revised) + 0.02)

    assert not revisions(warehouse, revised).holds


@pytest.mark.parametrize(("late", "region"), [(5 * MINUTE, "SA1"), (timedelta(), "NSW1")])
def test_a_revision_that_nobody_injected_is_found(
    warehouse: duckdb.DuckDBPyConnection, revised: Truth, late: timedelta, region: str
) -> None:
    revise(warehouse, FIRST, "SA1", price_after(revised))
    revise(warehouse, FIRST + late, region, price_after(revised))

    found = revisions(warehouse, revised)

    assert not found.holds
    assert "1 of them others" in found.seen


def test_a_week_without_any_revision_does_not_hold_and_a_short_soak_does(
    warehouse: duckdb.DuckDBPyConnection, revised: Truth
) -> None:
    short = replace(revised, plan=replace(revised.plan, is_short=True))

    assert not revisions(warehouse, revised).holds
    assert revisions(warehouse, short).holds


def reject(warehouse: duckdb.DuckDBPyConnection, dataset: str, reason: str, at: datetime = FIRST) -> None:
    warehouse.execute(
        "INSERT INTO quality.quarantine (id, dataset, reason, collected_at) VALUES (uuid()::VARCHAR, ?, ?, ?)",
        [dataset, reason, at],
    )


def spoilt(truth: Truth, name: str) -> Truth:
    """A truth in which a kind of fault was on for an hour, and spoilt something."""
    return replace(truth, times=(Spell(name, FIRST - HOUR, FIRST),), spoilt=frozenset({name}))


@pytest.mark.parametrize(
    ("dataset", "fault"), [(SITE, "bad_values"), (SITE, "clock_ahead"), ("aemo.dispatch_region", "bad_row")]
)
def test_a_record_that_came_while_a_fault_was_on_is_explained(
    warehouse: duckdb.DuckDBPyConnection, truth: Truth, dataset: str, fault: str
) -> None:
    reject(warehouse, dataset, "value is empty")

    found = quarantined(warehouse, spoilt(truth, fault))

    assert (found.holds, found.seen) == (True, "1 records")


@pytest.mark.parametrize(
    ("dataset", "fault", "late"),
    [
        (SITE, "bad_values", HOUR),
        (SITE, "bad_row", timedelta()),
        ("aemo.dispatch_region", "bad_row", HOUR),
        ("aemo.dispatch_region", "bad_values", timedelta()),
    ],
)
def test_a_record_that_no_fault_explains_is_found(
    warehouse: duckdb.DuckDBPyConnection, truth: Truth, dataset: str, fault: str, late: timedelta
) -> None:
    reject(warehouse, dataset, "value is empty", FIRST + late)

    found = quarantined(warehouse, spoilt(truth, fault))

    assert not found.holds
    assert found.seen.startswith(f"1 kinds that no fault explains, such as {dataset} value is empty 1")


def test_a_reading_that_was_no_number_to_begin_with_needs_no_fault(
    warehouse: duckdb.DuckDBPyConnection, truth: Truth
) -> None:
    reject(warehouse, SITE, "value is NaN")

    assert quarantined(warehouse, truth).holds


@pytest.mark.parametrize(("fault", "other"), [("bad_times", "aemo.dispatch_region"), ("corrupt_zip", SITE)])
def test_a_fault_that_was_met_and_left_nothing_is_found(
    warehouse: duckdb.DuckDBPyConnection, truth: Truth, fault: str, other: str
) -> None:
    reject(warehouse, SITE, "value is NaN")
    both = replace(
        spoilt(truth, fault), times=tuple(Spell(name, FIRST - HOUR, FIRST) for name in (fault, "bad_row", "bad_values"))
    )
    reject(warehouse, other, "value is empty")

    found = quarantined(warehouse, both)

    assert (found.holds, found.seen) == (False, f"2 records; none of {fault}")


def test_a_fault_that_came_after_the_backup_need_not_have_left_anything(
    warehouse: duckdb.DuckDBPyConnection, truth: Truth
) -> None:
    assert quarantined(warehouse, replace(spoilt(truth, "bad_times"), met_until=FIRST - MINUTE)).holds
    assert not quarantined(warehouse, replace(spoilt(truth, "bad_times"), met_until=FIRST)).holds
