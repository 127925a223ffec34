"""The demo: which days it makes, what it must never mix, and the whole of it in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.compute as pc
import pytest

from etl_assets.demo import (
    DEMO_DAYS,
    SETTLED_AFTER,
    DemoPlan,
    MixedDataError,
    mark_simulated,
    point_at,
    refuse_simulated,
)
from etl_assets.kpi.registry import built_in
from etl_assets.lake.connection import write_lake
from etl_assets.market_time import NEM_TIME, day_start
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings
from etl_assets.simulator.ace_world import AceWorld

ETL_ASSETS = Path(sys.executable).with_name("etl-assets")
PATIENCE_S = 600


def nem(hour: int, minute: int, second: int = 0) -> datetime:
    return datetime(2026, 11, 22, hour, minute, second, tzinfo=NEM_TIME)


def market_midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=NEM_TIME)


# --- the plan


@pytest.mark.parametrize(
    ("now", "last"),
    [
        (nem(0, 0), date(2026, 11, 20)),
        (nem(0, 1), date(2026, 11, 20)),
        (nem(2, 30), date(2026, 11, 20)),
        (nem(2, 30, 59), date(2026, 11, 20)),
        # At 02:31 exactly, the settled moment is midnight, and midnight belongs to the day before.
        (nem(2, 31), date(2026, 11, 20)),
        (nem(2, 31, 1), date(2026, 11, 21)),
        (nem(23, 59, 59), date(2026, 11, 21)),
    ],
)
def test_the_demo_makes_the_last_days_that_have_settled(now: datetime, last: date) -> None:
    plan = DemoPlan.at(now)

    assert plan.days == (last - timedelta(days=1), last)
    assert len(plan.days) == DEMO_DAYS


@pytest.mark.parametrize("now", [nem(0, 0), nem(2, 31), nem(2, 31, 1), nem(14, 41)])
def test_the_demo_works_for_a_moment_that_is_past_and_after_its_days_have_settled(now: datetime) -> None:
    plan = DemoPlan.at(now)

    assert plan.moment <= now
    assert plan.moment == datetime.combine(plan.days[-1], datetime.min.time(), NEM_TIME) + timedelta(
        hours=26.5, minutes=1
    )


def test_the_same_day_gives_the_same_plan() -> None:
    plans = {DemoPlan.at(nem(2, 31, 1) + timedelta(minutes=7 * n)) for n in range(180)}

    assert len(plans) == 1


# --- what is never mixed


def with_lake(settings: Settings) -> Settings:
    with write_lake(settings, "a test"):
        return settings


def test_the_simulators_data_is_not_put_into_a_folder_with_real_data(settings: Settings) -> None:
    with pytest.raises(MixedDataError, match="holds real data"):
        mark_simulated(with_lake(settings))

    assert not settings.simulated_marker.exists()


def test_an_empty_folder_is_marked_as_the_simulators_and_says_what_that_means(settings: Settings) -> None:
    mark_simulated(settings)

    assert "remove the folder or set ETL_DATA to another" in settings.simulated_marker.read_text()


def test_the_simulators_own_folder_may_be_used_again(settings: Settings) -> None:
    mark_simulated(settings)
    with_lake(settings)

    mark_simulated(settings)

    assert settings.is_demo


def test_live_data_is_not_put_into_the_simulators_folder(settings: Settings) -> None:
    mark_simulated(settings)

    with pytest.raises(MixedDataError, match="holds the simulator's data"):
        refuse_simulated(settings.model_copy(update={"etl_source": "live"}))


@pytest.mark.parametrize("source", ["", "demo"])
def test_the_simulators_folder_goes_on_with_the_simulator(source: str, settings: Settings) -> None:
    mark_simulated(settings)

    refuse_simulated(settings.model_copy(update={"etl_source": source}))


def test_a_process_that_is_pointed_at_the_simulator_reads_everything_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEMWEB_URL", "AEMO_API_URL", "PRICE_AND_DEMAND_URL", "ACE_API_URL", "ACE_API_KEY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SITES", "tower-one")
    monkeypatch.setenv("KPI_REGISTRY", "")
    process_settings.cache_clear()

    point_at("http://127.0.0.1:8")
    chosen = process_settings()
    process_settings.cache_clear()

    assert chosen.nemweb_url == "http://127.0.0.1:8"
    assert chosen.aemo_api_url.startswith("http://127.0.0.1:8/")
    assert chosen.price_and_demand_url.startswith("http://127.0.0.1:8/")
    assert chosen.ace_api_url == "http://127.0.0.1:8/api"
    assert [site.name for site in chosen.sites] == ["building-a", "building-b"]
    assert chosen.kpi_registry == "http://127.0.0.1:8/kpi/registry.json"


def test_a_registry_of_ones_own_stays_in_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NEMWEB_URL", "AEMO_API_URL", "PRICE_AND_DEMAND_URL", "ACE_API_URL", "ACE_API_KEY", "SITES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("KPI_REGISTRY", "registry.json")
    process_settings.cache_clear()

    point_at("http://127.0.0.1:8")
    chosen = process_settings()
    process_settings.cache_clear()

    assert chosen.kpi_registry == "registry.json"


# --- the whole demo


def start_demo(folder: Path) -> subprocess.Popen[str]:
    clean = {"PATH": os.environ["PATH"], "HOME": str(folder), "ETL_DATA": str(folder / "data")}
    return subprocess.Popen(
        [ETL_ASSETS, "demo"], cwd=folder, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run_demo(folder: Path) -> str:
    """What a demo prints; it must succeed and complain of nothing."""
    demo = start_demo(folder)
    try:
        out, err = demo.communicate(timeout=PATIENCE_S)
    finally:
        demo.kill()
        demo.wait()
    assert (demo.returncode, err) == (0, ""), out + err
    return out


def kill_demo_after(folder: Path, line: str) -> None:
    """Start a demo and kill it by SIGKILL once it has printed a line, with the next step under way."""
    with start_demo(folder) as demo:
        try:
            for printed in demo.stdout or ():
                if line in printed:
                    break
            else:
                raise AssertionError(f"the demo ended without saying {line!r}")
            wait_for_a_file_after_that(folder, demo)
        finally:
            demo.send_signal(signal.SIGKILL)
    assert demo.returncode == -signal.SIGKILL


def wait_for_a_file_after_that(folder: Path, demo: subprocess.Popen[str]) -> None:
    """Until the next step has written its first file into the lake: it is then in the midst of its work."""
    before = len(list(folder.rglob("*.parquet")))
    deadline = time.monotonic() + PATIENCE_S
    while len(list(folder.rglob("*.parquet"))) == before:
        assert demo.poll() is None, "the demo ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask(folder: Path, sql: str) -> list[tuple]:
    """A plain DuckDB, which has no extension and gets none."""
    config = {
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "extension_directory": str(folder / "no-extensions"),
    }
    with duckdb.connect(folder / "data" / "warehouse.duckdb", read_only=True, config=config) as warehouse:
        return warehouse.execute(sql).fetchall()


def assert_complete(folder: Path, printed: str) -> None:
    """Every interval, region and link of the demo's days, every reading of its buildings, once; no check failed."""
    days = [date.fromisoformat(text) for text in re.findall(r"✓ market day (\S+)", printed)]
    assert len(days) == DEMO_DAYS
    keys = "count(DISTINCT (interval_end, {}))"
    for table, entity, a_day in (
        ("dispatch_region", "region_id", 5 * 288),
        ("dispatch_interconnector", "interconnector_id", 6 * 288),
        ("trading_price", "region_id", 5 * 288),
    ):
        sql = f"SELECT market_day, count(*), {keys.format(entity)} FROM aemo.{table} GROUP BY 1 ORDER BY 1"
        assert ask(folder, sql) == [(day, a_day, a_day) for day in days]
    of_market = "starts_with(dataset, 'aemo.')"
    assert ask(folder, f"SELECT count(*) FROM quality.gaps WHERE healed_at IS NULL AND {of_market}") == [(0,)]
    assert ask(folder, f"SELECT count(*) FROM quality.quarantine WHERE {of_market}") == [(0,)]
    assert_buildings_are_complete(folder, days)
    assert_kpis_are_complete(folder, days, printed)
    assert re.search(r"^Checks: [1-9]\d* passed, 0 failed, \d+ warn ", printed, re.MULTILINE)


