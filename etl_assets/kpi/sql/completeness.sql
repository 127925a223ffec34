-- How much of what each source owed for the market day is there, %.
-- AEMO's tables owe a row for each interval and entity: 288 dispatch intervals, 48 half-hours of rooftop solar; trading
-- prices 288, and 48 before 2021-10-01. Entities are the five regions of today and the six interconnectors, which are
-- these since July 2008; of units nobody says how many, so an interval is there when any unit is. A table with nothing
-- has 0. aemo.price_and_demand is left out: it comes a day later.
-- A site has its readings there over those due (quality.data_quality; one point's surplus makes up for no other), null
-- where none was due; and for its weather the share of the 24 hours with an observation
-- or a reading of its weather point, null before the first one.
WITH regions AS (
    SELECT unnest(['NSW1', 'QLD1', 'SA1', 'TAS1', 'VIC1']) AS region_id
),
interconnectors AS (
    SELECT unnest(
        ['N-Q-MNSP1', 'NSW1-QLD1', 'T-V-MNSP1', 'V-S-MNSP1', 'V-SA', 'VIC1-NSW1']
    ) AS interconnector_id
),
market AS (
    SELECT 'aemo.dispatch_region' AS entity, count(*) AS there, 5 * 288 AS due
    FROM aemo.dispatch_region
    SEMI JOIN regions USING (region_id)
    WHERE market_day = $market_day AND intervention = 0
    UNION ALL
    SELECT 'aemo.dispatch_interconnector', count(*), 6 * 288
    FROM aemo.dispatch_interconnector
    SEMI JOIN interconnectors USING (interconnector_id)
    WHERE market_day = $market_day AND intervention = 0
    UNION ALL
    SELECT 'aemo.unit_scada', count(DISTINCT interval_end), 288
    FROM aemo.unit_scada
    WHERE market_day = $market_day
    UNION ALL
    SELECT 'aemo.trading_price', count(*), 5 * CASE WHEN $market_day < DATE '2021-10-01' THEN 48 ELSE 288 END
    FROM aemo.trading_price
    SEMI JOIN regions USING (region_id)
    WHERE market_day = $market_day
    UNION ALL
    SELECT 'aemo.rooftop_pv', count(*), 5 * 2 * 48
    FROM aemo.rooftop_pv
    SEMI JOIN regions USING (region_id)
    WHERE market_day = $market_day AND type IN ('MEASUREMENT', 'SATELLITE')
),
readings AS (
    SELECT
        site_name,
        sum(least(actual_samples, expected_samples)) AS there,
        sum(expected_samples) AS due
    FROM quality.data_quality
    WHERE market_day = $market_day
    GROUP BY site_name
),
observed AS (
    SELECT site_name, "timestamp", market_day
    FROM ace.weather_raw
    WHERE market_day <= $market_day
    UNION ALL
    SELECT site_name, "timestamp", market_day
    FROM ace.timeseries_agg
    WHERE "interval" = '1h' AND market_day <= $market_day AND point_name = site_name || '/weather/temp'
),
weather AS (
    SELECT
        site_name,
        count(DISTINCT epoch_us("timestamp") // 3600000000) FILTER (market_day = $market_day) AS there,
        24 AS due
    FROM observed
    GROUP BY site_name
),
sources AS (
    SELECT entity, there, due
    FROM market
    UNION ALL
    SELECT site_name, there, due
    FROM ace.sites
    LEFT JOIN readings USING (site_name)
    UNION ALL
    SELECT site_name || ' weather', there, due
    FROM ace.sites
    LEFT JOIN weather USING (site_name)
)
SELECT
    entity,
    100 * there / nullif(due, 0) AS value
FROM sources
ORDER BY entity
