"""The catalogue: every table of the lake, declared once.

Columns, types, units, keys, partitioning and comments live here and nowhere else. From these declarations
come the lake's tables and their migrations, the column panels in Dagster, and the comments of the analysts'
file. A column may be added; it is never renamed or retyped in place.
"""

from dataclasses import dataclass
from typing import Literal

_TIMES = "TIMESTAMPTZ"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its DuckDB type, what it means, and its unit.

    ``provenance`` columns say where a value came from and when; a row that differs in them alone is unchanged.
    ``first`` columns keep what they said first, whatever later rows say.
    """

    name: str
    type: str
    comment: str
    unit: str = ""
    provenance: bool = False
    first: bool = False

    @property
    def description(self) -> str:
        """The comment with its unit, as a person reads it."""
        return f"{self.comment} [{self.unit}]" if self.unit else self.comment


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what a row is, what makes it unique, how it lies in files, how it is published.

    ``time`` is what places a row in its market day; tables that have one are partitioned by ``market_day``, which
    the lake derives, and by the columns of ``also_by``. ``marks`` says what ``time`` is: the end of an interval, where
    24:00 belongs to the day that ends; an instant or the start of an interval, where 00:00 belongs to the day that
    begins; or a market day itself. Files are sorted by ``sort``, when they are merged and when they are written;
    with ``comes_sorted`` the writer brings rows in that order, and the lake does not sort what is written again.
    ``complete_when`` names the columns that a complete row has; a row
    that lacks one is provisional, and filling it in is no revision. ``version`` is a source's own stamp: an
    incoming row with an older one is stale and changes nothing. ``traced`` keeps former values of revised rows
    in ``quality.revisions``. ``published`` is a view over the lake's files, or a copy for small tables.
    """

    schema: str
    name: str
    comment: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    time: str = ""
    marks: Literal["interval_end", "instant", "day"] = "interval_end"
    also_by: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    comes_sorted: bool = False
    complete_when: tuple[str, ...] = ()
    version: str = ""
    traced: bool = False
    published: Literal["view", "copy"] = "view"

    @property
    def full_name(self) -> str:
        """``schema.name``, as analysts write it."""
        return f"{self.schema}.{self.name}"

    @property
    def lake_name(self) -> str:
        """The table inside the attached lake."""
        return f"lake.{self.schema}.{self.name}"

    @property
    def stored_columns(self) -> tuple[Column, ...]:
        """The declared columns and, where rows lie by market day, ``market_day``."""
        if not self.time:
            return self.columns
        return (*self.columns, MARKET_DAY_COLUMN if self.marks == "interval_end" else INSTANT_DAY_COLUMN)

    @property
    def compared(self) -> tuple[str, ...]:
        """Columns whose change makes a row a different one: neither key nor provenance."""
        return tuple(c.name for c in self.columns if c.name not in self.key and not c.provenance)

    def column(self, name: str) -> Column:
        """The declaration of one column. Raises ``KeyError`` where there is none."""
        for column in self.stored_columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.full_name} has no column {name!r}")


def _mw(name: str, comment: str) -> Column:
    return Column(name, "DOUBLE", comment, "MW")


def _price(name: str, comment: str) -> Column:
    return Column(name, "DOUBLE", comment, "AUD/MWh")


MARKET_DAY_COLUMN = Column(
    "market_day",
    "DATE",
    "Market day in NEM time (UTC+10): intervals that end in (00:00, 24:00]. Not the 04:00 trading day.",
)
INSTANT_DAY_COLUMN = Column(
    "market_day",
    "DATE",
    "Market day in NEM time (UTC+10): instants, and intervals that start, in [00:00, 24:00).",
)
INTERVAL_END = Column("interval_end", _TIMES, "End of the interval: AEMO's SETTLEMENTDATE as an instant.")
REGION_ID = Column("region_id", "VARCHAR", "NEM region: NSW1, QLD1, SA1, TAS1 or VIC1.")
INTERVENTION = Column(
    "intervention",
    "INTEGER",
    "0 the pricing run, whose price settles; 1 the physical run of an intervention.",
)
_PROVENANCE = (
    Column("last_changed", _TIMES, "AEMO's own stamp of the record.", provenance=True),
    Column("source", "VARCHAR", "Rung of the source ladder that supplied the row.", provenance=True),
    Column("source_file", "VARCHAR", "File or report that the row was read from.", provenance=True),
    Column("collected_at", _TIMES, "When this row was read.", provenance=True),
)

