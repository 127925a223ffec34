-- Readings of a market day that are there twice.
SELECT point_name, "timestamp", count(*) AS rows
FROM lake.ace.timeseries_raw
WHERE site_name = $site
  AND market_day = $day
GROUP BY point_name, "timestamp"
HAVING count(*) > 1
ORDER BY point_name, "timestamp"
