"""How everything stands now, at one look: regions, interconnectors, alerts, gaps."""

from datetime import timedelta
from pathlib import Path

import pytest

from etl_assets.ops.alerts import Condition, evaluate
from etl_assets_tests.api.dashboard.filled import DAY, ENDS, NOW, PUBLISHED, epoch, price
from etl_assets_tests.api.operating import Operating, operating


def test_a_region_has_its_newest_interval_and_its_day(api: Operating) -> None:
    found = api.get("/dashboard/state").json()["regions"]

    region = found[0]
    assert [each["id"] for each in found] == ["NSW1", "QLD1", "SA1", "TAS1", "VIC1"]
    assert (region["name"], region["interval_end"]) == ("New South Wales", epoch(ENDS[-1]))
    assert (region["price"], region["demand"], region["generation"]) == (34.0, 7000.0, 6500.0)
    assert region["net_interchange"] == -500.0
    # 11 to 34 without 15, which is missing.
    assert region["price_mean_day"] == pytest.approx((sum(range(11, 35)) - 15) / 23)
    assert (region["price_min_day"], region["price_max_day"]) == (11.0, 34.0)


def test_a_regions_trend_is_its_last_48_intervals_in_order_with_a_hole_where_one_is_missing(api: Operating) -> None:
    trend = api.get("/dashboard/state").json()["regions"][0]["price_trend"]

    today = [price("NSW1", number) if number != 5 else None for number in range(1, 25)]
    assert trend == [price("NSW1", number) for number in range(265, 289)] + today


def test_a_flow_is_measured_by_the_limit_in_its_direction(api: Operating) -> None:
    found = {each["id"]: each for each in api.get("/dashboard/state").json()["interconnectors"]}

    heywood = found["V-SA"]
    assert (heywood["from"], heywood["to"], heywood["flow"]) == ("VIC1", "SA1", -200.0)
    # 200 of 250 MW against the direction of the name.
    assert heywood["utilisation"] == pytest.approx(0.8)
    assert (heywood["losses"], heywood["interval_end"]) == (3.0, epoch(ENDS[-1]))


def test_an_interconnector_without_a_flow_of_late_has_nulls(api: Operating) -> None:
    found = {each["id"]: each for each in api.get("/dashboard/state").json()["interconnectors"]}

    assert (found["T-V-MNSP1"]["from"], found["T-V-MNSP1"]["flow"]) == ("TAS1", None)


def test_it_says_which_publication_and_which_day_it_is(api: Operating) -> None:
    found = api.get("/dashboard/state").json()

    assert (found["now"], found["published_at"]) == (epoch(NOW), epoch(PUBLISHED))
    assert (found["market_day"], found["source"], found["environment"]) == (str(DAY), "live", "development")
    assert (found["open_gaps"], found["quarantined_day"]) == (1, 1)
    assert found["dagster_url"] == "http://127.0.0.1:3000"


def test_an_alert_that_is_raised_names_its_subject(api: Operating) -> None:
    raised = Condition("quality:tower|b", "quality", "Low data quality detected", {}, firing=True)
    evaluate(api.settings, [raised], now=NOW - timedelta(minutes=5))

    found = api.get("/dashboard/state").json()["alerts"]

    assert found == [
        {"kind": "quality", "subject": "tower|b", "message": "Low data quality detected",
         "raised_at": epoch(NOW) - 300}
    ]  # fmt: skip


def test_without_a_published_file_figures_are_not_there_yet(tmp_path: Path) -> None:
    with operating(tmp_path / "data") as bare:
        answers = [
            bare.get(f"/dashboard/{name}")
            for name in ("state", "market", "flows", "calendar", "sites", "kpis", "sites/a/points", "sites/a/heat")
        ]
        page = bare.get("/")

    assert [answer.status_code for answer in answers] == [503] * len(answers)
    assert all(answer.headers["Retry-After"] == "60" for answer in answers)
    assert all(answer.headers["Content-Type"] == "application/problem+json" for answer in answers)
    assert page.status_code == 200
