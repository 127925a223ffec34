-- Mean demand of each site over its peak demand in the market day, %: 100 is a load that never changes.
-- The mean is over the 5-minute intervals in which a power point was read; the peak is that of the KPI
-- site-peak-demand. A site without anything, or that did not draw from the grid (peak not above 0), shows null.
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
),
peaks AS (
    SELECT site_name, max(demand_kw) AS peak_kw
    FROM half_hours
    GROUP BY site_name
),
means AS (
    SELECT site_name, sum(avg_value) / nullif(count(DISTINCT "timestamp"), 0) AS mean_kw
    FROM power_points
    LEFT JOIN five_minutes USING (site_name, point_name)
    GROUP BY site_name
)
SELECT
    site_name AS entity,
    CASE WHEN peak_kw > 0 THEN 100 * mean_kw / peak_kw END AS value
FROM means
JOIN peaks USING (site_name)
ORDER BY site_name
