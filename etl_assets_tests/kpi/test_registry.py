"""What a registry may say, and how it is told what is wrong with it: each problem by KPI and field."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.kpi.registry import Kpi, Registry, RegistryError, built_in, parse_registry

WEBHOOK = "https://n8n.example.com/webhook/t0ken"
PREDECESSOR = """
{
  "kpis": [
    {
      "id": "cmc-btc-price",
      "name": "Bitcoin Price (CMC)",
      "description": "Current Bitcoin price from CoinMarketCap",
      "type": "price",
      "active": true,
      "webhookUrl": "https://n8n.example.com/webhook/btc-price",
      "analysisConfig": {
        "chartType": "line",
        "alertThresholds": {
          "high": 50000,
          "low": 30000
        }
      },
      "metadata": {
        "source": "coinmarketcap",
        "updateFrequency": "daily",
        "category": "price"
      }
    }
  ],
  "metadata": {
    "lastUpdated": "2025-08-14T12:00:00Z",
    "version": "1.0.0",
    "totalKPIs": 1,
    "activeKPIs": 1
  }
}
"""
"""As the scheduler's document has it."""


def entry(**changes: object) -> dict[str, Any]:
    """A good KPI with every field; a change to ``...`` takes the field away."""
    fields = {
        "id": "evening-peak",
        "name": "Evening peak price",
        "description": "Highest price of the evening.",
        "type": "price",
        "active": True,
        "webhookUrl": WEBHOOK,
        "analysisConfig": {"chartType": "line", "alertThresholds": {"high": 1000, "low": -50.5}},
        "metadata": {"source": "aemo", "updateFrequency": "daily", "category": "price"},
        "sql": "SELECT region_id, max(rrp) FROM aemo.price WHERE market_day = $market_day GROUP BY ALL",
        "unit": "AUD/MWh",
        "entity": "region",
        "dependsOn": ["aemo.dispatch_region"],
        "reportsBack": True,
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def thresholds(**bounds: object) -> dict[str, Any]:
    return {"analysisConfig": {"alertThresholds": bounds}}


def parse(*entries: object, folder: Path | None = None, **metadata: object) -> Registry:
    return parse_registry(json.dumps({"kpis": entries, "metadata": metadata}), "a test", folder)


def problems(*entries: object, folder: Path | None = None, **metadata: object) -> tuple[str, ...]:
    with pytest.raises(RegistryError) as wrong:
        parse(*entries, folder=folder, **metadata)
    return wrong.value.problems


# --- what may be said


def test_the_predecessors_registry_is_read_as_it_stands() -> None:
    registry = parse_registry(PREDECESSOR, "004")

    [kpi] = registry.kpis
    assert (kpi.id, kpi.name, kpi.type, kpi.active) == ("cmc-btc-price", "Bitcoin Price (CMC)", "price", True)
    assert kpi.description == "Current Bitcoin price from CoinMarketCap"
    assert kpi.webhook_url == "https://n8n.example.com/webhook/btc-price"
    assert kpi.analysis_config.chart_type == "line"
    assert (kpi.analysis_config.alert_thresholds.high, kpi.analysis_config.alert_thresholds.low) == (50000, 30000)
    assert (kpi.metadata.source, kpi.metadata.update_frequency, kpi.metadata.category) == (
        "coinmarketcap",
        "daily",
        "price",
    )
    assert (registry.metadata.last_updated, registry.metadata.version) == ("2025-08-14T12:00:00Z", "1.0.0")
    assert (registry.metadata.total_kpis, registry.metadata.active_kpis) == (1, 1)


def test_a_kpi_may_have_a_query_a_unit_entities_and_tables_that_it_depends_on() -> None:
    [kpi] = parse(entry()).kpis

    assert kpi.sql.startswith("SELECT region_id")
    assert (kpi.unit, kpi.entity, kpi.depends_on, kpi.reports_back) == (
        "AUD/MWh",
        "region",
        ("aemo.dispatch_region",),
        True,
    )


def test_an_id_a_name_and_something_to_do_are_enough() -> None:
    [kpi] = parse({"id": "a", "name": "A", "webhookUrl": "http://localhost:5678/webhook/a"}).kpis

    assert kpi.active
    assert (kpi.sql, kpi.unit, kpi.entity, kpi.depends_on, kpi.reports_back) == ("", "", "", (), False)
    assert (kpi.analysis_config.alert_thresholds.high, kpi.analysis_config.alert_thresholds.low) == (None, None)


def test_our_own_fields_may_be_spelt_as_python_does() -> None:
    [kpi] = parse(entry(dependsOn=..., depends_on=["ace/timeseries_raw"], reportsBack=..., reports_back=True)).kpis

    assert (kpi.depends_on, kpi.reports_back) == (("ace.timeseries_raw",), True)


def test_a_table_that_is_named_twice_is_one() -> None:
    named = ["aemo.dispatch_region", "aemo/dispatch_region", "quality.data_quality"]

    assert parse(entry(dependsOn=named)).kpis[0].depends_on == ("aemo.dispatch_region", "quality.data_quality")


def test_an_inactive_kpi_is_there_and_not_among_the_active_and_needs_nothing_to_do() -> None:
    registry = parse(entry(), {"id": "later", "name": "Later", "active": False}, totalKPIs=2, activeKPIs=1)

    assert [kpi.id for kpi in registry.kpis] == ["evening-peak", "later"]
    assert [kpi.id for kpi in registry.active] == ["evening-peak"]


def test_a_kpi_is_found_by_its_id() -> None:
    registry = parse(entry())

    assert registry.kpi("evening-peak") is registry.kpis[0]
    assert registry.kpi("evening_peak") is None


def test_an_assets_name_has_underscores_for_dashes() -> None:
    assert parse(entry(id="A-b_c-9")).kpis[0].asset_name == "A_b_c_9"


@pytest.mark.parametrize(
    "foreign", ["owner", "tags", "sourceUrl", "createdAt", "webhookAuth", "schedule", "x", "", "prompt"]
)
def test_a_field_of_some_other_reader_is_ignored(foreign: str) -> None:
    assert parse(entry(**{foreign: {"a": [1]}})) == parse(entry())


def test_a_file_may_begin_with_a_byte_order_mark() -> None:
    assert parse_registry(b"\xef\xbb\xbf" + PREDECESSOR.encode(), "004") == parse_registry(PREDECESSOR, "004")


def test_the_digest_is_that_of_the_kpis() -> None:
    base = parse(entry())

    assert parse(entry(), version="2").digest == base.digest
    assert parse(entry(unit="MW")).digest != base.digest
    assert parse(entry(webhookUrl="https://elsewhere.example.com/")).digest != base.digest


def test_the_built_in_registry_is_a_good_one() -> None:
    assert isinstance(built_in(), Registry)


# --- what may not


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": ...}, "kpis[0]: id: is missing"),
        ({"id": 7}, "kpis[0]: id: Input should be a valid string"),
        ({"id": "-a"}, 'kpis[0] "-a": id: must be 1 to 63 letters, digits'),
        ({"id": "a b"}, 'kpis[0] "a b": id: must be 1 to 63 letters, digits'),
        ({"id": "é"}, 'kpis[0] "\\u00e9": id: must be 1 to 63 letters, digits'),
        ({"id": "a\n"}, 'kpis[0] "a\\n": id: must be 1 to 63 letters, digits'),
        ({"id": "a" * 64}, f'kpis[0] "{"a" * 64}": id: must be 1 to 63 letters, digits'),
        ({"name": ...}, "name: is missing"),
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"active": "yes"}, "active: Input should be a valid boolean"),
        ({"active": 1}, "active: Input should be a valid boolean"),
        ({"type": None}, "type: Input should be a valid string"),
        ({"webhookUrl": "ftp://host/t0ken"}, "webhookUrl: must be an address that starts with http:// or https://"),
        ({"webhookUrl": "https:///t0ken"}, "webhookUrl: must be an address"),
        ({"webhookUrl": "https://host/t0ken\n"}, "webhookUrl: must be an address"),
        ({"webhookUrl": "https://ho st/t0ken"}, "webhookUrl: must be an address"),
        ({"webhookUrl": "https://host:t0ken/"}, "webhookUrl: must be an address"),
        ({"webhookUrl": "https://[::t0ken"}, "webhookUrl: must be an address"),
        (thresholds(high=10, low=10.5), "analysisConfig.alertThresholds.low: must be at most high (10)"),
        (thresholds(high=50000, low=60000), "analysisConfig.alertThresholds.low: must be at most high (50000)"),
        (thresholds(high=True), "analysisConfig.alertThresholds.high: Input should be a valid number"),
        (thresholds(low="3"), "analysisConfig.alertThresholds.low: Input should be a valid number"),
        (thresholds(low=float("nan")), "analysisConfig.alertThresholds.low: must be a finite number"),
        (thresholds(high=float("inf")), "analysisConfig.alertThresholds.high: must be a finite number"),
        (thresholds(high=10**400), "analysisConfig.alertThresholds.high: Input should be a valid number"),
        ({"analysisConfig": []}, "analysisConfig: must be a JSON object"),
        ({"tags": [float("nan")]}, "tags[0]: must be a finite number"),
        ({"tags": "\ud800"}, "tags: has half a character"),
        ({"dependsOn": "aemo.dispatch_region"}, "dependsOn: must be a list"),
        ({"dependsOn": ["aemo.prices"]}, "dependsOn[0]: must be a table of the lake in aemo, ace or quality, "),
        ({"dependsOn": ["kpi.kpi_values"]}, "dependsOn[0]: must be a table of the lake in aemo, ace or quality, "),
        ({"dependsOn": ["ace.sites", "aemo.dispatch_regions"]}, "dependsOn[1]: must be a table of the lake"),
        (
            {"webhookUrl": ..., "sql": ..., "reportsBack": ...},
            "sql: nothing to do: give sql, sqlFile or webhookUrl, or set active",
        ),
        ({"webhookUrl": ""}, "reportsBack: needs webhookUrl"),
        ({"alertThresholds": {"high": 1}}, "alertThresholds: belongs into analysisConfig"),
        ({"high": 1}, "high: belongs into analysisConfig.alertThresholds"),
    ],
)
def test_what_is_wrong_with_a_kpi_is_told_by_field_and_without_its_value(
    changes: dict[str, object], problem: str
) -> None:
    [found] = problems(entry(**changes))

    label = "" if problem.startswith("kpis[") else 'kpis[0] "evening-peak": '
    assert found.startswith(label + problem)
    assert "t0ken" not in found


