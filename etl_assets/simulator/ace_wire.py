"""What the simulated ACE API sends, byte for byte: readings, cursors, sites, points and weather in both shapes.

The vendor's shape is what the real API sends; the other is the one that 001's documents describe.
"""

import base64
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np

from etl_assets.simulator.ace_pages import Position
from etl_assets.simulator.ace_samples import Samples, instant, microseconds
from etl_assets.simulator.ace_signals import WEATHER_NAMES, Kind, Objects
from etl_assets.simulator.ace_sites import AceSite, Layout
from etl_assets.simulator.ace_world import AceWorld

Json = dict[str, Any]

_POINT_KINDS = {
    Kind.ZONE_TEMPERATURE: ("zone temperature", "degreesCelsius", "temp"),
    Kind.POWER: ("power", "kilowatts", "power"),
    Kind.FLOW: ("flow", "litersPerSecond", "flow"),
    Kind.STATE: ("status", "noUnits", "run"),
    Kind.SETPOINT: ("zone temperature setpoint", "degreesCelsius", "sp"),
    Kind.COUNTER: ("energy total", "kilowattHours", "total"),
    Kind.WEATHER: ("weather", "noUnits", "weather"),
}
_UNANSWERED = "property: unknown-property"
"""What a controller's silence about a BACnet property looks like."""


class Shape(StrEnum):
    """Which description of the API an answer follows."""

    ACE = "api"
    """The vendor's: the path below which it is served."""
    SEED = "v1"
    """That of 001's documents."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What the fields of a reading are called, and under what key the readings are."""

    records: str
    name: str
    value: str
    time: str


KEYS = {
    Shape.ACE: Keys("point_samples", "name", "value", "time"),
    Shape.SEED: Keys("data", "point_name", "value", "timestamp"),
}


def timestamp(time: int, shape: Shape) -> str:
    """A time as the API writes it: naive UTC with the microseconds there are, or with Z."""
    text = instant(time).replace(tzinfo=None).isoformat()
    return text if shape is Shape.ACE else f"{text}Z"


def encoded(position: Position | None, shape: Shape, *, spaces: int = 0) -> str | None:
    """A position as a cursor: base64 of JSON in the vendor's shape, a plain token in the other.

    ``spaces`` makes another cursor for the same position.
    """
    if position is None:
        return None
    if shape is Shape.SEED:
        return f"{position.time:x}-{position.offset:x}-{spaces:x}"
    held = {"offset": position.offset, "timestamp": timestamp(position.time, shape)}
    return base64.b64encode(f"{json.dumps(held)}{' ' * spaces}".encode()).decode()


def decoded(cursor: str, shape: Shape) -> tuple[Position, int]:
    """The position of a cursor, and its spaces. Raises ``ValueError`` for any other text."""
    if shape is Shape.SEED:
        time, offset, spaces = (int(part, 16) for part in cursor.split("-"))
        return Position(offset, time), spaces
    text = base64.b64decode(cursor, validate=True).decode()
    match json.loads(text):
        case {"offset": int(offset), "timestamp": str(stamp), **more} if offset >= 0 and not more:
            return Position(offset, microseconds(utc(stamp))), len(text) - len(text.rstrip(" "))
        case _:
            raise ValueError("not one of our cursors")


def utc(text: str) -> datetime:
    """An ISO instant; UTC where it has no offset. Raises ``ValueError``."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def records(layout: Layout, samples: Samples, shape: Shape) -> bytes:
    """Readings as JSON objects with commas between: three pieces each, of which two were made before."""
    if not len(samples):
        return b""
    pieces: list[bytes] = [b""] * (3 * len(samples))
    pieces[0::3] = _heads(layout, shape)[samples.point].tolist()
    pieces[1::3] = _values(samples, shape).tolist()
    pieces[2::3] = _tails(samples, shape).tolist()
    pieces[-1] = pieces[-1][:-1]
    return b"".join(pieces)


@lru_cache(maxsize=64)
def _heads(layout: Layout, shape: Shape) -> Objects:
    """Of each point, what stands before a value."""
    key, quote = KEYS[shape].name, '"' if shape is Shape.ACE else ""
    heads = [f'{{"{key}":{json.dumps(name)},"value":{quote}'.encode() for name in layout.names]
    return np.array(heads, dtype=object)


def _values(samples: Samples, shape: Shape) -> Objects:
    texts = samples.texts()
    if shape is Shape.SEED:
        # JSON has no word for what is not a number.
        texts[np.isnan(samples.values())] = b"null"
    return texts


def _tails(samples: Samples, shape: Shape) -> Objects:
    """Of each reading, what stands behind its value."""
    first = np.flatnonzero(np.diff(samples.time, prepend=samples.time[0] - 1))
    quote, key = ('"', "time") if shape is Shape.ACE else ("", "timestamp")
    more = "" if shape is Shape.ACE else ',"quality":"good","metadata":{}'
    tails = [f'{quote},"{key}":"{timestamp(time, shape)}"{more}}},'.encode() for time in samples.time[first].tolist()]
    return np.repeat(np.array(tails, dtype=object), np.diff(first, append=len(samples)))


def site(place: int, told: AceSite) -> Json:
    """A site as the account lists it; the client's own id is not among its fields, as in the real one."""
    return {
        "id": place + 1,
        "name": told.name,
        "client": told.client,
        "address": None,
        "nice_name": told.name.replace("-", " ").title(),
        "ansible_user": None,
        "vtron_user": None,
        "vtron_ip": None,
        "geo_location": None,
        "mqtt_prefix": None,
        "latitude": told.latitude,
        "longitude": told.longitude,
        "archived": False,
    }


