"""Keys and secrets of the API that are configured wrong, or that a development machine makes for itself.

What they look like is in ``keys.py`` and ``clients.py``. This module is light: the command line loads it every time.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etl_assets.private_files import write_private


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
                write_private(path, json.dumps(make()).encode())
    return path.read_text()
