"""The notebook, run as it is: its figures against the same ones worked out from the readings and prices in Python."""

import importlib.util
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean, linear_regression
from types import SimpleNamespace
from typing import Any

import pytest

from etl_assets.market_time import day_start, instant_day, interval_ends
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings
from etl_assets_tests.analyst.market import (
    DAYS,
    METERS,
    SATURDAY,
    SILENT,
    SITE,
    SITE_REGION,
    demand,
    load,
    outside,
    price,
    rooftop,
)

pytest.importorskip("marimo", reason="the notebook is an optional extra")

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "market_and_buildings.py"
ENDS = [end for day in DAYS for end in interval_ends(day)]


def load_notebook() -> Any:
    """The notebook's app, fresh: as a module it is a file like any other."""
    spec = importlib.util.spec_from_file_location("market_and_buildings", NOTEBOOK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def run_notebook(chosen: Settings, **choices: Any) -> tuple[str, dict[str, Any]]:
    """What the reader sees, as HTML, and what the cells define; with what a reader would choose, where it is given."""
    wanted = {name: SimpleNamespace(value=value) for name, value in choices.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETL_DATA", str(chosen.etl_data))
        process_settings.cache_clear()
        outputs, defined = load_notebook().run(
            defs=wanted | {"newest": SimpleNamespace(value=False)} if wanted else None
        )
    process_settings.cache_clear()
    return "".join(getattr(shown, "text", "") for shown in outputs), dict(defined)


@pytest.fixture(scope="module")
def shown(market: Settings) -> tuple[str, dict[str, Any]]:
    return run_notebook(market)


def read_by_both_meters() -> list[tuple[datetime, float]]:
    """Start and kW of each five minutes in which both meters were read."""
    starts = [end - timedelta(minutes=5) for end in ENDS]
    return [(at, sum(load(meter, at) for meter in METERS)) for at in starts if not SILENT[0] <= at < SILENT[1]]


def test_the_first_region_and_building_and_the_last_days_are_chosen(shown) -> None:
    _, found = shown

    assert (found["region"].value, found["site"].value) == ("NSW1", SITE)
    assert found["days"] == {"first": DAYS[0], "last": DAYS[1]}


def test_prices_are_those_that_settle(shown) -> None:
    html, found = shown
    paid = [price("NSW1", end) for end in ENDS]
    used = [demand("NSW1", end) for end in ENDS]
    facts = found["price_facts"]

    assert facts["intervals"] == 576
    assert facts["mean"] == pytest.approx(fmean(paid))
    assert facts["volume_weighted"] == pytest.approx(fmean(paid, used))
    assert facts["highest"] == 1000.0
    assert facts["negative_hours"] == 2 * 4
    assert f"<strong>{fmean(paid):,.2f} AUD</strong> on average" in html


def test_links_are_at_their_limit_by_what_flowed_and_not_by_the_pricing_run(shown) -> None:
    _, found = shown
    facts = found["link_facts"]

    assert facts["interconnector_id"] == ["VIC1-NSW1", "V-SA"]
    # Two hours of each day; and three of each day with the five minutes of the intervention.
    assert facts["forward"] == pytest.approx([48 / 576, 0])
    assert facts["backward"] == pytest.approx([0, (72 + 1) / 576])


def test_roofs_are_counted_once_and_against_what_is_used_in_all(shown) -> None:
    _, found = shown
    halves = ENDS[5::6]
    used = [fmean(demand("NSW1", end) for end in ENDS[n : n + 6]) + rooftop(ENDS[n + 5]) for n in range(0, 576, 6)]
    facts = found["roof_facts"]

    assert facts["highest_share"] == pytest.approx(
        max(rooftop(half) / all_used for half, all_used in zip(halves, used, strict=True))
    )
    assert facts["share_of_energy"] == pytest.approx(sum(rooftop(half) for half in halves) / sum(used))


def test_a_building_pays_each_interval_its_own_price_and_a_sum_without_a_meter_is_no_load(shown) -> None:
    _, found = shown
    both = read_by_both_meters()
    paid = {at: price(SITE_REGION, at + timedelta(minutes=5)) for at, _ in both}
    facts = found["cost_facts"]

    assert len(both) == 576 - 6
    assert facts["kwh"] == pytest.approx(sum(kw for _, kw in both) * 5 / 60)
    assert facts["cost_aud"] == pytest.approx(sum(kw * paid[at] for at, kw in both) * 5 / 60 / 1000)
    assert facts["paid"] == pytest.approx(1000 * facts["cost_aud"] / facts["kwh"])
    assert facts["flat"] == pytest.approx(fmean(paid.values()))
    assert facts["highest_kw"] == 90.0
    assert sum(found["cost_by_day"]["cost_aud"]) == pytest.approx(facts["cost_aud"])


def test_the_profile_of_a_day_is_by_the_buildings_own_clock(shown) -> None:
    _, found = shown
    by_hour = dict(zip(found["load_by_hour"]["hour"], found["load_by_hour"]["weekday_kw"], strict=True))

    # An hour ahead of NEM time in summer; by NEM time it would begin at 7.
    assert {hour for hour, kw in by_hour.items() if kw == 90.0} == set(range(8, 18))
    # Of the weekend there is Saturday, and the first hour of Sunday by the building's clock.
    assert set(found["load_by_hour"]["weekend_kw"]) == {30.0}


def test_the_fitted_line_is_that_of_hourly_means(shown) -> None:
    _, found = shown
    hours = [day_start(day) + timedelta(hours=n) for day in DAYS for n in range(24)]
    loads = [sum(load(meter, hour) for meter in METERS) for hour in hours]
    slope, intercept = linear_regression([outside(hour) for hour in hours], loads)
    facts = found["weather_facts"]

    assert facts["hours"] == 48
    assert (facts["kw_per_degree"], facts["kw_at_zero"]) == (pytest.approx(slope), pytest.approx(intercept))


def test_what_is_missing_is_said_on_top(shown) -> None:
    html, found = shown
    facts = found["trust_facts"]

    assert facts["share_of_intervals"] == 1.0
    # Six of the 288 readings of one of three points on one of two days.
    assert facts["mean_score"] == pytest.approx(1 - 6 / 288 / 6)
    assert facts["open_gaps"] == 1
    assert "readings there, building-a" in html


def test_another_choice_gives_other_figures(market: Settings) -> None:
    _, found = run_notebook(market, region="SA1", site=SITE, span=1)
    paid = [price("SA1", end) for end in interval_ends(SATURDAY)]
    on_saturday = [(at, kw) for at, kw in read_by_both_meters() if instant_day(at) == SATURDAY]

    assert found["days"] == {"first": SATURDAY, "last": SATURDAY}
    assert found["price_facts"]["mean"] == pytest.approx(fmean(paid))
    assert found["cost_facts"]["kwh"] == pytest.approx(sum(kw for _, kw in on_saturday) * 5 / 60)


def test_all_days_are_from_the_first_that_there_is(market: Settings) -> None:
    _, found = run_notebook(market, region="SA1", site=None, span=None)

    assert found["days"] == {"first": DAYS[0], "last": DAYS[1]}
    assert found["cost_facts"]["kwh"] is None


def test_a_file_without_rows_says_for_each_question_that_there_is_nothing(empty: Settings) -> None:
    html, found = run_notebook(empty)

    assert (found["region"].value, found["site"].value) == (None, None)
    for nothing in (
        "No prices of these days",
        "No flows of these days",
        "No rooftop estimates of these days",
        "No load of a building",
        "No hours with both load and temperature",
    ):
        assert nothing in html


def test_without_a_file_the_script_says_which_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make demo") as error:
        run_notebook(Settings(_env_file=None, etl_data=tmp_path / "none"))

    assert str(tmp_path / "none" / "warehouse.duckdb") in str(error.value)


def test_it_becomes_a_page_without_a_browser(market: Settings, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    marimo = [sys.executable, "-m", "marimo", "export", "html", str(NOTEBOOK), "--no-include-code", "-o", str(page)]

    done = subprocess.run(
        marimo,
        env={"ETL_DATA": str(market.etl_data), "HOME": str(tmp_path), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "a megawatt-hour cost" in page.read_text()
