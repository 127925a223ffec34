"""Schedules and sensors as every domain declares them: at work after a fresh start, described by their docstrings.

Dagster takes neither from the function, and its pages show nothing but the name of what has no description. Which
ones there are, and what they wake, is in each domain's ``automation``.
"""

from collections.abc import Callable
from inspect import getdoc
from typing import Any

import dagster as dg


def schedule(**options: Any) -> Callable[[Callable[..., Any]], dg.ScheduleDefinition]:  # noqa: ANN401 - Dagster's own
    """``dg.schedule``, with the function's docstring as description, at work unless somebody stops it."""

    def declare(function: Callable[..., Any]) -> dg.ScheduleDefinition:
        status = dg.DefaultScheduleStatus.RUNNING
        return dg.schedule(description=getdoc(function), default_status=status, **options)(function)

    return declare


def sensor(**options: Any) -> Callable[[Callable[..., Any]], dg.SensorDefinition]:  # noqa: ANN401 - Dagster's own
    """``dg.sensor``, with the function's docstring as description, at work unless somebody stops it."""

    def declare(function: Callable[..., Any]) -> dg.SensorDefinition:
        status = dg.DefaultSensorStatus.RUNNING
        return dg.sensor(description=getdoc(function), default_status=status, **options)(function)

    return declare
