-- One row per point of a site's market day. A point is silent that was heard the day before, or earlier on an open day,
-- and not since: not at all on a closed day, not for three intervals and a quarter of an hour on an open one.
CREATE OR REPLACE TEMP TABLE derived AS
SELECT
    $site AS site_name,
    point_name,
    $day AS "date",
    CAST(expected AS BIGINT) AS expected_samples,
    coalesce(seen.readings, 0) AS actual_samples,
    greatest(0, expected_samples - actual_samples) AS missing_samples,
    coalesce(outlier_count, 0) AS outlier_count,
    coalesce(flat_count, 0) AS flat_count,
    coalesce(future_count, 0) AS future_count,
    CASE WHEN expected_samples > 0 THEN least(1.0, actual_samples / expected_samples) END AS quality_score,
    is_due AND CASE
        WHEN $now >= $finish THEN heard_before.last_reading IS NOT NULL AND seen.last_reading IS NULL
        ELSE coalesce(
            epoch_us(greatest(heard_before.last_reading, seen.last_reading))
                < epoch_us($now) - greatest(900000000, 3 * interval_us),
            false
        )
    END AS is_silent,
    $now AS scored_at,
    $day AS market_day
FROM due
LEFT JOIN seen USING (point_name)
LEFT JOIN heard_before USING (point_name)
LEFT JOIN outliers USING (point_name)
LEFT JOIN flat_lines USING (point_name)
