-- Median and median absolute deviation of each point's readings, of those that move at all and are enough to judge.
-- ``is_counter``: in every half-hour lowest first and highest last, never falling from one to the next, rising in most.
CREATE OR REPLACE TEMP TABLE spread AS
WITH steps AS (
    SELECT
        point_name,
        opening = low AND closing = high AND coalesce(
            low >= lag(high) OVER (PARTITION BY point_name ORDER BY half_hour), true
        ) AS never_falls,
        high > coalesce(lag(high) OVER (PARTITION BY point_name ORDER BY half_hour), low) AS rises
    FROM half_hours
),
counters AS (
    SELECT point_name, bool_and(never_falls) AND count(*) FILTER (rises) > count(*) / 2 AS is_counter
    FROM steps
    GROUP BY point_name
),
levels AS (
    SELECT point_name, median(value) AS middle, mad(value) AS deviation
    FROM lake.ace.timeseries_raw
    WHERE site_name = $site
      AND market_day = $day
      AND point_name IN (SELECT point_name FROM seen WHERE low < high AND readings >= $least_readings)
    GROUP BY point_name
)
SELECT
    point_name,
    -- Windows over numbers take a third of the time of windows over names.
    CAST(row_number() OVER () AS INTEGER) AS point_id,
    readings,
    low,
    high,
    middle,
    deviation,
    is_counter
FROM levels
JOIN seen USING (point_name)
JOIN counters USING (point_name)
