-- Electricity that each site used in the market day, kWh: 5-minute means of its power points (kW) x 5/60 h, added up.
-- Sites with power points in SITES. What is not there is not made up: a day with holes shows too little, see the KPI
-- completeness; a site without anything shows null.
WITH power_points AS (
    SELECT DISTINCT
        site_name,
        unnest(from_json(power_points, '["VARCHAR"]')) AS point_name
    FROM ace.sites
),
five_minutes AS (
    SELECT site_name, point_name, "timestamp", avg_value
    FROM ace.timeseries_agg
    WHERE "interval" = '5min' AND market_day = $market_day
)
SELECT
    site_name AS entity,
    sum(avg_value) * 5 / 60 AS value
FROM power_points
LEFT JOIN five_minutes USING (site_name, point_name)
GROUP BY site_name
ORDER BY site_name