@pytest.mark.parametrize(
    ("mistyped", "meant"),
    [
        ("webhookURL", "webhookUrl"),
        ("webhook-url", "webhookUrl"),
        ("isActive", "active"),
        ("actve", "active"),
        ("depends", "dependsOn"),
        ("dependOn", "dependsOn"),
        ("DependsOn", "dependsOn"),
        ("reportBack", "reportsBack"),
        ("sqlfile", "sqlFile"),
        ("analysis_Config", "analysisConfig"),
        ("SQL", "sql"),
    ],
)
def test_a_field_that_is_almost_one_of_ours_is_taken_for_a_mistake(mistyped: str, meant: str) -> None:
    named = mistyped if mistyped.isidentifier() else f'"{mistyped}"'

    assert problems(entry(**{mistyped: ""})) == (
        f'kpis[0] "evening-peak": {named}: unknown field, did you mean {meant}?',
    )


def test_a_mistyped_field_is_found_at_every_depth() -> None:
    given = entry(analysisConfig={"alertTreshold": {"high": 1}, "alertThresholds": {"hihg": 1, "hight": 1}})

    assert problems(given) == (
        'kpis[0] "evening-peak": analysisConfig.alertTreshold: unknown field, did you mean alertThresholds?',
        'kpis[0] "evening-peak": analysisConfig.alertThresholds.hight: unknown field, did you mean high?',
    )


