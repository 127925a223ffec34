"""Timing two things against each other in turns, so that both see the same machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Ratio:
    """How long something takes as a multiple of a reference, with the aim, and both medians in seconds."""

    name: str
    measured: float
    reference: float
    aim: str

    def __str__(self) -> str:
        """One line of the report."""
        ratio = self.measured / self.reference
        seconds = f"{self.measured:.3f} / {self.reference:.3f}"
        return f"{self.name:<62} {ratio:>6.2f}x  {self.aim:>7}  {seconds:>17}"


def compare(
    name: str, measured: Callable[[], object], reference: Callable[[], object], *, aim: str, turns: int
) -> Ratio:
    """Run both by turns and compare their medians."""
    ours, theirs = [], []
    for _ in range(turns):
        theirs.append(seconds(reference))
        ours.append(seconds(measured))
    return Ratio(name, median(ours), median(theirs), aim)


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
