"""How the pipeline stands, in numbers: how far each dataset lags, what lies on the disk, how long the lock is held.

Plain functions; what Dagster makes of them is in ``watch``. Every function looks for itself, and takes the moment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from shutil import disk_usage
from time import monotonic
from typing import TYPE_CHECKING

from etl_assets.lake.connection import lock_holder, read_lake, writer_lock
from etl_assets.lake.tables import DISPATCH_INTERCONNECTOR, DISPATCH_REGION, ROOFTOP_PV, TRADING_PRICE, UNIT_SCADA
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

LAGGING = (DISPATCH_REGION, DISPATCH_INTERCONNECTOR, TRADING_PRICE, UNIT_SCADA, ROOFTOP_PV)
"""What comes in at every tick; forecasts are ahead of the clock, and months come in daily."""


def lags_in_minutes(settings: Settings, now: datetime) -> dict[str, float]:
    """Minutes since the newest interval of each live table ended, and since each site was read without a hole.

    What has never come in has no lag, and is not among them. A dispatch interval's file comes before its end: the lag
    of what is current is negative.
    """
    from etl_assets.ops.site_state import last_sync

    with read_lake(settings) as lake:
        newest: dict[str, datetime | None] = {
            table.full_name: lake.execute(f"SELECT max({table.time}) FROM {table.lake_name}").fetchall()[0][0]
            for table in LAGGING
        }
    newest |= {site.name: last_sync(settings, site.name) for site in settings.sites}
    return {name: round((now - at).total_seconds() / 60, 1) for name, at in newest.items() if at is not None}


@dataclass(frozen=True, slots=True)
class Disk:
    """In bytes: what the lake's files and Dagster's storage take, and what is free where the data folder lies."""

    lake: int
    dagster_storage: int
    free: int
    total: int

    @property
    def free_share(self) -> float:
        """Free of all, 0 to 1."""
        return self.free / self.total


def measure_disk(settings: Settings) -> Disk:
    """Sizes now. The lake's files count only where they lie in a folder of this machine."""
    usage = disk_usage(settings.etl_data)
    files = 0 if "://" in settings.lake_files else folder_bytes(Path(settings.lake_files))
    return Disk(files, folder_bytes(settings.dagster_home), usage.free, usage.total)


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; one that goes while it is looked at counts nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


@dataclass(frozen=True, slots=True)
class LockWait:
    """How long a writer had to wait for the lake just now; ``held_by`` names who kept it for the whole time-out."""

    seconds: float
    held_by: str = ""


def measure_lock(settings: Settings) -> LockWait:
    """Wait for the lake's lock as a writer does, and let go of it at once. A Postgres catalog has none: no wait."""
    from filelock import Timeout

    if settings.lake_catalog.startswith("postgres:"):
        return LockWait(0.0)
    began = monotonic()
    try:
        with writer_lock(settings):
            return LockWait(round(monotonic() - began, 3))
    except Timeout:
        return LockWait(round(monotonic() - began, 3), lock_holder(settings))


def failed_partitions(
    instance: "dg.DagsterInstance", partitions: "Mapping[dg.AssetKey, dg.PartitionsDefinition[str]]"
) -> "dict[dg.AssetKey, list[str]]":
    """The partitions whose last run failed and that nothing has made since, by asset; assets without any are left out.

    Dagster keeps the state of each partition up to date in its storage, so this costs little however many there are.
    """
    found = {}
    for key, definition in partitions.items():
        known = definition.get_partition_keys(dynamic_partitions_store=instance)
        states = instance.get_status_by_partition(key, known, definition) or {}
        if failed := [name for name, state in states.items() if state is not None and state.value == "FAILED"]:
            found[key] = failed
    return found


def in_runs(names: Iterable[str]) -> str:
    """Names in a line, neighbours as a span: ``2026-11-16 … 2026-11-18 (3)``."""
    ordered = sorted(names)
    return ordered[0] if len(ordered) == 1 else f"{ordered[0]} … {ordered[-1]} ({len(ordered)})"
