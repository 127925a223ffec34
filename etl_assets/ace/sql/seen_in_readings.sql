-- When each point was heard on a market day, in how many of its five minutes, and since when it is heard at least.
CREATE OR REPLACE TEMP TABLE seen AS
SELECT
    point_name,
    min("timestamp") FILTER (market_day = $day) AS first_reading,
    count(DISTINCT epoch_us("timestamp") // 300000000) FILTER (market_day = $day) AS five_minutes,
    min("timestamp") AS heard_since
FROM lake.ace.timeseries_raw
WHERE site_name = $site
  AND market_day BETWEEN $day_before AND $day
GROUP BY point_name
