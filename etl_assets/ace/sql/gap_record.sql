-- What the record of gaps should say of a site's market day. A gap that grew or shrank keeps its first sighting; one
-- that is gone is stamped healed, unless it was first seen later than now; a healed one that is found again is new.
-- Needs ``gaps`` (found) and ``recorded`` (so far).
CREATE OR REPLACE TEMP TABLE derived AS
WITH sighted AS (
    SELECT gaps.entity, gaps.gap_start, min(first_seen) AS first_seen
    FROM gaps
    JOIN recorded
      ON recorded.entity = gaps.entity
     AND recorded.healed_at IS NULL
     AND recorded.gap_start <= gaps.gap_end
     AND gaps.gap_start <= recorded.gap_end
    GROUP BY gaps.entity, gaps.gap_start
)
SELECT
    dataset,
    entity,
    gap_start,
    gap_end,
    missing_intervals,
    coalesce(first_seen, $now) AS first_seen,
    CAST(NULL AS TIMESTAMPTZ) AS healed_at
FROM gaps
LEFT JOIN sighted USING (entity, gap_start)
UNION ALL
SELECT
    dataset,
    entity,
    gap_start,
    gap_end,
    missing_intervals,
    first_seen,
    CASE WHEN healed_at IS NULL AND first_seen <= $now THEN $now ELSE healed_at END
FROM recorded
ANTI JOIN gaps USING (entity, gap_start)
