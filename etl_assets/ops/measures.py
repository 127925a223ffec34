"""How the pipeline stands, in numbers: how far each dataset lags, what lies on the disk, how long the lock is held.

Plain functions; what Dagster makes of them is in ``watch``. Every function looks for itself, and takes the moment.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shutil import disk_usage
from time import monotonic
from typing import TYPE_CHECKING

from etl_assets.lake.connection import lock_holder, read_lake, writer_lock
from etl_assets.lake.tables import DISPATCH_INTERCONNECTOR, DISPATCH_REGION, ROOFTOP_PV, TRADING_PRICE, UNIT_SCADA
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg

LATEST = timedelta(hours=3)
"""How late data may be. Rooftop solar, the slowest feed, is overdue two hours after an interval's end; an hour's
healing on top."""

LAGGING = (DISPATCH_REGION, DISPATCH_INTERCONNECTOR, TRADING_PRICE, UNIT_SCADA, ROOFTOP_PV)
"""What comes in at every tick; forecasts have a check of their own, ``forecast_is_recent``; months come in daily."""


def lags_in_minutes(settings: Settings, now: datetime) -> dict[str, float | None]:
    """Minutes since the newest interval of each live table ended, and since each site was read without a hole.

    None for what has never come in. A dispatch interval's file comes before its end: the lag of what is current is
    negative.
    """
    from etl_assets.ops.site_state import last_sync

    with read_lake(settings) as lake:
        newest: dict[str, datetime | None] = {
            table.full_name: lake.execute(f"SELECT max({table.time}) FROM {table.lake_name}").fetchall()[0][0]
            for table in LAGGING
        }
    newest |= {site.name: last_sync(settings, site.name) for site in settings.sites}
    return {name: None if at is None else round((now - at).total_seconds() / 60, 1) for name, at in newest.items()}


@dataclass(frozen=True, slots=True)
class Disk:
    """In bytes: what the lake's files and Dagster's storage take, and what is free on the fullest disk with data.

    ``fullest`` names what lies on that disk, by setting.
    """

    lake: int
    dagster_storage: int
    free: int
    total: int
    fullest: str = "ETL_DATA"

    @property
    def free_share(self) -> float:
        """Free of all, 0 to 1."""
        return self.free / self.total


def measure_disk(settings: Settings) -> Disk:
    """Sizes now. Lake and archive count only where they lie in a folder of this machine."""
    usage = {names: disk_usage(folder) for names, folder in _disks(settings).items()}
    fullest = min(usage, key=lambda names: usage[names].free / usage[names].total)
    files = 0 if "://" in settings.lake_files else folder_bytes(Path(settings.lake_files))
    free, total = usage[fullest].free, usage[fullest].total
    return Disk(files, folder_bytes(settings.dagster_home), free, total, fullest)


def _disks(settings: Settings) -> dict[str, Path]:
    """A folder on each disk that holds data, by the settings whose folders lie on it: ``ETL_DATA, ARCHIVE_DATA``."""
    folders = {
        "ETL_DATA": str(settings.etl_data),
        "LAKE_DATA": settings.lake_files,
        "ARCHIVE_DATA": settings.archive_files,
    }
    on_disk: defaultdict[int, list[tuple[str, Path]]] = defaultdict(list)
    for name, place in folders.items():
        if "://" not in place:
            folder = _that_is_there(Path(place))
            on_disk[folder.stat().st_dev].append((name, folder))
    return {", ".join(name for name, _ in found): found[0][1] for found in on_disk.values()}


def _that_is_there(folder: Path) -> Path:
    """The folder, or the nearest above it: the lake and the archive make theirs with the first file."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


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
    """Wait for the lake's lock as a writer does, whatever the catalog, and let go of it at once."""
    from filelock import Timeout

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
