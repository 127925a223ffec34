"""A market day's KPIs, a line each."""

import duckdb
import pytest

from etl_assets.kpi.glance import ENTITIES_SHOWN, Glance, at_a_glance
from etl_assets.kpi.query import KpiValue
from etl_assets.kpi.run import Order, run_day
from etl_assets.kpi.values import Found, store_values
from etl_assets.lake.publish import publish
from etl_assets.ops.state import copies_for_analysts
from etl_assets.settings import Settings
from etl_assets_tests.kpi.conftest import BY_REGION, DAY, PRICE, TICK, Receivers, kpi, says, with_workflows


def test_each_kpi_is_a_line_in_the_registrys_order(market: Settings, receivers: Receivers) -> None:
    receivers.answers["ill"] = says(404)
    kpis = [
        kpi("z", sql=BY_REGION, high=200.0),
        kpi("a", sql=PRICE, high=200.0, webhookUrl=receivers.url("a")),
        *with_workflows(receivers, ["ill"]),
    ]
    run_day(market, kpis, DAY, Order("run-1", TICK))
    publish(market, now=TICK, extra=copies_for_analysts(market))

    first, second, third = at_a_glance(market, kpis, DAY)

    assert first == Glance("Z", "AUD/MWh", "NSW1 139  SA1 278", "above threshold", "")
    assert second == Glance("A", "AUD/MWh", "139", "ok", "triggered")
    assert (third.name, third.values, third.status) == ("Ill", "", "")
    assert third.workflow.startswith("failed: Webhook at 127.0.0.1")


def test_of_many_entities_the_first_are_named_and_the_worst_gives_the_status(market: Settings) -> None:
    many = kpi(sql=BY_REGION, low=0.0)
    values = [KpiValue(f"r{n}", n) for n in range(9)] + [KpiValue("r9", None)]
    store_values(market, [Found(many, DAY, values, "sql")], now=TICK)
    publish(market, now=TICK, extra=copies_for_analysts(market))

    [found] = at_a_glance(market, [many], DAY)

    assert found.values == "r0 0  r1 1  r2 2  r3 3  r4 4  r5 5 and 4 more"
    assert ENTITIES_SHOWN == 6
    assert found.status == "no data"


def test_a_day_without_kpis_has_empty_lines_and_without_a_file_there_is_an_error(
    market: Settings, settings: Settings
) -> None:
    publish(market, now=TICK, extra=copies_for_analysts(market))

    [found] = at_a_glance(market, [kpi(sql=PRICE)], DAY)

    assert (found.values, found.status, found.workflow) == ("", "", "")
    with pytest.raises(duckdb.Error):
        at_a_glance(settings.model_copy(update={"etl_data": settings.etl_data / "nowhere"}), [], DAY)
