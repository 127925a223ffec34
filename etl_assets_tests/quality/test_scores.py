"""Scores, gaps and coverage of small worlds, worked out by hand."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pyarrow as pa
import pytest

from etl_assets.ace.aggregates import derive_aggregates
from etl_assets.ace.query_metadata import refresh_query_metadata
from etl_assets.lake.connection import write_lake
from etl_assets.lake.tables import POINTS, TIMESERIES_RAW
from etl_assets.lake.upsert import UpsertCounts, transaction, upsert
from etl_assets.market_time import NEM_TIME
from etl_assets.quality.scores import (
    GapCounts,
    find_gaps,
    hourly_coverage,
    monthly_coverage,
    record_site_gaps,
    score_day,
    site_day_quality,
)
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
START = datetime(2026, 11, 20, tzinfo=NEM_TIME)
MIDNIGHT = START + timedelta(days=1)
MINUTE = timedelta(minutes=1)
MINUTES_OF_A_DAY = 1440

SITES = (f"site-{number}" for number in count())


class World:
    """One site of a lake that other tests share."""

    def __init__(self, lake) -> None:
        self.lake = lake
        self.site = next(SITES)

    def point(self, name: str, **columns: object) -> None:
        row = pa.Table.from_pylist([{"site_name": self.site, "point_name": name, **columns}])
        with transaction(self.lake):
            upsert(self.lake, POINTS, row, now=MIDNIGHT)

    def read(
        self,
        point: str,
        value: Callable[[int], float] = lambda n: float(n % 7),
        *,
        minutes: range = range(MINUTES_OF_A_DAY),
        start: datetime = START,
        collected_at: datetime = MIDNIGHT,
    ) -> None:
        """One reading in each of some minutes of the day; its value is that of the minute."""
        rows = pa.table(
            {
                "site_name": [self.site] * len(minutes),
                "point_name": [point] * len(minutes),
                "timestamp": [start + n * MINUTE for n in minutes],
                "value": [value(n) for n in minutes],
                "collected_at": [collected_at] * len(minutes),
            }
        )
        with transaction(self.lake):
            upsert(self.lake, TIMESERIES_RAW, rows, now=MIDNIGHT)

    def derive(self, since: datetime, until: datetime) -> None:
        with transaction(self.lake):
            derive_aggregates(self.lake, self.site, since, until, now=MIDNIGHT)
            refresh_query_metadata(self.lake, self.site, since=since, until=until, now=MIDNIGHT)

    def score(self, now: datetime = MIDNIGHT, **options: object) -> dict[str, dict[str, object]]:
        with transaction(self.lake):
            self.counts = score_day(self.lake, self.site, DAY, now=now, **options)
        rows = self.lake.execute(
            "SELECT * FROM lake.quality.data_quality WHERE site_name = ? AND market_day = ?", [self.site, DAY]
        ).to_arrow_table()
        return {row["point_name"]: row for row in rows.to_pylist()}

    def gaps(self, now: datetime = MIDNIGHT) -> list[tuple]:
        """Entity without its site, first and last minute of the day without a reading, how many."""
        return [
            (
                gap.entity.removeprefix(self.site),
                (gap.gap_start - START) / MINUTE - 1,
                (gap.gap_end - START) / MINUTE - 1,
                gap.missing_intervals,
            )
            for gap in find_gaps(self.lake, self.site, DAY, now=now)
        ]

    def record(self, now: datetime = MIDNIGHT) -> GapCounts:
        with transaction(self.lake):
            return record_site_gaps(self.lake, self.site, DAY, now=now)

    def recorded(self) -> list[tuple]:
        return self.lake.execute(
            "SELECT entity, missing_intervals, first_seen, healed_at FROM lake.quality.gaps "
            "WHERE entity = ? OR starts_with(entity, ?) ORDER BY entity, gap_start",
            [self.site, f"{self.site}/"],
        ).fetchall()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    settings = Settings(_env_file=None, etl_data=tmp_path_factory.mktemp("scores") / "data")
    with write_lake(settings, "a test") as connection:
        yield connection


@pytest.fixture
def world(lake) -> World:
    return World(lake)


def wave(n: int) -> float:
    """A signal that moves at every reading: 20 to 30, in no order."""
    return 20 + (n * 37 % 101) / 10


# --- readings due and there -----------------------------------------------------------------------------


def test_a_point_owes_a_reading_a_minute_where_nothing_else_is_said(world):
    world.read("p", wave, minutes=range(0, MINUTES_OF_A_DAY, 2))

    row = world.score()["p"]

    assert (row["expected_samples"], row["actual_samples"], row["missing_samples"]) == (1440, 720, 720)
    assert row["quality_score"] == 0.5
    assert row["date"] == DAY


def test_a_point_owes_what_its_own_interval_says_and_never_scores_above_one(world):
    world.point("p", collect_interval=300)
    world.point("q", collect_interval=300)
    world.read("p", wave, minutes=range(0, MINUTES_OF_A_DAY, 4))
    world.read("q", wave, minutes=range(0, MINUTES_OF_A_DAY, 10))

    rows = world.score()

    assert [rows[p]["expected_samples"] for p in "pq"] == [288, 288]
    assert [rows[p]["missing_samples"] for p in "pq"] == [0, 144]
    assert [rows[p]["quality_score"] for p in "pq"] == [1.0, 0.5]


def test_of_an_open_day_only_the_part_that_is_past_is_due(world):
    world.read("p", wave, minutes=range(45))

    row = world.score(now=START + timedelta(hours=1))["p"]

    assert (row["expected_samples"], row["quality_score"]) == (60, 0.75)


def test_nothing_is_due_before_the_first_reading_ever(world):
    world.read("p", wave, minutes=range(720, MINUTES_OF_A_DAY))

    row = world.score()["p"]

    assert (row["expected_samples"], row["quality_score"]) == (720, 1.0)


def test_a_point_that_was_never_heard_has_no_score(world):
    world.point("p", collect_interval=60)
    world.point("q", collect_interval=60, collect_enabled=False)
    world.read("q", wave, minutes=range(10))

    rows = world.score()

    assert [(rows[p]["expected_samples"], rows[p]["quality_score"]) for p in "pq"] == [(0, None), (0, None)]


def test_a_point_that_is_not_configured_owes_nothing(world):
    world.read("p", wave)
    world.read("q", wave, minutes=range(10), start=START - timedelta(days=1))

    rows = world.score(configured={"p"})

    assert [rows[p]["quality_score"] for p in "pq"] == [1.0, None]


def test_a_day_is_scored_anew_and_only_what_changed_is_written(world):
    world.read("p", wave, minutes=range(0, MINUTES_OF_A_DAY, 2))
    world.read("q", wave)
    world.score()
    world.read("p", wave, minutes=range(1, MINUTES_OF_A_DAY, 2))

    rows = world.score()

    assert world.counts == UpsertCounts(unchanged=1, updated=1)
    assert rows["p"]["quality_score"] == 1.0


def test_a_day_whose_readings_are_archived_keeps_its_scores(world):
    world.read("p", wave)
    world.derive(START, MIDNIGHT)
    world.score()
    world.lake.execute("DELETE FROM lake.ace.timeseries_raw WHERE site_name = ?", [world.site])

    assert world.score()["p"]["quality_score"] == 1.0
    assert world.counts == UpsertCounts()


# --- doubtful readings ----------------------------------------------------------------------------------


def test_a_spike_in_a_moving_signal_is_an_outlier(world):
    # Values of 20 to 30, evenly: median 25, MAD 2.5; 6 x 1.4826 x 2.5 = 22.2 lies between 47.1 and 47.4 from it.
    world.read("p", lambda n: 47.4 if n in (100, 900) else 47.1 if n == 500 else wave(n))

    assert world.score()["p"]["outlier_count"] == 2


def test_another_way_of_operation_is_no_outlier(world):
    world.read("p", lambda n: 500 + wave(n) if 600 <= n < 660 else wave(n))

    assert world.score()["p"]["outlier_count"] == 0


@pytest.mark.parametrize(
    ("spike", "outliers"),
    [
        # Of a setpoint that stands: MAD 0, mean deviation 979/1440 = 0.68, so the limit is 5.1.
        (1000.0, 1),
        # Two states.
        (None, 0),
    ],
)
def test_a_signal_that_mostly_stands_is_judged_by_its_mean_deviation_and_two_states_not_at_all(
    world, spike: float | None, outliers: int
):
    world.read("p", lambda n: spike if spike and n == 700 else 22.0 if n == 800 else 21.0)

    assert world.score()["p"]["outlier_count"] == outliers


def test_a_counter_is_judged_by_its_steps(world):
    world.read("steady", lambda n: 1000.0 + n + n % 3 / 10)
    world.read("jumps", lambda n: 1000.0 + n + n % 3 / 10 + (5000 if n >= 700 else 0))

    rows = world.score()

    assert (rows["steady"]["outlier_count"], rows["jumps"]["outlier_count"]) == (0, 1)


def test_a_sensor_that_freezes_for_an_hour_has_a_flat_line(world):
    world.read("frozen", lambda n: 22.2 if 600 <= n <= 660 else wave(n))
    world.read("shortly", lambda n: 22.2 if 600 <= n < 660 else wave(n))

    rows = world.score()

    # 61 readings span an hour, 60 do not.
    assert (rows["frozen"]["flat_count"], rows["shortly"]["flat_count"]) == (61, 0)


def test_states_setpoints_and_plant_that_stands_have_no_flat_lines(world):
    world.read("state", lambda n: float(n // 300 % 2))
    world.read("setpoint", lambda n: 21.0 if 420 <= n < 1080 else 18.0)
    world.read("standing", lambda n: wave(n) if 420 <= n < 1080 else 0.0)
    world.read("open", lambda n: wave(n) if 420 <= n < 1080 else 100.0)

    assert {row["flat_count"] for row in world.score().values()} == {0}


def test_a_sensor_that_is_flat_all_day_is_judged_by_the_day_before(world):
    for point in ("moved", "stood"):
        world.read(point, wave if point == "moved" else lambda _: 22.2, start=START - timedelta(days=1))
        world.read(point, lambda _: 22.2)

    rows = world.score()

    assert (rows["moved"]["flat_count"], rows["stood"]["flat_count"]) == (1440, 0)


def test_a_reading_more_than_a_minute_ahead_of_its_collection_is_from_the_future(world):
    world.read("p", wave, minutes=range(10), collected_at=START + timedelta(minutes=6))

    # Minutes 0 to 6 are past, 7 is within the minute.
    assert world.score()["p"]["future_count"] == 2


# --- silence --------------------------------------------------------------------------------------------


def test_a_point_heard_the_day_before_and_not_on_a_closed_day_is_silent(world):
    world.read("gone", wave, start=START - timedelta(days=1))
    world.read("here", wave, start=START - timedelta(days=1))
    world.read("here", wave, minutes=range(1))

    rows = world.score()

    assert (rows["gone"]["is_silent"], rows["here"]["is_silent"]) == (True, False)
    assert (rows["gone"]["quality_score"], rows["gone"]["missing_samples"]) == (0.0, 1440)


@pytest.mark.parametrize(
    ("interval", "minutes", "silent"), [(60, 15, False), (60, 16, True), (600, 30, False), (600, 31, True)]
)
def test_on_an_open_day_silence_is_a_quarter_of_an_hour_and_three_intervals(
    world, interval: int, minutes: int, silent: bool
):
    world.point("p", collect_interval=interval)
    world.read("p", wave, minutes=range(61))

    row = world.score(now=START + timedelta(hours=1, minutes=minutes))["p"]

    assert row["is_silent"] is silent


# --- a site's day ---------------------------------------------------------------------------------------


def test_a_sites_day_sums_up_its_points(world):
    world.read("whole", wave)
    world.read("half", wave, minutes=range(0, MINUTES_OF_A_DAY, 2))
    world.read("most", wave, minutes=range(1296))
    world.point("never")
    world.score()

    quality = site_day_quality(world.lake, world.site, DAY, alert_below=0.8, target=0.95)

    assert (quality.points, quality.scored, quality.below_alert, quality.below_target) == (4, 3, 1, 2)
    assert quality.mean_score == pytest.approx((1 + 0.5 + 0.9) / 3)
    assert quality.missing == 720 + 144
    assert quality.worst == (("half", 0.5), ("most", 0.9))


# --- gaps -----------------------------------------------------------------------------------------------


def but(*missing: range) -> range | list[int]:
    return [n for n in range(MINUTES_OF_A_DAY) if not any(n in part for part in missing)]


def test_only_what_is_longer_than_a_quarter_of_an_hour_is_a_gap(world):
    world.read("whole", wave)
    # From reading to reading: 15 and 16 minutes.
    world.read("p", wave, minutes=but(range(101, 115), range(201, 216)))

    assert world.gaps() == [("/p", 201, 215, 15)]


def test_a_gap_of_slow_points_is_longer_than_three_intervals(world):
    world.point("p", collect_interval=600)
    world.read("whole", wave)
    slots = [n for n in range(0, MINUTES_OF_A_DAY, 10) if n not in (110, 120, 310, 320, 330)]
    world.read("p", wave, minutes=slots)

    gaps = find_gaps(world.lake, world.site, DAY, now=MIDNIGHT)

    # A reading stands for the ten minutes that it opens: those of 05:10 end at 05:20.
    assert [(g.gap_start - START, g.gap_end - START, g.missing_intervals) for g in gaps] == [
        (timedelta(minutes=320), timedelta(minutes=340), 3)
    ]


def test_gaps_at_the_ends_of_the_day_and_all_day_long_lie_within_it(world):
    for point in ("early", "late", "never"):
        world.read(point, wave, minutes=range(60), start=START - timedelta(days=1))
    world.read("whole", wave)
    world.read("early", wave, minutes=range(600))
    world.read("late", wave, minutes=range(600, MINUTES_OF_A_DAY))

    assert world.gaps() == [("/early", 600, 1439, 840), ("/late", 0, 599, 600), ("/never", 0, 1439, 1440)]


def test_where_every_point_is_missing_the_gap_is_the_sites(world):
    world.read("p", wave, minutes=but(range(300, 400)))
    world.read("q", wave, minutes=but(range(300, 400), range(600, 640)))

    assert world.gaps() == [("", 300, 399, 100), ("/q", 600, 639, 40)]


def test_gaps_are_recorded_healed_and_keep_their_first_sighting(world):
    world.read("whole", wave)
    world.read("p", wave, minutes=but(range(300, 400), range(600, 640)))
    p, later = f"{world.site}/p", MIDNIGHT + timedelta(hours=1)

    first = world.record()
    again = world.record(later)
    world.read("p", wave, minutes=range(600, 640))
    world.read("p", wave, minutes=range(300, 320))
    healed = world.record(later)

    assert (first, again, healed) == (GapCounts(2, 0), GapCounts(2, 0), GapCounts(1, 2))
    assert world.recorded() == [(p, 100, MIDNIGHT, later), (p, 80, MIDNIGHT, None), (p, 40, MIDNIGHT, later)]


def test_a_run_for_an_earlier_moment_closes_nothing(world):
    world.read("whole", wave)
    world.read("p", wave, minutes=range(600))
    world.record()

    assert world.record(START + timedelta(hours=10)) == GapCounts(1, 0)
    assert [row[3] for row in world.recorded()] == [None]


# --- coverage -------------------------------------------------------------------------------------------


def test_the_coverage_of_a_day_is_the_share_of_each_hour_that_was_due(world):
    world.read("p", wave, minutes=[*range(60), *range(60, 120, 2), *range(180, 195)])
    world.derive(START, START + timedelta(hours=4))

    coverage = hourly_coverage(world.lake, world.site, DAY, now=START + timedelta(hours=3, minutes=30))

    assert coverage.points == ("p",)
    assert coverage.shares == ((1.0, 0.5, 0.0, 0.5, *[None] * 20),)
    assert coverage.labels[:2] == ("00", "01")


def test_the_coverage_of_a_month_has_its_market_days(world):
    world.read("p", wave, minutes=range(0, MINUTES_OF_A_DAY, 2), start=START - timedelta(days=1))
    world.read("p", wave)
    for days in (1, 0):
        world.derive(START - timedelta(days=days), MIDNIGHT - timedelta(days=days))

    coverage = monthly_coverage(world.lake, world.site, DAY, now=MIDNIGHT)

    assert coverage.labels == tuple(str(n) for n in range(1, 31))
    assert coverage.shares == ((*[None] * 18, 0.5, 1.0, *[None] * 10),)


def test_utc_is_no_market_day(world):
    world.read("p", wave, start=datetime(2026, 11, 20, tzinfo=UTC))

    assert world.score()["p"]["actual_samples"] == 14 * 60
