"""What can be configured, and that .env.example and README say the same."""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from etl_assets.settings import Settings

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def in_env_example() -> dict[str, tuple[str, str]]:
    """Default and description by name: each setting is a comment line and, after it, a commented assignment."""
    _, *blocks = (ROOT / ".env.example").read_text().strip().split("\n\n")
    found = {}
    for block in blocks:
        description, assignment = block.split("\n")
        name, _, default = assignment.removeprefix("# ").partition("=")
        found[name] = (default, description.removeprefix("# "))
    return found


def in_readme() -> dict[str, tuple[str, str]]:
    """The same from README's settings table; ``empty`` is written out there."""
    section = (ROOT / "README.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.*?) \| (.*) \|$", section, re.MULTILINE)
    return {name: ("" if default == "empty" else default.strip("`"), said) for name, default, said in rows}


def loaded(values: Mapping[str, str], folder: Path) -> Settings:
    """Settings as a person's .env makes them."""
    env = folder / "env"
    env.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    return Settings(_env_file=env)


def test_without_any_setting_the_project_reads_the_live_market_into_a_folder_called_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Away from a checkout whose data folder the demo may have filled.
    monkeypatch.chdir(tmp_path)

    chosen = Settings(_env_file=None)

    assert chosen.etl_data == Path("data")
    assert chosen.nemweb_url == "https://www.nemweb.com.au"
    assert chosen.aemo_api_url == "https://visualisations.aemo.com.au/aemo/apps/api/report/5MIN"
    assert chosen.price_and_demand_url == "https://aemo.com.au/aemo/data/nem/priceanddemand"
    assert chosen.market_start == date(2021, 10, 1)
    assert chosen.mms_footer == "enforce"
    assert chosen.http_timeout == timedelta(seconds=30)
    assert chosen.lake_retention == timedelta(days=7)
    assert chosen.gap_horizon == timedelta(hours=36)
    assert not chosen.is_demo


@pytest.mark.parametrize("place", [in_env_example, in_readme])
def test_every_setting_is_written_down_in_its_order_and_nothing_else(place) -> None:
    assert list(place()) == [name.upper() for name in Settings.model_fields]


@pytest.mark.parametrize("place", [in_env_example, in_readme])
def test_a_setting_is_described_as_the_code_describes_it(place) -> None:
    said = {name: description for name, (_, description) in place().items()}

    assert said == {name.upper(): field.description for name, field in Settings.model_fields.items()}


@pytest.mark.parametrize("place", [in_env_example, in_readme])
def test_the_defaults_that_are_written_down_taken_as_settings_change_nothing(place, tmp_path: Path) -> None:
    written = {name: default for name, (default, _) in place().items()}

    chosen = loaded(written, tmp_path)

    assert chosen == Settings(_env_file=None)


def test_an_empty_default_is_the_only_one_written_as_empty() -> None:
    empty = {name for name, (default, _) in in_env_example().items() if not default}

    nothing = ("", (), frozenset(), SecretStr(""))
    assert empty == {name.upper() for name, field in Settings.model_fields.items() if field.default in nothing}


def test_an_empty_address_of_the_5min_report_switches_it_off(tmp_path: Path) -> None:
    chosen = loaded({"AEMO_API_URL": ""}, tmp_path)

    assert chosen.aemo_api_url == ""


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_RETRIES", "7")

    chosen = loaded({"HTTP_RETRIES": "2", "HTTP_BACKOFF": "3"}, tmp_path)

    assert (chosen.http_retries, chosen.http_backoff) == (7, 3)


@pytest.mark.parametrize("name", ["NEMWEB_URL", "PRICE_AND_DEMAND_URL"])
@pytest.mark.parametrize("value", ["www.nemweb.com.au", "ftp://nemweb", "/a/folder"])
def test_an_address_without_a_scheme_that_can_be_read_is_refused_with_a_sentence(
    name: str, value: str, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="must start with http://, https:// or file:///"):
        loaded({name: value}, tmp_path)


