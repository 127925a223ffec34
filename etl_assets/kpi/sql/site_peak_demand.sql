-- Highest demand of each site in a half-hour of the market day, kW, as network tariffs bill it.
-- A half-hour's demand is the sum of the site's power points, each the mean of its 5-minute means that are there.
-- Sites with power points in SITES; one without anything shows null.
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
),
by_point AS (
    SELECT
        site_name,
        point_name,
        epoch_us("timestamp") // 1800000000 AS half_hour,
        avg(avg_value) AS demand_kw
    FROM power_points
    LEFT JOIN five_minutes USING (site_name, point_name)
    GROUP BY ALL
),
half_hours AS (
    SELECT site_name, half_hour, sum(demand_kw) AS demand_kw
    FROM by_point
    GROUP BY site_name, half_hour
)
SELECT
    site_name AS entity,
    max(demand_kw) AS value
FROM half_hours
GROUP BY site_name
ORDER BY site_name
