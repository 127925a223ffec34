"""What a collection is asked for, and the account it gives of every record."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from etl_assets.aemo.completeness import DayStatus
from etl_assets.aemo.feeds import Feed, Report
from etl_assets.aemo.mms import RefusedFile
from etl_assets.lake.account import Account


@dataclass
class Collection:
    """What a collection did for one feed: account, the days before and after, sources, and what went wrong."""

    feed: Feed
    account: Account
    before: list[DayStatus]
    after: list[DayStatus] = field(default_factory=list)
    rows_by_source: Counter[str] = field(default_factory=Counter)
    files_read: int = 0
    refused: list[RefusedFile] = field(default_factory=list)
    warnings: list[RefusedFile] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unfilled: list[str] = field(default_factory=list)
    """Why a second-rate source could not fill in; no error."""
    intervals_unread: int = 0
    """Intervals that are there, were to be read again and could not be: what was revised in them is not known."""
    unread_because: list[str] = field(default_factory=list)

    @property
    def missing_before(self) -> int:
        """Due intervals that were not complete when the collection began."""
        return sum(len(status.wanted) for status in self.before)

    @property
    def missing_after(self) -> int:
        """Due intervals that are still not complete."""
        return sum(len(status.wanted) for status in self.after)


@dataclass(frozen=True)
class Job:
    """One collection: which report's feeds, which market days, as of when, for which run.

    ``reread`` fetches what is there already as well, to notice revisions.
    """

    feeds: Sequence[Feed]
    days: Sequence[date]
    now: datetime
    run_id: str
    reread: bool = False

    @property
    def report(self) -> Report:
        """The report that supplies these feeds."""
        return self.feeds[0].report
