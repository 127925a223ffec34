"""Values of KPIs in the lake: judged by their thresholds, stored whole, none left stale, read back by KPI and day."""

from datetime import UTC, date, datetime, timedelta
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.kpi.query import KpiValue
from etl_assets.kpi.registry import Kpi
from etl_assets.kpi.values import Found, breaches, day_values, history, store_values, threshold_status
from etl_assets.lake.connection import read_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.upsert import UpsertCounts
from etl_assets.settings import Settings

DAY = date(2026, 11, 21)
NEXT = date(2026, 11, 22)
NOW = datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def kpi(kpi_id: str = "price", high: float | None = None, low: float | None = None, unit: str = "AUD/MWh") -> Kpi:
    thresholds = {"high": high, "low": low}
    return Kpi.model_validate(
        {
            "id": kpi_id,
            "name": kpi_id,
            "sql": "SELECT $market_day",
            "unit": unit,
            "analysisConfig": {"alertThresholds": thresholds},
        }
    )


def found(of: Kpi, day: date, trace_id: str = "", source: str = "sql", **values: float | None) -> Found:
    """Values by entity; ``one`` is the number of a KPI without entities."""
    return Found(of, day, [KpiValue("" if e == "one" else e, v) for e, v in values.items()], source, trace_id)


def stored(settings: Settings, columns: str = "kpi_id, date, entity, value, threshold_status") -> list[tuple]:
    with read_lake(settings) as lake:
        return lake.execute(f"SELECT {columns} FROM lake.kpi.kpi_values ORDER BY kpi_id, date, entity").fetchall()


@pytest.mark.parametrize(
    ("value", "high", "low", "status"),
    [
        (300.0, 300.0, 0.0, "within"),
        (300.01, 300.0, 0.0, "above"),
        (0.0, 300.0, 0.0, "within"),
        (-0.01, 300.0, 0.0, "below"),
        (5.0, 5.0, 5.0, "within"),
        (1e9, None, 0.0, "within"),
        (-1e9, 300.0, None, "within"),
        (1e9, None, None, "none"),
        (None, 300.0, 0.0, "no_data"),
        (None, None, None, "no_data"),
    ],
)
def test_a_value_at_a_threshold_is_within(value, high, low, status):
    assert threshold_status(value, high, low) == status


def test_breaches_name_the_entity_its_value_and_the_limit_in_words():
    values = [KpiValue("NSW1", 81.0), KpiValue("QLD1", None), KpiValue("SA1", 300.5), KpiValue("VIC1", -20.0)]

    assert breaches(kpi(high=300, low=0), values) == [
        ("SA1", 300.5, "above 300 AUD/MWh"),
        ("VIC1", -20.0, "below 0 AUD/MWh"),
    ]
    assert breaches(kpi(), values) == []
    assert breaches(kpi(high=1, unit=""), [KpiValue("", 2.0)]) == [("", 2.0, "above 1")]


def test_values_are_stored_with_unit_status_source_and_job(settings):
    price = found(kpi(high=300), DAY, "trace_1", NSW1=81.5, SA1=301.0)
    index = found(kpi("index", unit="points"), DAY, "trace_1", "report", one=7.0)

    counts = store_values(settings, [price, index], now=NOW)

    assert counts == UpsertCounts(inserted=3)
    assert stored(settings, "*") == [
        ("index", DAY, "", 7.0, "points", "none", "report", "trace_1", NOW),
        ("price", DAY, "NSW1", 81.5, "AUD/MWh", "within", "sql", "trace_1", NOW),
        ("price", DAY, "SA1", 301.0, "AUD/MWh", "above", "sql", "trace_1", NOW),
    ]


def test_the_same_values_again_change_nothing(settings):
    for moment in (NOW, LATER):
        counts = store_values(settings, [found(kpi(), DAY, NSW1=81.5, SA1=None)], now=moment)

    assert counts == UpsertCounts(unchanged=2)
    assert stored(settings, "computed_at") == [(NOW,), (NOW,)]


