-- Weather of a market day that no weather is.
SELECT "timestamp", temperature, humidity, precipitation, wind_speed
FROM lake.ace.weather_raw
WHERE site_name = $site
  AND market_day = $day
  AND (
    temperature NOT BETWEEN $coldest AND $hottest
    OR humidity NOT BETWEEN 0 AND 100
    OR precipitation NOT BETWEEN 0 AND $wettest
    OR wind_speed NOT BETWEEN 0 AND $windiest
  )
ORDER BY "timestamp"
