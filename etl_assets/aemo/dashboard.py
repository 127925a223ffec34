"""The 5MIN report behind AEMO's dashboard: the last day of 5-minute values per region, and forecasts.

Here: asking for it, and its JSON as Arrow tables. It mixes ``ACTUAL`` 5-minute rows with ``FORECAST``
half-hourly ones that have the same key, so the two never share a table: a forecast stored first would hide
the price. Stamps are interval ends in NEM time, without a zone. ``NETINTERCHANGE`` is positive for net
export.

AEMO has announced the end of this report, so it is never the only source: the address is a setting.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec
import pyarrow as pa

from etl_assets.aemo.typed_rows import INSTANT, InvalidRow
from etl_assets.http import Answer, HttpClient, Unintelligible
from etl_assets.market_time import NEM_TIME

REPORT = "5MIN"
ACTUAL = "ACTUAL"
FORECAST = "FORECAST"

DEFAULT_TIME_SCALE = ("30MIN",)
"""What AEMO's own page asks for; the answer has 5-minute actuals none the less."""

SCHEMA = pa.schema(
    [
        ("interval_end", INSTANT),
        ("region_id", pa.string()),
        ("rrp", pa.float64()),
        ("total_demand", pa.float64()),
        ("net_interchange", pa.float64()),
        ("scheduled_generation", pa.float64()),
        ("semi_scheduled_generation", pa.float64()),
        ("apc_flag", pa.int32()),
        ("period_type", pa.string()),
    ]
)
"""One row per region and interval: AUD/MWh and MW; ``apc_flag`` is null in answers that lack it."""

_INT32 = range(-(1 << 31), 1 << 31)


class _Row(msgspec.Struct, rename="upper"):
    """One row as AEMO writes it."""

    settlementdate: datetime
    regionid: str
    rrp: float
    totaldemand: float
    periodtype: str
    netinterchange: float | None = None
    scheduledgeneration: float | None = None
    semischeduledgeneration: float | None = None
    apcflag: float | None = None


class _Report(msgspec.Struct):
    """The answer: rows stay raw at first, so that a bad one costs no other."""

    rows: list[msgspec.Raw] = msgspec.field(name=REPORT)


_REPORT_DECODER = msgspec.json.Decoder(_Report)
_ROW_DECODER = msgspec.json.Decoder(_Row)


@dataclass(frozen=True)
class FiveMinuteReport:
    """One answer. ``unchanged`` (204 or an empty body) means: keep what you have, there is nothing to read.

    ``issued_at`` is the server's clock (its Date header), else the caller's; it dates the forecasts.
    """

    actual: pa.Table
    forecast: pa.Table
    issued_at: datetime
    invalid: list[InvalidRow] = field(default_factory=list)
    unchanged: bool = False


def fetch_5min(
    http: HttpClient,
    url: str,
    headers: Mapping[str, str],
    now: datetime,
    time_scale: Sequence[str] = DEFAULT_TIME_SCALE,
) -> FiveMinuteReport:
    """Ask for the report and decode it. Repeating this POST changes nothing at AEMO, so it is retried."""
    answer = http.post(url, {"timeScale": list(time_scale)}, headers=headers, repeatable=True)
    return decode_5min(answer.body, issued_at=_issued_at(answer, now), url=url)


def decode_5min(body: bytes, *, issued_at: datetime, url: str = REPORT) -> FiveMinuteReport:
    """The report in an answer's body. ``url`` is only for messages.

    Raises ``Unintelligible`` where the body is not this report: that is never the same as a report without
    rows.
    """
    empty = SCHEMA.empty_table()
    if not body.strip():
        return FiveMinuteReport(empty, empty, issued_at, unchanged=True)
    try:
        report = _REPORT_DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unintelligible(f'Expected {{"{REPORT}": [rows]}}: {error}', url, 200) from error
    rows: dict[str, list[_Row]] = {ACTUAL: [], FORECAST: []}
    invalid: list[InvalidRow] = []
    for number, raw in enumerate(report.rows, 1):
        try:
            row = _checked(_ROW_DECODER.decode(raw))
            rows[row.periodtype].append(row)
        except (msgspec.MsgspecError, ValueError) as error:
            invalid.append(InvalidRow(REPORT, number, bytes(raw).decode("utf-8", "replace"), str(error)))
    return FiveMinuteReport(_table(rows[ACTUAL]), _table(rows[FORECAST]), issued_at, invalid)


def _checked(row: _Row) -> _Row:
    """The row, with its stamp aware. Raises ``ValueError`` naming the field and the value that is wrong."""
    if row.periodtype not in (ACTUAL, FORECAST):
        raise ValueError(f"PERIODTYPE {row.periodtype!r} is neither {ACTUAL} nor {FORECAST}")
    if not row.regionid.strip():
        raise ValueError("REGIONID is blank")
    for name in ("rrp", "totaldemand", "netinterchange", "scheduledgeneration", "semischeduledgeneration"):
        value = getattr(row, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"{name.upper()} {value!r} is not a finite number")
    if row.apcflag is not None and (row.apcflag % 1 or int(row.apcflag) not in _INT32):
        raise ValueError(f"APCFLAG {row.apcflag!r} is not a whole number of 32 bits")
    if row.settlementdate.tzinfo is None:
        row.settlementdate = row.settlementdate.replace(tzinfo=NEM_TIME)
    return row


def _table(rows: list[_Row]) -> pa.Table:
    return pa.table(
        [
            [row.settlementdate.astimezone(UTC) for row in rows],
            [row.regionid for row in rows],
            [row.rrp for row in rows],
            [row.totaldemand for row in rows],
            [row.netinterchange for row in rows],
            [row.scheduledgeneration for row in rows],
            [row.semischeduledgeneration for row in rows],
            [None if row.apcflag is None else int(row.apcflag) for row in rows],
            [row.periodtype for row in rows],
        ],
        schema=SCHEMA,
    )


def _issued_at(answer: Answer, now: datetime) -> datetime:
    try:
        return parsedate_to_datetime(answer.headers.get("Date", "")).astimezone(UTC)
    except (TypeError, ValueError):
        return now
