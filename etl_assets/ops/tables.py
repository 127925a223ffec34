"""The tables of the state database, declared once: columns, types, what they mean.

A column may be added, and is then added to an existing database at its first use, null in the rows that are there;
it is never renamed or retyped in place.
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import JSON, BigInteger, Column, DateTime, Float, Integer, MetaData, String, Table, TypeDecorator

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
    Column("duration_seconds", Float, nullable=False, comment="How long it took."),
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
    Column("requests_by_status", JSON, nullable=False, comment="HTTP answers by status."),
    Column("retries", Integer, nullable=False, comment="Requests that were tried again."),
    Column("bytes_received", BigInteger, nullable=False, comment="Bytes received."),
    Column("errors", JSON, nullable=False, comment="What went wrong, one sentence each."),
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
    Column("key", String, primary_key=True, comment="The condition: what, and of which site."),
    Column("raised_at", _UTC, primary_key=True, comment="When it was first seen."),
    Column("kind", String, nullable=False, comment="Kind of condition."),
    Column("message", String, nullable=False, comment="What a person is told."),
    Column("payload", JSON, nullable=False, comment="The facts that raised it, as last seen."),
    Column("last_seen_at", _UTC, nullable=False, comment="When it was last seen."),
    Column("sent_at", _UTC, comment="When it was sent: to the webhook, or to the log where there is none."),
    Column("resolved_at", _UTC, comment="When it was seen to have cleared."),
    Column("recovery_sent_at", _UTC, comment="When the recovery was sent."),
    Column("claimed_until", _UTC, comment="Until when one process has it in hand to send it."),
)
