"""The tables of the state database, declared once: columns, types, what they mean.

A column may be added, and is then added to an existing database at its first use, null in the rows that are there;
it is never renamed or retyped in place.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import JSON, BigInteger, Column, Date, DateTime, Float, Integer, MetaData, String, Table, TypeDecorator

if TYPE_CHECKING:
    from sqlalchemy import Dialect

METADATA = MetaData()


class _Instant(TypeDecorator[datetime]):
    """An aware instant. Kept in UTC, because SQLite drops the zone and compares what is left as text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: "Dialect") -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: "Dialect") -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


_UTC = _Instant()

SYNC_RUNS = Table(
    "sync_runs",
    METADATA,
    Column("run_id", String, primary_key=True, comment="Dagster run."),
    Column("attempt", Integer, primary_key=True, comment="1, and more where the step was tried again."),
    Column("dataset", String, primary_key=True, comment="Table that was collected, schema.name."),
    Column("partition", String, primary_key=True, comment="Market day (and site), or first and last of a range."),
    Column("sync_id", String, comment="The sync that this was part of; empty outside sites."),
    Column("site_name", String, comment="Site that was collected; empty outside sites."),
    Column("status", String, comment="complete, partial or failed."),
    Column("started_at", _UTC, nullable=False, comment="Start of the collection."),
    Column("finished_at", _UTC, nullable=False, comment="End of the collection."),
    Column("duration_seconds", Float, nullable=False, comment="How long it took. [s]"),
    Column("fetched", Integer, nullable=False, comment="Records read; equals the sum of the next six."),
    Column("filtered", Integer, nullable=False, comment="Records outside the days or points that were asked for."),
    Column("invalid", Integer, nullable=False, comment="Records that lie in quarantine."),
    Column("duplicate", Integer, nullable=False, comment="Records repeated within a batch."),
    Column("unchanged", Integer, nullable=False, comment="Records that the lake had already."),
    Column("inserted", Integer, nullable=False, comment="New rows."),
    Column("updated", Integer, nullable=False, comment="Rows completed or revised."),
    Column("missing_before", Integer, nullable=False, comment="Intervals missing before."),
    Column("missing_after", Integer, nullable=False, comment="Intervals still missing."),
    Column("files_read", Integer, nullable=False, comment="Files read."),
    Column("files_refused", Integer, nullable=False, comment="Files refused whole."),
    Column("pages", Integer, comment="Pages read."),
    Column("cursor_repairs", Integer, comment="Cursors of the source that would have stalled, and were repaired."),
    Column("points_processed", Integer, comment="Points with at least one reading."),
    Column("points_skipped", Integer, comment="Points that are not configured."),
    Column("failed_batches", Integer, comment="Batches that could not be stored."),
    Column("database_errors", Integer, comment="Errors of the lake or the state database."),
    Column("windows_complete", Integer, comment="Windows read to their end."),
    Column("windows_failed", Integer, comment="Windows that broke off."),
    Column("windows_deferred", Integer, comment="Windows left to the next sync."),
    Column("requests_by_status", JSON, nullable=False, comment="HTTP answers by status, as JSON."),
    Column("retries", Integer, nullable=False, comment="Requests that were tried again."),
    Column("bytes_received", BigInteger, nullable=False, comment="Size of what was received. [bytes]"),
    Column("errors", JSON, nullable=False, comment="What went wrong, one sentence each, as a JSON array."),
    Column("stack", String, comment="Traceback of the error that ended the collection."),
)

CHECKPOINTS = Table(
    "checkpoints",
    METADATA,
    Column("name", String, primary_key=True, comment="What the checkpoint is of."),
    Column("value", JSON, nullable=False, comment="Where to resume."),
    Column("saved_at", _UTC, nullable=False, comment="When it was saved."),
    Column("expires_at", _UTC, nullable=False, comment="When it is facts no more."),
)

SITE_SYNC = Table(
    "site_sync",
    METADATA,
    Column("site_name", String, primary_key=True, comment="Site."),
    Column("last_sync", _UTC, nullable=False, comment="Readings before this were read without a hole."),
    Column("advanced_at", _UTC, nullable=False, comment="When last_sync was last advanced."),
    Column("sync_id", String, nullable=False, comment="The sync that advanced it."),
)

SITE_WINDOWS = Table(
    "site_windows",
    METADATA,
    Column("site_name", String, primary_key=True, comment="Site."),
    Column("window_start", _UTC, primary_key=True, comment="First instant of the window."),
    Column("window_end", _UTC, primary_key=True, comment="End of the window, not part of it."),
    Column("status", String, primary_key=True, comment="complete, failed or deferred."),
    Column("read_at", _UTC, nullable=False, comment="The instant as of which the window was read."),
    Column("records", Integer, nullable=False, comment="Records read."),
    Column("pages", Integer, nullable=False, comment="Pages read."),
    Column("attempts", Integer, nullable=False, comment="Tries that failed."),
    Column("error", String, nullable=False, comment="Why the last try failed."),
    Column("sync_id", String, nullable=False, comment="The sync that read it last."),
)

