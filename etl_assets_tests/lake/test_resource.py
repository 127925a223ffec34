"""The lake as Dagster sees it."""

import dagster as dg
import duckdb
import pytest
from dagster_duckdb import DuckDBResource

from etl_assets.lake.connection import lock_holder
from etl_assets.lake.resource import Lake
from etl_assets.lake.tables import UNIT_SCADA
from etl_assets.lake.upsert import transaction, upsert

COUNT = "SELECT count(*) FROM lake.aemo.unit_scada"


@pytest.fixture
def lake(settings) -> Lake:
    return Lake(database=str(settings.etl_data))


def test_the_lake_is_a_duckdb_resource(lake):
    assert isinstance(lake, DuckDBResource)


def test_the_data_folder_may_be_configured(lake, settings):
    assert lake.settings.catalog_path == settings.catalog_path


def test_without_configuration_the_lake_follows_the_settings(monkeypatch, tmp_path):
    from etl_assets.settings import settings as process_settings

    monkeypatch.setenv("ETL_DATA", str(tmp_path / "from-environment"))
    process_settings.cache_clear()
    try:
        followed = Lake().settings.etl_data
    finally:
        process_settings.cache_clear()

    assert followed == tmp_path / "from-environment"


def test_a_connection_is_released_when_its_body_raises(lake):
    def fail() -> None:
        with lake.get_connection() as connection:
            connection.execute("DROP TABLE lake.aemo.unit_scada")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail()

    with lake.get_connection(purpose="the next run") as connection:
        assert connection.execute(COUNT).fetchall() == [(0,)]


def test_a_read_only_connection_refuses_a_write(lake):
    with (
        lake.get_connection(read_only=True) as connection,
        pytest.raises(duckdb.InvalidInputException, match="read-only"),
    ):
        connection.execute("DELETE FROM lake.aemo.unit_scada")


def test_whoever_waits_is_told_the_purpose(lake):
    with lake.get_connection(purpose="a backfill"):
        assert "(a backfill)" in lock_holder(lake.settings)


def test_an_asset_writes_and_a_later_one_reads(lake, now):
    import pyarrow as pa

    @dg.asset
    def stored(lake: Lake) -> dg.MaterializeResult:
        rows = pa.table({"interval_end": [now], "duid": ["ARWF1"], "scada_value": [12.5]})
        with lake.get_connection(purpose="a test") as connection, transaction(connection):
            counts = upsert(connection, UNIT_SCADA, rows, now=now)
        return dg.MaterializeResult(metadata={"inserted": counts.inserted})

    @dg.asset(deps=[stored])
    def counted(lake: Lake) -> dg.MaterializeResult:
        with lake.get_connection(read_only=True) as connection:
            return dg.MaterializeResult(metadata={"rows": connection.execute(COUNT).fetchall()[0][0]})

    result = dg.materialize([stored, counted], resources={"lake": lake})

    metadata = {e.asset_key.path[0]: e.materialization.metadata for e in result.get_asset_materialization_events()}
    assert metadata["stored"]["inserted"].value == 1
    assert metadata["counted"]["rows"].value == 1
