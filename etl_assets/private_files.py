"""Files that hold secrets: written as a whole, for their owner's eyes."""

import os
from pathlib import Path

OWNER_ONLY = 0o600


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, on the disk and not only in its cache: a killed process leaves the former one.

    One writer at a time: the caller holds a lock.
    """
    draft = path.with_name(f".{path.name}.draft")
    # What a killed process left may be readable by others.
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
