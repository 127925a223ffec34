"""Alerts: what is wrong with a site's syncs or a KPI, told once when it begins and once when it clears.

A ``Condition`` says whether something holds now; ``evaluate`` compares it with what was raised before, stores the
difference in ``ops.alerts`` and sends it to the webhook. Where none is set an alert goes to the log alone. What could
not be sent is sent by a later evaluation, in order; a process killed between sending and noting it sends twice,
never not at all.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import and_, or_, select, update

from etl_assets.http import HttpClient, SourceError, Unintelligible
from etl_assets.ops.database import begin, begin_alone, upsert_row
from etl_assets.ops.state import SyncRun
from etl_assets.ops.tables import ALERTS
from etl_assets.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

WEBHOOK_TIMEOUT = timedelta(seconds=5)
"""A tick has some minutes; a webhook that is down must not take one of them. Tried once an evaluation."""

CLAIM = timedelta(minutes=2)
"""For so long an alert is in the hands of the process that sends it; longer than the time-out with all its alerts."""

SENT_AT_ONCE = 10
"""Messages of one evaluation; the next sends the rest. Bounds how long a slow webhook holds a run."""

WORST_POINTS = 10
"""Named in an alert; a site has thousands, and a person looks at the heat map next."""

BREACHES_NAMED = 10
"""Named in an alert, of a KPI with a value for each entity; its check has the rest."""

SERVER_ERRORS = 500

TAG = "etl_assets/alerts"

_log = logging.getLogger(__name__)
_ALERT = ALERTS.c

Send = Callable[[Mapping[str, Any]], None]
"""Hands one message to where alerts go; raises where that did not take it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that holds, or does not hold, now. ``key`` is the same each time that it is looked at."""

    key: str
    kind: str
    message: str
    payload: Mapping[str, Any]
    firing: bool


@dataclass(frozen=True, slots=True)
class Alert:
    """One row of ``ops.alerts``: a condition from when it was first seen to when it had cleared."""

    key: str
    kind: str
    message: str
    payload: Mapping[str, Any]
    raised_at: datetime
    last_seen_at: datetime
    sent_at: datetime | None = None
    resolved_at: datetime | None = None

    @property
    def status(self) -> str:
        """``raised`` or ``resolved``."""
        return "raised" if self.resolved_at is None else "resolved"


@dataclass(frozen=True, slots=True)
class ETLMetrics:
    """What one sync did, by the names of the predecessor's documents; ``records_filtered`` are those it kept."""

    sync_id: str
    site_name: str
    dataset: str
    timestamp: str
    status: str
    api_requests: int
    records_fetched: int
    records_filtered: int
    records_inserted: int
    records_failed: int
    errors: tuple[str, ...]
    duration_ms: int

    @classmethod
    def of(cls, run: SyncRun) -> Self:
        """The metrics of a run's record. Inserted are new and changed rows; failed lie in quarantine."""
        return cls(
            sync_id=run.sync_id,
            site_name=run.site_name,
            dataset=run.dataset,
            timestamp=run.finished_at.isoformat(),
            status=run.status or ("partial" if run.errors else "complete"),
            api_requests=run.requests,
            records_fetched=run.fetched,
            records_filtered=run.kept,
            records_inserted=run.inserted + run.updated,
            records_failed=run.invalid,
            errors=run.errors,
            duration_ms=round(run.duration_seconds * 1000),
        )


def sync_conditions(settings: Settings, site: str, run: SyncRun, *, had_data_yesterday: bool) -> list[Condition]:
    """What a sync's record says about it. A rate of nothing is no rate: it neither raises nor clears."""
    facts = asdict(ETLMetrics.of(run))
    limit = settings.sync_duration_alert.total_seconds()
    found = [
        Condition(f"duration:{site}", "duration", "ETL sync approaching timeout", facts, run.duration_seconds > limit),
        Condition(
            f"requests:{site}",
            "requests",
            "High number of API requests in ETL sync",
            facts,
            run.requests > settings.sync_requests_alert,
        ),
    ]
    if run.fetched:
        high = run.invalid / run.fetched > settings.error_rate_alert
        found.append(Condition(f"error_rate:{site}", "error_rate", "High error rate in ETL sync", facts, high))
    if run.fetched or had_data_yesterday:
        message = "Nothing fetched in ETL sync where there was data yesterday"
        found.append(Condition(f"no_data:{site}", "no_data", message, facts, not run.fetched))
    return found


