"""A workflow's report taken in: into the state of its job, and its values into the lake.

What ``POST /kpi/callback`` calls with the body that it was sent.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from etl_assets.kpi.query import KpiValue
from etl_assets.kpi.registry import Kpi, in_force
from etl_assets.kpi.values import Found, store_values
from etl_assets.ops.kpi_reports import Report, ReportError, parse_report, report_back

if TYPE_CHECKING:
    from etl_assets.ops.kpi_state import KpiRun
    from etl_assets.settings import Settings


def take_report(settings: "Settings", body: Mapping[str, Any], *, now: datetime) -> "KpiRun":
    """Take in what a workflow reports; returns its KPI's run as it is then.

    The same report again stores the same values again, so a workflow that got no answer may repeat it. Of a KPI with
    SQL the computed value stands, since the next run would bring it back; what was reported is in the job's record.
    Raises ``ReportError`` for a report that cannot be accepted, ``UnknownRunError`` for a job or KPI that is not there,
    and ``LakeBusyError`` where the values could not be stored: then the report is to be sent again.
    """
    report = parse_report(body)
    kpi = in_force(settings).kpi(report.kpi_id)
    if kpi is not None:
        _refuse_other_shape(report, kpi)
    run = report_back(settings, report, now=now)
    values = _values(report)
    # One that is in no registry any more still has its record.
    kpi = kpi or Kpi(id=run.kpi_id, name=run.kpi_id, active=False)
    # A report that an earlier one had overtaken is not on record, and its values are old.
    if values and not kpi.sql and run.report == report.kept:
        store_values(settings, [Found(kpi, run.date, values, "report", run.trace_id)], now=now)
    return run


def _refuse_other_shape(report: Report, kpi: Kpi) -> None:
    if kpi.entity and report.value is not None:
        raise ReportError(f"value: the KPI {kpi.id} has a number for each {kpi.entity}; give them as values")
    if report.values and not kpi.entity:
        raise ReportError(f"values: the KPI {kpi.id} has one number; give it as value, or an entity in the registry")


def _values(report: Report) -> list[KpiValue]:
    if report.value is not None:
        return [KpiValue("", report.value)]
    return [KpiValue(entity, value) for entity, value in report.values.items()]
