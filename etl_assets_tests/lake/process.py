"""The other processes of the lake's tests: ``python process.py COMMAND DATA_FOLDER ARGUMENTS``.

A process tells what it has reached by a line on standard output, and waits by reading standard input; a test kills
it or lets it go on. Loops end when a file appears.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from etl_assets.lake import maintenance
from etl_assets.lake.connection import read_lake, write_lake
from etl_assets.lake.publish import publish
from etl_assets.lake.tables import UNIT_SCADA
from etl_assets.lake.upsert import transaction, upsert
from etl_assets.market_time import interval_ends
from etl_assets.ops.state import save_checkpoint
from etl_assets.settings import Settings

DAYS = (date(2026, 11, 20), date(2026, 11, 21))
ROWS_PER_BATCH = 12
"""Half of them in one market day, half in the next: a batch that were half there would show."""


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


def wait_for_a_line() -> None:
    sys.stdin.readline()


def batch(writer: str, number: int) -> pa.Table:
    """Twelve rows of the batch's own, and one row of the writer's that every batch revises."""
    ends = [end for day in DAYS for end in interval_ends(day)[: ROWS_PER_BATCH // 2]]
    return pa.table(
        {
            "interval_end": [*ends, ends[0]],
            "duid": [f"{writer}-{number}"] * ROWS_PER_BATCH + [writer],
            "scada_value": [float(number)] * (ROWS_PER_BATCH + 1),
        }
    )


def write(settings: Settings, writer: str, first: str, last: str, acknowledged: str) -> None:
    """Batches ``first`` to ``last``; each is acknowledged in a file, for good, once it is committed."""
    for number in range(int(first), int(last) + 1):
        _write_one(settings, writer, number, acknowledged)


def write_when_told(settings: Settings, writer: str, first: str, acknowledged: str) -> None:
    """One batch for every line on standard input."""
    number = int(first)
    while sys.stdin.readline():
        _write_one(settings, writer, number, acknowledged)
        number += 1


def _write_one(settings: Settings, writer: str, number: int, acknowledged: str) -> None:
    rows = batch(writer, number)
    with write_lake(settings, f"batch {number} of {writer}") as lake:
        say("locked")
        with transaction(lake):
            upsert(lake, UNIT_SCADA, rows, now=datetime.now(UTC))
            say("upserted")
        say("committed")
    with Path(acknowledged).open("a") as file:
        file.write(f"{number}\n")
        file.flush()
        os.fsync(file.fileno())
    say("acknowledged")


def revise(settings: Settings, stop: str) -> None:
    """Revises one row without pause."""
    number = 0
    while not Path(stop).exists():
        number += 1
        rows = batch("reviser", number).slice(ROWS_PER_BATCH)
        with write_lake(settings, "revising") as lake, transaction(lake):
            upsert(lake, UNIT_SCADA, rows, now=datetime.now(UTC))
        say("revised")


def read(settings: Settings, stop: str) -> None:
    """Polls the lake; ends with how often, and with every fault it saw."""
    polls, seen, faults = 0, 0, []
    say("reading")
    while True:
        last = Path(stop).exists()
        with read_lake(settings) as lake:
            sizes = lake.execute(
                "SELECT duid, count(*) FROM lake.aemo.unit_scada WHERE contains(duid, '-') GROUP BY ALL"
            ).fetchall()
        faults += [f"{duid} has {rows} rows" for duid, rows in sizes if rows != ROWS_PER_BATCH]
        faults += [f"{seen} batches, then {len(sizes)}"] if len(sizes) < seen else []
        polls, seen = polls + 1, len(sizes)
        if last:
            break
    say(json.dumps({"polls": polls, "batches": seen, "faults": faults}))


def hold(settings: Settings, purpose: str) -> None:
    """Holds the writers' lock with a batch that is not committed."""
    with write_lake(settings, purpose) as lake, transaction(lake):
        upsert(lake, UNIT_SCADA, batch("holder", 1), now=datetime.now(UTC))
        say("held")
        wait_for_a_line()


def write_and_publish(settings: Settings, writer: str, times: str) -> None:
    for number in range(int(times)):
        with write_lake(settings, "writing") as lake, transaction(lake):
            upsert(lake, UNIT_SCADA, batch(writer, number), now=datetime.now(UTC))
        publish(settings, now=datetime.now(UTC))


