"""Weather as ACE gives it: last known values, each with its own time, or a range of observations as 001 has it.

Pure: bytes in, rows out. The API's own shape says nothing of rain or conditions: those stay null. 001's shape is
filled up as 001 asks (no rain, no wind, ``unknown``), and the row's metadata names what was filled in.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from etl_assets.ace.fields import INSTANT, microseconds, number, value_problem
from etl_assets.ace.page_wire import RAW_LENGTH, BadRecord, NotAPage, as_json, decode_object, shown_keys

WEATHER_COLUMNS = pa.schema(
    [
        ("timestamp", INSTANT),
        ("temperature", pa.float64()),
        ("humidity", pa.float64()),
        ("precipitation", pa.float64()),
        ("wind_speed", pa.float64()),
        ("conditions", pa.string()),
        ("metadata", pa.string()),
    ]
)
SOURCE = "ace_iot_api"
COLUMN_OF = {"temp": "temperature", "humidity": "humidity", "wind_speed": "wind_speed"}
FURTHER = ("feels_like", "pressure", "dew_point", "clouds", "wind_deg", "wet_bulb")
"""Values that the API sends and ``ace.weather_raw`` has no column for: they go into the metadata."""
MEASURES = ("temperature", "humidity", "precipitation", "wind_speed")
DEFAULTS = {"precipitation": 0.0, "wind_speed": 0.0, "conditions": "unknown"}


@dataclass(frozen=True, slots=True)
class Weather:
    """One answer: ``rows`` as ``WEATHER_COLUMNS``, one an instant; ``fetched`` = rows + invalid.

    ``is_ranged`` where the API gave the observations of the window that was asked for, and not its last known values.
    """

    rows: pa.Table
    invalid: tuple[BadRecord, ...] = ()
    is_ranged: bool = False

    @property
    def fetched(self) -> int:
        """Rows, and values or records that could not be used."""
        return int(self.rows.num_rows) + len(self.invalid)


NO_WEATHER = Weather(WEATHER_COLUMNS.empty_table())


def decode_weather(body: bytes) -> Weather:
    """Read an answer of the weather endpoint; all null is no weather, and no error. Raises ``NotAPage``."""
    whole = decode_object(body)
    if isinstance(whole.get("data"), list):
        return _observations(whole["data"])
    values = whole.get("weather") if "weather" in whole else whole
    if values is None:
        return NO_WEATHER
    if not isinstance(values, dict) or ("weather" not in whole and not {*COLUMN_OF, *FURTHER} & values.keys()):
        raise NotAPage(
            f"No weather: expected 'weather' with the last values, or 'data' with a list, the answer has "
            f"{shown_keys(whole)}. See that ACE_API_URL is the root of the API."
        )
    return _last_values(values)


def _last_values(values: Mapping[str, Any]) -> Weather:
    rows: dict[int, dict[str, Any]] = {}
    invalid = []
    for name in (*COLUMN_OF, *FURTHER):
        given = values.get(name)
        if not isinstance(given, dict) or given.get("value") is None:
            continue
        problem, at = _usable(given.get("value"), given.get("time"))
        if problem:
            invalid.append(BadRecord(as_json({name: given})[:RAW_LENGTH], problem))
            continue
        row = rows.setdefault(at, {"timestamp": at, "metadata": {"source": SOURCE}})
        held = row if name in COLUMN_OF else row["metadata"]
        held[COLUMN_OF.get(name, name)] = number(given["value"])
    return Weather(_table([rows[at] for at in sorted(rows)]), tuple(invalid))


def _usable(value: object, time: object) -> tuple[str, int]:
    """What is wrong with a value and its time, or nothing, and the time in microseconds."""
    at = microseconds(time)
    if at is None:
        return ("time is missing" if time is None else "time cannot be read"), 0
    read = number(value)
    return ("" if read is not None and math.isfinite(read) else value_problem(value)), at


def _observations(records: list[Any]) -> Weather:
    rows, invalid = [], []
    for record in records:
        fields = record if isinstance(record, dict) else {}
        at = microseconds(fields.get("timestamp", fields.get("time")))
        if at is None:
            reason = "time cannot be read" if isinstance(record, dict) else "record is not an object"
            invalid.append(BadRecord(as_json(record)[:RAW_LENGTH], reason))
        elif not any(fields.get(name) is not None for name in (*MEASURES, "conditions")):
            invalid.append(BadRecord(as_json(record)[:RAW_LENGTH], "no value at all"))
        else:
            rows.append(_observation(at, fields))
    return Weather(_table(rows), tuple(invalid), is_ranged=True)


def _observation(at: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"timestamp": at}
    metadata: dict[str, Any] = {"raw": fields, "source": SOURCE}
    for name in MEASURES:
        read = number(fields.get(name))
        row[name] = read if read is not None and math.isfinite(read) else None
    if unusable := [name for name in MEASURES if row[name] is None and fields.get(name) is not None]:
        metadata["unusable"] = unusable
    conditions = fields.get("conditions")
    row["conditions"] = conditions if isinstance(conditions, str) and conditions.isprintable() else None
    # A value that was sent and makes no sense is unknown, not calm and dry.
    if defaulted := [name for name in DEFAULTS if fields.get(name) is None]:
        metadata["defaulted"] = defaulted
        row |= {name: DEFAULTS[name] for name in defaulted}
    row["metadata"] = metadata
    return row


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    texts = [{**row, "metadata": as_json(row["metadata"])} for row in rows]
    return pa.Table.from_pylist(texts, schema=WEATHER_COLUMNS)
