"""What goes on growing is named; what swings, or grows with the days as it must, is not."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from soak.findings import Finding
from soak.growth import Sizes, bounded

MIDNIGHT = datetime(2025, 9, 30, 14, 0, tzinfo=UTC)
MEMORY = "workers' memory is bounded"


def sizes(day: int, **more: float) -> Sizes:
    figures = Sizes(
        MIDNIGHT + timedelta(days=day), lake_files=1_000, lake_mb=50, catalog_mb=20, state_mb=5, api_folder_mb=3,
        published_mb=30, dagster_files=3_000, dagster_mb=300, runs=2_000, api_mb=300, driver_mb=400,
    )  # fmt: skip
    return replace(figures, **more)


def wrong(findings: Sequence[Finding]) -> list[str]:
    return [finding.name for finding in findings if not finding.holds]


def test_what_stays_as_large_as_two_days_before_is_bounded() -> None:
    found = bounded([sizes(day) for day in range(7)], {1: [400.0] * 20})

    assert wrong(found) == []
    assert len(found) == 12


def test_what_goes_on_growing_is_named() -> None:
    growing = [sizes(day, lake_files=1_000 * day**3, api_mb=100 * 2**day) for day in range(1, 8)]

    assert wrong(bounded(growing, {})) == ["lake_files is bounded", "api_mb is bounded"]


def test_the_lake_may_grow_by_its_days_and_nothing_else_may() -> None:
    daily = [sizes(day, lake_mb=100.0 * (day + 1), dagster_mb=100.0 * (day + 1)) for day in range(6)]

    assert wrong(bounded(daily, {})) == ["dagster_mb is bounded"]


def test_a_figure_that_is_small_may_grow_as_it_likes() -> None:
    small = [sizes(day, state_mb=0.1 * 2**day) for day in range(7)]

    assert wrong(bounded(small, {})) == []


def test_of_a_soak_too_short_to_settle_the_memory_alone_is_told() -> None:
    growing = [sizes(day, api_mb=100 * 2**day) for day in range(5)]

    assert [finding.name for finding in bounded(growing, {})] == [MEMORY]


def test_workers_that_grow_with_each_run_are_found() -> None:
    memory = {pid: [300.0 + 4 * run for run in range(40)] for pid in range(3)}

    found = bounded([], memory)

    assert wrong(found) == [MEMORY]
    assert found[0].seen == "4.00 MB a run, of 3 workers; 456 MB at most"


def test_what_a_worker_loads_in_its_first_runs_is_no_growth() -> None:
    assert wrong(bounded([], {1: [100.0 + 30 * run for run in range(10)] + [400.0] * 20})) == []


def test_one_worker_that_grew_among_many_that_did_not_is_no_trend() -> None:
    memory = {pid: [400.0] * 40 for pid in range(4)} | {9: [300.0 + 10 * run for run in range(40)]}

    assert wrong(bounded([], memory)) == []


def test_workers_that_lived_too_briefly_tell_nothing() -> None:
    found = bounded([], {1: [100.0 * run for run in range(24)]})

    assert (found[0].holds, found[0].seen) == (True, "no worker lived for long enough to tell")
