"""Reading a day of DispatchIS (288 zips in a zip, 40 MB of text) against unzipping it, and against pandas."""

import io
import zipfile
from collections.abc import Iterator
from datetime import date

import pandas as pd

from benchmarks.ratio import Ratio, compare
from etl_assets.aemo.feeds import DISPATCH_IS, feeds_of
from etl_assets.aemo.ladder import Source
from etl_assets.aemo.members import members
from etl_assets.aemo.mms import MmsTable, read_mms
from etl_assets.aemo.rows import rows_of
from etl_assets.market_time import interval_ends
from etl_assets.simulator.aemo import Reports
from etl_assets.simulator.market import Market

DAY = date(2026, 11, 20)


def archive() -> bytes:
    """A daily archive as the simulator writes it: a zip of 288 zips of one CSV each."""
    reports = Reports(Market(1))
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w", zipfile.ZIP_STORED) as daily:
        for number, end in enumerate(interval_ends(DAY)):
            inner = io.BytesIO()
            name = f"PUBLIC_DISPATCHIS_{end:%Y%m%d%H%M}_{number:016d}"
            with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as one:
                one.writestr(f"{name}.CSV", reports.dispatchis(end))
            daily.writestr(f"{name}.zip", inner.getvalue())
    return outer.getvalue()


def run() -> Iterator[Ratio]:
    """Ours from bytes to rows of our tables; pandas per table over the same lines and columns."""
    data = archive()
    feeds = feeds_of(DISPATCH_IS)
    wanted = [part.mms for feed in feeds for part in feed.parts]
    texts = [member.data for member in members("day.zip", data) if member.data]

    def unzip() -> int:
        return sum(len(member.data or b"") for member in members("day.zip", data))

    def ours() -> object:
        reading = read_mms(members("day.zip", data), wanted)
        return [rows_of(feed, reading, Source.ARCHIVE) for feed in feeds]

    def ours_unzipped() -> object:
        from etl_assets.aemo.members import Member

        return read_mms((Member(f"{n}.CSV", text) for n, text in enumerate(texts)), wanted)

    def pandas_unzipped() -> object:
        return [pd.concat(_pandas_table(text, table) for text in texts) for table in wanted]

    yield compare("a day of DispatchIS to rows / unzipping it", ours, unzip, aim="<= 5", turns=5)
    yield compare(
        "pandas.read_csv per table / our reader, unzipped", pandas_unzipped, ours_unzipped, aim=">= 8", turns=3
    )


def _pandas_table(text: bytes, table: MmsTable) -> pd.DataFrame:
    """One table of one file as a careful pandas user reads it: its own lines, its own columns, typed."""
    group = table.name.replace(".", ",").encode()
    start = text.index(b"I," + group)
    end = text.find(b"\nI,", start + 1)
    block = text[start : end if end > 0 else text.rindex(b"\nC,")]
    names = block[: block.index(b"\n")].decode().strip().split(",")
    stamps = [name for name in ("SETTLEMENTDATE", "LASTCHANGED") if name in table.columns]
    frame = pd.read_csv(io.BytesIO(block), usecols=[name for name in table.columns if name in names])
    return frame.assign(**{name: pd.to_datetime(frame[name], format="%Y/%m/%d %H:%M:%S") for name in stamps})
