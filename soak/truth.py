"""What the tables must hold after a soak: from the simulator's own worlds.

Of the pipeline only its calendar is used, and which points are a building's demand (a setting of the demo). Each table
comes as Arrow with its key, its values and ``required``: whether the row must be there, or only may. What was published
within the last minutes may be missing; so may a reading that came later than anybody asked for it. Null is for rows
that cannot be had as they were: they may be missing, or be a second-rate source's.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from etl_assets.demo import POWER_POINTS, TIME_ZONES
from etl_assets.market_time import DAY, NEM_TIME, day_start, days_between, instant_day, interval_ends
from etl_assets.simulator import ace_wire
from etl_assets.simulator.ace_hours import hour_of
from etl_assets.simulator.ace_samples import HOUR, microseconds
from etl_assets.simulator.day import UNITS, Day
from etl_assets.simulator.market import ROOFTOP_REGIONS, ROOFTOP_TYPES
from etl_assets.simulator.network import FCAS_SERVICES, INTERCONNECTOR_NAMES, REGION_NAMES
from etl_assets.simulator.site import DISPATCH_KEPT
from etl_assets.simulator.units import units

if TYPE_CHECKING:
    from etl_assets.simulator.ace_world import AceWorld
    from etl_assets.simulator.market import Market
    from etl_assets.simulator.site import Site
    from soak.plan import Plan
    from soak.spells import Spell

FRESH = timedelta(minutes=10)
"""What a 5-minute feed published so long before the end is there."""
ROOFTOP_FRESH = timedelta(hours=2, minutes=30)
ROOFTOP_QUALITY = {"MEASUREMENT": 1.0, "SATELLITE": 0.6}
LOOKED_BACK = timedelta(minutes=10)
"""SITE_LOOKBACK: a reading that comes no later is met by the next sync."""
REREAD_SPAN = DAY
MONTHS_AT = timedelta(hours=6, minutes=15)
REREAD_AT = timedelta(hours=10)
"""After midnight, NEM time: when the aggregated file, and the buildings' last day, are read."""

