-- Prices of some market days that differ between sources. The dispatch price, rounded half up to cents, is the trading
-- price and the aggregated price; the dispatch demand is the aggregated demand. Before 2021-10-01 those were means of
-- half-hours, and there is nothing to compare.
WITH dispatched AS (
    SELECT
        market_day,
        interval_end,
        region_id,
        -- Rounding half up needs decimals: halves are not exact in binary.
        CAST(sign(rrp) * floor(abs(CAST(rrp AS DECIMAL(18, 5))) * 100 + 0.5) / 100 AS DECIMAL(18, 2)) AS price,
        total_demand
    FROM lake.aemo.dispatch_region
    WHERE market_day BETWEEN $first AND $last AND market_day >= DATE '2021-10-01' AND intervention = 0
),
others AS (
    SELECT 'trading_price' AS source, interval_end, region_id, rrp, CAST(NULL AS DOUBLE) AS total_demand
    FROM lake.aemo.trading_price
    WHERE market_day BETWEEN $first AND $last
    UNION ALL
    SELECT 'price_and_demand', interval_end, region_id, rrp, total_demand
    FROM lake.aemo.price_and_demand
    WHERE market_day BETWEEN $first AND $last
)
SELECT
    market_day,
    interval_end,
    region_id,
    others.source,
    dispatched.price AS dispatch_price,
    others.rrp AS other_price,
    dispatched.total_demand AS dispatch_demand,
    others.total_demand AS other_demand,
    count(*) OVER (PARTITION BY market_day) AS compared,
    dispatched.price <> CAST(others.rrp AS DECIMAL(18, 2))
        OR coalesce(dispatched.total_demand <> others.total_demand, false) AS differs
FROM dispatched
JOIN others USING (interval_end, region_id)
QUALIFY differs OR row_number() OVER (PARTITION BY market_day) = 1
ORDER BY market_day, differs DESC, interval_end, region_id
