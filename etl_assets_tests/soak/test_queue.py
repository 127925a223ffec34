"""Whom a kill meets, and how long a job is taken to last."""

from collections import Counter

from soak.queue import FIRST_RUN_S, Tally

HOURLY = Counter({("lake_hourly", "success"): 50, ("lake_hourly", "killed"): 4, ("lake_daily", "success"): 2})


def test_a_job_that_was_killed_more_than_others_is_spared_until_they_were_met() -> None:
    tally = Tally(outcomes=HOURLY.copy(), kills=4)

    assert not tally.is_next("lake_hourly")
    assert tally.is_next("lake_daily")
    assert tally.is_next("kpi_daily")


def test_jobs_that_were_met_alike_are_all_next() -> None:
    met = Counter({("lake_hourly", "killed"): 2, ("lake_daily", "killed"): 2})

    assert [Tally(outcomes=met, kills=4).is_next(job) for job in ("lake_hourly", "lake_daily")] == [True, True]


def test_a_job_lasts_as_long_as_its_runs_did_on_average() -> None:
    tally = Tally(
        outcomes=Counter({("kpi_daily", "success"): 3, ("kpi_daily", "failure"): 1, ("kpi_daily", "killed"): 5})
    )
    tally.seconds["kpi_daily"] = 10.0

    assert tally.mean_seconds("kpi_daily") == 2.5
    assert tally.mean_seconds("never run") == FIRST_RUN_S
