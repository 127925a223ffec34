-- Intervals of some market days in which clearly fewer units reported than in their day's median interval.
WITH counted AS (
    SELECT market_day, interval_end, count(*) AS units
    FROM lake.aemo.unit_scada
    WHERE market_day BETWEEN $first AND $last
    GROUP BY market_day, interval_end
)
SELECT market_day, interval_end, units, median(units) OVER (PARTITION BY market_day) AS usual
FROM counted
QUALIFY units < $share * usual
ORDER BY market_day, interval_end