_SPEEDS = {
    "1sec": "very fast (1 s)",
    "6sec": "fast (6 s)",
    "60sec": "slow (60 s)",
    "5min": "delayed (5 min)",
    "reg": "",
}
_FCAS = {
    f"{way}{speed}": f"{words} {way} {'contingency' if words else 'regulation'} service".strip()
    for way in ("raise", "lower")
    for speed, words in _SPEEDS.items()
}

DISPATCH_REGION = Table(
    schema="aemo",
    name="dispatch_region",
    comment="Price and demand of a region in a 5-minute dispatch interval (MMS DISPATCH.PRICE and REGIONSUM).",
    columns=(
        INTERVAL_END,
        REGION_ID,
        INTERVENTION,
        _price("rrp", "Regional reference price, after any override. Negative prices are real."),
        _price("rop", "Regional original price, before any override."),
        Column(
            "apc_flag",
            "INTEGER",
            "Override bits: 1 administered, 2 VoLL, 4 cap or floor, 8 manual, 16 IRLF scaling.",
        ),
        Column("market_suspended_flag", "INTEGER", "1 while the market is suspended."),
        Column("price_status", "VARCHAR", "FIRM or NOT FIRM."),
        *(_price(f"{name}_rrp", f"Price of the {service} (frequency control).") for name, service in _FCAS.items()),
        _mw(
            "total_demand",
            "Operational demand met by scheduled and semi-scheduled plant. May be negative in SA1.",
        ),
        _mw("available_generation", "Generation offered as available."),
        _mw("available_load", "Scheduled load offered as available."),
        _mw("demand_forecast", "Change of demand forecast for the interval."),
        _mw("dispatchable_generation", "Generation dispatched."),
        _mw("dispatchable_load", "Scheduled load dispatched."),
        _mw("wdr_dispatched", "Wholesale demand response dispatched."),
        _mw("net_interchange", "Net flow out of the region over interconnectors; positive is export."),
        _mw("excess_generation", "Generation in excess of what can be used; negative is a deficit."),
        _mw("initial_supply", "Supply at the start of the interval."),
        _mw("cleared_supply", "Supply cleared, losses included."),
        _mw("scheduled_generation", "Dispatched generation less semi-scheduled."),
        _mw("semi_scheduled_generation", "Semi-scheduled (wind and solar) generation cleared."),
        _mw("total_intermittent_generation", "Non-scheduled wind and solar estimated."),
        _mw("demand_and_nonsched_gen", "Demand with that met by non-scheduled generation."),
        _mw("uigf", "Unconstrained intermittent generation forecast."),
        Column("period_type", "VARCHAR", "ACTUAL: a dispatch interval. Forecasts lie in aemo.region_forecast."),
        *_PROVENANCE,
    ),
    key=("interval_end", "region_id", "intervention"),
    time="interval_end",
    sort=("region_id", "interval_end"),
    # rop is of PRICE alone and available_generation of REGIONSUM alone: no second-rate source has either.
    complete_when=("rrp", "rop", "total_demand", "available_generation"),
    version="last_changed",
    traced=True,
)

DISPATCH_INTERCONNECTOR = Table(
    schema="aemo",
    name="dispatch_interconnector",
    comment="Flow over an interconnector in a 5-minute dispatch interval (MMS DISPATCH.INTERCONNECTORRES).",
    columns=(
        INTERVAL_END,
        Column(
            "interconnector_id",
            "VARCHAR",
            "Interconnector, e.g. VIC1-NSW1; positive flow runs in the order of the name.",
        ),
        INTERVENTION,
        _mw("metered_mw_flow", "Flow metered at the start of the interval."),
        _mw("mw_flow", "Target flow at the end of the interval."),
        _mw("mw_losses", "Losses at the target flow."),
        _price("marginal_value", "Marginal value of the interconnector's constraint."),
        _mw("violation_degree", "Violation of the interconnector's limits."),
        _mw("export_limit", "Limit in the direction of the name."),
        _mw("import_limit", "Limit against the direction of the name; negative."),
        Column("marginal_loss", "DOUBLE", "Marginal loss factor."),
        Column("export_constraint_id", "VARCHAR", "Generic constraint that sets the export limit."),
        Column("import_constraint_id", "VARCHAR", "Generic constraint that sets the import limit."),
        *_PROVENANCE,
    ),
    key=("interval_end", "interconnector_id", "intervention"),
    time="interval_end",
    sort=("interconnector_id", "interval_end"),
    complete_when=("mw_flow",),
    version="last_changed",
    traced=True,
)

