"""Every row of a batch is accounted for, keys hold, revisions leave a trace."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.tables import DISPATCH_REGION, QUARANTINE, REGION_FORECAST, Table
from etl_assets.lake.upsert import QuarantinedRecord, UpsertCounts, quarantine, transaction, upsert
from etl_assets.market_time import NEM_TIME
from etl_assets.settings import Settings

DAY = date(2026, 11, 20)
LATER = datetime(2026, 11, 21, tzinfo=UTC)


def store(settings: Settings, rows: pa.Table, now: datetime, table: Table = DISPATCH_REGION, **options) -> UpsertCounts:
    with write_lake(settings, "a test") as lake, transaction(lake):
        return upsert(lake, table, rows, now=now, **options)


def query(settings: Settings, sql: str) -> list[tuple]:
    with read_lake(settings) as lake:
        return lake.execute(sql).fetchall()


def test_a_first_batch_is_inserted_and_a_second_one_changes_nothing(settings, now, region_rows):
    first = store(settings, region_rows(DAY), now)
    second = store(settings, region_rows(DAY), now)

    assert first == UpsertCounts(inserted=576)
    assert second == UpsertCounts(unchanged=576)
    assert query(settings, "SELECT count(*) FROM lake.aemo.dispatch_region") == [(576,)]


def test_the_interval_that_ends_at_midnight_belongs_to_the_day_before(settings, now, region_rows):
    store(settings, region_rows(DAY), now)

    last = query(settings, "SELECT max(interval_end), max(market_day), min(market_day) FROM lake.aemo.dispatch_region")

    assert last == [(datetime(2026, 11, 20, 14, 0, tzinfo=UTC), DAY, DAY)]


def test_a_changed_value_replaces_the_former_one_and_leaves_a_trace(settings, now, region_rows):
    store(settings, region_rows(DAY, intervals=1, regions=("NSW1",), source_file="first.zip"), now)

    counts = store(
        settings, region_rows(DAY, price=-12.5, intervals=1, regions=("NSW1",), source_file="second.zip"), LATER
    )

    assert counts == UpsertCounts(updated=1)
    assert query(settings, "SELECT rrp, total_demand, source_file FROM lake.aemo.dispatch_region") == [
        (-12.5, 7000.0, "second.zip")
    ]
    trace = query(
        settings,
        "SELECT table_name, column_name, former_value, new_value, former_source, new_source, revised_at "
        "FROM lake.quality.revisions",
    )
    assert trace == [("aemo.dispatch_region", "rrp", "50.0", "-12.5", "first.zip", "second.zip", LATER)]


def test_a_late_stamp_with_the_same_values_is_unchanged(settings, now, region_rows):
    store(settings, region_rows(DAY, last_changed=now), now)

    counts = store(settings, region_rows(DAY, last_changed=now + timedelta(minutes=25)), now)

    assert counts == UpsertCounts(unchanged=576)


def test_an_older_issue_of_a_row_does_not_undo_a_revision(settings, now, region_rows):
    store(settings, region_rows(DAY, price=80.0, last_changed=now), now)

    counts = store(settings, region_rows(DAY, price=50.0, last_changed=now - timedelta(minutes=5)), now)

    assert counts == UpsertCounts(unchanged=576)
    assert query(settings, "SELECT DISTINCT rrp FROM lake.aemo.dispatch_region") == [(80.0,)]


def test_of_rows_with_one_key_the_latest_issue_wins_and_the_others_are_counted(settings, now, region_rows):
    one = {"intervals": 1, "regions": ("NSW1",)}
    batch = pa.concat_tables(
        [
            region_rows(DAY, price=1.0, last_changed=now, **one),
            region_rows(DAY, price=3.0, last_changed=now + timedelta(minutes=10), **one),
            region_rows(DAY, price=2.0, last_changed=now + timedelta(minutes=5), **one),
        ]
    )

    counts = store(settings, batch, now)

    assert counts == UpsertCounts(duplicate=2, inserted=1)
    assert query(settings, "SELECT rrp FROM lake.aemo.dispatch_region") == [(3.0,)]


def test_the_physical_run_of_an_intervention_is_kept_beside_the_pricing_run(settings, now, region_rows):
    pricing = region_rows(DAY, intervals=1, regions=("NSW1",))
    physical = pricing.set_column(2, "intervention", pa.array([1]))

    store(settings, pa.concat_tables([pricing, physical]), now)

    assert query(settings, "SELECT intervention FROM lake.aemo.dispatch_region ORDER BY 1") == [(0,), (1,)]


def test_a_column_that_a_batch_lacks_keeps_its_stored_value(settings, now, region_rows):
    store(settings, region_rows(DAY, intervals=1, apc_flag=8), now)

    counts = store(settings, region_rows(DAY, intervals=1, price=60.0), now)

    assert counts == UpsertCounts(updated=2)
    assert query(settings, "SELECT DISTINCT rrp, apc_flag FROM lake.aemo.dispatch_region") == [(60.0, 8)]


def test_a_null_is_no_revision(settings, now, region_rows):
    store(settings, region_rows(DAY, intervals=1), now)
    rows = region_rows(DAY, intervals=1)

    counts = store(settings, rows.set_column(3, "rrp", pa.array([None, None], pa.float64())), now)

    assert counts == UpsertCounts(unchanged=2)


def test_a_second_rate_source_fills_nulls_and_never_changes_a_value(settings, now, region_rows):
    provisional = region_rows(DAY, intervals=1, regions=("NSW1",)).drop_columns(["available_generation"])
    store(settings, provisional, now)

    counts = store(settings, region_rows(DAY, price=99.0, intervals=2, regions=("NSW1",)), now, mode="fill")

    assert counts == UpsertCounts(inserted=1, updated=1)
    rows = query(settings, "SELECT rrp, available_generation FROM lake.aemo.dispatch_region ORDER BY interval_end")
    assert rows == [(50.0, 9000.0), (99.0, 9000.0)]


def test_completing_a_provisional_row_is_no_revision(settings, now, region_rows):
    store(settings, region_rows(DAY, intervals=1).drop_columns(["available_generation"]), now)

    counts = store(settings, region_rows(DAY, intervals=1, price=50.00317), now)

    assert counts == UpsertCounts(updated=2)
    assert query(settings, "SELECT count(*) FROM lake.quality.revisions") == [(0,)]


def test_a_forecast_issued_later_stands_beside_the_former_one(settings, now):
    forecast = {"interval_end": [datetime(2026, 11, 20, 12, 30, tzinfo=NEM_TIME)] * 2, "region_id": ["SA1"] * 2}
    issued = {"issued_at": [now, now + timedelta(minutes=5)], "rrp": [40.0, 45.0]}

    counts = store(settings, pa.table(forecast | issued), now, REGION_FORECAST)

    assert counts == UpsertCounts(inserted=2)


def test_an_undeclared_column_is_refused_by_name(settings, now, region_rows):
    with pytest.raises(ValueError, match=r"aemo.dispatch_region has no column colour; declare it in lake/tables.py"):
        store(settings, region_rows(DAY, colour="red"), now)


def test_rows_without_their_key_are_refused_by_name(settings, now, region_rows):
    with pytest.raises(ValueError, match=r"lack the key column region_id"):
        store(settings, region_rows(DAY).drop_columns(["region_id"]), now)


def test_a_transaction_that_fails_stores_nothing(settings, now, region_rows):
    def store_and_fail() -> None:
        with write_lake(settings, "a test") as lake, transaction(lake):
            upsert(lake, DISPATCH_REGION, region_rows(DAY), now=now)
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        store_and_fail()

    assert query(settings, "SELECT count(*) FROM lake.aemo.dispatch_region") == [(0,)]


def test_a_quarantined_record_is_kept_once_however_often_it_is_met(settings, now):
    record = QuarantinedRecord("aemo.unit_scada", "a.csv line 3", "D,DISPATCH,UNIT_SCADA,1,x", "SCADAVALUE is 'x'")

    for _ in range(2):
        with write_lake(settings, "a test") as lake, transaction(lake):
            quarantine(lake, [record, record], run_id="run", day=DAY, now=now)

    rows = query(settings, f"SELECT dataset, raw, reason, day FROM {QUARANTINE.lake_name}")
    assert rows == [("aemo.unit_scada", "D,DISPATCH,UNIT_SCADA,1,x", "SCADAVALUE is 'x'", DAY)]


BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["NSW1", "SA1"]), st.integers(-2, 2)), max_size=12),
    min_size=1,
    max_size=3,
)


@given(batches=BATCHES)
@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_row_of_every_batch_is_counted_once_and_the_last_value_stands(tmp_path_factory, batches):
    settings = Settings(_env_file=None, etl_data=Path(tmp_path_factory.mktemp("lake")))
    start = datetime(2026, 11, 20, tzinfo=NEM_TIME)
    expected: dict[tuple[int, str], int] = {}
    for batch in batches:
        before = dict(expected)
        expected.update({(slot, region): price for slot, region, price in batch})
        rows = pa.table(
            {
                "interval_end": pa.array(
                    [start + timedelta(minutes=5 * (slot + 1)) for slot, _, _ in batch], pa.timestamp("us", tz="UTC")
                ),
                "region_id": pa.array([region for _, region, _ in batch], pa.string()),
                "intervention": pa.array([0] * len(batch), pa.int32()),
                "rrp": pa.array([float(price) for _, _, price in batch], pa.float64()),
            }
        )

        counts = store(settings, rows, LATER)

        assert counts.total == len(batch)
        assert counts.inserted == len(expected) - len(before)
        assert counts.updated == sum(before[key] != expected[key] for key in before)
    stored = query(settings, "SELECT interval_end, region_id, rrp FROM lake.aemo.dispatch_region")
    assert {((end - start) // timedelta(minutes=5) - 1, region): rrp for end, region, rrp in stored} == expected
