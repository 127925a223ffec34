"""The plan of a soak: drawn from its seed, complete, and over early enough for everything to heal."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from etl_assets.market_time import NEM_TIME
from etl_assets.simulator.faults import CATALOGUE, Scope
from soak.plan import CALM_BEFORE_END, QUIET_START, REVISIONS_END, Plan
from soak.spells import FOR_GOOD, Spell

HOUR = timedelta(hours=1)
MANY_SEEDS = range(50)
SEEDS = [1, 2, 3, 20, 99]


def week(seed: int = 1) -> Plan:
    return Plan.week(seed, 7, HOUR)


def damages_readings(spell: Spell) -> bool:
    return CATALOGUE[spell.name].scope is Scope.ACE


def test_the_same_seed_makes_the_same_plan_and_another_one_another() -> None:
    assert week(1) == week(1)
    assert week(1) != week(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_week_has_every_kind_of_fault(seed: int) -> None:
    assert {spell.name for spell in week(seed).spells} == set(CATALOGUE)


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_are_over_long_before_the_end_but_for_those_that_stay(seed: int) -> None:
    plan = week(seed)

    latest = max(spell.end for spell in plan.spells if spell.end)

    assert latest <= plan.end - CALM_BEFORE_END + 9 * HOUR
    assert {spell.name for spell in plan.spells if spell.end is None} == FOR_GOOD


@pytest.mark.parametrize("seed", SEEDS)
def test_revisions_come_two_days_before_the_end_for_the_recheck_to_notice(seed: int) -> None:
    plan = week(seed)

    revised = [end for spell in plan.spells if spell.name == "revised_row" for end in spell.options["intervals"]]

    assert revised
    assert max(revised) < plan.end - REVISIONS_END + 2 * HOUR


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_spoils_readings_while_the_last_day_is_read_again(seed: int) -> None:
    for spell in filter(damages_readings, week(seed).spells):
        reread = spell.start.astimezone(NEM_TIME).replace(hour=10, minute=0, second=0)
        assert not spell.start <= reread < spell.end


@pytest.mark.parametrize("seed", SEEDS)
def test_webhooks_are_spoilt_when_they_are_called(seed: int) -> None:
    spells = [spell for spell in week(seed).spells if CATALOGUE[spell.name].scope is Scope.WEBHOOK]

    assert {(spell.start.hour, spell.start.minute) for spell in spells} == {(21, 58)}


def test_no_step_is_made_while_the_box_is_down() -> None:
    plan = week()

    steps = list(plan.steps())

    assert steps[0] == plan.start
    assert steps[-1] == plan.end
    assert not [step for step in steps for window in plan.box_down if window.start <= step < window.end]
    assert 7 * 24 - 6 <= len(steps) < 7 * 24 + 1 - 2


def test_a_worker_is_killed_every_few_hours_and_the_api_about_once_a_day() -> None:
    plan = week()

    assert 7 * 24 / 4.5 - 1 < len(plan.worker_kills) < 7 * 24 / 1.5
    asked = (plan.end - CALM_BEFORE_END) - (plan.start + QUIET_START)
    assert asked / timedelta(days=1.5) - 1 < len(plan.api_kills) < asked / timedelta(days=0.5)


def test_a_short_plan_has_a_fault_of_each_scope_and_none_that_takes_days_to_heal() -> None:
    for seed in SEEDS:
        names = {spell.name for spell in Plan.short(seed, HOUR / 2).spells}

        assert {CATALOGUE[name].scope for name in names} >= {Scope.ANSWER, Scope.CONTENT, Scope.LISTING, Scope.ACE}
        assert not names & FOR_GOOD
        assert not names & {"bad_values", "bad_times", "missing_names"}


def windows(plan: Plan) -> list[tuple[datetime, datetime]]:
    """When nobody asks, with a step before and after."""
    return [(window.start - plan.step, window.end + plan.step) for window in (*plan.outages, *plan.box_down)]


def test_faults_of_requests_keep_away_from_times_when_nobody_asks() -> None:
    for seed in MANY_SEEDS:
        plan = week(seed)
        of_requests = [s for s in plan.spells if CATALOGUE[s.name].scope not in (Scope.WORLD, Scope.WEBHOOK)]

        assert plan.outages
        assert plan.box_down
        assert [s for s in of_requests for start, end in windows(plan) if s.start < end and start < s.end] == []


def test_webhooks_are_spoilt_at_a_run_that_takes_place() -> None:
    for seed in MANY_SEEDS:
        plan = week(seed)
        spells = [spell for spell in plan.spells if CATALOGUE[spell.name].scope is Scope.WEBHOOK]
        steps = [spell.start + timedelta(minutes=3) for spell in spells]

        assert spells
        assert [at for at in steps for window in (*plan.outages, *plan.box_down) if window.holds(at)] == []


def test_faults_of_intervals_begin_while_somebody_asks() -> None:
    for seed in MANY_SEEDS:
        plan = week(seed)
        begun = [spell.start for spell in plan.spells if CATALOGUE[spell.name].scope is Scope.WORLD]

        assert begun
        assert [at for at in begun for start, end in windows(plan) if start <= at < end] == []


def test_the_daily_runs_of_a_week_are_for_the_days_that_ended_before_them() -> None:
    """22:00 NEM time: from the 30th of September, of the day before, to the 6th of October."""
    found = week().kpi_days()

    assert found == [date(2025, 9, 29), date(2025, 9, 30), *(date(2025, 10, day) for day in range(1, 6))]


def test_the_daily_run_of_a_short_soak_is_for_the_day_that_ends_in_it() -> None:
    assert Plan.short(1, HOUR / 2).kpi_days() == [date(2025, 9, 30)]


def test_a_daily_run_at_the_start_was_before_and_one_at_the_end_is_due() -> None:
    plan = Plan.short(1, HOUR / 2)

    assert replace(plan, kpi_cron="31 12 * * *").kpi_days() == []
    assert replace(plan, kpi_cron="31 17 * * *").kpi_days() == [date(2025, 9, 30)]
