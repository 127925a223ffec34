"""Schedules and sensors show what their docstrings say, and are at work after a fresh start."""

import dagster as dg

from etl_assets.automation_specs import schedule, sensor


@dg.job
def idle() -> None: ...


def test_a_schedule_is_described_by_its_docstring_and_at_work() -> None:
    @schedule(job=idle, cron_schedule="0 0 * * *", execution_timezone="UTC")
    def nightly() -> dg.SkipReason:
        """Daily at midnight.

        And never twice.
        """
        return dg.SkipReason("nothing to do")

    assert nightly.description == "Daily at midnight.\n\nAnd never twice."
    assert nightly.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (nightly.cron_schedule, nightly.execution_timezone, nightly.job_name) == ("0 0 * * *", "UTC", "idle")
    assert nightly.evaluate_tick(dg.build_schedule_context()).skip_message == "nothing to do"


def test_a_sensor_is_described_by_its_docstring_and_at_work() -> None:
    @sensor(job=idle, minimum_interval_seconds=60)
    def watching() -> dg.SkipReason:
        """Looks every minute."""
        return dg.SkipReason("nothing new")

    assert watching.description == "Looks every minute."
    assert watching.default_status is dg.DefaultSensorStatus.RUNNING
    assert watching.minimum_interval_seconds == 60
    assert watching.evaluate_tick(dg.build_sensor_context()).skip_message == "nothing new"
