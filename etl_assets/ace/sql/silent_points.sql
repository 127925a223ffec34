-- Points that were heard before and have fallen silent.
SELECT point_name, actual_samples
FROM lake.quality.data_quality
WHERE site_name = $site
  AND market_day = $day
  AND is_silent
ORDER BY point_name
