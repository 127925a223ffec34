-- Figures to judge of points that may have outliers: readings, or of counters the steps from one to the next.
CREATE OR REPLACE TEMP TABLE suspects AS
WITH candidates AS (
    SELECT point_name, point_id, is_counter, low, high
    FROM spread
    WHERE is_counter
       OR deviation = 0
       OR greatest(high - middle, middle - low) > $limit * 1.4826 * deviation
),
readings AS (
    SELECT point_id, value, "timestamp", is_counter, low, high
    FROM lake.ace.timeseries_raw
    JOIN candidates USING (point_name)
    WHERE site_name = $site
      AND market_day = $day
)
SELECT point_id, value AS figure, value <> low AND value <> high AS is_between
FROM readings
WHERE NOT is_counter
UNION ALL
SELECT
    point_id,
    value - lag(value) OVER (PARTITION BY point_id ORDER BY "timestamp"),
    true
FROM readings
WHERE is_counter
