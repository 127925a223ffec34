-- Highest dispatch price of each region in a 5-minute interval of the market day, AUD/MWh.
-- The runs that settle.
SELECT
    region_id AS entity,
    max(rrp) AS value
FROM aemo.price
WHERE market_day = $market_day
GROUP BY region_id
ORDER BY region_id
