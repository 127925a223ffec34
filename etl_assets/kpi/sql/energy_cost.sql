-- What each site's electricity of the market day was worth at the spot price of its region, AUD.
-- Interval by interval: kWh (5-minute mean of its power points in kW x 5/60 h) x dispatch price (AUD/MWh) / 1000.
-- Aggregates are stamped by their start and prices by their end, so 00:00 meets 00:05, of the same market day.
-- Negative prices make negative costs. Intervals that lack the price or the readings are left out; see completeness.
WITH power_points AS (
    SELECT DISTINCT
        site_name,
        region_id,
        unnest(from_json(power_points, '["VARCHAR"]')) AS point_name
    FROM ace.sites
),
five_minutes AS (
    SELECT site_name, point_name, "timestamp" + INTERVAL 5 MINUTE AS interval_end, avg_value * 5 / 60 AS energy_kwh
    FROM ace.timeseries_agg
    WHERE "interval" = '5min' AND market_day = $market_day
),
prices AS (
    SELECT region_id, interval_end, rrp
    FROM aemo.price
    WHERE market_day = $market_day
)
SELECT
    site_name AS entity,
    sum(energy_kwh * rrp) / 1000 AS value
FROM power_points
LEFT JOIN five_minutes USING (site_name, point_name)
LEFT JOIN prices USING (region_id, interval_end)
GROUP BY site_name
ORDER BY site_name