@pytest.mark.parametrize("value", ["http://x", "https://x/", "file:///mirror/"])
def test_an_address_is_kept_without_its_last_slash(value: str, tmp_path: Path) -> None:
    chosen = loaded({"NEMWEB_URL": value}, tmp_path)

    assert chosen.nemweb_url == value.rstrip("/")


def test_a_report_address_that_is_no_http_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="must start with http:// or https://"):
        loaded({"AEMO_API_URL": "visualisations.aemo.com.au"}, tmp_path)


def test_headers_that_are_no_json_are_refused_without_showing_them(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="must be a JSON object") as caught:
        loaded({"AEMO_API_HEADERS": "x-token: s3cret"}, tmp_path)

    assert "s3cret" not in str(caught.value)


def test_an_empty_value_is_the_default(tmp_path: Path) -> None:
    chosen = loaded({"HTTP_RETRIES": "", "MARKET_START": "", "AEMO_API_HEADERS": "", "LAKE_CATALOG": ""}, tmp_path)

    assert chosen == Settings(_env_file=None)


def test_headers_are_a_json_object(tmp_path: Path) -> None:
    chosen = loaded({"AEMO_API_HEADERS": '{"x-token": "a,b \\"c\\""}'}, tmp_path)

    assert chosen.aemo_api_headers == {"x-token": 'a,b "c"'}


def test_a_span_may_be_written_as_hours_and_minutes_or_as_iso_8601(tmp_path: Path) -> None:
    chosen = loaded({"LAKE_RETENTION": "P2DT6H", "GAP_HORIZON": "12:30:00", "HTTP_TIMEOUT": "PT0.5S"}, tmp_path)

    assert chosen.lake_retention == timedelta(days=2, hours=6)
    assert chosen.gap_horizon == timedelta(hours=12, minutes=30)
    assert chosen.http_timeout == timedelta(seconds=0.5)


def test_a_relative_folder_of_lake_files_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert Settings(_env_file=None, lake_data="files").lake_files == str(tmp_path / "files" / "etl_assets_lake")
    assert Settings(_env_file=None, etl_data=Path("here")).lake_files == str(tmp_path / "here" / "lake" / "files")


def test_the_lake_has_a_folder_of_its_own_below_an_address_too() -> None:
    assert Settings(_env_file=None, lake_data="s3://bucket/lake/").lake_files == "s3://bucket/lake/etl_assets_lake"


@pytest.mark.parametrize(
    ("source", "filled_by_the_demo", "expected"),
    [("", False, False), ("", True, True), ("live", True, False), ("demo", False, True), ("demo", True, True)],
)
def test_data_is_the_simulators_where_it_was_asked_for_or_where_the_demo_filled_the_folder(
    source: str, filled_by_the_demo: bool, expected: bool, tmp_path: Path
) -> None:
    if filled_by_the_demo:
        (tmp_path / "SIMULATED").touch()

    assert Settings(_env_file=None, etl_data=tmp_path, etl_source=source).is_demo is expected


@pytest.mark.parametrize("cron", ["0 12 * * *", "*/5 * * * *", "1-59/5 0,12 1-15 * 1-5", "30 23 31 12 7"])
def test_a_cron_of_five_fields_is_taken(cron: str) -> None:
    assert Settings(_env_file=None, kpi_cron=cron).kpi_cron == cron


@pytest.mark.parametrize(
    "cron",
    ["0 12 * *", "61 12 * * *", "0 24 * * *", "0 12 0 * *", "0 12 * 13 *", "5-1 * * * *", "*/0 * * * *", "daily"],
)
def test_a_cron_that_dagster_would_refuse_is_refused_by_its_name_and_not_when_all_definitions_load(cron: str) -> None:
    with pytest.raises(ValidationError, match="is no cron of minute, hour, day, month and weekday"):
        Settings(_env_file=None, kpi_cron=cron)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kpi_sql_memory", "abc"),
        ("kpi_webhook_timeout", "PT0S"),
        ("kpi_sql_timeout", "-PT1S"),
        ("kpi_report_timeout", "PT0S"),
    ],
)
def test_a_limit_of_kpis_that_limits_nothing_or_everything_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Settings(_env_file=None, **{name: value})
