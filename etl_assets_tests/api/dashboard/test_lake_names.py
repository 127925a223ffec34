"""The published file under the lake's names, whoever else is asking for them at the same time."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from etl_assets.api.dashboard.lake_names import as_lake
from etl_assets.api.warehouse import Warehouse
from etl_assets.lake.tables import DATA_QUALITY, DISPATCH_REGION, Table
from etl_assets.settings import Settings


@pytest.fixture
def warehouse(published: Path) -> Iterator[Warehouse]:
    it = Warehouse(Settings(_env_file=None, etl_data=published))
    yield it
    it.close()


def columns(warehouse: Warehouse, table: Table) -> set[str]:
    with as_lake(warehouse) as lake:
        found = lake.execute(f"SELECT * FROM {table.lake_name} LIMIT 0").description or ()
    return {column[0] for column in found}


@pytest.mark.parametrize("table", [DATA_QUALITY, DISPATCH_REGION])
def test_a_published_table_has_the_lakes_name_too(warehouse: Warehouse, table: Table) -> None:
    assert columns(warehouse, table) >= set(table.key)


def test_who_comes_while_another_is_still_naming_finds_every_name(warehouse: Warehouse) -> None:
    """As pages do that were told of a publication: the calendar and the heat map are asked for in the same moment."""
    with warehouse.connection() as other:
        other.execute("ATTACH ':memory:' AS lake")

        assert columns(warehouse, DATA_QUALITY) >= set(DATA_QUALITY.key)
