"""Another process that refreshes the registry: ``python registry_process.py DATA_FOLDER REGISTRY [STOP_BEFORE]``.

It says that it is ready, waits for a line, refreshes and says what the status is. With STOP_BEFORE it says so and waits
when the draft of that file is written and is about to take its name; a test kills it there.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from etl_assets.kpi.registry import RegistryStatus, refresh
from etl_assets.settings import Settings

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the way to tell the test


def stop_before(name: str) -> None:
    """Wait for ever as a file is about to be replaced; Python's own audit events tell when."""

    def heard(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and Path(str(arguments[1])).name == name:
            say(f"before {name}")
            sys.stdin.readline()

    sys.addaudithook(heard)


def main(folder: str, registry: str, *stops: str) -> None:
    settings = Settings(_env_file=None, etl_data=Path(folder), kpi_registry=registry, kpi_built_in=False)
    for name in stops:
        stop_before(name)
    say("ready")
    sys.stdin.readline()
    say(TypeAdapter(RegistryStatus).dump_json(refresh(settings, now=NOW)).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