ALERTS = Table(
    "alerts",
    METADATA,
    Column("key", String, primary_key=True, comment="The condition: what, and of which site or KPI."),
    Column("raised_at", _UTC, primary_key=True, comment="When it was first seen."),
    Column(
        "kind",
        String,
        nullable=False,
        comment="Kind of condition, such as duration, no_data, quality, gap, kpi_failed.",
    ),
    Column("message", String, nullable=False, comment="What a person is told."),
    Column("payload", JSON, nullable=False, comment="The facts that raised it, as last seen, as JSON."),
    Column("last_seen_at", _UTC, nullable=False, comment="When it was last seen."),
    Column("sent_at", _UTC, comment="When it was sent: to the webhook, or to the log where there is none."),
    Column("resolved_at", _UTC, comment="When it was seen to have cleared."),
    Column("recovery_sent_at", _UTC, comment="When the recovery was sent."),
    Column("claimed_until", _UTC, comment="Until when one process has it in hand to send it."),
)

KPI_JOBS = Table(
    "kpi_jobs",
    METADATA,
    Column("trace_id", String, primary_key=True, comment="Job: trace_20250814_120000_abc12345, its time in UTC."),
    Column("date", Date, nullable=False, comment="Market day that the job is for."),
    Column("status", String, nullable=False, comment="pending, running, completed, partial or failed."),
    Column("created_at", _UTC, nullable=False, comment="When the job was made."),
    Column("updated_at", _UTC, nullable=False, comment="When something of it last changed."),
    Column("scheduled_for", _UTC, nullable=False, comment="Time of the tick: the timestamp that workflows are given."),
    Column("environment", String, nullable=False, comment="development or production."),
    Column("total_kpis", Integer, nullable=False, comment="KPIs of the job."),
    Column("completed_kpis", Integer, nullable=False, comment="KPIs that are completed."),
    Column("failed_kpis", Integer, nullable=False, comment="KPIs that failed."),
)

KPI_RUNS = Table(
    "kpi_runs",
    METADATA,
    Column("trace_id", String, primary_key=True, comment="Job that the run is part of."),
    Column("kpi_id", String, primary_key=True, comment="KPI, as the registry names it."),
    Column("date", Date, nullable=False, comment="Market day that it is for."),
    Column("status", String, nullable=False, comment="pending, running, completed or failed."),
    Column("created_at", _UTC, nullable=False, comment="When it was put on record."),
    Column("updated_at", _UTC, nullable=False, comment="When it last changed."),
    Column("completed_at", _UTC, comment="When it was completed, or failed."),
    Column("error", String, comment="Why it failed."),
    Column("retry_count", Integer, nullable=False, comment="Tries of the workflow's webhook beyond the first."),
    Column("value", Float, comment="Value, where the KPI has one number; its unit is in kpi.kpi_values."),
    Column("payload", JSON, comment="What the workflow's webhook was sent, as JSON."),
    Column(
        "triggered_at",
        _UTC,
        comment="When the workflow's webhook accepted it; empty where it is yet to be called, or once more.",
    ),
    Column("report_due", _UTC, comment="By when the workflow is to report back; empty where it is not, or has."),
    Column("reported_at", _UTC, comment="When the workflow reported back, since it was called last."),
    Column("report", JSON, comment="What the workflow reported last, as JSON."),
    Column("run_id", String, comment="Dagster run that worked on it last."),
    Column("claimed_until", _UTC, comment="Until when that run has it in hand."),
    Column("forced_by", String, comment="Dagster run that last had it called although it may have been."),
    Column("calls", Integer, comment="1, and one more each time that it was forced after a call; empty is 1."),
    Column("unanswered", Integer, comment="Calls without an answer since one was accepted or forced; empty is 0."),
)

REFRESH_TOKENS = Table(
    "refresh_tokens",
    METADATA,
    Column("token_hash", String, primary_key=True, comment="SHA-256 of the token; the token itself is not kept."),
    Column("family", String, nullable=False, comment="All tokens that came of one log-in."),
    Column("client_id", String, nullable=False, comment="Client that it was issued to."),
    Column("scopes", String, nullable=False, comment="Scopes, with blanks between."),
    Column("issued_at", _UTC, nullable=False, comment="When it was issued."),
    Column("expires_at", _UTC, nullable=False, comment="When it ends."),
    Column("spent_at", _UTC, comment="When it was exchanged; to use it again revokes its family."),
    Column("revoked_at", _UTC, comment="When it was revoked."),
)