UNIT_SCADA = Table(
    schema="aemo",
    name="unit_scada",
    comment="Metered output of a generating unit at a 5-minute dispatch interval (MMS DISPATCH.UNIT_SCADA).",
    columns=(
        INTERVAL_END,
        Column("duid", "VARCHAR", "Dispatchable unit identifier."),
        _mw("scada_value", "SCADA output; negative when consuming."),
        *_PROVENANCE,
    ),
    key=("interval_end", "duid"),
    time="interval_end",
    sort=("duid", "interval_end"),
    complete_when=("scada_value",),
    version="last_changed",
    traced=True,
)

TRADING_PRICE = Table(
    schema="aemo",
    name="trading_price",
    comment="Settlement price of a region (MMS TRADING.PRICE): 5-minute, half-hourly before 2021-10-01.",
    columns=(
        INTERVAL_END,
        REGION_ID,
        _price("rrp", "Price that settles, rounded half up to cents from the dispatch price."),
        _price("rop", "Price before any override."),
        Column("price_status", "VARCHAR", "FIRM or NOT FIRM."),
        *_PROVENANCE,
    ),
    key=("interval_end", "region_id"),
    time="interval_end",
    sort=("region_id", "interval_end"),
    complete_when=("rrp",),
    version="last_changed",
    traced=True,
)

PRICE_AND_DEMAND = Table(
    schema="aemo",
    name="price_and_demand",
    comment="AEMO's aggregated price and demand of a region since 1998: 5-minute, half-hourly before 2021-10-01.",
    columns=(
        INTERVAL_END,
        REGION_ID,
        _price("rrp", "Regional reference price in cents."),
        _mw("total_demand", "Operational demand."),
        Column("period_type", "VARCHAR", "TRADE."),
        *_PROVENANCE[1:],
    ),
    key=("interval_end", "region_id"),
    time="interval_end",
    sort=("region_id", "interval_end"),
    complete_when=("rrp", "total_demand"),
    traced=True,
)

ROOFTOP_PV = Table(
    schema="aemo",
    name="rooftop_pv",
    comment="Rooftop solar of a half-hour by region and estimate type; never add the types (MMS ROOFTOP.ACTUAL).",
    columns=(
        INTERVAL_END,
        Column("region_id", "VARCHAR", "NEM region, or a part of one: QLDC, QLDN, QLDS, TASN, TASS."),
        Column("type", "VARCHAR", "MEASUREMENT or SATELLITE: two estimates of the same power."),
        _mw("power", "Estimated mean power over the half-hour."),
        Column("quality_indicator", "DOUBLE", "AEMO's quality indicator of the estimate."),
        *_PROVENANCE,
    ),
    key=("interval_end", "region_id", "type"),
    time="interval_end",
    sort=("region_id", "interval_end"),
    complete_when=("power",),
    version="last_changed",
    traced=True,
)

REGION_FORECAST = Table(
    schema="aemo",
    name="region_forecast",
    comment="Half-hourly forecast of a region as the 5MIN report gave it at one time of issue.",
    columns=(
        Column("interval_end", _TIMES, "End of the half-hour that is forecast."),
        REGION_ID,
        Column("issued_at", _TIMES, "Newest actual interval in the report that carried the forecast."),
        _price("rrp", "Forecast regional reference price."),
        _mw("total_demand", "Forecast operational demand."),
        _mw("net_interchange", "Forecast net flow out of the region; positive is export."),
        _mw("scheduled_generation", "Forecast scheduled generation."),
        _mw("semi_scheduled_generation", "Forecast semi-scheduled generation."),
        *_PROVENANCE[1:],
    ),
    key=("interval_end", "region_id", "issued_at"),
    time="issued_at",
    sort=("region_id", "issued_at", "interval_end"),
    complete_when=("rrp",),
)

