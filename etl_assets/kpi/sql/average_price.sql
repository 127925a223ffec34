-- Mean dispatch price of each region over the market day, AUD/MWh.
-- The runs that settle; each 5-minute interval counts the same, whatever its demand.
SELECT
    region_id AS entity,
    avg(rrp) AS value
FROM aemo.price
WHERE market_day = $market_day
GROUP BY region_id
ORDER BY region_id
