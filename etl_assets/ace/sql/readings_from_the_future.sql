-- Readings of a market day stamped more than a minute later than they were collected.
SELECT point_name, "timestamp", collected_at
FROM lake.ace.timeseries_raw
WHERE site_name = $site
  AND market_day = $day
  AND "timestamp" > collected_at + INTERVAL 1 minute
ORDER BY point_name, "timestamp"
LIMIT 100
