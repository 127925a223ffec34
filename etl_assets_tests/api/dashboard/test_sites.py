"""Buildings at a glance: their points by kind, the weather, and the heat map of a day."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.api.dashboard.sites import label_of
from etl_assets_tests.api.dashboard.filled import DAY, METER, NOW, ROOM, SITE, WHOLE_DAY, epoch
from etl_assets_tests.api.operating import Operating

PATH = f"/dashboard/sites/{quote(SITE, safe='')}"


def test_a_site_has_its_points_by_kind_its_newest_reading_and_score(api: Operating) -> None:
    (found,) = api.get("/dashboard/sites").json()["sites"]

    assert (found["site"], found["time_zone"], found["points"]) == (SITE, "Australia/Sydney", 2)
    # One by its tag, the other by BACnet's type.
    assert found["kinds"] == {"analogInput": 1, "power": 1}
    assert (found["newest_at"], found["score"], found["day"]) == (epoch(NOW) - 180, 1.0, str(WHOLE_DAY))
    assert found["weather"] == {"observed_at": epoch(NOW), "temperature": 20.0, "humidity": 50.0, "wind_speed": 2.0,
                                "precipitation": None, "conditions": None}  # fmt: skip


def test_a_point_is_told_with_its_unit_as_people_write_it(api: Operating) -> None:
    meter, room = api.get(f"{PATH}/points").json()["points"]

    assert meter == {"point": METER, "label": "dev-1/analogInput/1", "kind": "power", "unit": "kW", "interval_s": 60,
                     "score": 1.0, "day": str(WHOLE_DAY), "newest_at": epoch(NOW) - 180}  # fmt: skip
    assert room == {"point": ROOM, "label": ROOM, "kind": "analogInput", "unit": "", "interval_s": None,
                    "score": None, "day": None, "newest_at": None}  # fmt: skip


def test_a_site_may_be_asked_for_with_its_slashes_as_they_are(api: Operating) -> None:
    assert api.get("/dashboard/sites/tower a/ü/points").json() == api.get(f"{PATH}/points").json()


@pytest.mark.parametrize("figure", ["points", "curve?point=p", "heat", "weather"])
@pytest.mark.parametrize("site", ["nowhere", "tower%20a", "..%2f..%2fetc", "%27%3B--", "%00", "x" * 200])
def test_a_site_that_there_is_not_is_404(api: Operating, site: str, figure: str) -> None:
    assert api.get(f"/dashboard/sites/{site}/{figure}").status_code == 404


def test_the_heat_map_shows_what_came_of_what_was_due_by_the_hour(api: Operating) -> None:
    found = api.get(f"{PATH}/heat", params={"day": str(WHOLE_DAY)}).json()

    assert (found["day"], found["days"]) == (str(WHOLE_DAY), [str(WHOLE_DAY), str(DAY)])
    assert found["hours"] == list(range(24))
    # The other point never gave a reading, and owes none.
    assert (found["points"], found["share"]) == ([METER], [[1.0] * 24])


def test_of_the_open_day_only_the_hours_before_the_publication_were_due(api: Operating) -> None:
    found = api.get(f"{PATH}/heat").json()

    assert found["day"] == str(DAY)
    # 60 of 60, 15 of 60; of the third hour 2.5 minutes were over, and gave none.
    assert found["share"][0] == [1.0, 0.25, 0.0] + [None] * 21


@pytest.mark.parametrize("day", ["yesterday", "2025-02-30", "9999-12-31", ""])
def test_what_is_no_day_is_refused(api: Operating, day: str) -> None:
    assert api.get(f"{PATH}/heat", params={"day": day}).status_code == 422


def test_the_weather_of_a_stretch_is_in_order(api: Operating) -> None:
    found = api.get(f"{PATH}/weather").json()
    earlier = api.get(f"{PATH}/weather", params={"from": epoch(NOW) - 9000, "to": epoch(NOW)}).json()

    assert (found["observed_at"], found["temperature"]) == ([epoch(NOW) - 7200, epoch(NOW)], [22.0, 20.0])
    assert (earlier["observed_at"], earlier["precipitation"]) == ([epoch(NOW) - 7200], [None])


def test_a_stretch_without_weather_has_empty_columns(api: Operating) -> None:
    found = api.get(f"{PATH}/weather", params={"from": 1_600_000_000, "to": 1_600_000_600}).json()

    assert found == {name: [] for name in ("observed_at", "temperature", "humidity", "wind_speed", "precipitation")}


@given(st.text(), st.text(min_size=1))
def test_a_label_is_the_end_of_a_points_name(point: str, site: str) -> None:
    assert point.endswith(label_of(point, site))
    assert label_of(f"client/{site}/x", site).endswith("x")