def quality_conditions(
    settings: Settings, site: str, day: date, scores: Sequence[tuple[str, float]]
) -> list[Condition]:
    """Whether points of a site scored low on a day: one condition a site, which names the worst points.

    ``scores`` are (point, score) with scores from 0 to 1; without any there is nothing to say. Give the newest day
    that is to be judged: the condition is the site's, and clears when a later day is good.
    """
    if not scores:
        return []
    low = sorted((score, point) for point, score in scores if score < settings.quality_alert_below)
    worst = [{"pointName": point, "qualityScore": score} for score, point in low[:WORST_POINTS]]
    payload = {
        "siteName": site,
        **(worst[0] if worst else {}),
        "day": day.isoformat(),
        "pointsBelow": len(low),
        "pointsScored": len(scores),
        "alertBelow": settings.quality_alert_below,
        "worst": worst,
    }
    return [Condition(f"quality:{site}", "quality", "Low data quality detected", payload, bool(low))]


def gap_conditions(
    settings: Settings, site: str, gaps: Sequence[tuple[datetime, datetime]], *, now: datetime
) -> list[Condition]:
    """Whether one of the open gaps, [start, end), began longer ago than ``GAP_HORIZON``: no sensor heals it."""
    old = sorted(gap for gap in gaps if gap[0] < now - settings.gap_horizon)
    payload: dict[str, Any] = {"siteName": site, "gaps": len(old)}
    if old:
        payload |= {"oldestStart": old[0][0].isoformat(), "oldestEnd": old[0][1].isoformat()}
    hours = settings.gap_horizon.total_seconds() / 3600
    return [Condition(f"gap:{site}", "gap", f"Gap in readings older than {hours:g} hours", payload, bool(old))]


def behind_conditions(settings: Settings, site: str, read_to: datetime | None, *, now: datetime) -> list[Condition]:
    """Whether a site's ``last_sync`` lies further back than ``GAP_HORIZON``: a window before it cannot be read."""
    behind = read_to is not None and read_to < now - settings.gap_horizon
    payload = {"siteName": site, "lastSync": read_to.isoformat() if read_to else None}
    hours = settings.gap_horizon.total_seconds() / 3600
    message = f"Site not read without a hole for {hours:g} hours"
    return [Condition(f"behind:{site}", "behind", message, payload, behind)]


def kpi_conditions(
    kpi_id: str, name: str, *, error: str | None, breaches: Sequence[tuple[str, float, str]], day: date
) -> list[Condition]:
    """Whether a KPI failed for a market day, and whether values of it lie beyond its thresholds.

    ``breaches`` are (entity, value in the KPI's unit, the limit in words). A KPI that failed and has none says nothing
    about its thresholds: they stay as they were judged last. Give the newest day that is to be judged.
    """
    facts = {"kpiId": kpi_id, "kpiName": name, "day": day.isoformat()}
    failed = Condition(f"kpi_failed:{kpi_id}", "kpi_failed", "KPI failed", {**facts, "error": error}, error is not None)
    if error is not None and not breaches:
        return [failed]
    beyond = [{"entity": entity, "value": value, "limit": limit} for entity, value, limit in breaches[:BREACHES_NAMED]]
    payload = {**facts, "breached": len(breaches), "breaches": beyond}
    message = "KPI beyond its threshold"
    return [failed, Condition(f"kpi_threshold:{kpi_id}", "kpi_threshold", message, payload, bool(breaches))]


