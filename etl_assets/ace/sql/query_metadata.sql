-- What there is of each point that had readings in a range: bounds from the readings and from what was known, the
-- number from the aggregates of all days, which outlive archived readings.
CREATE OR REPLACE TEMP TABLE derived AS
WITH touched AS (
    SELECT point_name, min("timestamp") AS first_reading, max("timestamp") AS last_reading
    FROM lake.ace.timeseries_raw
    WHERE site_name = $site
      AND market_day BETWEEN $first_day AND $last_day
      AND "timestamp" BETWEEN $since AND $until
    GROUP BY point_name
),
totals AS (
    SELECT point_name, CAST(sum(sample_count) AS BIGINT) AS total_samples
    FROM lake.ace.timeseries_agg
    WHERE site_name = $site
      AND "interval" = '1d'
    GROUP BY point_name
),
known AS (
    SELECT point_name, data_start, data_end
    FROM lake.ace.query_metadata
    WHERE site_name = $site
)
SELECT
    $site AS site_name,
    point_name,
    -- least and greatest pass over nulls.
    least(data_start, first_reading) AS data_start,
    greatest(data_end, last_reading) AS data_end,
    total_samples,
    $now AS last_aggregated
FROM touched
LEFT JOIN known USING (point_name)
LEFT JOIN totals USING (point_name)
