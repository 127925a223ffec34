"""Every schedule and sensor of the definitions, asked as Dagster's daemon asks them, at simulated times."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import dagster as dg
from dagster._utils.schedules import cron_string_iterator

from etl_assets.definitions import defs
from soak.queue import Ask


class Automation:
    """What asks for runs: schedules by their cron, sensors at each step, with the cursors they left."""

    def __init__(self, instance: dg.DagsterInstance, ask: Ask) -> None:
        self._instance = instance
        self._ask = ask
        self._repository = defs.get_repository_def()
        self._cursors: dict[str, str | None] = {}

    def schedules_until(self, moment: datetime, since: datetime) -> None:
        """Each schedule that was due in (since, moment], once, for the last time that it was."""
        for schedule in self._repository.schedule_defs:
            if due := _last_due(schedule, since, moment):
                self._evaluate_schedule(schedule, due)

    def _evaluate_schedule(self, schedule: dg.ScheduleDefinition, due: datetime) -> None:
        asked = dg.build_schedule_context(
            instance=self._instance, scheduled_execution_time=due, repository_def=self._repository
        )
        with asked as context, self._today(due):
            found = schedule.evaluate_tick(context)
        self._hand_on(schedule.job_name, found.run_requests or ())

    def sensors(self, moment: datetime) -> None:
        """Every sensor, once, at ``moment`` (aware)."""
        for sensor in self._repository.sensor_defs:
            asked = dg.build_sensor_context(
                instance=self._instance,
                cursor=self._cursors.get(sensor.name),
                repository_def=self._repository,
                sensor_name=sensor.name,
                resources=self._repository.get_top_level_resources(),
            )
            with asked as context, self._today(moment):
                found = sensor.evaluate_tick(context)
            self._cursors[sensor.name] = found.cursor
            for change in found.dynamic_partitions_requests or ():
                _change_partitions(self._instance, change)
            self._hand_on((sensor.job_name or "") if sensor.targets else "", found.run_requests or ())

    def _today(self, moment: datetime) -> AbstractContextManager[object]:
        """Partitions as of a moment: the day after it is none yet."""
        return dg.partition_loading_context(effective_dt=moment, dynamic_partitions_store=self._instance)

    def _hand_on(self, job_name: str, requests: Sequence[dg.RunRequest]) -> None:
        for request in requests:
            self._ask(request.job_name or job_name, request)


def _change_partitions(
    instance: dg.DagsterInstance, change: dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest
) -> None:
    if isinstance(change, dg.AddDynamicPartitionsRequest):
        instance.add_dynamic_partitions(change.partitions_def_name, change.partition_keys)
        return
    for key in change.partition_keys:
        instance.delete_dynamic_partition(change.partitions_def_name, key)


def _last_due(schedule: dg.ScheduleDefinition, since: datetime, until: datetime) -> datetime | None:
    zone = schedule.execution_timezone or "UTC"
    due = None
    for moment in _crons(since, str(schedule.cron_schedule), zone):
        if moment > until:
            break
        due = moment if moment > since else due
    return due


def _crons(since: datetime, cron: str, zone: str) -> Iterator[datetime]:
    yield from cron_string_iterator(since.timestamp(), cron, zone)
