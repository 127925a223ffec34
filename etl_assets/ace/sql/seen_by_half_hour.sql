-- What was seen of each point on a market day, and since when it is heard at least.
CREATE OR REPLACE TEMP TABLE seen AS
WITH today AS (
    SELECT
        point_name,
        CAST(sum(readings) AS BIGINT) AS readings,
        min(first_reading) AS first_reading,
        max(last_reading) AS last_reading,
        min(low) AS low,
        max(high) AS high,
        CAST(sum(future_count) AS BIGINT) AS future_count
    FROM half_hours
    GROUP BY point_name
)
SELECT
    point_name,
    coalesce(today.readings, 0) AS readings,
    today.first_reading,
    today.last_reading,
    low,
    high,
    future_count,
    least(heard_before.first_reading, today.first_reading) AS heard_since
FROM today
FULL JOIN heard_before USING (point_name)