def assert_kpis_are_complete(folder: Path, days: list[date], printed: str) -> None:
    """Every KPI of both days, from the same prices by another way; each workflow triggered, in one job a day."""
    settling = "FROM aemo.dispatch_region WHERE intervention = 0"
    mean = ask(folder, f"SELECT market_day, region_id, avg(rrp) {settling} GROUP BY ALL ORDER BY ALL")
    stored = ask(
        folder, "SELECT date, entity, value FROM kpi.kpi_values WHERE kpi_id = 'average-price' ORDER BY date, entity"
    )
    assert stored == [(day, region, pytest.approx(value)) for day, region, value in mean]
    assert ask(folder, "SELECT date, status, completed_kpis FROM kpi.kpi_jobs ORDER BY date") == [
        (day, "completed", len(built_in().kpis) + 2) for day in days
    ]
    called = "SELECT date, count(*) FROM kpi.kpi_runs WHERE triggered_at IS NOT NULL AND retry_count = 0 GROUP BY 1"
    assert ask(folder, f"{called} ORDER BY 1") == [(day, 2) for day in days]
    assert f"KPIs of market day {days[-1]}" in printed
    rows = re.findall(r"^│ (\S[^│]*?) +│", printed.partition("KPIs of market day")[2], re.MULTILINE)
    assert rows == [*(kpi.name for kpi in built_in().kpis), "Daily market brief", "Building report"]


