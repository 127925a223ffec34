"""What checks say of a site's market day, and what they give the reader to go on with."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta

import pyarrow as pa
import pytest

from etl_assets.ace.checks import site_outcomes
from etl_assets.aemo.checks import Outcome
from etl_assets.lake.connection import write_lake
from etl_assets.lake.tables import DATA_QUALITY, QUARANTINE, TIMESERIES_AGG, TIMESERIES_RAW, WEATHER_RAW, Table
from etl_assets.lake.upsert import upsert
from etl_assets.market_time import NEM_TIME
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
START = datetime(2026, 11, 20, tzinfo=NEM_TIME)
CLOSED = START + timedelta(days=1, minutes=5)
OPEN = START + timedelta(hours=2, minutes=30)
SITE = "o'hara"
"""A quote in a name is a name all the same."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    settings = Settings(_env_file=None, etl_data=tmp_path_factory.mktemp("checks") / "data")
    with write_lake(settings, "a test") as connection:
        yield connection


@pytest.fixture
def lake(shared) -> Iterator:
    """An empty lake: what a test puts there goes with it."""
    shared.execute("BEGIN")
    yield shared
    shared.execute("ROLLBACK")


@pytest.fixture
def store(lake) -> Callable[..., None]:
    def store(table: Table, *rows: dict[str, object]) -> None:
        known = {"site_name": SITE} if "site_name" in {c.name for c in table.columns} else {}
        upsert(lake, table, pa.Table.from_pylist([known | row for row in rows]), now=CLOSED)

    return store


@pytest.fixture
def ask(lake, settings: Settings) -> Callable[..., Outcome]:
    def ask(name: str, now: datetime = CLOSED) -> Outcome:
        return site_outcomes(lake, SITE, DAY, settings=settings, now=now)[name]

    return ask


def scored(point: str, score: float | None, **more: object) -> dict[str, object]:
    counts = dict.fromkeys(("missing_samples", "outlier_count", "flat_count", "future_count"), 0)
    return {
        "point_name": point,
        "date": DAY,
        "expected_samples": 1440,
        "actual_samples": 1000,
        "quality_score": score,
        "is_silent": False,
        **counts,
        **more,
    }


@pytest.mark.parametrize(
    ("scores", "passed", "is_error"),
    [
        ([1.0, 0.9], True, False),
        ([1.0, 0.85], False, False),
        ([1.0, 0.8], False, False),
        ([1.0] * 20 + [0.79], False, True),
        ([None], False, True),
    ],
)
def test_scores_pass_at_the_target_and_are_an_error_below_the_alert(
    store, ask, scores: list[float | None], passed: bool, is_error: bool
):
    store(DATA_QUALITY, *(scored(f"p{n}", score) for n, score in enumerate(scores)))

    outcome = ask("readings_are_complete")

    assert (outcome.passed, outcome.is_error) == (passed, is_error)
    assert not ask("readings_are_complete", OPEN).is_error


def test_the_worst_points_are_named(store, ask):
    store(DATA_QUALITY, scored("half", 0.5), scored("most", 0.9), scored("whole", 1.0))

    metadata = ask("readings_are_complete").metadata

    assert metadata["first"] == "half 0.500; most 0.900"
    assert (metadata["points_below_alert"], metadata["points_below_target"]) == (1, 2)


def test_silent_points_are_an_error_once_the_day_is_closed(store, ask):
    store(DATA_QUALITY, scored("p", 0.0, is_silent=True), scored("q", 1.0))

    outcome = ask("points_have_not_fallen_silent")

    assert (outcome.passed, outcome.is_error) == (False, True)
    assert outcome.description == "1 of 2 points fell silent: p 1000"
    assert not ask("points_have_not_fallen_silent", OPEN).is_error


def test_outliers_and_flat_lines_are_shown_and_are_no_error(store, ask):
    store(DATA_QUALITY, scored("p", 1.0, outlier_count=3), scored("q", 1.0, flat_count=90))

    outcome = ask("readings_are_plausible")

    assert (outcome.passed, outcome.is_error) == (False, False)
    assert outcome.metadata["first"] == "q 0 90; p 3 0"
    assert (outcome.metadata["outliers"], outcome.metadata["readings_in_flat_lines"]) == (3, 90)


def daily(name: str, days_ago: int, low: float, high: float) -> dict[str, object]:
    starts = START - timedelta(days=days_ago)
    values = {"avg_value": low, "min_value": low, "max_value": high, "sample_count": 1440}
    return {"point_name": name, "interval": "1d", "timestamp": starts, **values}


@pytest.mark.parametrize(
    ("low", "high", "passed"),
    [
        # In kW before, 50 at most: W, MW, or merely more of it.
        (10_000.0, 50_000.0, False),
        (0.01, 0.05, False),
        (0.0, 4_999.0, True),
        (-5_000.0, 0.0, False),
        # A plant that was off all day says nothing of its unit.
        (0.0, 0.0, True),
    ],
)
def test_readings_of_another_magnitude_than_in_the_week_before_are_noticed(
    store, ask, low: float, high: float, passed: bool
):
    store(TIMESERIES_AGG, *(daily("meter", n, 10.0, 50.0) for n in (1, 2, 3)), daily("meter", 0, low, high))

    outcome = ask("units_have_not_changed")

    assert (outcome.passed, outcome.is_error) == (passed, False)


