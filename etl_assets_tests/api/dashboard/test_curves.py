"""A point's curve: its aggregates by bucket, its daily quality, its open gaps."""

from typing import Any
from urllib.parse import quote

import pytest

from etl_assets_tests.api.dashboard.filled import METER, MIDNIGHT, NOW, ROOM, SITE, WHOLE_DAY, YESTERDAY, epoch
from etl_assets_tests.api.operating import Operating

PATH = f"/dashboard/sites/{quote(SITE, safe='')}/curve"
DAY_S = 86_400


def curve(api: Operating, **asked: Any) -> dict[str, Any]:
    return api.get(PATH, params={"point": METER, **asked}).json()


def test_a_day_is_drawn_by_five_minutes(api: Operating) -> None:
    found = curve(api)

    first = epoch(MIDNIGHT)
    assert (found["point"], found["kind"], found["unit"], found["step"]) == (METER, "power", "kW", 300)
    assert found["timestamp"] == [first, first + 300, first + 600]
    assert (found["mean"], found["min"], found["max"]) == ([2.0] * 3, [1.0] * 3, [3.0] * 3)
    assert found["count"] == [5, 5, 5]


def test_a_bucket_belongs_to_a_stretch_that_begins_in_it(api: Operating) -> None:
    first = epoch(MIDNIGHT)

    found = curve(api, **{"from": first + 301, "to": first + 600})

    assert found["timestamp"] == [first + 300]


def test_more_than_a_week_is_drawn_by_hours(api: Operating) -> None:
    found = curve(api, **{"from": epoch(MIDNIGHT) - 8 * DAY_S, "to": epoch(MIDNIGHT) + DAY_S})

    assert found["step"] == 3600
    assert found["timestamp"] == [epoch(YESTERDAY) + 3600 * n for n in range(26)]
    assert found["count"] == [60] * 25 + [15]


def test_each_day_of_it_has_its_quality(api: Operating) -> None:
    found = curve(api, **{"from": epoch(YESTERDAY), "to": epoch(MIDNIGHT)})

    assert found["quality"] == [{"day": str(WHOLE_DAY), "score": 1.0, "expected": 1440, "actual": 1440, "outliers": 2}]


def test_a_gap_reaches_from_where_readings_end_to_where_they_begin_again(api: Operating) -> None:
    found = curve(api)

    # Twenty minutes are missing, of which the first ends at 01:01; a healed gap is none.
    assert found["gaps"] == [{"from": epoch(MIDNIGHT) + 3600, "to": epoch(MIDNIGHT) + 4800}]


def test_a_point_without_readings_has_an_empty_curve(api: Operating) -> None:
    found = api.get(PATH, params={"point": ROOM}).json()

    assert (found["timestamp"], found["mean"], found["gaps"], found["kind"]) == ([], [], [], "analogInput")


@pytest.mark.parametrize("point", ["nothing", "", "' OR 1=1 --", "\0"])
def test_a_point_that_there_is_not_is_404(api: Operating, point: str) -> None:
    assert api.get(PATH, params={"point": point}).status_code == 404


@pytest.mark.parametrize(
    "asked", [{}, {"point": "x" * 601}, {"point": METER, "from": 0}, {"point": METER, "from": epoch(NOW) - 63 * DAY_S}]
)
def test_what_is_missing_or_beyond_two_months_is_refused(api: Operating, asked: dict[str, Any]) -> None:
    assert api.get(PATH, params=asked).status_code == 422
