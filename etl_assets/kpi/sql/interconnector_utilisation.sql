-- How much of an interconnector's limit was used, mean over the market day's intervals, %: |flow| / limit.
-- The limit is that in the direction of the flow: export_limit, or import_limit (negative) with its sign turned.
-- Intervals whose limit is not positive (closed, or forced the other way) are left out. Flows are those of the
-- physical run (intervention = 1) where an interval has one.
WITH physical AS (
    SELECT
        interconnector_id,
        abs(mw_flow) AS flow_mw,
        CASE WHEN mw_flow >= 0 THEN export_limit ELSE -import_limit END AS limit_mw
    FROM aemo.dispatch_interconnector
    WHERE market_day = $market_day
    QUALIFY row_number() OVER (PARTITION BY interconnector_id, interval_end ORDER BY intervention DESC) = 1
)
SELECT
    interconnector_id AS entity,
    100 * avg(flow_mw / limit_mw) FILTER (limit_mw > 0) AS value
FROM physical
GROUP BY interconnector_id
ORDER BY interconnector_id
