"""The simulated time, shared by all processes of a soak through a file.

Between two steps it runs on as real time does, so that durations are real, and never past the next step.
"""

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SharedClock:
    """A clock that one process sets and all read. Linux's monotonic clock is the same for all of them."""

    file: Path

    def __call__(self) -> datetime:
        """The simulated time, in UTC."""
        moment, set_at, longest = self.file.read_text().split()
        passed = min(time.monotonic() - float(set_at), float(longest))
        return datetime.fromisoformat(moment) + timedelta(seconds=passed)

    def set_time(self, moment: datetime, longest: timedelta) -> None:
        """Begin a step at ``moment`` (aware); within it the time passes by ``longest`` at most."""
        draft = self.file.with_suffix(f".{os.getpid()}")
        draft.write_text(f"{moment.astimezone(UTC).isoformat()} {time.monotonic()} {longest.total_seconds()}")
        draft.replace(self.file)
