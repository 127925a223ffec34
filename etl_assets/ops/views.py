"""Views over the copied records of jobs, cache and requests, as the published file has them.

They name no database: an analyst may attach the file, or a copy of it, under any name.
"""

from etl_assets.lake.publish import Viewed

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

EXPORT_VIEWS = (
    Viewed("ops", "v_active_jobs", "Export jobs that have not ended; progress: share of points read.", ACTIVE_JOBS),
    Viewed("ops", "v_job_performance", "Export jobs that have ended, by site; times in seconds.", JOB_PERFORMANCE),
    Viewed("ops", "v_cache_performance", "Cached results by site; saved: share of bytes.", CACHE_PERFORMANCE),
    Viewed("ops", "v_request_stats", "Requests on record, by how they were answered; in milliseconds.", REQUEST_STATS),
)