REVOKED_TOKENS = Table(
    "revoked_tokens",
    METADATA,
    Column("jti", String, primary_key=True, comment="Access token that is good no more before its time."),
    Column("expires_at", _UTC, nullable=False, comment="When it would have ended by itself."),
)

QUEUE_JOBS = Table(
    "queue_jobs",
    METADATA,
    Column("job_id", String, primary_key=True, comment="Job."),
    Column("client_id", String, nullable=False, comment="Client that asked."),
    Column("site_name", String, comment="Site that it is about."),
    Column("kind", String, nullable=False, comment="What is asked: timeseries or data."),
    Column("request", JSON, nullable=False, comment="What was asked, checked."),
    Column("priority", Integer, nullable=False, comment="Higher goes first."),
    Column("status", String, nullable=False, comment="queued, submitted, running, completed, failed, cancelled."),
    Column("estimated_samples", BigInteger, nullable=False, comment="Samples expected when it was asked for."),
    Column("samples", BigInteger, comment="Samples in the result."),
    Column("points_done", Integer, nullable=False, comment="Points read so far."),
    Column("points_total", Integer, nullable=False, comment="Points to read."),
    Column("attempts", Integer, nullable=False, comment="Tries so far."),
    Column("error", String, comment="Why the last try failed."),
    Column("run_id", String, comment="Dagster run of the last try."),
    Column("created_at", _UTC, nullable=False, comment="When it was asked for."),
    Column("updated_at", _UTC, nullable=False, comment="When something of it last changed."),
    Column("not_before", _UTC, comment="When the next try is due."),
    Column("started_at", _UTC, comment="When its first try began."),
    Column("finished_at", _UTC, comment="When it was completed, failed for good, or cancelled."),
    Column("expires_at", _UTC, comment="Until when the result can be fetched."),
    Column("result_bytes", BigInteger, comment="Size of the result. [bytes]"),
    Column("result_format", String, nullable=False, comment="json, csv, arrow or parquet."),
    Column("cancel_requested", Integer, nullable=False, comment="1 where it is to be cancelled."),
    Column("sent", String, comment="Digest of the request as it was sent; empty where it was no order."),
)

JOB_HISTORY = QUEUE_JOBS.to_metadata(METADATA, name="job_history")
"""Jobs that have ended and whose results are gone: the same columns."""

CACHE_METADATA = Table(
    "cache_metadata",
    METADATA,
    Column("cache_key", String, primary_key=True, comment="timeseries/SITE/DIGEST.FORMAT"),
    Column("site_name", String, comment="Site."),
    Column("version", String, nullable=False, comment="Of the data that it was made of; another one makes it stale."),
    Column("format", String, nullable=False, comment="json, csv, arrow or parquet."),
    Column("points_count", Integer, nullable=False, comment="Points in it."),
    Column("samples_count", BigInteger, nullable=False, comment="Samples in it."),
    Column("bytes", BigInteger, nullable=False, comment="Size before compression. [bytes]"),
    Column("compressed_bytes", BigInteger, nullable=False, comment="Size as it is kept. [bytes]"),
    Column("hits", BigInteger, nullable=False, comment="Requests that it answered."),
    Column("misses", BigInteger, comment="Requests that it had to be made for."),
    Column("created_at", _UTC, nullable=False, comment="When it was made."),
    Column("last_used_at", _UTC, nullable=False, comment="When it last answered a request."),
    Column("expires_at", _UTC, nullable=False, comment="When it is good no more."),
)

REQUEST_ANALYTICS = Table(
    "request_analytics",
    METADATA,
    Column("request_id", String, primary_key=True, comment="Request."),
    Column("at", _UTC, nullable=False, comment="When it came."),
    Column("client_id", String, comment="Client; empty without a token."),
    Column("method", String, nullable=False, comment="HTTP method."),
    Column("route", String, nullable=False, comment="Route, with its parameters by name."),
    Column("route_type", String, comment="direct, cached or queued; empty for others."),
    Column("status", Integer, nullable=False, comment="HTTP status."),
    Column("duration_ms", Float, nullable=False, comment="Time to the last byte. [ms]"),
    Column("response_bytes", BigInteger, nullable=False, comment="Size of the answer. [bytes]"),
    Column("samples", BigInteger, comment="Samples in the answer."),
    Column("cache_hit", Integer, comment="1 from the cache, 0 not; empty where none was asked."),
)

TRIGGERS = Table(
    "triggers",
    METADATA,
    Column("trigger_id", String, primary_key=True, comment="Trigger."),
    Column("at", _UTC, nullable=False, comment="When it came."),
    Column("client_id", String, nullable=False, comment="Who."),
    Column("reason", String, nullable=False, comment="Why, in the operator's words."),
    Column("what", JSON, nullable=False, comment="Job, partition and sites that were asked for."),
    Column("run_id", String, comment="Dagster run that it started."),
    Column("error", String, comment="Why it started none."),
)