def test_a_field_in_both_spellings_is_refused() -> None:
    assert problems(entry(depends_on=["ace.sites"])) == (
        'kpis[0] "evening-peak": depends_on: is given as dependsOn too',
    )


def test_a_key_that_one_object_has_twice_is_refused_wherever_it_is() -> None:
    twice = '{"id": "a", "name": "A", "active": false, "x": [{"low": 1, "low": 2}], "active": true}'
    text = f'{{"kpis": [{twice}], "v": {{"a": 1, "a": 1}}}}'

    with pytest.raises(RegistryError) as wrong:
        parse_registry(text, "a test")

    assert set(wrong.value.problems) == {
        'kpis[0] "a": active: is given more than once',
        'kpis[0] "a": x[0].low: is given more than once',
        'kpis[0] "a": sql: nothing to do: give sql, sqlFile or webhookUrl, or set active to false',
        "v.a: is given more than once",
    }


def test_two_lists_of_kpis_are_refused() -> None:
    with pytest.raises(RegistryError, match="a test: kpis: is given more than once"):
        parse_registry('{"kpis": [], "kpis": []}', "a test")


def test_two_kpis_of_one_id_are_refused() -> None:
    assert problems(entry(), entry(id="b"), entry()) == ('kpis[2] "evening-peak": id: is that of kpis[0] too',)


