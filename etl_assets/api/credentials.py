"""Keys and secrets of the API that are configured wrong, or that a development machine makes for itself.

What they look like is in ``keys.py`` and ``clients.py``. This module is light: the command line loads it every time.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

OWNER_ONLY = 0o600


class CredentialsError(RuntimeError):
    """``SIGNING_KEYS`` or ``CLIENT_IDS`` cannot be used. The message names the entry, never what it holds."""


def kept(path: Path, make: Callable[[], Any]) -> str:
    """The text of a file of JSON, made at its first use; of processes that come at once one makes it.

    It is never there in part, and only its owner can read it.
    """
    from filelock import FileLock

    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _write(path, json.dumps(make()))
    return path.read_text()


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.draft")
    # What a killed process left may be readable by others.
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
