-- Intervals of a market day in which clearly fewer units reported than in the day's median interval.
WITH counted AS (
    SELECT interval_end, count(*) AS units
    FROM lake.aemo.unit_scada
    WHERE market_day = $day
    GROUP BY interval_end
)
SELECT interval_end, units, (SELECT median(units) FROM counted) AS usual
FROM counted
WHERE units < $share * (SELECT median(units) FROM counted)
ORDER BY interval_end
