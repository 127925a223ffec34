-- Price of the mean megawatt hour of each region and market day, AUD/MWh: sum(price x demand) / sum(demand).
-- The runs that settle. Negative demand (SA1 at noon) is real and counts with its sign, above and below the line;
-- where a day's demand adds up to nothing there is no such price. Intervals that lack price or demand are left out.
SELECT
    region_id AS entity,
    sum(rrp * total_demand) / nullif(sum(total_demand) FILTER (rrp IS NOT NULL), 0) AS value
FROM aemo.price
WHERE market_day = $market_day
GROUP BY region_id
ORDER BY region_id