def assert_buildings_are_complete(folder: Path, days: list[date]) -> None:
    """What the simulated account had read by the demo's moment, but for what is no number."""
    world = AceWorld()
    start, moment = day_start(days[0]), day_start(days[-1]) + timedelta(days=1)
    for site in world.sites:
        truth = world.table(site, start, moment, moment + SETTLED_AFTER)
        sensible = truth.filter(pc.invert(pc.is_nan(truth["value"])))
        counted = "count(*), count(DISTINCT (point_name, timestamp))"
        found = ask(folder, f"SELECT {counted} FROM ace.timeseries_raw WHERE site_name = '{site}'")
        assert found == [(sensible.num_rows, sensible.num_rows)], site


COUNTS = " UNION ALL ".join(
    f"SELECT '{name}', count(*) FROM aemo.{name}"
    for name in ("dispatch_region", "unit_scada", "rooftop_pv", "price_and_demand", "region_forecast")
)
NOTHING_NEW = "Nothing new: the lake was complete already, and nothing was fetched twice."


@pytest.mark.servers
def test_the_demo_fills_a_folder_and_a_second_one_says_that_nothing_is_new(tmp_path: Path) -> None:
    first = run_demo(tmp_path)
    counts = ask(tmp_path, COUNTS)
    second = run_demo(tmp_path)

    assert_complete(tmp_path, first)
    assert re.search(r"^New in this demo: [\d,]+ rows inserted, 0 updated\.$", first, re.MULTILINE)
    assert all(hint in first for hint in ("etl-assets sql", "duckdb -readonly", "make up"))
    assert NOTHING_NEW not in first
    assert NOTHING_NEW in second.splitlines()
    assert_complete(tmp_path, second)
    assert ask(tmp_path, COUNTS) == counts


@pytest.mark.servers
def test_a_demo_that_was_killed_half_way_is_completed_by_the_next_and_nothing_is_doubled(tmp_path: Path) -> None:
    kill_demo_after(tmp_path, "✓ price and demand")

    printed = run_demo(tmp_path)

    assert_complete(tmp_path, printed)
    assert_keys_are_unique(tmp_path)


def assert_keys_are_unique(folder: Path) -> None:
    for table, key in (
        ("unit_scada", "(interval_end, duid)"),
        ("rooftop_pv", "(interval_end, region_id, type)"),
        ("price_and_demand", "(interval_end, region_id)"),
        ("region_forecast", "(interval_end, region_id, issued_at)"),
    ):
        [(rows, keys)] = ask(folder, f"SELECT count(*), count(DISTINCT {key}) FROM aemo.{table}")
        assert rows == keys > 0, table