def test_a_changed_unit_is_named_with_what_was_usual(store, ask):
    before = [daily("meter", n, 10.0, high) for n, high in ((1, 40.0), (2, 50.0), (3, 60.0))]
    store(TIMESERIES_AGG, *before, daily("meter", 0, 10_000.0, 50_000.0))

    assert ask("units_have_not_changed").metadata["first"] == "meter 50000 after 50"


@pytest.mark.parametrize("days_ago", [(1, 2), (8, 9, 10)])
def test_a_point_without_three_days_in_the_week_before_is_not_judged(store, ask, days_ago: tuple[int, ...]):
    store(TIMESERIES_AGG, *(daily("meter", n, 10.0, 50.0) for n in days_ago), daily("meter", 0, 10_000.0, 50_000.0))

    assert ask("units_have_not_changed").passed


@pytest.mark.parametrize(("ahead", "passed"), [(60, True), (61, False)])
def test_a_reading_may_be_a_minute_ahead_of_its_collection(store, ask, ahead: int, passed: bool):
    store(
        TIMESERIES_RAW,
        {"point_name": "p", "timestamp": START + timedelta(seconds=ahead), "value": 1.0, "collected_at": START},
    )

    assert ask("no_reading_is_from_the_future").passed is passed


@pytest.mark.parametrize(("invalid", "is_error"), [(52, False), (53, True)])
def test_quarantine_counts_reasons_and_is_an_error_above_the_error_rate(store, ask, invalid: int, is_error: bool):
    # Of 1,000 readings stored, 5 % are 52.6 invalid ones.
    store(DATA_QUALITY, scored("p", 1.0))
    record = {"dataset": "ace.timeseries_raw", "source": f"{SITE} page 1", "reason": "value is NaN", "day": DAY}
    store(QUARANTINE, *(record | {"id": str(n), "raw": "{}"} for n in range(invalid)))
    store(QUARANTINE, record | {"id": "another site's", "source": "other page 1"})

    outcome = ask("nothing_is_quarantined")

    assert (outcome.passed, outcome.is_error) == (False, is_error)
    assert outcome.metadata["found"] == invalid
    assert outcome.metadata["reasons"] == f"{invalid} value is NaN"


@pytest.mark.parametrize(
    ("weather", "passed"),
    [
        ({"temperature": 55.0, "humidity": 100.0, "precipitation": 0.0, "wind_speed": 115.0}, True),
        ({"temperature": None, "humidity": 0.0}, True),
        ({"temperature": 55.1}, False),
        ({"temperature": -30.1}, False),
        ({"humidity": 100.1}, False),
        ({"precipitation": -0.1}, False),
        ({"wind_speed": 115.1}, False),
    ],
)
def test_weather_lies_within_what_was_ever_measured(store, ask, weather: dict[str, float | None], passed: bool):
    store(WEATHER_RAW, {"timestamp": START, "temperature": 20.0} | weather)

    assert ask("weather_is_plausible").passed is passed


def test_every_hour_that_is_past_has_weather(store, ask):
    store(WEATHER_RAW, {"timestamp": START, "temperature": 20.0})

    outcome = ask("weather_is_there", OPEN)

    assert not outcome.passed
    assert not outcome.is_error
    assert outcome.description == "1 of 2 hours without weather: 01:00"


def test_a_site_without_a_weather_feed_lacks_none(ask):
    assert ask("weather_is_there").passed


def test_weather_that_ends_is_missed(store, ask):
    store(WEATHER_RAW, {"timestamp": START - timedelta(hours=1), "temperature": 20.0})

    assert ask("weather_is_there").metadata["found"] == 24


def test_a_reading_that_is_there_twice_is_found(lake, store, ask):
    reading = {"point_name": "p", "timestamp": START, "value": 1.0}
    store(TIMESERIES_RAW, reading)
    unique = ask("keys_are_unique").passed
    lake.execute("INSERT INTO lake.ace.timeseries_raw FROM lake.ace.timeseries_raw")

    assert unique
    assert ask("keys_are_unique").metadata["first"] == "p 2026-11-19 14:00:00 2".replace("14:00:00", "14:00:00+00:00")


def test_every_query_can_be_asked_as_it_stands(lake, settings: Settings):
    outcomes = site_outcomes(lake, SITE, DAY, settings=settings, now=CLOSED)

    lake.execute("USE lake")
    try:
        for outcome in outcomes.values():
            assert "lake." not in outcome.metadata["query"]
            lake.execute(outcome.metadata["query"]).fetchall()
    finally:
        lake.execute("USE memory")
