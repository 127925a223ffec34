"""One try of an export job: reads batch by batch from the published file; its result is there whole, or not at all.

What is read is one snapshot, the newest when the try began, whatever is published meanwhile. Memory does not grow with
the result. After every batch the record says how far it is, and a job that was cancelled, or given to another run,
ends there.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl_assets.api.formats import Format, render
from etl_assets.api.site_queries import TimeseriesQuery, timeseries_query_of
from etl_assets.api.warehouse import Warehouse
from etl_assets.exports.results import draft_of, result_path
from etl_assets.exports.routing import Meta
from etl_assets.ops.job_state import ExportJob, advance, complete, take_up
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection


def run_export(settings: Settings, job_id: str, run_id: str, *, now: Callable[[], datetime]) -> ExportJob:
    """Do a job; returns it completed.

    Raises ``JobLostError`` where it is not this run's, ``JobCancelledError``, and whatever reading and writing raise:
    then there is no result, and the caller says what becomes of the job.
    """
    job = take_up(settings, job_id, run_id, now=now())
    with closing(Warehouse(settings)) as warehouse, draft_of(settings, job) as draft:
        reading = _Reading(settings, job, timeseries_query_of(warehouse, job.request), now)
        with warehouse.connection() as connection:
            size = reading.write(connection, draft)
        return complete(
            settings,
            job_id,
            run_id,
            samples=reading.samples,
            result_bytes=size,
            now=now(),
            put_in_place=lambda: draft.replace(result_path(settings, job)),
        )


@dataclass(slots=True)
class _Reading:
    """A job's rows on their way into its result."""

    settings: Settings
    job: ExportJob
    query: TimeseriesQuery
    now: Callable[[], datetime]
    samples: int = 0

    def write(self, connection: "DuckDBPyConnection", draft: Path) -> int:
        """Write the result, down to the disk; returns its size in bytes."""
        with draft.open("wb") as file:
            for piece in render(self._batches(connection), Format(self.job.result_format), self._meta):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def _batches(self, connection: "DuckDBPyConnection") -> "Iterator[pa.RecordBatch]":
        points, step = self.query.points, self.settings.job_batch_points
        # A query for no point has columns all the same.
        for start in range(0, len(points) or 1, step):
            for batch in replace(self.query, points=points[start : start + step]).batches(connection):
                self.samples += batch.num_rows
                yield batch
            self._advance(min(start + step, len(points)))

    def _advance(self, points_done: int) -> None:
        job_id, run_id = self.job.job_id, str(self.job.run_id)
        advance(self.settings, job_id, run_id, points_done=points_done, samples=self.samples, now=self.now())

    def _meta(self, samples: int) -> dict[str, Any]:
        estimated = self.job.estimated_samples
        return Meta(
            "queued", cache_hit=False, estimated_samples=estimated, samples=samples, job_id=self.job.job_id
        ).as_json()