def test_two_kpis_of_one_asset_are_refused() -> None:
    assert problems(entry(), entry(id="evening_peak")) == (
        'kpis[1] "evening_peak": id: names the same asset as kpis[0] "evening-peak"',
    )


def test_counts_that_are_not_the_lists_are_refused() -> None:
    assert problems(entry(), totalKPIs=12, activeKPIs=0) == (
        "metadata.totalKPIs: says 12, the list has 1: so looks a file cut, or edited by half",
        "metadata.activeKPIs: says 0, the list has 1: so looks a file cut, or edited by half",
    )


@pytest.mark.parametrize("count", [True, "1", -1, 1.5])
def test_a_count_is_a_number(count: object) -> None:
    [problem] = problems(entry(), totalKPIs=count)

    assert problem.startswith("metadata.totalKPIs: Input should be")


def test_a_mistyped_count_is_not_ignored() -> None:
    assert problems(entry(), totalKpis=3) == ("metadata.totalKpis: unknown field, did you mean totalKPIs?",)


def test_all_problems_are_told_at_once_each_with_its_kpi() -> None:
    with pytest.raises(RegistryError) as wrong:
        parse(entry(id="a", active=1, unit=2), 3, entry(id="b", webhookURL=""), entry(id="c"), totalKPIs=9)

    assert str(wrong.value).splitlines() == [
        "a test:",
        '  kpis[0] "a": active: Input should be a valid boolean',
        '  kpis[0] "a": unit: Input should be a valid string',
        "  kpis[1]: must be a JSON object",
        '  kpis[2] "b": webhookURL: unknown field, did you mean webhookUrl?',
        "  metadata.totalKPIs: says 9, the list has 4: so looks a file cut, or edited by half",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON: Expecting value in line 1, column 1"),
        (PREDECESSOR[:200], "not JSON: "),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "kpis: must be there, a list of KPIs"),
        ('{"kpis": {}}', "kpis: must be there, a list of KPIs"),
        ("<html></html>", "not JSON"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8 text: byte 0"),
        ("[" * 100_000, "not JSON that can be read"),
        ('{"kpis": [' + "1" * 5_000 + "]}", "not JSON that can be read: a number too long"),
        ('{"kpis": []}' + " " * 5_000_000, "larger than 5 MB"),
        ('{"kpis": [' + "0," * 1_000 + "0]}", "kpis: has 1,001 KPIs; at most 1,000 are taken"),
        ('{"kpis": [], "metadata": []}', "metadata: must be a JSON object"),
        ('{"kpis": [], "metadata": {"version": 1}}', "metadata.version: Input should be a valid string"),
        ('{"kpis": [], "metadata": {"x": NaN}}', "metadata.x: must be a finite number"),
        ('{"kpis": [], "meta_data": {"totalKPIs": 1}}', "meta_data: unknown field, did you mean metadata?"),
    ],
)
def test_a_text_that_is_no_registry_is_refused_with_the_reason(text: str | bytes, problem: str) -> None:
    with pytest.raises(RegistryError) as wrong:
        parse_registry(text, "a test")

    assert str(wrong.value).startswith(f"a test: {problem}")


