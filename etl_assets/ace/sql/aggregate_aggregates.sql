-- One row per point and longer interval of a stretch of a market day, from the next shorter intervals.
CREATE OR REPLACE TEMP TABLE derived AS
WITH summed AS (
    SELECT
        point_name,
        -- Intervals are counted from midnight in NEM time (UTC+10).
        (epoch_us("timestamp") + 36000000000) // $width_us * $width_us - 36000000000 AS start_us,
        fsum(avg_value * sample_count) / sum(sample_count) AS mean,
        min(min_value) AS min_value,
        max(max_value) AS max_value,
        CAST(sum(sample_count) AS BIGINT) AS sample_count
    FROM lake.ace.timeseries_agg
    WHERE site_name = $site
      AND market_day = $day
      AND "interval" = $shorter
      AND "timestamp" >= $start
      AND "timestamp" < $finish
    GROUP BY point_name, start_us
)
SELECT
    $site AS site_name,
    point_name,
    $interval AS "interval",
    make_timestamptz(CAST(start_us AS BIGINT)) AS "timestamp",
    greatest(min_value, least(max_value, mean)) AS avg_value,
    min_value,
    max_value,
    sample_count,
    $now AS collected_at,
    $day AS market_day
FROM summed
