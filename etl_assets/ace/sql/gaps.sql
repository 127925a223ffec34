-- Gaps of a site's market day: of a point, and of the whole site where no reading of any point came.
-- A reading stands for the interval that it opens, so a gap starts with the end of the first interval without one.
CREATE OR REPLACE TEMP TABLE gaps AS
WITH suspects AS (
    -- A gap of a quarter of an hour leaves a five minutes without a reading; most points have none.
    SELECT due.*
    FROM due
    LEFT JOIN seen USING (point_name)
    WHERE is_due
      AND coalesce(five_minutes, 0) < (until_us - 1) // 300000000 - from_us // 300000000 + 1
),
silences AS (
    SELECT
        point_name,
        epoch_us("timestamp") AS from_us,
        lead(epoch_us("timestamp")) OVER (PARTITION BY point_name ORDER BY "timestamp") AS next_us,
        false AS is_leading
    FROM lake.ace.timeseries_raw
    WHERE site_name = $site
      AND market_day = $day
      AND point_name IN (SELECT point_name FROM suspects)
    UNION ALL
    SELECT point_name, suspects.from_us, epoch_us(first_reading), true
    FROM suspects
    LEFT JOIN seen USING (point_name)
),
bounded AS (
    SELECT
        point_name,
        interval_us,
        silences.from_us,
        least(coalesce(next_us, until_us), until_us) AS finish_us,
        is_leading,
        next_us IS NULL AS is_trailing,
        greatest(900000000, 3 * interval_us) AS limit_us
    FROM silences
    JOIN suspects USING (point_name)
),
of_points AS (
    FROM bounded
    WHERE finish_us - from_us > limit_us
),
heard AS (
    SELECT epoch_us("timestamp") // 60000000 * 60000000 AS minute_us
    FROM lake.ace.timeseries_raw
    WHERE site_name = $site
      AND market_day = $day
    GROUP BY minute_us
),
site AS (
    SELECT min(from_us) AS from_us, max(until_us) AS until_us, min(interval_us) AS interval_us
    FROM due
    WHERE is_due
),
of_site AS (
    -- Whether all are missing needs no more than minutes.
    SELECT *
    FROM (
        SELECT minute_us AS from_us, lead(minute_us, 1, until_us) OVER (ORDER BY minute_us) AS finish_us,
            lead(minute_us) OVER (ORDER BY minute_us) IS NULL AS is_trailing, false AS is_leading, interval_us
        FROM heard, site
        UNION ALL
        SELECT from_us, coalesce((SELECT min(minute_us) FROM heard), until_us),
            (SELECT min(minute_us) FROM heard) IS NULL, true, interval_us
        FROM site
    )
    WHERE finish_us - from_us > greatest(900000000, 3 * interval_us)
),
own AS (
    -- What a gap of the whole site explains is no gap of the point.
    SELECT point_name, of_points.from_us, of_points.finish_us, of_points.is_leading, of_points.is_trailing,
        of_points.interval_us
    FROM of_points
    LEFT JOIN of_site ON of_site.from_us < of_points.finish_us AND of_points.from_us < of_site.finish_us
    GROUP BY ALL
    HAVING any_value(of_points.finish_us - of_points.from_us) - coalesce(sum(
        least(of_points.finish_us, of_site.finish_us) - greatest(of_points.from_us, of_site.from_us)
    ) FILTER (of_site.from_us IS NOT NULL), 0) > any_value(limit_us)
),
named AS (
    SELECT $site || '/' || point_name AS entity, from_us, finish_us, is_leading, is_trailing, interval_us
    FROM own
    UNION ALL
    SELECT $site, from_us, finish_us, is_leading, is_trailing, interval_us
    FROM of_site
),
measured AS (
    SELECT
        entity,
        interval_us,
        -- A reading that is there opens an interval of its own.
        from_us + CASE WHEN is_leading THEN 1 ELSE 2 END * interval_us AS start_us,
        CASE WHEN is_trailing THEN (finish_us - from_us) // interval_us
             ELSE (finish_us - from_us + interval_us // 2) // interval_us END
            - CASE WHEN is_leading THEN 0 ELSE 1 END AS missing
    FROM named
)
SELECT
    $dataset AS dataset,
    entity,
    make_timestamptz(CAST(start_us AS BIGINT)) AS gap_start,
    make_timestamptz(CAST(start_us + (missing - 1) * interval_us AS BIGINT)) AS gap_end,
    CAST(missing AS INTEGER) AS missing_intervals
FROM measured
WHERE missing > 0
