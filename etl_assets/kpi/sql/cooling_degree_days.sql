-- Cooling degree days of each site's market day, degC d: how far its mean temperature was above 24 degC, at least 0.
-- The mean is (highest + lowest) / 2 of the observations of the market day (UTC+10, 00:00 to 24:00), and the base
-- 24 degC, as in the maps of the Bureau of Meteorology. A site without a temperature that day shows null.
-- ACE tells the weather of now only; that of days past is in the readings of its weather points, where there are any.
WITH observed AS (
    SELECT site_name, temperature
    FROM ace.weather_raw
    WHERE market_day = $market_day
    UNION ALL
    SELECT site_name, avg_value
    FROM ace.timeseries_agg
    WHERE "interval" = '5min' AND market_day = $market_day AND point_name = site_name || '/weather/temp'
)
SELECT
    site_name AS entity,
    CASE WHEN count(temperature) > 0 THEN greatest(0, (max(temperature) + min(temperature)) / 2 - 24) END AS value
FROM ace.sites
LEFT JOIN observed USING (site_name)
GROUP BY site_name
ORDER BY site_name
