"""The process that KPI queries run in: ``python -m etl_assets.kpi.sandbox``, started by ``query.PublishedFile``.

Reads one JSON object a line and answers each with one. The first says what to open and the limits; each of the others
is a query. Ends when its input does, or after a query that left the engine in doubt.
"""

import json
import resource
import sys
import threading
from collections.abc import Mapping
from dataclasses import astuple
from datetime import date
from typing import TYPE_CHECKING, Any

from etl_assets.kpi.answer import MOST_ROWS, values_of
from etl_assets.kpi.query import KpiSqlError
from etl_assets.kpi.statement import MARKET_DAY, checked_statement, in_a_line
from etl_assets.lake.locked import open_locked

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

NOT_IMPORTED = ("numpy", "pandas", "pyarrow")
"""DuckDB imports them to see whether a parameter is one of theirs: 0.3 s and 60 MB for each process."""


def main() -> None:
    """Answer until the input ends."""
    sys.modules.update(dict.fromkeys(NOT_IMPORTED))  # type: ignore[arg-type] # None forbids the import
    order = json.loads(sys.stdin.readline())
    # Not every system keeps to the first; where it does, an allocation beyond fails as one without memory.
    _limit(resource.RLIMIT_DATA, order["most"])
    # It never has a byte to write into a file.
    _limit(resource.RLIMIT_FSIZE, 0)
    try:
        connection = open_locked(f"/dev/fd/{order['file']}", f"{order['memory']}B", threads=1)
        snapshot, published_at = connection.execute(
            "SELECT snapshot_id, strftime(published_at, '%Y-%m-%dT%H:%M:%S.%f+00:00') FROM ops.publication"
        ).fetchall()[0]
    except Exception as error:  # noqa: BLE001 - whatever it is, the other process tells it
        _say({"error": in_a_line(error)})
        return
    _say({"snapshot": snapshot, "published_at": published_at})
    for line in sys.stdin:
        answer = _answer(connection, json.loads(line), order["seconds"])
        _say(answer)
        if not answer["goes_on"]:
            return


def _limit(kind: int, most: int) -> None:
    """For good, and never beyond what the process was started with."""
    _, allowed = resource.getrlimit(kind)
    most = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
    resource.setrlimit(kind, (most, most))


def _say(answer: Mapping[str, Any]) -> None:
    print(json.dumps(answer), flush=True)  # noqa: T201 (its output is the answer)


def _answer(connection: "DuckDBPyConnection", question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """The values of a query, or what is wrong with it, and whether the process can be asked again."""
    import duckdb

    goes_on = True
    try:
        return {"values": [astuple(value) for value in _run(connection, question, seconds)], "goes_on": goes_on}
    except KpiSqlError as error:
        wrong = str(error)
    except duckdb.InterruptException:
        wrong = f"The query took longer than {seconds:g} s (KPI_SQL_TIMEOUT) and was stopped."
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        wrong = f"The query needed more memory than it may have (KPI_SQL_MEMORY): {in_a_line(error)}"
        goes_on = False
    except Exception as error:  # noqa: BLE001 - values that Python has no type for included
        wrong = f"The query failed: {in_a_line(error)}"
        in_doubt = duckdb.FatalException | duckdb.InternalException
        goes_on = isinstance(error, duckdb.Error) and not isinstance(error, in_doubt)
    return {"error": wrong, "goes_on": goes_on}


def _run(connection: "DuckDBPyConnection", question: Mapping[str, Any], seconds: float) -> list[Any]:
    day = date.fromisoformat(question["day"])
    statement = checked_statement(connection, question["sql"])
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        result = connection.execute(statement, {MARKET_DAY: day})
        columns = [name for name, *_ in result.description]
        rows = result.fetchmany(MOST_ROWS + 1)
    finally:
        timer.cancel()
    return values_of(columns, rows, question["entity"])


if __name__ == "__main__":
    main()
