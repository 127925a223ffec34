"""The sources at a step: faults as long as they must be, outages, and settings that nothing else reaches into."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from etl_assets.market_time import NEM_TIME
from etl_assets.settings import Settings
from soak.plan import Plan, Window
from soak.sources import Sources, environment
from soak.spells import Spell

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
START = datetime(2025, 9, 30, 1, 0, tzinfo=NEM_TIME)
FAULTS_END = START + 12 * HOUR


@pytest.fixture
def sources_of(plan: Plan) -> Iterator[Callable[..., Sources]]:
    """Sources with some spells and outages; faults end at 13:00."""
    made: list[Sources] = []

    def sources_of(*spells: Spell, outages: tuple[Window, ...] = ()) -> Sources:
        made.append(Sources(replace(plan, start=START, spells=spells, outages=outages, faults_end=FAULTS_END)))
        return made[-1]

    yield sources_of
    for sources in made:
        sources.close()


def are_on(sources: Sources, moment: datetime) -> list[str]:
    sources.step_to(moment)
    return [fault.name for fault in sources.simulator.faults.on()]


def hour_of(name: str, start: datetime = START + HOUR) -> Spell:
    return Spell(name, start, start + HOUR)


def test_a_spell_that_spoilt_something_is_on_from_its_start_to_its_end(sources_of: Callable[..., Sources]) -> None:
    sources = sources_of(hour_of("server_error"))

    before = are_on(sources, START)
    within = are_on(sources, START + HOUR)
    status = httpx.get(f"{sources.url}/Reports/CURRENT/", trust_env=False).status_code
    after = are_on(sources, START + 2 * HOUR)

    assert (before, within, status, after) == ([], ["server_error"], 503, [])
    assert sources.times() == [Spell("server_error", START + HOUR, START + 2 * HOUR)]
    assert (sources.seen["server_error"], sources.spoilt()["server_error"]) == (1, 1)


def test_a_spell_that_spoilt_nothing_goes_on_until_somebody_asked(sources_of: Callable[..., Sources]) -> None:
    sources = sources_of(hour_of("server_error"))
    are_on(sources, START + HOUR)

    late = are_on(sources, START + 5 * HOUR)
    httpx.get(f"{sources.url}/Reports/CURRENT/", trust_env=False)

    assert late == ["server_error"]
    assert sources.times() == [Spell("server_error", START + HOUR, None)]
    assert are_on(sources, START + 6 * HOUR) == []


def test_a_spell_that_spoilt_nothing_ends_with_all_faults(sources_of: Callable[..., Sources]) -> None:
    sources = sources_of(hour_of("server_error"), hour_of("bad_values", START + 11 * HOUR))

    assert are_on(sources, FAULTS_END - MINUTE) == ["server_error", "bad_values"]
    assert are_on(sources, FAULTS_END) == []


def test_damage_to_buildings_that_spoilt_nothing_rests_while_the_last_day_is_read_again(
    sources_of: Callable[..., Sources],
) -> None:
    sources = sources_of(hour_of("bad_values"), hour_of("server_error"))

    assert are_on(sources, START + 7 * HOUR) == ["bad_values", "server_error"]
    for minutes in (1, 60, 119):
        # 09:01 to 10:59, while the re-read is at 10:00.
        assert are_on(sources, START + 8 * HOUR + minutes * MINUTE) == ["server_error"]
    assert "bad_values" in are_on(sources, START + 10 * HOUR)


def test_intervals_that_were_withheld_are_published_at_the_end_and_what_stays_stays(
    sources_of: Callable[..., Sources],
) -> None:
    first = START + HOUR + 5 * MINUTE
    held = replace(hour_of("missing_interval"), options={"intervals": [first]})
    revised = Spell("revised_row", START + HOUR, None, {"intervals": [first], "region": "SA1"})
    sources = sources_of(held, revised)

    assert are_on(sources, START + HOUR) == ["missing_interval", "revised_row"]
    assert are_on(sources, FAULTS_END + HOUR) == ["revised_row"]


def test_connections_are_refused_in_an_outage_and_answered_after_it_at_the_same_address(
    sources_of: Callable[..., Sources],
) -> None:
    sources = sources_of(outages=(Window(START + HOUR, START + 2 * HOUR),))
    asked = f"{sources.url}/Reports/CURRENT/"

    sources.step_to(START + HOUR)
    with pytest.raises(httpx.ConnectError):
        httpx.get(asked, trust_env=False)
    sources.step_to(START + 2 * HOUR)

    assert httpx.get(asked, trust_env=False).status_code == 200


POISON = {
    "LAKE_DATA": "/elsewhere",
    "ARCHIVE_DATA": "s3://elsewhere",
    "STATE_DATABASE": "postgresql://elsewhere/state",
    "LAKE_CATALOG": "postgres:dbname=elsewhere",
    "ALERT_WEBHOOK_URL": "http://elsewhere.example/alerts",
    "METRICS_WEBHOOK_URL": "http://elsewhere.example/metrics",
    "ETL_SOURCE": "live",
    "ENVIRONMENT": "production",
    "CONFIGURED_POINTS": '["one"]',
    "GAP_HORIZON": "PT1H",
    "N8N_API_KEY": "a key",
}
"""What a shell or a ``.env`` of production may hold."""


@pytest.mark.parametrize("where", ["the shell", "a .env"])
def test_no_setting_of_the_shell_or_of_a_dotenv_reaches_into_a_soak(
    sources_of: Callable[..., Sources], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    default = Settings()
    if where == "a .env":
        Path(".env").write_text("".join(f"{name}='{value}'\n" for name, value in POISON.items()))
    else:
        for name, value in POISON.items():
            monkeypatch.setenv(name, value)
    poisoned = Settings()
    sources = sources_of()
    chosen = environment(sources.plan, sources, tmp_path)

    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    found = Settings()

    own = {name.lower() for name, value in chosen.items() if value}
    others = set(Settings.model_fields) - own
    assert {name.lower() for name in POISON} <= others
    assert all(getattr(poisoned, name.lower()) != getattr(default, name.lower()) for name in POISON)
    assert {name for name in others if getattr(found, name) != getattr(default, name)} == set()
    assert set(chosen) >= {name.upper() for name in Settings.model_fields}
    assert found.etl_data == tmp_path / "data"
    assert os.environ["NEMWEB_URL"] == sources.url
