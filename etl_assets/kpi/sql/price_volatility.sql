-- Population standard deviation of each region's dispatch prices over the market day, AUD/MWh.
-- The runs that settle. The intervals are the whole day and no sample of it, so the divisor is their number.
SELECT
    region_id AS entity,
    stddev_pop(rrp) AS value
FROM aemo.price
WHERE market_day = $market_day
GROUP BY region_id
ORDER BY region_id
