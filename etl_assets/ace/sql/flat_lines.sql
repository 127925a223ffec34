-- Readings in flat lines of each point: long runs of one value in a signal whose other readings mostly differ from the
-- one before. Runs of 0 and 100 are plant that stands or runs in full. A point that is flat all day is judged by the
-- day before.
CREATE OR REPLACE TEMP TABLE flat_lines AS
WITH candidates AS (
    SELECT point_name, CAST(row_number() OVER () AS INTEGER) AS point_id
    FROM half_hours
    GROUP BY point_name
    HAVING count(*) FILTER (low = high AND low NOT IN (0, 100)) > 0 AND min(low) < max(high)
),
compared AS (
    SELECT
        point_id,
        "timestamp",
        value,
        value IS DISTINCT FROM lag(value) OVER (PARTITION BY point_id ORDER BY "timestamp") AS differs
    FROM lake.ace.timeseries_raw
    JOIN candidates USING (point_name)
    WHERE site_name = $site
      AND market_day = $day
),
numbered AS (
    SELECT
        point_id,
        "timestamp",
        value,
        count(*) FILTER (differs) OVER (
            PARTITION BY point_id ORDER BY "timestamp" ROWS UNBOUNDED PRECEDING
        ) AS run
    FROM compared
),
runs AS (
    SELECT
        point_id,
        count(*) AS readings,
        any_value(value) IN (0, 100) AS is_standing,
        count(*) >= $least_readings AND max("timestamp") - min("timestamp") >= INTERVAL 1 hour AS is_long
    FROM numbered
    GROUP BY point_id, run
),
judged AS (
    SELECT
        point_id,
        sum(readings) FILTER (is_long AND NOT is_standing) AS flat_count,
        count(*) FILTER (NOT is_long) AS other_runs,
        sum(readings) FILTER (NOT is_long) AS other_readings
    FROM runs
    GROUP BY point_id
)
SELECT point_name, CAST(flat_count AS BIGINT) AS flat_count
FROM judged
JOIN candidates USING (point_id)
WHERE flat_count > 0
  AND other_readings >= $least_readings
  AND other_runs >= other_readings / 2
UNION ALL
SELECT point_name, readings
FROM seen
JOIN heard_before USING (point_name)
WHERE low = high
  AND low NOT IN (0, 100)
  AND readings >= $least_readings
  AND seen.last_reading - seen.first_reading >= INTERVAL 1 hour
  AND comparable > 0
  AND moved >= 0.75 * comparable
