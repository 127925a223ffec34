-- Hours of a market day, and how many observations of the weather each has.
SELECT
    CAST($start AS TIMESTAMPTZ) + to_hours(hour) AS starts,
    count("timestamp") AS observations
FROM range(24) AS hours(hour)
LEFT JOIN lake.ace.weather_raw
       ON site_name = $site
      AND market_day = $day
      AND "timestamp" >= CAST($start AS TIMESTAMPTZ) + to_hours(hour)
      AND "timestamp" < CAST($start AS TIMESTAMPTZ) + to_hours(hour + 1)
GROUP BY starts
ORDER BY starts
