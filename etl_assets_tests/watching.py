"""What the tests of whole programs share: waiting for what comes about, and finding their processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def until(look: Callable[[], Any], what: str, patience: float) -> Any:
    """What ``look`` finds, as soon as it finds something; fails after the patience, in seconds."""
    deadline = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {patience} s")
        time.sleep(0.5)


def processes_with(variable: str, value: object) -> list[int]:
    """The processes that were started with a variable of the environment, however remotely: children inherit it."""
    setting = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and setting in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:  # ended meanwhile, or another user's
            continue
    return found
