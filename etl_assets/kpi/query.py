"""Queries of KPIs: a query and a market day in, values out, whatever the query says.

SQL comes from a registry that others write, so it must be harmless. Three walls, since each alone was climbed when it
was tried:

- The **text** (see ``statement``) is one SELECT whose table functions are on a short list. A SELECT can do more than
  read: one from ``enable_logging(...)`` left the database unusable for everybody.
- The **engine** (see ``sandbox``) is locked: the published file read-only, no extension, no other file but those that
  it names, no setting to be changed.
- The **process** is another one, with a limit of its memory, and is killed when it does not stop. DuckDB's own limit
  does not cover text and lists: ``repeat('x', 4000000000)`` took 7.7 GB under a limit of 200 MB, and went on for 20 s
  after it was interrupted.

What a query may give is in ``answer``.
"""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

    from etl_assets.settings import Settings

MOST_PROCESSES = 4
"""Queries at once; more of them wait. A day's query takes some ten milliseconds, and a process 50 MB."""

PROCESS_MEMORY = 256 * 1024 * 1024
"""What a process may take beside its share of KPI_SQL_MEMORY, in bytes; it starts with some 45 MB."""

GRACE = timedelta(seconds=2)
"""From the interrupt at KPI_SQL_TIMEOUT to the kill. Most queries stop within a tenth of it."""

START_TIMEOUT = timedelta(seconds=60)
"""For a process to say that it has opened the file; it takes 0.2 s on a machine that is not busy."""


class KpiSqlError(Exception):
    """What is wrong with a KPI's query or with what it gave, in a sentence for the person who wrote it."""


class PublishedFileError(KpiSqlError):
    """The published file, or a process that reads it, cannot be had, whatever the query; says what to do."""


@dataclass(frozen=True, slots=True)
class KpiValue:
    """One value of a KPI and market day; ``entity`` is empty where it has one number, ``value`` None without data."""

    entity: str
    value: float | None


def check_sql(sql: str) -> None:
    """Raise ``KpiSqlError`` unless ``sql`` is one SELECT with the parameter $market_day and no other.

    Looks at the text alone: whether its tables and columns are there shows when it is put to the published file.
    """
    import duckdb

    from etl_assets.kpi.statement import checked_statement

    with duckdb.connect() as connection:
        checked_statement(connection, sql)


class PublishedFile:
    """The published file as it is when this is entered, for queries of many threads.

    It goes on showing that snapshot when the file is replaced. Raises ``PublishedFileError`` on entry where there is
    no file that can be read. ``at_once`` queries run side by side, and more of them wait for their turn.
    """

    snapshot: int
    published_at: datetime

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self.at_once = min(os.cpu_count() or 1, MOST_PROCESSES)
        self._turns = threading.Semaphore(self.at_once)
        self._idle: list[_Sandbox] = []
        self._file = -1

    def __enter__(self) -> Self:
        """Open the file, and start the first process."""
        path = self._settings.warehouse_path
        try:
            self._file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise PublishedFileError(f"{path} cannot be read ({error.strerror}); run `etl-assets publish`.") from error
        try:
            first = self._start()
        except BaseException:
            os.close(self._file)
            raise
        self.snapshot, self.published_at = first.snapshot, first.published_at
        self._idle.append(first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        """End the processes."""
        for sandbox in self._idle:
            sandbox.close()
        self._idle.clear()
        os.close(self._file)

    def values(self, sql: str, day: date, *, entity: str = "") -> list[KpiValue]:
        """The values of a query for a market day; see ``answer`` for what it may give.

        Waits while as many queries run as there are processes. Raises ``KpiSqlError`` where the query is refused,
        fails, takes longer than KPI_SQL_TIMEOUT, or needs more than its part of KPI_SQL_MEMORY.
        """
        with self._turns:
            sandbox = self._take() or self._start()
            try:
                return sandbox.values(sql, day, entity)
            finally:
                if sandbox.is_usable:
                    self._idle.append(sandbox)
                else:
                    sandbox.close()

    def _take(self) -> "_Sandbox | None":
        """A process that waits for a query; one that was ended from outside meanwhile is none."""
        while True:
            try:
                sandbox = self._idle.pop()
            except IndexError:
                return None
            if sandbox.is_alive:
                return sandbox
            sandbox.close()

    def _start(self) -> "_Sandbox":
        share = _bytes(self._settings.kpi_sql_memory) // self.at_once
        return _Sandbox(self._file, self._settings, memory=share)


def _bytes(size: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        return TypeAdapter(ByteSize).validate_python(size)
    except ValidationError as error:
        raise PublishedFileError(f"KPI_SQL_MEMORY is {size!r}; give a size such as 1GB or 512MiB.") from error


class _Sandbox:
    """A process of ``sandbox`` that answers one query after another."""

    def __init__(self, file: int, settings: "Settings", *, memory: int) -> None:
        self._timeout = settings.kpi_sql_timeout
        self.is_usable = True
        self._process = subprocess.Popen(
            [sys.executable, "-m", "etl_assets.kpi.sandbox"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[file],
            # The environment holds secrets, and the process needs none of it.
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        order = {
            "file": file,
            "memory": memory,
            "most": memory + PROCESS_MEMORY,
            "seconds": self._timeout.total_seconds(),
        }
        opened = self._ask(order, START_TIMEOUT)
        if "snapshot" not in opened:
            self.close()
            wrong = opened.get("error", "the process for it ended or did not answer")
            raise PublishedFileError(f"{settings.warehouse_path}: {wrong}; run `etl-assets publish`.")
        self.snapshot = int(opened["snapshot"])
        self.published_at = datetime.fromisoformat(opened["published_at"])

    @property
    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def values(self, sql: str, day: date, entity: str) -> list[KpiValue]:
        """See ``PublishedFile.values``. One query at a time."""
        self.is_usable = False
        answer = self._ask({"sql": sql, "day": day.isoformat(), "entity": entity}, self._timeout + GRACE)
        if not answer:
            raise KpiSqlError(
                f"The query was stopped with its process: it took longer than {self._timeout.total_seconds():g} s "
                "(KPI_SQL_TIMEOUT), or far more memory than KPI_SQL_MEMORY."
            )
        self.is_usable = answer["goes_on"]
        if "error" in answer:
            raise KpiSqlError(answer["error"])
        return [KpiValue(*value) for value in answer["values"]]

    def _ask(self, question: dict[str, Any], patience: timedelta) -> dict[str, Any]:
        """The answer to a question; empty where the process ended, or was killed since it gave none in time."""
        assert self._process.stdin  # noqa: S101 (both are pipes)
        assert self._process.stdout  # noqa: S101
        deadline = threading.Timer(patience.total_seconds(), self._process.kill)
        deadline.start()
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            deadline.cancel()
        return json.loads(line) if line.endswith(b"\n") else {}

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()
