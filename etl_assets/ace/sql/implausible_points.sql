-- Points of a market day with outliers or flat lines, most first.
SELECT point_name, outlier_count, flat_count
FROM lake.quality.data_quality
WHERE site_name = $site
  AND market_day = $day
  AND outlier_count + flat_count > 0
ORDER BY outlier_count + flat_count DESC, point_name