def test_a_recomputation_replaces_the_value_and_who_computed_it(settings):
    store_values(settings, [found(kpi(high=300), DAY, "trace_1", NSW1=81.5)], now=NOW)

    counts = store_values(settings, [found(kpi(high=300), DAY, "trace_2", NSW1=305.0)], now=LATER)

    assert counts == UpsertCounts(updated=1)
    assert stored(settings, "value, threshold_status, trace_id, computed_at") == [(305.0, "above", "trace_2", LATER)]


def test_a_threshold_that_moved_judges_the_value_anew(settings):
    store_values(settings, [found(kpi(high=300), DAY, NSW1=81.5)], now=NOW)

    counts = store_values(settings, [found(kpi(high=80), DAY, NSW1=81.5)], now=LATER)

    assert counts == UpsertCounts(updated=1)
    assert stored(settings) == [("price", DAY, "NSW1", 81.5, "above")]


def test_an_entity_that_is_found_no_more_and_one_without_data_have_no_number_left(settings):
    store_values(settings, [found(kpi(), DAY, NSW1=1.0, QLD1=2.0, SA1=3.0)], now=NOW)

    counts = store_values(settings, [found(kpi(), DAY, NSW1=1.0, QLD1=None, VIC1=4.0)], now=LATER)

    assert counts == UpsertCounts(unchanged=1, inserted=1, updated=2)
    assert stored(settings) == [
        ("price", DAY, "NSW1", 1.0, "none"),
        ("price", DAY, "QLD1", None, "no_data"),
        ("price", DAY, "SA1", None, "no_data"),
        ("price", DAY, "VIC1", 4.0, "none"),
    ]
    again = store_values(settings, [found(kpi(), DAY, NSW1=1.0, QLD1=None, VIC1=4.0)], now=LATER)
    assert again == UpsertCounts(unchanged=4)


def test_a_kpi_that_has_entities_now_keeps_its_former_one_number_no_longer(settings):
    store_values(settings, [found(kpi(), DAY, one=50.0)], now=NOW)
    store_values(settings, [found(kpi(), DAY, NSW1=81.5)], now=LATER)
    entities = stored(settings)

    store_values(settings, [found(kpi(), DAY, one=50.0)], now=LATER)

    assert entities == [("price", DAY, "", None, "no_data"), ("price", DAY, "NSW1", 81.5, "none")]
    assert stored(settings) == [("price", DAY, "", 50.0, "none"), ("price", DAY, "NSW1", None, "no_data")]


def test_a_day_on_which_nothing_is_found_has_no_number_left(settings):
    store_values(settings, [found(kpi(), DAY, NSW1=81.5)], now=NOW)

    counts = store_values(settings, [found(kpi(), DAY)], now=LATER)

    assert (counts, stored(settings)) == (UpsertCounts(updated=1), [("price", DAY, "NSW1", None, "no_data")])


def test_values_of_another_kpi_or_day_stay_as_they_are(settings):
    store_values(settings, [found(kpi(), NEXT, NSW1=1.0), found(kpi("peak"), DAY, NSW1=2.0)], now=NOW)

    store_values(settings, [found(kpi(), DAY, SA1=3.0), found(kpi("peak"), NEXT, SA1=4.0)], now=LATER)

    assert stored(settings, "kpi_id, date, entity, value") == [
        ("peak", DAY, "NSW1", 2.0),
        ("peak", NEXT, "SA1", 4.0),
        ("price", DAY, "SA1", 3.0),
        ("price", NEXT, "NSW1", 1.0),
    ]


def test_of_a_kpi_and_day_given_twice_the_later_wins_whole(settings):
    store_values(settings, [found(kpi(), DAY, NSW1=1.0), found(kpi(), DAY, SA1=2.0)], now=NOW)

    assert stored(settings, "entity, value") == [("SA1", 2.0)]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_refused_before_anything_is_stored(settings, value):
    with pytest.raises(ValueError, match=r"price, 2026-11-21, SA1 is -?(nan|inf); a value is a finite number"):
        store_values(settings, [found(kpi("peak"), DAY, one=1.0), found(kpi(), DAY, NSW1=1.0, SA1=value)], now=NOW)

    assert stored(settings) == []