def publish_and_stop_before_the_swap(settings: Settings) -> None:
    def blocked(_self: Path, _target: Path) -> Path:
        say("drafted")
        wait_for_a_line()
        raise AssertionError("the test kills this process")

    Path.replace = blocked  # type: ignore[method-assign,assignment]
    publish(settings, now=datetime.now(UTC))


class _StoppingConnection:
    """A connection that stops after its n-th statement, before the statement's result is fetched."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, statements: Iterator[int]) -> None:
        self._connection = connection
        self._statements = statements

    def execute(self, *arguments: Any) -> duckdb.DuckDBPyConnection:
        result = self._connection.execute(*arguments)
        if next(self._statements) == 0:
            say("stopped")
            wait_for_a_line()
        return result


def maintain_and_stop(settings: Settings, after_statements: str, days_later: str) -> None:
    """Says ``stopped`` after that many statements, or ``finished`` where there were fewer."""
    statements = iter(range(int(after_statements) - 1, -1_000, -1))
    original = maintenance.write_lake

    @contextmanager
    def stopping(*arguments: Any) -> Iterator[Any]:
        with original(*arguments) as connection:
            yield _StoppingConnection(connection, statements)

    maintenance.write_lake = stopping
    maintenance.maintain(settings, now=datetime.now(UTC) + timedelta(days=int(days_later)))
    say("finished")


def maintain(settings: Settings, stop: str) -> None:
    times = 0
    while not Path(stop).exists():
        maintenance.maintain(settings, now=datetime.now(UTC))
        times += 1
        say("maintained")
    say(str(times))


COUNT = "SELECT count(*) FROM aemo.unit_scada"


def keep_open(settings: Settings, stop: str) -> None:
    """An analyst with one connection: the different row counts that were seen."""
    with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
        counts = {connection.execute(COUNT).fetchone()[0]}
        say("open")
        while True:
            last = Path(stop).exists()
            counts.add(connection.execute(COUNT).fetchone()[0])
            if last:
                break
    say(json.dumps(sorted(counts)))


def open_again_and_again(settings: Settings, stop: str) -> None:
    """An analyst who opens the file anew each time: the row counts in the order in which they changed."""
    counts: list[int] = []
    say("open")
    while True:
        last = Path(stop).exists()
        with duckdb.connect(str(settings.warehouse_path), read_only=True) as connection:
            count = connection.execute(COUNT).fetchone()[0]
        counts += [count] if counts[-1:] != [count] else []
        if last:
            break
    say(json.dumps(counts))


def spoil(settings: Settings) -> None:
    """An analyst who opens the file read-write against all advice, and is killed before a checkpoint."""
    settings.warehouse_path.chmod(0o644)
    with duckdb.connect(str(settings.warehouse_path)) as connection:
        connection.execute("DROP VIEW aemo.price")
        connection.execute("CREATE TABLE aemo.mine AS SELECT 42 AS answer")
        connection.execute("CREATE OR REPLACE VIEW aemo.unit_scada AS SELECT 'spoilt' AS duid")
        say("spoilt")
        wait_for_a_line()


def query(settings: Settings, zone: str, *statements: str) -> None:
    """An analyst with plain DuckDB, who has no extensions and gets none."""
    folder = settings.etl_data / "no-extensions"
    config = {
        "autoload_known_extensions": "false",
        "autoinstall_known_extensions": "false",
        "extension_directory": str(folder),
    }
    with duckdb.connect(str(settings.warehouse_path), read_only=True, config=config) as connection:
        if zone:
            connection.execute(f"SET TimeZone = '{zone}'")
        answers = [connection.execute(statement).fetchall() for statement in statements]
    say(json.dumps({"answers": answers, "extensions": folder.exists()}, default=str))


def checkpoints(settings: Settings, writer: str, count: str) -> None:
    """Saves checkpoints in the state database, beginning at the same moment as others."""
    say("ready")
    wait_for_a_line()
    for number in range(int(count)):
        now = datetime.now(UTC)
        save_checkpoint(settings, f"{writer} {number}", {"page": number}, now=now, keep=timedelta(days=1))


if __name__ == "__main__":
    command, data, *arguments = sys.argv[1:]
    globals()[command](Settings(_env_file=None, etl_data=Path(data)), *arguments)
