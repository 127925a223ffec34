-- Records of a market day's collections that could not be accepted, by reason, most first.
SELECT reason, count(*) AS records, min(source) AS first_source
FROM lake.quality.quarantine
WHERE dataset IN ('ace.timeseries_raw', 'ace.weather_raw')
  AND (source = $site OR starts_with(source, $site || ' ') OR starts_with(source, $site || '/'))
  AND day = $day
  AND resolved_at IS NULL
GROUP BY reason
ORDER BY records DESC, reason