def test_nothing_found_stores_nothing(settings):
    assert store_values(settings, [], now=NOW) == UpsertCounts()
    assert not settings.catalog_path.exists()


def test_an_id_or_entity_with_a_quote_is_stored_as_it_is(settings):
    store_values(settings, [Found(kpi(), DAY, [KpiValue("O'Brien's", 1.0)], "sql")], now=NOW)

    assert history(settings, ["price", "o'b"], until=DAY) == {"price": {"O'Brien's": [(DAY, 1.0)]}, "o'b": {}}


def test_analysts_see_the_values(settings):
    store_values(settings, [found(kpi(), DAY, NSW1=1.0)], now=NOW)
    store_values(settings, [found(kpi(), DAY, NSW1=2.0)], now=LATER)

    publish(settings, now=LATER)

    with duckdb.connect(str(settings.warehouse_path), read_only=True) as warehouse:
        assert warehouse.execute("SELECT kpi_id, date, entity, value FROM kpi.kpi_values").fetchall() == [
            ("price", DAY, "NSW1", 2.0)
        ]


def test_history_is_read_by_kpi_and_entity_oldest_first_for_so_many_days(settings):
    days = [DAY - timedelta(days=n) for n in (0, 1, 29, 30)]
    store_values(settings, [found(kpi(), day, NSW1=float(day.day), SA1=None) for day in days], now=NOW)
    store_values(settings, [found(kpi("peak"), NEXT, one=9.0), found(kpi("other"), DAY, one=1.0)], now=NOW)

    read = history(settings, ["price", "peak", "never"], until=DAY)

    first, second, last = date(2026, 10, 23), date(2026, 11, 20), DAY
    assert read == {
        "price": {
            "NSW1": [(first, 23.0), (second, 20.0), (last, 21.0)],
            "SA1": [(first, None), (second, None), (last, None)],
        },
        "peak": {},
        "never": {},
    }
    assert history(settings, ["price"], until=DAY, days=1)["price"]["NSW1"] == [(DAY, 21.0)]
    assert history(settings, [], until=DAY) == {}


def test_the_values_of_days_are_read_by_kpi_and_day(settings):
    store_values(
        settings,
        [found(kpi(), DAY, SA1=None, NSW1=1.0), found(kpi(), NEXT, NSW1=2.0), found(kpi("peak"), NEXT, one=3.0)],
        now=NOW,
    )

    assert day_values(settings, ["price", "peak", "never"], [DAY, DAY + timedelta(days=5)]) == {
        ("price", DAY): [KpiValue("NSW1", 1.0), KpiValue("SA1", None)]
    }
    assert day_values(settings, ["price", "peak"], [NEXT]) == {
        ("price", NEXT): [KpiValue("NSW1", 2.0)],
        ("peak", NEXT): [KpiValue("", 3.0)],
    }
    assert day_values(settings, [], [DAY]) == day_values(settings, ["price"], []) == {}


COMPUTATIONS = st.lists(
    st.dictionaries(st.sampled_from(["", "NSW1", "SA1"]), st.none() | st.sampled_from([-1.0, 0.0, 7.5]), max_size=3),
    min_size=1,
    max_size=5,
)


@hypothesis_settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(COMPUTATIONS)
def test_after_any_recomputations_the_numbers_are_those_of_the_last_one(computations):
    with TemporaryDirectory() as folder:
        fresh = Settings(_env_file=None, etl_data=folder)
        rows = 0
        for values in computations:
            given_values = [KpiValue(entity, value) for entity, value in values.items()]
            counts = store_values(fresh, [Found(kpi(high=5, low=0), DAY, given_values, "sql")], now=NOW)
            rows += counts.inserted
            found_rows = stored(fresh, "entity, value, threshold_status")
            assert len(found_rows) == rows == counts.total

        numbers = {entity: (value, status) for entity, value, status in found_rows if value is not None}
        judged = {-1.0: "below", 0.0: "within", 7.5: "above"}
        assert numbers == {e: (v, judged[v]) for e, v in computations[-1].items() if v is not None}
        assert {status for _, value, status in found_rows if value is None} <= {"no_data"}
