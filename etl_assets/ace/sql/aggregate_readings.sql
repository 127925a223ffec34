-- One row per point and minute of a stretch of a market day, from the readings themselves.
CREATE OR REPLACE TEMP TABLE derived AS
WITH summed AS (
    SELECT
        point_name,
        epoch_us("timestamp") // 60000000 * 60000000 AS start_us,
        fsum(value) / count(*) AS mean,
        min(value) AS min_value,
        max(value) AS max_value,
        count(*) AS sample_count
    FROM lake.ace.timeseries_raw
    WHERE site_name = $site
      AND market_day = $day
      AND "timestamp" >= $start
      AND "timestamp" < $finish
    GROUP BY point_name, start_us
)
SELECT
    $site AS site_name,
    point_name,
    '1min' AS "interval",
    make_timestamptz(start_us) AS "timestamp",
    -- Rounding may carry a mean of equal readings past them.
    greatest(min_value, least(max_value, mean)) AS avg_value,
    min_value,
    max_value,
    sample_count,
    $now AS collected_at,
    $day AS market_day
FROM summed
