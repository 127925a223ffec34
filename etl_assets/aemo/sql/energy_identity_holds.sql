-- Regions and intervals of some market days whose generation less demand differs from the net
-- interchange by more than a tolerance.
SELECT
    market_day,
    interval_end,
    region_id,
    dispatchable_generation + coalesce(wdr_dispatched, 0) - coalesce(dispatchable_load, 0)
        - total_demand - net_interchange AS imbalance_mw
FROM lake.aemo.dispatch_region
WHERE market_day BETWEEN $first AND $last
  AND abs(dispatchable_generation + coalesce(wdr_dispatched, 0) - coalesce(dispatchable_load, 0)
        - total_demand - net_interchange) > $tolerance
ORDER BY market_day, interval_end, region_id
