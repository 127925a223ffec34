-- Intervals of a market day whose price lies outside the floor and the cap of its financial year.
SELECT interval_end, region_id, rrp
FROM lake.aemo.dispatch_region
WHERE market_day = $day
  AND intervention = 0
  AND (rrp < $floor OR rrp > $cap)
ORDER BY interval_end, region_id