REVISIONS = Table(
    schema="quality",
    name="revisions",
    comment="Every value that a source changed after it was first stored: what it was, what it became, who said so.",
    columns=(
        Column("table_name", "VARCHAR", "Table that was revised, schema.name."),
        Column("row_key", "VARCHAR", "Key of the row as JSON."),
        Column("revised_at", _TIMES, "When the change was stored."),
        Column("column_name", "VARCHAR", "Column that changed."),
        Column("former_value", "VARCHAR", "Value before."),
        Column("new_value", "VARCHAR", "Value after."),
        Column("former_source", "VARCHAR", "File that gave the former value."),
        Column("new_source", "VARCHAR", "File that gave the new value."),
    ),
    key=("table_name", "row_key", "revised_at", "column_name"),
    published="copy",
)

GAPS = Table(
    schema="quality",
    name="gaps",
    comment="Runs of expected intervals that were missing: since when, how many, and when they were healed.",
    columns=(
        Column("dataset", "VARCHAR", "Table with the gap, schema.name."),
        Column(
            "entity", "VARCHAR", "Region, interconnector, unit or site/point; * where all of the interval is missing."
        ),
        Column("gap_start", _TIMES, "End of the first missing interval; of readings, when the first was due."),
        Column("gap_end", _TIMES, "End of the last missing interval; of readings, when the last was due."),
        Column("missing_intervals", "INTEGER", "How many intervals, or readings, are missing."),
        Column("first_seen", _TIMES, "When the gap was found.", provenance=True),
        Column("healed_at", _TIMES, "When it was closed; null while open."),
    ),
    key=("dataset", "entity", "gap_start"),
    published="copy",
)

QUARANTINE = Table(
    schema="quality",
    name="quarantine",
    comment="Records and files that could not be accepted, with their raw text and the reason.",
    columns=(
        Column(
            "id", "VARCHAR", "Digest of dataset, source, raw text and reason: the same record of a day is kept once."
        ),
        Column("dataset", "VARCHAR", "Table that the record was meant for, schema.name."),
        Column("source", "VARCHAR", "File and line."),
        Column("raw", "VARCHAR", "The record as received."),
        Column("reason", "VARCHAR", "What is wrong with it."),
        Column("run_id", "VARCHAR", "Dagster run that met it first.", provenance=True),
        Column("day", "DATE", "Market day of the record, or that the run was asked for."),
        Column("collected_at", _TIMES, "When it was met first.", provenance=True),
        Column("resolved_at", _TIMES, "When the market day was complete all the same; null while it matters."),
    ),
    key=("day", "id"),
    time="day",
    marks="day",
    sort=("dataset", "collected_at"),
)

SITE_NAME = Column("site_name", "VARCHAR", "Site, as the ACE account names it.")
POINT_NAME = Column("point_name", "VARCHAR", "Point: client/site/device/object, as ACE names it.")
_COLLECTED = (
    Column("collected_at", _TIMES, "When the values of this row were read.", provenance=True),
    Column("created_at", _TIMES, "When the row was first stored.", provenance=True, first=True),
)
_SEEN = (
    Column("first_seen", _TIMES, "When the account first listed it.", provenance=True, first=True),
    Column("last_seen", _TIMES, "When its row last changed in the account's list.", provenance=True),
)

SITES = Table(
    schema="ace",
    name="sites",
    comment="Sites of the ACE account.",
    columns=(
        SITE_NAME,
        Column("client", "VARCHAR", "Client that the site belongs to."),
        Column("nice_name", "VARCHAR", "Name for people."),
        Column("latitude", "DOUBLE", "Latitude.", "degrees"),
        Column("longitude", "DOUBLE", "Longitude.", "degrees"),
        Column("archived", "BOOLEAN", "Whether the account has put the site away."),
        Column("time_zone", "VARCHAR", "IANA zone of the site, from SITES."),
        Column("region_id", "VARCHAR", "NEM region whose price the site pays, from SITES."),
        Column(
            "power_points",
            "VARCHAR",
            "Points whose readings in kW add up to the site's electricity demand, as a JSON array, from SITES.",
        ),
        *_SEEN,
    ),
    key=("site_name",),
    published="copy",
)

