-- Since when each point is heard at least, from its aggregates of some market days.
CREATE OR REPLACE TEMP TABLE seen AS
SELECT point_name, min("timestamp") AS first_reading, min("timestamp") AS heard_since
FROM lake.ace.timeseries_agg
WHERE site_name = $site
  AND "interval" = $interval
  AND market_day BETWEEN $first_day AND $last_day
GROUP BY point_name