def evaluate(
    settings: Settings, conditions: Sequence[Condition], *, now: datetime, send: Send | None = None
) -> list[Alert]:
    """Store what began and what cleared, send what is due, and return what began and what cleared just now.

    Conditions that are not given are left as they are. ``send`` takes the place of the webhook. Never raises because
    of a webhook: what was not sent stays due, and the log says so.
    """
    with begin_alone(settings, "alerts") as connection:
        changed = [alert for c in conditions if (alert := _compare(connection, c, now))]
    for alert in changed:
        _log.log(
            logging.WARNING if alert.status == "raised" else logging.INFO,
            "Alert %s (%s): %s %s", alert.status, alert.key, alert.message, dict(alert.payload),
        )  # fmt: skip
    if send or not settings.alert_webhook_url.get_secret_value():
        _send_due(settings, now, send or _to_the_log_alone)
    else:
        with _webhook(settings) as post:
            _send_due(settings, now, post)
    return changed


def open_alerts(settings: Settings) -> list[Alert]:
    """The alerts that were raised and have not cleared, oldest first."""
    query = select(ALERTS).where(_ALERT.resolved_at.is_(None)).order_by(_ALERT.raised_at, _ALERT.key)
    with begin(settings) as connection:
        return [_alert(row) for row in connection.execute(query).mappings()]


def alert_tags(alerts: Sequence[Alert]) -> dict[str, str]:
    """Tags for a Dagster run, so that its list shows what was raised; empty where nothing was."""
    raised = [f"{alert.message} ({alert.key})" for alert in alerts if alert.status == "raised"]
    return {TAG: "; ".join(raised)} if raised else {}


def report_metrics(settings: Settings, http: HttpClient, metrics: ETLMetrics) -> bool:
    """Post a sync's metrics as JSON to the webhook; whether they got there. Off, and False, without an address.

    A failure is logged and forgotten: the record of the run has the same figures.
    """
    url = settings.metrics_webhook_url.get_secret_value()
    if not url:
        return False
    try:
        _post(http, url, asdict(metrics))
    except Exception as error:  # noqa: BLE001 - a report must not fail the run that it is about
        _log.warning("The metrics of %s were not taken by the webhook: %s", metrics.sync_id, _harmless(error))
        return False
    return True


def webhook_client(settings: Settings) -> HttpClient:
    """A client for the webhook: one short try, since the next evaluation is the retry."""
    return HttpClient(settings.model_copy(update={"http_timeout": WEBHOOK_TIMEOUT, "http_retries": 0}))


def _compare(connection: "Connection", condition: Condition, now: datetime) -> Alert | None:
    """Bring the stored alert in line with its condition; returns it where it began or cleared by that."""
    is_open = and_(_ALERT.key == condition.key, _ALERT.resolved_at.is_(None))
    row = connection.execute(select(ALERTS).where(is_open)).mappings().first()
    if row is None:
        return _raise(connection, condition, now) if condition.firing else None
    seen = {"last_seen_at": now, "payload": dict(condition.payload)} if condition.firing else {"resolved_at": now}
    connection.execute(update(ALERTS).where(is_open).values(**seen))
    return None if condition.firing else _alert({**row, **seen})


def _raise(connection: "Connection", condition: Condition, now: datetime) -> Alert:
    row = {
        "key": condition.key,
        "raised_at": now,
        "kind": condition.kind,
        "message": condition.message,
        "payload": dict(condition.payload),
        "last_seen_at": now,
        "sent_at": None,
        "resolved_at": None,
        "recovery_sent_at": None,
        "claimed_until": None,
    }
    # Raised, resolved and raised again at one instant is one alert.
    upsert_row(connection, ALERTS, row)
    return _alert(row)


def _alert(row: "Mapping[Any, Any]") -> Alert:
    names = ("key", "kind", "message", "payload", "raised_at", "last_seen_at", "sent_at", "resolved_at")
    return Alert(**{name: row[name] for name in names})


