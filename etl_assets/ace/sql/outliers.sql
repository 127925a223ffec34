-- Outliers of each suspect point; none of a point with two states, and none where they are too many to be outliers.
CREATE OR REPLACE TEMP TABLE outliers AS
WITH centres AS (
    SELECT point_id, median(figure) AS middle, mad(figure) AS deviation, bool_or(is_between) AS has_levels
    FROM suspects
    GROUP BY point_id
),
scales AS (
    SELECT
        point_id,
        any_value(centres.middle) AS middle,
        -- Steps of a counter that are equal on paper differ by its rounding.
        CASE WHEN any_value(centres.deviation) > 1e-12 * any_value(greatest(abs(low), abs(high)))
             THEN 1.4826 * any_value(centres.deviation)
             ELSE 1.2533 * avg(abs(figure - centres.middle)) END AS scale
    FROM suspects
    JOIN centres USING (point_id)
    JOIN spread USING (point_id)
    WHERE has_levels
    GROUP BY point_id
),
counted AS (
    SELECT
        point_id,
        count(*) FILTER (abs(figure - middle) > $limit * scale) AS outlier_count,
        count(*) AS figures
    FROM suspects
    JOIN scales USING (point_id)
    GROUP BY point_id
)
SELECT point_name, outlier_count
FROM counted
JOIN spread USING (point_id)
WHERE outlier_count <= greatest($few, $share * figures)
