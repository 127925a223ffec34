-- When each point was heard on the market day before, and in how many of its half-hours it moved.
CREATE OR REPLACE TEMP TABLE heard_before AS
WITH half_hours_before AS (
    SELECT
        point_name,
        min("timestamp") AS first_reading,
        max("timestamp") AS last_reading,
        count(*) AS readings,
        min(value) < max(value) AS moved
    FROM lake.ace.timeseries_raw
    WHERE site_name = $site
      AND market_day = $day_before
    GROUP BY point_name, epoch_us("timestamp") // 1800000000
)
SELECT
    point_name,
    min(first_reading) AS first_reading,
    max(last_reading) AS last_reading,
    count(*) FILTER (moved) AS moved,
    count(*) FILTER (readings > 1) AS comparable
FROM half_hours_before
GROUP BY point_name