def test_a_thousand_kpis_are_taken() -> None:
    assert len(parse(*(entry(id=f"k{n}") for n in range(1_000))).kpis) == 1_000


# --- files of SQL


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry's folder with one file of SQL, and one beside the folder that is not its business."""
    folder = tmp_path / "registry"
    (folder / "sql").mkdir(parents=True)
    (folder / "sql" / "peak.sql").write_text("SELECT 1 AS peak -- $market_day\n")
    (tmp_path / "outside.sql").write_text("SELECT 'outside'")
    return folder


def test_a_query_may_lie_in_a_file_beside_the_registry(folder: Path) -> None:
    [kpi] = parse(entry(sql=..., sqlFile="sql/peak.sql"), folder=folder).kpis

    assert (kpi.sql, kpi.sql_file) == ("SELECT 1 AS peak -- $market_day\n", "sql/peak.sql")


def test_a_file_of_sql_that_leads_elsewhere_within_the_folder_is_read(folder: Path) -> None:
    (folder / "link.sql").symlink_to("sql/peak.sql")

    assert parse(entry(sql=..., sqlFile="link.sql"), folder=folder).kpis[0].sql.startswith("SELECT 1 AS peak")


def _link_out(folder: Path) -> str:
    (folder / "link.sql").symlink_to(folder.parent / "outside.sql")
    return "link.sql"


def _link_folder_out(folder: Path) -> str:
    (folder / "more").symlink_to(folder.parent, target_is_directory=True)
    return "more/outside.sql"


def _loop(folder: Path) -> str:
    (folder / "loop.sql").symlink_to("loop.sql")
    return "loop.sql"


def _empty(folder: Path) -> str:
    (folder / "empty.sql").write_text(" \n")
    return "empty.sql"


def _binary(folder: Path) -> str:
    (folder / "binary.sql").write_bytes(b"\xff\xfe")
    return "binary.sql"


def _pipe(folder: Path) -> str:
    import os

    os.mkfifo(folder / "pipe.sql")
    return "pipe.sql"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda _: "../outside.sql", "must be a path below the registry's own folder"),
        (lambda _: "sql/../../outside.sql", "must be a path below the registry's own folder"),
        (lambda folder: str(folder / "sql" / "peak.sql"), "must be a path below the registry's own folder"),
        (lambda _: "a\0b", "must be a path below the registry's own folder"),
        (_link_out, "leads out of the registry's own folder"),
        (_link_folder_out, "leads out of the registry's own folder"),
        (_loop, "cannot be read"),
        (lambda _: "sql/none.sql", "cannot be read: there is no such file"),
        (lambda _: "sql", "is no file of SQL"),
        (_pipe, "is no file of SQL"),
        (_empty, "is empty"),
        (_binary, "is not UTF-8 text"),
    ],
)
def test_no_other_file_is_read_as_sql(folder: Path, make: Callable[[Path], str], problem: str) -> None:
    [found] = problems(entry(sql=..., webhookUrl=..., reportsBack=..., sqlFile=make(folder)), folder=folder)

    assert found.startswith(f'kpis[0] "evening-peak": sqlFile: {problem}')


