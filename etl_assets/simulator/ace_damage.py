"""How faults change a page of ACE's answer: from a good body to a bad one."""

from collections.abc import Callable, Iterable
from typing import Any

from etl_assets.simulator.ace_samples import microseconds
from etl_assets.simulator.ace_wire import KEYS, Keys, Shape, timestamp, utc
from etl_assets.simulator.faults import Fault

Body = dict[str, Any]
Records = list[Body]

STRIDE = 10
"""A fault in readings spoils each tenth, from the first."""
_HOUR = 3_600_000_000
_BAD_VALUES = (None, "", "active", "inf")
_BAD_TIMES = ("yesterday", "2026-13-01T00:00:00", None)


def damaged(body: Body, faults: Iterable[Fault], shape: Shape, end: int) -> Body:
    """A page with every fault applied: those of its readings first, each kind in the order of switching on.

    ``end`` of the window is in microseconds since 1970.
    """
    keys, names = KEYS[shape], [fault.name for fault in faults]
    records: Records = body[keys.records]
    for name in names:
        if name in _RECORDS:
            records = _RECORDS[name](records, keys)
    if "record_outside_window" in names and records:
        records = [{**records[0], keys.time: timestamp(end + _HOUR, shape)}, *records]
    body = {**body, keys.records: records}
    for name in names:
        if name in _PAGES:
            body = _PAGES[name](body, keys)
    return body


def _out_of_order(records: Records, _: Keys) -> Records:
    return records[::-1]


def _duplicated(records: Records, keys: Keys) -> Records:
    """The last timestamp is spared: its readings are counted by the cursor."""
    last = records[-1][keys.time] if records else None
    doubled: Records = []
    for place, record in enumerate(records):
        if place % STRIDE == 0 and record[keys.time] != last:
            doubled.append({**record, keys.value: type(record[keys.value] or 0.0)(-1)})
        doubled.append(record)
    return doubled


def _bad_values(records: Records, keys: Keys) -> Records:
    return _each_tenth(records, lambda record, turn: {**record, keys.value: _BAD_VALUES[turn % len(_BAD_VALUES)]})


def _bad_times(records: Records, keys: Keys) -> Records:
    return _each_tenth(records, lambda record, turn: {**record, keys.time: _BAD_TIMES[turn % len(_BAD_TIMES)]})


def _missing_names(records: Records, keys: Keys) -> Records:
    def spoil(record: Body, turn: int) -> Body:
        nameless = {key: value for key, value in record.items() if key != keys.name}
        return (nameless, {**record, keys.name: ""}, {**record, keys.name: None})[turn % 3]

    return _each_tenth(records, spoil)


def _each_tenth(records: Records, spoil: Callable[[Body, int], Body]) -> Records:
    return [record if place % STRIDE else spoil(record, place // STRIDE) for place, record in enumerate(records)]


def _epoch_times(records: Records, keys: Keys) -> Records:
    return [{**record, keys.time: _epoch(record[keys.time])} for record in records]


def _epoch(text: object) -> object:
    try:
        return microseconds(utc(str(text)))
    except ValueError:
        return text


def _extra_record_keys(records: Records, _: Keys) -> Records:
    return [{**record, "unit": "kW", "source": {"gateway": 7}} for record in records]


def _without_cursor(body: Body, _: Keys) -> Body:
    return _with_tail(body, {"next_cursor": None, "has_more": True})


def _without_has_more(body: Body, _: Keys) -> Body:
    tail = body.get("pagination", body)
    short = {key: value for key, value in tail.items() if key != "has_more"}
    return {**body, "pagination": short} if "pagination" in body else short


def _with_tail(body: Body, tail: Body) -> Body:
    return {**body, "pagination": {**body["pagination"], **tail}} if "pagination" in body else {**body, **tail}


def _unknown(body: Body, keys: Keys) -> Body:
    return {"rows" if key == keys.records else key: value for key, value in body.items()}


def _both(body: Body, keys: Keys) -> Body:
    records = body.get(keys.records, [])
    return {"data": records, "point_samples": records, **body}


def _extra_page_keys(body: Body, _: Keys) -> Body:
    return {"request_id": "5f0c", "server": {"name": "edge-2"}, **body}


_RECORDS: dict[str, Callable[[Records, Keys], Records]] = {
    "records_out_of_order": _out_of_order,
    "duplicate_records": _duplicated,
    "bad_values": _bad_values,
    "bad_times": _bad_times,
    "missing_names": _missing_names,
    "epoch_times": _epoch_times,
    "extra_keys": _extra_record_keys,
}
_PAGES: dict[str, Callable[[Body, Keys], Body]] = {
    "missing_cursor": _without_cursor,
    "missing_has_more": _without_has_more,
    "unknown_shape": _unknown,
    "both_shapes": _both,
    "extra_keys": _extra_page_keys,
}
DAMAGING = frozenset({*_RECORDS, *_PAGES, "record_outside_window"})
