-- Readings of a market day by point and half-hour: enough to say of most points that nothing is odd about them.
CREATE OR REPLACE TEMP TABLE half_hours AS
SELECT
    point_name,
    epoch_us("timestamp") // 1800000000 AS half_hour,
    count(*) AS readings,
    min("timestamp") AS first_reading,
    max("timestamp") AS last_reading,
    min(value) AS low,
    max(value) AS high,
    arg_min(value, "timestamp") AS opening,
    arg_max(value, "timestamp") AS closing,
    count(*) FILTER ("timestamp" > collected_at + INTERVAL 1 minute) AS future_count
FROM lake.ace.timeseries_raw
WHERE site_name = $site
  AND market_day = $day
GROUP BY point_name, half_hour
