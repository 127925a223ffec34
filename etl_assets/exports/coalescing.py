"""Equal requests at once, computed once: within a process by one task, between processes by a lock file."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

STRIPES = 256
"""Lock files, each for one key in so many: a file for every key would stay behind."""


class Coalescer(Generic[T]):
    """Computations at work, by key. For one event loop; the computations themselves run in threads.

    A computation that fails fails for all who wait for it, and is forgotten: the next request tries again. Who stops
    waiting stops nobody else, and not the computation either.
    """

    def __init__(self) -> None:
        self._at_work: dict[str, asyncio.Task[T]] = {}

    async def once(self, key: str, compute: Callable[[], T]) -> T:
        """What ``compute`` returns, or what the equal one that is at work already will return."""
        task = self._at_work.get(key)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(compute), name=f"compute {key}")
            self._at_work[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def __len__(self) -> int:
        """How many computations are at work."""
        return len(self._at_work)

    def _forget(self, key: str, task: "asyncio.Task[T]") -> None:
        del self._at_work[key]
        if not task.cancelled():
            # Asked for, so that asyncio does not report it where everybody has stopped waiting.
            task.exception()


@contextmanager
def one_process(folder: Path, key: str, patience: timedelta) -> Iterator[bool]:
    """The turn of one process for a key; False after ``patience``: then it is computed twice rather than not at all."""
    import zlib

    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{zlib.crc32(key.encode()) % STRIPES:02x}.lock", thread_local=False)
    try:
        lock.acquire(timeout=patience.total_seconds(), poll_interval=0.01)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
