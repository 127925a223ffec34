"""What every test may ask for: settings on a temporary data folder, market rows, the market's own files."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from etl_assets.market_time import interval_ends
from etl_assets.settings import Settings
from etl_assets.settings import settings as process_settings

with pytest.MonkeyPatch.context() as _patch:
    # The definitions read the registry of KPIs in force as they load: not that of a demo in the checkout's own folder.
    _patch.setenv("ETL_SOURCE", "live")
    process_settings.cache_clear()
    import etl_assets.kpi.loaded  # noqa: F401
process_settings.cache_clear()

REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "aemo"
NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
MEMORY = Path("/dev/shm")  # noqa: S108 (another file system, which is what the tests want)


@pytest.fixture(scope="session", autouse=True)
def _databases_of_one_thread() -> Iterator[None]:
    """One thread for this process's DuckDB: for statements over a few rows, one a core costs half as much again.

    The processes that tests start have as many as ever.
    """
    import duckdb

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb, "connect", partial(duckdb.connect, config={"threads": 1}))
        yield


@pytest.fixture(autouse=True)
def _no_storage_of_a_former_test() -> Iterator[None]:
    """A sensor or schedule context enters its instance twice; the storage it leaves is dead by the next test."""
    from dagster._core.storage.defs_state.base import set_defs_state_storage

    with set_defs_state_storage(None):
        yield


@pytest.fixture(autouse=True)
def _databases_at_rest() -> Iterator[None]:
    """Databases that a test leaves attached to its own lake serve the next test's.

    No other test reads that lake, and a new database takes 60 ms for each extension that it loads.
    """
    import duckdb

    from etl_assets.lake import connection

    yield
    while connection._readers:
        _, rested = connection._readers.popitem()
        for database, uses in rested:
            try:
                database.execute("DETACH lake")
            except duckdb.Error:
                database.close()
            else:
                connection._idle["sqlite_scanner"].append((database, uses))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, etl_data=tmp_path / "data", http_backoff=0)


@pytest.fixture(scope="session")
def empty_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a lake that has its tables and nothing in them, made once, to be copied to another place."""
    from etl_assets.lake.connection import write_lake

    folder = tmp_path_factory.mktemp("empty") / "data"
    with write_lake(Settings(_env_file=None, etl_data=folder), "making an empty lake"):
        pass
    return folder


@pytest.fixture
def another_file_system(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than that of the test: the one in memory that Linux has."""
    if not MEMORY.is_dir() or MEMORY.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def now() -> datetime:
    """12:00 NEM time on 2026-11-22."""
    return NOW


@pytest.fixture
def real_data() -> Path:
    if not REAL_DATA.exists():
        pytest.skip("the market operator's own files are not at hand (../shared/data/aemo)")
    return REAL_DATA


@pytest.fixture
def region_rows() -> Callable[..., pa.Table]:
    """Rows of ``aemo.dispatch_region``: every interval of some days, at one price."""
    return make_region_rows


def make_region_rows(
    *days: date, price: float = 50.0, regions: tuple[str, ...] = ("NSW1", "VIC1"), intervals: int = 288, **more: object
) -> pa.Table:
    keys = [(end, region) for day in days for end in interval_ends(day)[:intervals] for region in regions]
    columns: dict[str, object] = {
        "interval_end": [end for end, _ in keys],
        "region_id": [region for _, region in keys],
        "intervention": [0] * len(keys),
        "rrp": [price] * len(keys),
        "rop": [50.0] * len(keys),
        "total_demand": [7000.0] * len(keys),
        "available_generation": [9000.0] * len(keys),
    }
    columns.update({name: [value] * len(keys) for name, value in more.items()})
    return pa.table(columns)
