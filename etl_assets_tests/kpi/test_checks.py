"""What is asked of a KPI's value, and what a person reads in the answer."""

import re
from datetime import date, timedelta
from urllib.parse import unquote

import pytest

from etl_assets.kpi.checks import HAS_VALUE, NOT_ABOVE_HIGH, NOT_BELOW_LOW, outcomes, questions, shown_value
from etl_assets.kpi.query import KpiValue
from etl_assets.kpi.registry import Kpi

DAY = date(2026, 11, 21)


def kpi(*, high: float | None = None, low: float | None = None, **more: object) -> Kpi:
    thresholds = {"high": high, "low": low}
    return Kpi.model_validate(
        {
            "id": "average-price",
            "name": "Average price",
            "sql": "SELECT 1 WHERE $market_day IS NOT NULL",
            "unit": "AUD/MWh",
            "entity": "region",
            "analysisConfig": {"alertThresholds": {k: v for k, v in thresholds.items() if v is not None}},
            **more,
        }
    )


def test_a_kpi_with_sql_is_asked_for_its_value_and_one_with_thresholds_for_each_of_them() -> None:
    assert list(questions(kpi())) == [HAS_VALUE]
    assert list(questions(kpi(high=300, low=0))) == [HAS_VALUE, NOT_ABOVE_HIGH, NOT_BELOW_LOW]
    assert list(questions(kpi(high=1, sql="", webhookUrl="http://127.0.0.1/hook"))) == [NOT_ABOVE_HIGH]


def test_the_question_says_the_threshold_with_its_unit() -> None:
    assert questions(kpi(high=300))[NOT_ABOVE_HIGH] == "No value lies above 300 AUD/MWh."


def test_a_value_on_its_threshold_is_within() -> None:
    found = outcomes(kpi(high=300, low=0), DAY, [KpiValue("NSW1", 300.0), KpiValue("SA1", 0.0)], {})

    assert found[NOT_ABOVE_HIGH].passed
    assert found[NOT_BELOW_LOW].passed


def test_a_value_beyond_its_threshold_warns_and_is_named() -> None:
    found = outcomes(kpi(high=300, low=0), DAY, [KpiValue("NSW1", 300.5), KpiValue("SA1", -12.25)], {})

    above, below = found[NOT_ABOVE_HIGH], found[NOT_BELOW_LOW]
    assert (above.passed, above.is_error) == (False, False)
    assert above.description == "1 of 2 above 300 AUD/MWh: NSW1 300.5 AUD/MWh"
    assert below.description == "1 of 2 below 0 AUD/MWh: SA1 -12.25 AUD/MWh"


def test_an_entity_without_data_is_named_and_is_neither_high_nor_low() -> None:
    found = outcomes(kpi(high=300, low=0), DAY, [KpiValue("NSW1", 80.0), KpiValue("SA1", None)], {})

    assert found[HAS_VALUE].description == "no data for SA1"
    assert not found[HAS_VALUE].passed
    assert found[NOT_ABOVE_HIGH].passed
    assert found[NOT_BELOW_LOW].passed


def test_a_day_without_any_entity_has_no_value() -> None:
    found = outcomes(kpi(), DAY, [], {})

    assert (found[HAS_VALUE].passed, found[HAS_VALUE].description) == (False, "no region has data")


def plotted(markdown: str) -> tuple[list[tuple[int, int]], str]:
    """The points of the line, and the path of the limit."""
    svg = unquote(markdown.split("data:image/svg+xml,", 1)[1])
    line, *limit = re.findall(r" d='([^']*)'", svg)
    return [(int(x), int(y)) for x, y in re.findall(r"(\d+),(\d+)", line)], (limit or [""])[0]


def test_the_plot_of_a_high_threshold_shows_the_highest_entity_of_each_of_the_last_30_days() -> None:
    days = [DAY - timedelta(days=n) for n in reversed(range(40))]
    history = {
        "NSW1": [(day, 100.0 + n) for n, day in enumerate(days)],
        "SA1": [(day, 50.0) for day in days],
    }

    found = outcomes(kpi(high=139), DAY, [KpiValue("NSW1", 139.0)], history)
    points, limit = plotted(found[NOT_ABOVE_HIGH].pictures["last_30_days"])

    # NSW1 rises from 110 on the first of the 30 days to 139, which is the limit: from the foot (60) to the top (4).
    assert (len(points), points[0], points[-1]) == (30, (0, 60), (480, 4))
    assert limit.startswith("M0 4h")


def test_later_days_than_the_one_that_is_judged_are_not_in_its_plot() -> None:
    history = {"NSW1": [(DAY - timedelta(days=1), 10.0), (DAY, 20.0), (DAY + timedelta(days=1), 1000.0)]}

    found = outcomes(kpi(high=25), DAY, [KpiValue("NSW1", 20.0)], history)

    # 10, 20 and the limit of 25: 20 lies at two thirds of the height of 56.
    assert plotted(found[NOT_ABOVE_HIGH].pictures["last_30_days"])[0] == [(0, 60), (480, 23)]


def test_without_a_history_there_is_no_plot() -> None:
    assert outcomes(kpi(high=1), DAY, [KpiValue("NSW1", 0.0)], {})[NOT_ABOVE_HIGH].pictures == {}


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [(84.2149, "AUD/MWh", "84.21 AUD/MWh"), (15100.4, "AUD", "15,100 AUD"), (0.0, "", "0"), (None, "kW", "no data")],
)
def test_a_value_is_shown_with_its_unit_and_four_figures(value: float | None, unit: str, shown: str) -> None:
    assert shown_value(value, unit) == shown
