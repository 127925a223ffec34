"""KPIs of a market day, as the page's tiles have them."""

from typing import Any

import pytest

from etl_assets.kpi.registry import built_in
from etl_assets_tests.api.dashboard.filled import AGGREGATED_DAY, WHOLE_DAY
from etl_assets_tests.api.operating import Operating


def peak_price(api: Operating, **asked: str) -> dict[str, Any]:
    found = api.get("/dashboard/kpis", params=asked).json()
    return next(kpi for kpi in found["kpis"] if kpi["id"] == "peak-price")


def test_all_active_kpis_are_there_in_the_registrys_order(api: Operating) -> None:
    found = api.get("/dashboard/kpis").json()

    assert [kpi["id"] for kpi in found["kpis"]] == [kpi.id for kpi in built_in().active]
    assert (found["day"], found["days"]) == (str(WHOLE_DAY), [str(AGGREGATED_DAY), str(WHOLE_DAY)])


def test_a_value_says_how_it_lies_to_its_thresholds_and_what_went_before(api: Operating) -> None:
    kpi = peak_price(api)

    history = {"day": [str(AGGREGATED_DAY), str(WHOLE_DAY)], "value": [5.0, 9.0]}
    assert kpi["values"] == [
        {"entity": "NSW1", "value": 9.0, "status": "above", "history": history},
        {"entity": "SA1", "value": None, "status": "", "history": {"day": [str(WHOLE_DAY)], "value": [None]}},
    ]


def test_a_former_day_shows_what_it_had(api: Operating) -> None:
    kpi = peak_price(api, day=str(AGGREGATED_DAY))

    assert [(value["entity"], value["value"], value["status"]) for value in kpi["values"]] == [("NSW1", 5.0, "ok")]
    assert kpi["dagster_url"].endswith("/assets/kpi/peak_price?view=partitions&partition=2025-11-19")


def test_a_day_without_values_has_none(api: Operating) -> None:
    assert peak_price(api, day="2024-01-01")["values"] == []


def test_a_kpi_tells_its_unit_and_whether_it_has_a_workflow_and_not_its_address(api: Operating) -> None:
    kpi = peak_price(api)

    assert (kpi["unit"], kpi["entity"], kpi["workflow"], kpi["run"]) == ("AUD/MWh", "region", False, None)
    assert set(kpi["thresholds"]) == {"high", "low"}
    assert not any("webhook" in name.lower() for name in kpi)


@pytest.mark.parametrize("day", ["9999-99-99", "today", ""])
def test_what_is_no_day_is_refused(api: Operating, day: str) -> None:
    assert api.get("/dashboard/kpis", params={"day": day}).status_code == 422