def _send_due(settings: Settings, now: datetime, send: Send) -> None:
    """Send what nobody has in hand, oldest first; stop at the first that nobody answers."""
    claimed = _claim(settings, now)
    try:
        for row in claimed:
            if not _deliver(settings, row, now, send):
                break
    finally:
        _release(settings, claimed)


def _deliver(settings: Settings, row: Mapping[str, Any], now: datetime, send: Send) -> bool:
    """Send what of an alert is due, its beginning before its end; whether there is anybody who answers."""
    alert = _alert(row)
    for noted, status, moment in (
        ("sent_at", "raised", alert.raised_at),
        ("recovery_sent_at", "resolved", alert.resolved_at),
    ):
        if row[noted] is not None or moment is None:
            continue
        try:
            send(_message(alert, status, moment))
        except Exception as error:  # noqa: BLE001 - an alert must not fail the run that it is about
            _log.warning("Alert %s was not taken and stays due: %s", alert.key, _harmless(error))
            return _was_answered(error)
        with begin(settings) as connection:
            connection.execute(update(ALERTS).where(_row(row)).values({noted: now}))
    return True


def _message(alert: Alert, status: str, moment: datetime) -> dict[str, Any]:
    return {
        "message": alert.message,
        "payload": dict(alert.payload),
        "status": status,
        "time": moment.isoformat(),
        "key": alert.key,
        "kind": alert.kind,
    }


def _claim(settings: Settings, now: datetime) -> list[Mapping[str, Any]]:
    due = or_(_ALERT.sent_at.is_(None), and_(_ALERT.resolved_at.is_not(None), _ALERT.recovery_sent_at.is_(None)))
    free = or_(_ALERT.claimed_until.is_(None), _ALERT.claimed_until <= now)
    with begin_alone(settings, "alerts") as connection:
        query = select(ALERTS).where(due, free).order_by(_ALERT.raised_at, _ALERT.key).limit(SENT_AT_ONCE)
        rows: list[Mapping[str, Any]] = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            connection.execute(update(ALERTS).where(_row(row)).values(claimed_until=now + CLAIM))
    return rows


def _release(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> None:
    with begin(settings) as connection:
        for row in rows:
            connection.execute(update(ALERTS).where(_row(row)).values(claimed_until=None))


def _row(row: Mapping[str, Any]) -> "ColumnElement[bool]":
    return and_(_ALERT.key == row["key"], _ALERT.raised_at == row["raised_at"])


def _to_the_log_alone(_message: Mapping[str, Any]) -> None:
    """Without a webhook the log, which ``evaluate`` writes, is where alerts go."""


@contextmanager
def _webhook(settings: Settings) -> Iterator[Send]:
    url = settings.alert_webhook_url.get_secret_value()
    with webhook_client(settings) as http:
        yield lambda message: _post(http, url, message)


def _post(http: HttpClient, url: str, body: Mapping[str, Any]) -> None:
    """Hand a body to the webhook; whatever it says to that, with a status below 300 it has taken it."""
    with _unlogged(url):
        try:
            http.post(url, dict(body))
        except Unintelligible as error:
            if error.status is None:
                raise


@contextmanager
def _unlogged(url: str) -> Iterator[None]:
    """Chat services put the secret into the path, and the HTTP libraries write each address into their log."""
    path = url.partition("://")[2].partition("/")[2].partition("?")[0]

    def names_no_address(record: logging.LogRecord) -> bool:
        return not path or path not in record.getMessage()

    libraries = [logging.getLogger(name) for name in ("httpx", "httpx_retries.transport")]
    for library in libraries:
        library.addFilter(names_no_address)
    try:
        yield
    finally:
        for library in libraries:
            library.removeFilter(names_no_address)


def _harmless(error: Exception) -> str:
    """What went wrong, without the address, which may be a secret."""
    status = getattr(error, "status", None)
    return f"{type(error).__name__} (status {status})" if status else type(error).__name__


def _was_answered(error: Exception) -> bool:
    """Whether somebody is there who refused this one message, and may take the next."""
    return isinstance(error, SourceError) and error.status is not None and error.status < SERVER_ERRORS
