-- Time for which the dispatch price of each region was below zero, hours of the market day.
-- The runs that settle: intervals with a negative price, 12 of which are an hour. A price of zero does not count.
SELECT
    region_id AS entity,
    count(*) FILTER (rrp < 0) / 12 AS value
FROM aemo.price
WHERE market_day = $market_day
GROUP BY region_id
ORDER BY region_id