POINTS = Table(
    schema="ace",
    name="points",
    comment="Points of a site as the ACE account lists them.",
    columns=(
        SITE_NAME,
        POINT_NAME,
        Column("client", "VARCHAR", "Client that the point belongs to."),
        Column("point_type", "VARCHAR", "Type, where the account says one."),
        Column("collect_enabled", "BOOLEAN", "Whether ACE collects the point."),
        Column("collect_interval", "INTEGER", "How often ACE reads the point; null where not said.", "s"),
        Column("is_configured", "BOOLEAN", "Whether ACE lists it among the configured points."),
        Column("is_listed", "BOOLEAN", "Whether the account's last list still has the point."),
        Column("kv_tags", "VARCHAR", "Tags with values, as JSON."),
        Column("marker_tags", "VARCHAR", "Tags without values, as JSON."),
        Column("bacnet_data", "VARCHAR", "BACnet properties, as JSON."),
        Column("collect_config", "VARCHAR", "Configuration of the collection, as JSON."),
        Column("created", _TIMES, "When the account made the point."),
        Column("updated", _TIMES, "When the account last changed the point.", provenance=True),
        *_SEEN,
    ),
    key=("site_name", "point_name"),
    published="copy",
)

TIMESERIES_RAW = Table(
    schema="ace",
    name="timeseries_raw",
    comment="Readings of building points as ACE recorded them.",
    columns=(
        SITE_NAME,
        POINT_NAME,
        Column("timestamp", _TIMES, "Instant of the reading; ACE's naive times are UTC. Microseconds are kept."),
        Column("value", "DOUBLE", "Reading, in the point's own unit; false and true are 0 and 1."),
        Column("quality", "VARCHAR", "Quality that the source gave, else unknown."),
        Column("metadata", "VARCHAR", "Further fields of the record, as JSON."),
        *_COLLECTED,
    ),
    key=("site_name", "point_name", "timestamp"),
    time="timestamp",
    marks="instant",
    also_by=("site_name",),
    sort=("point_name", "timestamp"),
    comes_sorted=True,
)

WEATHER_RAW = Table(
    schema="ace",
    name="weather_raw",
    comment="Weather at a site as ACE gave it: last known values, collected on every tick.",
    columns=(
        SITE_NAME,
        Column("timestamp", _TIMES, "Instant of the observation."),
        Column("temperature", "DOUBLE", "Air temperature.", "degC"),
        Column("humidity", "DOUBLE", "Relative humidity.", "%"),
        Column("precipitation", "DOUBLE", "Precipitation; null where the source has none.", "mm"),
        Column("wind_speed", "DOUBLE", "Wind speed.", "m/s"),
        Column("conditions", "VARCHAR", "Conditions in words; null where the source has none."),
        Column("metadata", "VARCHAR", "Further values, and the fields that were defaulted, as JSON."),
        *_COLLECTED,
    ),
    key=("site_name", "timestamp"),
    time="timestamp",
    marks="instant",
    also_by=("site_name",),
    sort=("timestamp",),
)

TIMESERIES_AGG = Table(
    schema="ace",
    name="timeseries_agg",
    comment="Aggregates of readings by point: 1min and 5min, 1h, 1d, each by its start. Derived from timeseries_raw.",
    columns=(
        SITE_NAME,
        POINT_NAME,
        Column("interval", "VARCHAR", "1min, 5min, 1h, or 1d (the market day, UTC+10)."),
        Column("timestamp", _TIMES, "Start of the interval, which includes it and excludes its end."),
        Column("avg_value", "DOUBLE", "Mean of the readings."),
        Column("min_value", "DOUBLE", "Lowest reading."),
        Column("max_value", "DOUBLE", "Highest reading."),
        Column("sample_count", "BIGINT", "How many readings."),
        Column("collected_at", _TIMES, "When the row was derived.", provenance=True),
    ),
    key=("site_name", "point_name", "interval", "timestamp"),
    time="timestamp",
    marks="instant",
    also_by=("site_name", "interval"),
    sort=("point_name", "timestamp"),
)

