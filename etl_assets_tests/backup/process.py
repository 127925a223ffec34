"""The other processes of the tests of backups: ``python process.py COMMAND DATA_FOLDER ARGUMENTS``.

A process tells what it has reached by a line on standard output, and waits by reading standard input.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from etl_assets.backup.restore import restore_backup
from etl_assets.backup.take import take_backup
from etl_assets.lake.connection import write_lake
from etl_assets.lake.tables import UNIT_SCADA
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.ops.state import save_checkpoint
from etl_assets.settings import Settings

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
ROWS = 6


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201
    sys.stdin.readline()


def commit(settings: Settings, stop: str) -> None:
    """Batches of six rows, each put on record in the state database once it is in the lake, as a sync does."""
    number = 0
    while not Path(stop).exists():
        number += 1
        ends = [NOW + number * timedelta(hours=1) + n * timedelta(minutes=5) for n in range(ROWS)]
        rows = pa.table({"interval_end": ends, "duid": ["U"] * ROWS, "scada_value": [float(number)] * ROWS})
        with write_lake(settings, "a batch") as lake, transaction(lake):
            upsert(lake, UNIT_SCADA, rows, now=NOW)
        save_checkpoint(settings, "batch", {"number": number}, now=NOW, keep=timedelta(days=9))
        print(number, flush=True)  # noqa: T201


def back_up(settings: Settings, to: str) -> None:
    """A backup that says each step and waits."""
    take_backup(settings, settings.dagster_home, Path(to), now=NOW, progress=say)


def put_in_place(settings: Settings, source: str) -> None:
    """A restore that says each step and waits."""
    restore_backup(Path(source), settings, settings.dagster_home, now=NOW, force=True, progress=say)


def write(settings: Settings) -> None:
    """Holds the writer's lock."""
    with write_lake(settings, "holding on"):
        say("held")


if __name__ == "__main__":
    command, data, *arguments = sys.argv[1:]
    commands = {"commit": commit, "back_up": back_up, "put_in_place": put_in_place, "write": write}
    commands[command](Settings(_env_file=None, etl_data=Path(data)), *arguments)
