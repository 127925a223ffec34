-- Points whose readings are a hundred times as large, or as small, as on the days of the week before.
WITH extents AS (
    SELECT
        point_name,
        market_day,
        greatest(abs(min_value), abs(max_value)) AS extent
    FROM lake.ace.timeseries_agg
    WHERE site_name = $site
      AND "interval" = '1d'
      AND market_day BETWEEN $first AND $day
)
SELECT
    today.point_name,
    today.extent,
    median(before.extent) AS usual_extent
FROM extents AS today
JOIN extents AS before USING (point_name)
WHERE today.market_day = $day
  AND before.market_day < $day
  AND today.extent > 0
  AND before.extent > 0
GROUP BY ALL
HAVING count(*) >= $days
   AND (today.extent >= $factor * usual_extent OR today.extent * $factor <= usual_extent)
ORDER BY today.point_name
