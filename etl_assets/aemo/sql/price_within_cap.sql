-- Intervals of some market days whose price lies outside the floor and the cap of its financial year.
SELECT market_day, interval_end, region_id, rrp
FROM lake.aemo.dispatch_region
WHERE market_day BETWEEN $first AND $last
  AND intervention = 0
  AND (rrp < $floor OR rrp > $cap)
ORDER BY market_day, interval_end, region_id
