"""AEMO's monthly aggregated price and demand: one CSV per region and month, from December 1998.

Half-hourly to 2021-09, 5-minute from 2021-10; the current month's file grows and ends at the last midnight.
Prices are in AUD/MWh, rounded to cents; demand in MW; stamps are interval ends in NEM time, quoted or not,
with or without seconds. A blank PERIODTYPE (old graph files) is null.
"""

import csv
from datetime import date

import pyarrow as pa

from etl_assets.aemo.nemweb import NemWeb
from etl_assets.aemo.typed_rows import InvalidRow, Layout, read_rows
from etl_assets.http import Expect, HttpClient, NotThere, Unintelligible

TYPES = {
    "SETTLEMENTDATE": pa.timestamp("us"),
    "REGION": pa.string(),
    "TOTALDEMAND": pa.float64(),
    "RRP": pa.float64(),
    "PERIODTYPE": pa.string(),
}
NAMES = {
    "SETTLEMENTDATE": "interval_end",
    "REGION": "region_id",
    "TOTALDEMAND": "total_demand",
    "RRP": "rrp",
    "PERIODTYPE": "period_type",
}
REQUIRED = frozenset({"SETTLEMENTDATE", "REGION", "TOTALDEMAND", "RRP"})

OLD_REGIONS = {"NSW": "NSW1", "QLD": "QLD1", "SA": "SA1", "TAS": "TAS1", "VIC": "VIC1", "SNOWY": "SNOWY1"}
"""Region names of old files, and the identifiers that every other source uses."""


def file_name(month: date, region: str) -> str:
    """The name AEMO gives a month's file: ``PRICE_AND_DEMAND_202501_NSW1.csv``."""
    return f"PRICE_AND_DEMAND_{month:%Y%m}_{region}.csv"


def legacy_file_name(month: date, region: str) -> str:
    """The name used before: ``DATA202501_NSW1.csv``. A mirror may hold it."""
    return f"DATA{month:%Y%m}_{region}.csv"


def fetch_month(http: HttpClient | None, base_url: str, month: date, region: str) -> tuple[str, bytes]:
    """Name and bytes of a month's file, from AEMO or a ``file:///`` mirror (which needs no client).

    Raises ``NotThere`` where there is none: a month to come, a region that did not exist, a gap in the
    mirror.
    """
    name = file_name(month, region)
    url = f"{base_url.rstrip('/')}/{name}"
    if not base_url.startswith("file://"):
        if http is None:
            raise ValueError(f"{base_url} needs an HTTP client")
        return name, http.get(url, Expect.CSV).body
    mirror = NemWeb(base_url, None)
    listed = {file.name.lower(): file for file in mirror.listing("")}
    for candidate in (name, legacy_file_name(month, region)):
        if file := listed.get(candidate.lower()):
            return file.name, mirror.read(file)
    raise NotThere("No such file in the mirror", url)


def read_price_and_demand(name: str, data: bytes) -> tuple[pa.Table, list[InvalidRow]]:
    """A file's rows, and those that are invalid.

    Columns ``interval_end`` (UTC instant), ``region_id``, ``total_demand``, ``rrp``, ``period_type``. Raises
    ``Unintelligible`` where the first row does not name the columns: then nothing in the file can be trusted.
    """
    head, _, body = data.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    fields = next(csv.reader([head.decode("utf-8", "replace").strip()]), [])
    if missing := TYPES.keys() - set(fields):
        problem = f"Expected a header with {', '.join(sorted(missing))}, found {head[:80]!r}"
        raise Unintelligible(problem, name, hint="See whether AEMO changed the file's columns.")
    if body and not body.endswith(b"\n"):
        body += b"\n"
    table, invalid = read_rows(name, body, 2, Layout(tuple(fields), TYPES, REQUIRED))
    regions = table["REGION"].to_pylist()
    renamed = pa.array([OLD_REGIONS.get(region, region) for region in regions], pa.string())
    at = table.column_names.index("REGION")
    return table.set_column(at, "REGION", renamed).rename_columns(list(NAMES.values())), invalid