NO_SITE: Json = dict.fromkeys(site(0, AceSite("none")))
"""The body of the answer for a site that is not there."""


@lru_cache(maxsize=256)
def points(layout: Layout) -> tuple[Json, ...]:
    """A site's points as the account lists them."""
    return tuple(_point(layout, number) for number in range(layout.site.points))


def _point(layout: Layout, number: int) -> Json:
    kind = Kind(layout.kinds[number])
    meaning, unit, marker = _POINT_KINDS[kind]
    name = layout.names[number]
    made = datetime(2024, 3, 1, 2, 30, tzinfo=UTC) + timedelta(hours=7 * (number % 97))
    said = bool(layout.interval_said[number])
    return {
        "id": layout.seed % 1000 * 100_000 + number + 1,
        "name": name,
        "client": layout.site.client,
        "site": layout.site.name,
        "kv_tags": {"meaning": meaning, "unit": unit},
        "marker_tags": ["point", marker],
        "bacnet_data": None if kind is Kind.WEATHER else _bacnet(name, unit),
        "collect_config": {},
        "point_type": None if kind is Kind.WEATHER else "bacnet",
        "collect_enabled": bool(layout.enabled[number]),
        "collect_interval": int(layout.interval[number]) if said else None,
        "created": _naive(made),
        "updated": _naive(made + timedelta(days=number % 400)),
    }


def _bacnet(name: str, unit: str) -> Json:
    _, _, device, object_type, index = name.split("/")
    address, _, device_id = device.partition("-")
    return {
        "device_address": address,
        "device_id": int(device_id),
        "device_name": f"controller {device_id}",
        "object_type": object_type,
        "object_index": index,
        "object_name": f"{object_type} {index}",
        "object_units": unit,
        "object_description": _UNANSWERED,
        "present_value": _UNANSWERED,
    }


def _naive(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat()


def last_weather(world: AceWorld, name: str, as_of: datetime) -> Json:
    """The vendor's weather: the last value of each weather point; null where there is none."""
    return {
        short: found
        and {
            "name": found[0],
            "value": found[1].texts()[0].decode(),
            "time": timestamp(int(found[1].time[0]), Shape.ACE),
        }
        for short, found in world.weather(name, as_of).items()
    }


NO_WEATHER: Json = dict.fromkeys(WEATHER_NAMES)


def observations(layout: Layout, samples: Samples) -> list[Json]:
    """001's weather: an observation for each time at which the weather points were read."""
    feed = {number: name for name, number in layout.weather.items()}
    rows: dict[int, dict[str, float]] = {}
    chosen = samples.take(np.flatnonzero(np.isin(samples.point, list(feed))))
    for point, time, value in zip(chosen.point.tolist(), chosen.time.tolist(), chosen.values().tolist(), strict=True):
        rows.setdefault(time, {})[feed[point]] = value
    return [_observation(time, read) for time, read in rows.items()]


_RAIN_FROM = 85
"""Per cent of cloud."""


def _observation(time: int, read: dict[str, float]) -> Json:
    clouds = _number(read, "clouds") or 0.0
    words = ((_RAIN_FROM, "rain"), (60, "cloudy"), (20, "partly cloudy"), (0, "clear"))
    return {
        "timestamp": timestamp(time, Shape.SEED),
        "temperature": _number(read, "temp"),
        "humidity": _number(read, "humidity"),
        "precipitation": round(max(clouds - _RAIN_FROM, 0) / 10, 1),
        "wind_speed": _number(read, "wind_speed"),
        "conditions": next(word for least, word in words if clouds >= least),
        "pressure": _number(read, "pressure"),
    }


def _number(read: dict[str, float], name: str) -> float | None:
    value = read.get(name, math.nan)
    return None if math.isnan(value) else round(value, 2)