QUERY_METADATA = Table(
    schema="ace",
    name="query_metadata",
    comment="What there is of each point: first and last reading, how many, when last aggregated.",
    columns=(
        SITE_NAME,
        POINT_NAME,
        Column("data_start", _TIMES, "First reading."),
        Column("data_end", _TIMES, "Last reading."),
        Column("total_samples", "BIGINT", "Readings in all, archived ones included."),
        Column("last_aggregated", _TIMES, "When its aggregates were last derived.", provenance=True),
    ),
    key=("site_name", "point_name"),
    published="copy",
)

DATA_QUALITY = Table(
    schema="quality",
    name="data_quality",
    comment="Quality of a point's market day: how many readings were due, came, and are doubtful.",
    columns=(
        SITE_NAME,
        POINT_NAME,
        Column("date", "DATE", "Market day (UTC+10) by the readings' own time."),
        Column("expected_samples", "BIGINT", "Readings due by then, from the point's own collect_interval, else 60 s."),
        Column("actual_samples", "BIGINT", "Readings there."),
        Column("missing_samples", "BIGINT", "Expected less actual, at least 0."),
        Column("outlier_count", "BIGINT", "Readings far from the day's median; see quality/scores.py."),
        Column("flat_count", "BIGINT", "Readings in flat lines of a signal that otherwise moves."),
        Column("future_count", "BIGINT", "Readings stamped later than they were collected."),
        Column("quality_score", "DOUBLE", "Actual over expected, at most 1; null where none was due."),
        Column("is_silent", "BOOLEAN", "Whether the point had readings the day before and none now."),
        Column("scored_at", _TIMES, "When this was worked out.", provenance=True),
    ),
    key=("site_name", "point_name", "date"),
    time="date",
    marks="day",
    also_by=("site_name",),
    sort=("point_name",),
)

KPI_VALUES = Table(
    schema="kpi",
    name="kpi_values",
    comment="Value of a KPI for a market day, one row an entity where the KPI has several.",
    columns=(
        Column("kpi_id", "VARCHAR", "KPI, as the registry names it."),
        Column("date", "DATE", "Market day in NEM time (UTC+10) that the value is of."),
        Column("entity", "VARCHAR", "Region, site, interconnector or source; empty where the KPI has one number."),
        Column("value", "DOUBLE", "Value, in the unit beside it; null where the day has no data for it."),
        Column("unit", "VARCHAR", "Unit of the value, as the registry says."),
        Column("threshold_status", "VARCHAR", "within, above or below its thresholds; none without; no_data."),
        Column("source", "VARCHAR", "sql: computed here; report: a workflow reported it.", provenance=True),
        Column("trace_id", "VARCHAR", "Job that asked for it; empty outside daily runs.", provenance=True),
        Column("computed_at", _TIMES, "When it was computed or reported.", provenance=True),
    ),
    key=("kpi_id", "date", "entity"),
    published="copy",
)

ACE_TABLES = (SITES, POINTS, TIMESERIES_RAW, WEATHER_RAW, TIMESERIES_AGG, QUERY_METADATA, DATA_QUALITY)

AEMO_TABLES = (
    DISPATCH_REGION,
    DISPATCH_INTERCONNECTOR,
    UNIT_SCADA,
    TRADING_PRICE,
    PRICE_AND_DEMAND,
    ROOFTOP_PV,
    REGION_FORECAST,
)
TABLES: tuple[Table, ...] = (*AEMO_TABLES, *ACE_TABLES, KPI_VALUES, REVISIONS, GAPS, QUARANTINE)

VIEWS = {
    "aemo.price": "aemo.dispatch_region",
    "ace.timeseries_all": "ace.timeseries_raw",
    "ace.timeseries_raw_text": "ace.timeseries_raw",
    "ace.timeseries_agg_epoch": "ace.timeseries_agg",
}
"""Further views of the published file, and the table whose rows each shows; what they do is in ``publish.py``."""
