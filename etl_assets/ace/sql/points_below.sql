-- Points of a market day with fewer readings than a share of those due, worst first.
SELECT point_name, quality_score, actual_samples, expected_samples
FROM lake.quality.data_quality
WHERE site_name = $site
  AND market_day = $day
  AND quality_score < $share
ORDER BY quality_score, point_name
