"""The account that every collection gives: what became of each record."""

from dataclasses import dataclass
from typing import Any

from etl_assets.lake.upsert import UpsertCounts


@dataclass
class Account:
    """What became of every record read for one dataset: ``fetched`` is the sum of the others.

    A record is one row of the table as one file gave it, or one line that could not be read.
    """

    dataset: str
    fetched: int = 0
    filtered: int = 0
    invalid: int = 0
    duplicate: int = 0
    unchanged: int = 0
    inserted: int = 0
    updated: int = 0

    def add(self, counts: UpsertCounts) -> None:
        """Add what the lake did with a batch."""
        self.duplicate += counts.duplicate
        self.unchanged += counts.unchanged
        self.inserted += counts.inserted
        self.updated += counts.updated

    @property
    def parts(self) -> dict[str, int]:
        """The categories that ``fetched`` is made of."""
        names = ("filtered", "invalid", "duplicate", "unchanged", "inserted", "updated")
        return {name: getattr(self, name) for name in names}

    @property
    def counts(self) -> dict[str, Any]:
        """All numbers by name, as a record of a run takes them."""
        return {"fetched": self.fetched, **self.parts}

    def check(self) -> None:
        """Raise ``RuntimeError`` where a record is unaccounted for: then a number in this account is wrong."""
        if self.fetched != sum(self.parts.values()):
            raise RuntimeError(
                f"{self.dataset}: {self.fetched} records were fetched, but the account says {self.parts}"
            )
