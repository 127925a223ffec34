-- Share of the readings due that came, by point and interval of a stretch of market days; null where none was due.
WITH intervals AS (
    SELECT
        position,
        epoch_us($start) + position * $width_us AS start_us
    FROM range($intervals) AS counted(position)
),
shares AS (
    SELECT
        point_name,
        position,
        least($width_us, start_us + $width_us - from_us, until_us - start_us) // interval_us AS expected,
        start_us
    FROM due
    CROSS JOIN intervals
    WHERE is_due
),
counted AS (
    SELECT point_name, epoch_us("timestamp") AS start_us, sample_count
    FROM lake.ace.timeseries_agg
    WHERE site_name = $site
      AND "interval" = $interval
      AND market_day BETWEEN $first_day AND $last_day
)
SELECT
    point_name,
    list(
        CASE WHEN expected > 0 THEN least(1.0, coalesce(sample_count, 0) / expected) END
        ORDER BY position
    ) AS shares
FROM shares
LEFT JOIN counted USING (point_name, start_us)
GROUP BY point_name
ORDER BY point_name
