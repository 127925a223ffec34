-- How many more readings than distinct keys a market day has.
SELECT count(*) - count(DISTINCT hash(point_name, "timestamp"))
FROM lake.ace.timeseries_raw
WHERE site_name = $site
  AND market_day = $day