def test_a_registry_in_no_folder_names_no_files() -> None:
    [found] = problems(entry(sql=..., sqlFile="sql/peak.sql"))

    assert found.startswith('kpis[0] "evening-peak": sqlFile: only a registry in a local file can name one')


def test_a_query_and_a_file_of_sql_exclude_each_other(folder: Path) -> None:
    [found] = problems(entry(sqlFile="sql/peak.sql"), folder=folder)

    assert found == 'kpis[0] "evening-peak": sqlFile: is given beside sql: one of them is the query'


# --- secrets


def test_a_webhooks_address_is_in_no_text_of_a_kpi() -> None:
    registry = parse(entry())

    assert registry.kpis[0].webhook_url == WEBHOOK
    assert "t0ken" not in f"{registry!r}{registry}{registry.kpis[0]}"


def test_a_webhooks_address_is_in_no_error_of_a_kpi() -> None:
    with pytest.raises(ValueError, match="name") as wrong:
        Kpi(id="a", webhook_url=WEBHOOK)

    assert "t0ken" not in str(wrong.value)


# --- whatever comes

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PLACES = [
    *((name,) for name in entry()),
    *(("analysisConfig", name) for name in ("chartType", "alertThresholds")),
    *(("analysisConfig", "alertThresholds", name) for name in ("high", "low")),
    *(("metadata", name) for name in ("source", "updateFrequency", "category")),
    ("dependsOn", 0),
]


def outcome(text: str | bytes) -> Registry | RegistryError:
    try:
        return parse_registry(text, "a test")
    except RegistryError as error:
        return error


@given(place=st.sampled_from(PLACES), value=JSON | st.just(...))
def test_a_kpi_with_one_field_spoilt_is_read_or_named(place: tuple[Any, ...], value: object) -> None:
    spoilt = copy.deepcopy(entry())
    holder: Any = spoilt
    for part in place[:-1]:
        holder = holder[part]
    if value is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value

    found = outcome(json.dumps({"kpis": [entry(id="before"), spoilt, entry(id="after")]}))

    label = "kpis[1]" if place == ("id",) else 'kpis[1] "evening-peak": '
    if isinstance(found, RegistryError):
        assert found.problems
        assert [problem for problem in found.problems if not problem.startswith(label)] == []
        assert WEBHOOK not in str(found)
    else:
        assert len(found.kpis) == 3


@given(text=st.text() | st.binary() | JSON.map(json.dumps))
def test_any_text_is_a_registry_or_is_refused_as_one(text: str | bytes) -> None:
    found = outcome(text)

    assert found.kpis == () if isinstance(found, Registry) else str(found).startswith("a test:")


def test_the_registry_is_loaded_without_an_engine_a_client_or_dagster(tmp_path: Path) -> None:
    program = (
        "import sys; from etl_assets.settings import Settings; from etl_assets.kpi.registry import in_force;"
        "in_force(Settings(_env_file=None, etl_data=sys.argv[1], kpi_registry='registry.json'));"
        "print(sorted({'duckdb', 'httpx', 'dagster', 'pyarrow', 'sqlalchemy'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("view", "table"),
    [
        ("aemo.price", "aemo.dispatch_region"),
        ("aemo/price", "aemo.dispatch_region"),
        ("ace.timeseries_all", "ace.timeseries_raw"),
        ("ace.timeseries_agg_epoch", "ace.timeseries_agg"),
    ],
)
def test_a_kpi_that_depends_on_a_published_view_depends_on_the_table_behind_it(view: str, table: str) -> None:
    kpi = Kpi.model_validate({"id": "a", "name": "A", "webhookUrl": "http://localhost/x", "dependsOn": [view]})

    assert kpi.depends_on == (table,)