LOSING = ("aemo.dispatch_region", "aemo.dispatch_interconnector", "aemo.unit_scada")
"""Tables whose files go to archives after two days: what those leave out is lost. Others are in CURRENT for 14."""
POINT_FIELDS = (
    "client", "point_type", "collect_enabled", "collect_interval", "kv_tags", "marker_tags", "bacnet_data",
    "collect_config",
)  # fmt: skip
REGION_FIGURES = {
    "rrp": "rrp", "rop": "rrp", "total_demand": "demand", "available_generation": "available",
    "demand_and_nonsched_gen": "nonscheduled", "available_load": "available_load",
    "total_intermittent_generation": "intermittent", "uigf": "uigf",
    "dispatchable_generation": "generation", "dispatchable_load": "load", "wdr_dispatched": "wdr",
    "net_interchange": "net", "demand_forecast": "forecast", "initial_supply": "initial",
    "cleared_supply": "cleared", "semi_scheduled_generation": "semi",
}  # fmt: skip
LINK_FIGURES = {
    "mw_flow": "flow", "metered_mw_flow": "metered", "mw_losses": "losses", "marginal_value": "value",
    "export_limit": "export", "import_limit": "import",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expected:
    """A table's truth: key columns, then values, then ``required``."""

    table: str
    key: tuple[str, ...]
    rows: pa.Table

    @property
    def values(self) -> list[str]:
        """The columns that are compared."""
        return [name for name in self.rows.column_names if name not in (*self.key, "required")]


@dataclass(frozen=True)
class Truth:
    """The worlds behind a soak, as they were at its end."""

    plan: "Plan"
    site: "Site"
    """What AEMO had published, interventions and revisions included."""
    world: "AceWorld"
    times: "tuple[Spell, ...]" = ()
    """When faults were on."""
    spoilt: frozenset[str] = frozenset()
    """Kinds that spoilt an answer at least."""
    met_until: datetime | None = None
    """Where a folder was restored: when its backup was taken."""

    @property
    def asked_until(self) -> datetime:
        """Up to when this folder's runs asked at every step; what only tells of the present can be had no further."""
        return self.met_until or self.plan.end

    @property
    def steps(self) -> list[datetime]:
        """Those at which this folder's runs asked."""
        return [step for step in self.plan.steps() if step <= self.asked_until]

    @cached_property
    def lost(self) -> frozenset[datetime]:
        """Dispatch intervals that a restored folder cannot have: no more in CURRENT, and left out of archives."""
        if self.met_until is None:
            return frozenset()
        left_out = self.plan.intervals_of("archive_missing_interval")
        last_hour = self.met_until - timedelta(hours=1)
        return frozenset(end for end in left_out if last_hour < end <= self.plan.end - DISPATCH_KEPT)

    @property
    def watched_days(self) -> list[date]:
        """The whole market days between the start and ``asked_until``."""
        return list(days_between(self.days[0] + DAY, instant_day(self.asked_until) - DAY))

    @property
    def met(self) -> set[str]:
        """Kinds of faults that spoilt something that this folder's runs read."""
        return {spell.name for spell in self.times if spell.end and spell.end <= self.asked_until} & self.spoilt

    @property
    def market(self) -> "Market":
        """The market with its revisions."""
        return self.site.final.market

    @property
    def days(self) -> list[date]:
        """Market days from the first to that of the end."""
        return list(days_between(self.plan.start.date(), self.plan.end.astimezone(NEM_TIME).date()))

    def rereads(self) -> list[datetime]:
        """When the buildings' last 24 hours were read again."""
        at = [day_start(day) + REREAD_AT for day in self.days]
        return [moment for moment in at if self.plan.start <= moment <= self.plan.end]

    def tables(self) -> "Iterator[Expected]":
        """The truth of every table of the market, and of readings."""
        yield self.regions
        yield self.interconnectors
        yield self._market("aemo.unit_scada", "duid", self._scada_day)
        yield self._market("aemo.trading_price", "region_id", self._trading_day)
        yield self._rooftop()
        yield self._aggregated()
        yield self.readings

    @cached_property
    def regions(self) -> Expected:
        """Prices and dispatch of every region."""
        return self._market("aemo.dispatch_region", "region_id", self._region_day)

    @cached_property
    def interconnectors(self) -> Expected:
        """Flows and limits of every interconnector."""
        return self._market("aemo.dispatch_interconnector", "interconnector_id", self._link_day)

    @cached_property
    def sites(self) -> list[dict[str, Any]]:
        """What the account and SITES say of each site, as the columns of ``ace.sites``; ``power_points`` as a list."""
        return [
            {
                "site_name": name, "client": site.client, "nice_name": ace_wire.site(0, site)["nice_name"],
                "latitude": site.latitude, "longitude": site.longitude, "archived": False,
                "time_zone": TIME_ZONES[site.region], "region_id": site.region,
                "power_points": self.world.layout(name).power_points(POWER_POINTS),
            }
            for name, site in self.world.sites.items()
        ]  # fmt: skip

    @cached_property
    def points(self) -> list[dict[str, Any]]:
        """What the account says of each point, as the columns of ``ace.points``; JSON as what it stands for."""
        return [
            {
                **{name: told[name] for name in POINT_FIELDS},
                "site_name": site, "point_name": told["name"], "is_configured": told["collect_enabled"],
                "is_listed": True,
                **{name: datetime.fromisoformat(told[name]).replace(tzinfo=UTC) for name in ("created", "updated")},
            }
            for site in self.world.sites
            for told in ace_wire.points(self.world.layout(site))
        ]  # fmt: skip

    def _market(self, table: str, entity: str, of_day: Callable[[date], dict[str, "pa.Array"]]) -> Expected:
        parts = [pa.table(of_day(day)) for day in self.days]
        rows = pa.concat_tables(parts)
        key = (
            ("interval_end", entity, "intervention")
            if "intervention" in rows.column_names
            else ("interval_end", entity)
        )
        return Expected(table, key, self._required(rows, FRESH, table))

    def _required(self, rows: pa.Table, fresh: timedelta, table: str = "") -> pa.Table:
        ends = rows["interval_end"].to_numpy().astype("datetime64[us]").astype(np.int64)
        due = ends <= microseconds(self.plan.end - fresh)
        is_lost = np.isin(ends, [microseconds(end) for end in self.lost if table in LOSING])
        # A second-rate source fills in for the region's price and demand, and for nothing else.
        is_filled = is_lost & (table == "aemo.dispatch_region")
        return rows.append_column("required", pa.array(due & ~is_lost, mask=is_filled))

    def _region_day(self, day: date) -> dict[str, pa.Array]:
        found = self.market.day(day)
        columns = {name: _scaled(found.region[figure], UNITS[figure]) for name, figure in REGION_FIGURES.items()}
        generation, semi = found.region["generation"] * 10**3, found.region["semi"]
        columns["scheduled_generation"] = (generation - semi) / 10.0**5
        for number, service in enumerate(FCAS_SERVICES):
            columns[f"{service.lower()}_rrp"] = found.fcas[:, :, number] / 10.0**5
        price = _scaled(found.region["physical_rrp"], UNITS["physical_rrp"])
        physical = {**columns, "rrp": price, "rop": price}
        return self._runs(day, "region_id", REGION_NAMES, (columns, physical))

    def _link_day(self, day: date) -> dict[str, pa.Array]:
        found = self.market.day(day)
        columns = {name: found.link[figure] / 10.0**5 for name, figure in LINK_FIGURES.items()}
        return self._runs(day, "interconnector_id", INTERCONNECTOR_NAMES, (columns, columns))

    def _runs(
        self, day: date, entity: str, names: Sequence[str], runs: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    ) -> dict[str, pa.Array]:
        """The pricing run of each interval, and the physical one of those with an intervention."""
        ends = interval_ends(day)
        chosen = [n for n, end in enumerate(ends) if self.site.has_intervention(end)]
        rows = {name: np.concatenate([values, runs[1][name][chosen]]) for name, values in runs[0].items()}
        marked = [0] * len(ends) + [1] * len(chosen)
        columns = _by_interval([*ends, *(ends[n] for n in chosen)], entity, names, rows)
        return columns | {"intervention": pa.array(np.repeat(marked, len(names)), pa.int32())}

    def _scada_day(self, day: date) -> dict[str, pa.Array]:
        # What was metered is published once, whatever becomes of the price.
        values = {"scada_value": self.site.first.market.outputs(day) / 10.0**6}
        return _by_interval(interval_ends(day), "duid", [unit.duid for unit in units()], values)

    def _trading_day(self, day: date) -> dict[str, pa.Array]:
        price = np.array(self.market.trading_cents(self.market.day(day))) / 100.0
        return _by_interval(interval_ends(day), "region_id", REGION_NAMES, {"rrp": price, "rop": price})

    def _rooftop(self) -> Expected:
        rows = [
            (end, region, kind, self.market.rooftop_power(end, kind)[region] / 1000, ROOFTOP_QUALITY[kind])
            for day in self.days for end in interval_ends(day, timedelta(minutes=30)) for kind in ROOFTOP_TYPES
            for region in ROOFTOP_REGIONS
        ]  # fmt: skip
        ends, regions, kinds, power, quality = zip(*rows, strict=True)
        table = pa.table(
            {
                "interval_end": _instants(ends), "region_id": regions, "type": kinds,
                "power": power, "quality_indicator": quality,
            }
        )  # fmt: skip
        key = ("interval_end", "region_id", "type")
        return Expected("aemo.rooftop_pv", key, self._required(table, ROOFTOP_FRESH))

    def _aggregated(self) -> Expected:
        """The months of the days before each morning's reading, as far as the last of those."""
        read = [day - DAY for day in self.days if self.plan.start <= day_start(day) + MONTHS_AT <= self.plan.end]
        days = list(days_between(read[0].replace(day=1), read[-1])) if read else []
        parts = []
        for day in days:
            found: Day = self.market.day(day)
            values = {
                "rrp": np.array(self.market.trading_cents(found)) / 100.0,
                "total_demand": np.array(self.market.trading_centi_megawatts(found)) / 100.0,
            }
            parts.append(pa.table(_by_interval(interval_ends(day), "region_id", REGION_NAMES, values)))
        none = pa.table(_by_interval([], "region_id", [], {"rrp": np.zeros(0), "total_demand": np.zeros(0)}))
        rows = pa.concat_tables([none, *parts])
        return Expected(
            "aemo.price_and_demand", ("interval_end", "region_id"),
            rows.append_column("required", pa.array([True] * len(rows), pa.bool_())),
        )  # fmt: skip

    @cached_property
    def readings(self) -> Expected:
        """Every reading that is a number, of every site, from the first day to the end."""
        parts = [self._site_hour(site, hour) for site in self.world.sites for hour in self._hours()]
        key = ("site_name", "point_name", "timestamp")
        return Expected("ace.timeseries_all", key, pa.concat_tables(parts))

    def _hours(self) -> range:
        first = microseconds(day_start(self.days[0])) // HOUR
        return range(first, microseconds(self.plan.end) // HOUR + 1)

    def _site_hour(self, site: str, number: int) -> pa.Table:
        layout = self.world.layout(site)
        hour = hour_of(layout, number)
        times, visible = hour.samples.time, hour.samples.time.copy()
        visible[hour.late] = hour.visible_at
        seen = (visible - times <= LOOKED_BACK // timedelta(microseconds=1)) & (
            visible <= microseconds(self.plan.end - FRESH)
        )
        for moment in self.rereads():
            span = (microseconds(moment - REREAD_SPAN), microseconds(moment))
            seen |= (times >= span[0]) & (times <= span[1]) & (visible <= span[1])
        values = hour.samples.values()
        kept = np.flatnonzero(~np.isnan(values) & (times <= microseconds(self.plan.end)))
        names = pa.array(layout.names).take(pa.array(hour.samples.point[kept]))
        return pa.table(
            {
                "site_name": pa.array([site] * len(kept), pa.string()),
                "point_name": names,
                "timestamp": pa.array(times[kept]).cast(pa.timestamp("us", "UTC")),
                "value": pa.array(values[kept], pa.float64()),
                "required": pa.array(seen[kept]),
            }
        )


def _scaled(figures: np.ndarray, decimals: int) -> np.ndarray:
    return figures / 10.0**decimals


def _by_interval(
    ends: Sequence[datetime], entity: str, names: Sequence[str], values: dict[str, np.ndarray]
) -> dict[str, pa.Array]:
    """Arrays of the shape (interval, entity) as columns."""
    return {
        "interval_end": _instants(np.repeat(np.array(ends, dtype=object), len(names))),
        entity: pa.array(list(names) * len(ends), pa.string()),
        **{name: pa.array(np.asarray(array, np.float64).ravel()) for name, array in values.items()},
    }


def _instants(ends: Sequence[datetime] | np.ndarray) -> pa.Array:
    return pa.array(list(ends), pa.timestamp("us", "UTC"))
