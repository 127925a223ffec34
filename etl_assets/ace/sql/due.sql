-- From when to when, and how often, readings of each point are due in a stretch of time: of points that are collected,
-- from the first reading ever and not before the account made the point, for the part that is past. The point's own
-- interval where the account says one, else a minute. Needs ``seen``.
CREATE OR REPLACE TEMP TABLE due AS
WITH listed AS (
    SELECT point_name, coalesce(collect_enabled, true) AND coalesce(is_listed, true) AS collect_enabled,
           collect_interval, created
    FROM lake.ace.points
    WHERE site_name = $site
),
known AS (
    SELECT point_name, data_start
    FROM lake.ace.query_metadata
    WHERE site_name = $site
),
points AS (
    SELECT
        point_name,
        CASE WHEN collect_interval > 0 THEN CAST(collect_interval AS BIGINT) ELSE 60 END * 1000000 AS interval_us,
        least(data_start, heard_since) AS heard_since,
        CASE WHEN created IS NULL THEN 0 ELSE epoch_us(least(created, first_reading)) END AS created_us,
        coalesce(collect_enabled, true)
            AND (len($configured) = 0 OR list_contains($configured, point_name)) AS is_collected
    FROM listed
    FULL JOIN seen USING (point_name)
    LEFT JOIN known USING (point_name)
),
bounded AS (
    SELECT
        point_name,
        interval_us,
        heard_since IS NOT NULL AS is_heard,
        is_collected,
        greatest(epoch_us($start), epoch_us(heard_since), created_us) AS from_us,
        epoch_us(least($finish, $now)) AS until_us
    FROM points
)
SELECT
    point_name,
    interval_us,
    is_heard,
    from_us,
    until_us,
    is_collected AND is_heard AND from_us < until_us AS is_due,
    CASE WHEN is_due THEN (until_us - from_us) // interval_us ELSE 0 END AS expected
FROM bounded
