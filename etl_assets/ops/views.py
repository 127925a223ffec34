"""Views over the copied records of jobs, cache and requests, as the published file has them.

They name no database: an analyst may attach the file, or a copy of it, under any name.
"""

from etl_assets.lake.publish import Viewed
from etl_assets.ops.tables import QUEUE_JOBS

ACTIVE_JOB_NAMES = (
    "job_id", "kind", "site_name", "status", "priority", "points_done", "points_total", "samples", "estimated_samples",
    "attempts", "created_at", "not_before", "started_at", "updated_at", "cancel_requested",
)  # fmt: skip
"""Columns of ``ops.queue_jobs`` that the view of active jobs has as they are."""

ACTIVE_JOBS = """
    SELECT job_id, kind, site_name, status, priority, points_done, points_total,
           round(points_done / nullif(points_total, 0), 4) AS progress,
           samples, estimated_samples, attempts, created_at, not_before, started_at, updated_at, cancel_requested
    FROM ops.queue_jobs
    WHERE status IN ('queued', 'submitted', 'running')
"""

JOB_PERFORMANCE = """
    WITH job AS (
        SELECT * FROM ops.queue_jobs WHERE finished_at IS NOT NULL
        UNION ALL
        SELECT * FROM ops.job_history
    )
    SELECT site_name,
           count(*) AS jobs,
           count(*) FILTER (status = 'completed') AS completed,
           count(*) FILTER (status = 'failed') AS failed,
           count(*) FILTER (status = 'cancelled') AS cancelled,
           sum(samples) FILTER (status = 'completed')::BIGINT AS samples,
           sum(result_bytes) FILTER (status = 'completed')::BIGINT AS result_bytes,
           sum(greatest(attempts - 1, 0))::BIGINT AS retries,
           avg(epoch_us(started_at) - epoch_us(created_at)) / 1e6 AS mean_wait_seconds,
           avg(epoch_us(finished_at) - epoch_us(started_at)) FILTER (status = 'completed') / 1e6 AS mean_seconds,
           max(epoch_us(finished_at) - epoch_us(started_at)) FILTER (status = 'completed') / 1e6 AS longest_seconds
    FROM job
    GROUP BY site_name
"""

CACHE_PERFORMANCE = """
    SELECT site_name,
           count(*) AS entries,
           sum(samples_count)::BIGINT AS samples,
           sum(hits)::BIGINT AS hits,
           sum(misses)::BIGINT AS misses,
           sum(hits) / nullif(sum(hits) + sum(misses), 0) AS hit_rate,
           sum(bytes)::BIGINT AS bytes,
           sum(compressed_bytes)::BIGINT AS compressed_bytes,
           1 - sum(compressed_bytes) / nullif(sum(bytes), 0) AS saved,
           max(last_used_at) AS last_used_at
    FROM ops.cache_metadata
    GROUP BY site_name
"""

REQUEST_STATS = """
    SELECT route_type,
           count(*) AS requests,
           count(*) FILTER (status >= 500) AS server_errors,
           count(*) FILTER (status BETWEEN 400 AND 499) AS client_errors,
           avg(duration_ms) AS mean_ms,
           quantile_cont(duration_ms, 0.5) AS median_ms,
           quantile_cont(duration_ms, 0.95) AS p95_ms,
           max(duration_ms) AS longest_ms,
           sum(response_bytes)::BIGINT AS response_bytes,
           sum(samples)::BIGINT AS samples,
           avg(cache_hit) AS hit_rate,
           min("at") AS first_at,
           max("at") AS last_at
    FROM ops.request_analytics
    GROUP BY route_type
"""

SITE = {"site_name": "Site; null for requests of market data."}

ACTIVE_JOBS_COLUMNS = {
    **{name: str(QUEUE_JOBS.c[name].comment) for name in ACTIVE_JOB_NAMES},
    "progress": "Share of the points that were read, 0 to 1; null where the number of points is not known.",
}

JOB_PERFORMANCE_COLUMNS = SITE | {
    "jobs": "Jobs that have ended.",
    "completed": "Of these, completed.",
    "failed": "Of these, failed for good.",
    "cancelled": "Of these, cancelled.",
    "samples": "Samples in the results of completed jobs.",
    "result_bytes": "Size of their results. [bytes]",
    "retries": "Tries beyond the first of each job.",
    "mean_wait_seconds": "Mean time from the request to the start of the first try. [s]",
    "mean_seconds": "Mean time from there to the end, of completed jobs. [s]",
    "longest_seconds": "The longest of these. [s]",
}

CACHE_PERFORMANCE_COLUMNS = SITE | {
    "entries": "Results in the cache.",
    "samples": "Samples in them.",
    "hits": "Requests that they answered.",
    "misses": "Requests that they had to be made for.",
    "hit_rate": "Share of requests that the cache answered, 0 to 1.",
    "bytes": "Size before compression. [bytes]",
    "compressed_bytes": "Size as kept. [bytes]",
    "saved": "Share of bytes that compression saves, 0 to 1.",
    "last_used_at": "When one of them last answered a request.",
}

REQUEST_STATS_COLUMNS = {
    "route_type": "direct, cached or queued; null for requests of other kinds.",
    "requests": "Requests on record.",
    "server_errors": "Answers with status 500 and above.",
    "client_errors": "Answers with status 400 to 499.",
    "mean_ms": "Mean time to the last byte. [ms]",
    "median_ms": "Median time to the last byte. [ms]",
    "p95_ms": "Time to the last byte that 95 % of requests stay within. [ms]",
    "longest_ms": "Longest time to the last byte. [ms]",
    "response_bytes": "Size of all answers. [bytes]",
    "samples": "Samples in all answers.",
    "hit_rate": "Share that the cache answered, of requests that asked it, 0 to 1.",
    "first_at": "When the first of them came.",
    "last_at": "When the last of them came.",
}

EXPORT_VIEWS = (
    Viewed(
        "ops",
        "v_active_jobs",
        "Export jobs that have not ended.",
        ACTIVE_JOBS,
        ACTIVE_JOBS_COLUMNS,
    ),
    Viewed(
        "ops", "v_job_performance", "Export jobs that have ended, by site.", JOB_PERFORMANCE, JOB_PERFORMANCE_COLUMNS
    ),
    Viewed("ops", "v_cache_performance", "Cached results by site.", CACHE_PERFORMANCE, CACHE_PERFORMANCE_COLUMNS),
    Viewed(
        "ops", "v_request_stats", "Requests on record, by how they were answered.", REQUEST_STATS, REQUEST_STATS_COLUMNS
    ),
)
