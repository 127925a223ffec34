"""What may be asked of the routes of rows: their query parameters, with what each means. Others are refused by name."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from etl_assets.api.data_queries import USUAL, VALUES, Resolution
from etl_assets.api.formats import Format
from etl_assets.api.regions import REGION_IDS
from etl_assets.api.site_queries import Interval
from etl_assets.api.table_queries import GapState

SITE = "Site, as `GET /sites` names it."
EXAMPLE_SITE = ["building-a"]
EXAMPLE_POINT = "demo/building-a/ahu-1/zoneTemp"
EXAMPLE_PATTERN = ["*Temp"]
FORMAT = "Format of the answer; goes before `Accept`."
LISTED = "repeated or with commas"


class Asked(BaseModel):
    """What every route of rows takes."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)

    format: Format | None = Field(None, description=FORMAT)


class RangeAsked(Asked):
    """A range of time."""

    start: str | None = Field(
        None,
        alias="from",
        description="Start of the range, ISO 8601; without an offset NEM time (UTC+10). With `to`; or else `day`.",
        examples=["2026-11-20T00:00:00+10:00"],
    )
    end: str | None = Field(
        None, alias="to", description="End of the range, in the same form.", examples=["2026-11-21T00:00:00+10:00"]
    )
    day: str | None = Field(None, description="A market day, in place of from and to.", examples=["2026-11-20"])


class DaysAsked(Asked):
    """Market days."""

    first: str | None = Field(None, alias="from", description="First market day.", examples=["2026-11-01"])
    last: str | None = Field(None, alias="to", description="Last market day, included.", examples=["2026-11-20"])


class IntervalsAsked(RangeAsked):
    """Parameters of ``GET /data``."""

    region: list[str] | None = Field(
        None, description=f"Regions, {LISTED}: {', '.join(REGION_IDS)}; all by default.", examples=[["SA1", "VIC1"]]
    )
    fields: Annotated[
        list[str] | None,
        Field(
            description=f"Values, {LISTED}: {', '.join(VALUES)}. By default {', '.join(USUAL)}. What a row is of "
            "(interval_end, settlement_date, region_id) is always there.",
            examples=[["rrp", "total_demand"]],
        ),
    ] = None
    resolution: Resolution = Field(Resolution.FIVE_MINUTES, description="Intervals, or means over longer ones.")


class PointsAsked(Asked):
    """Parameters of ``GET /sites/{site}/points``."""

    pattern: str | None = Field(None, description="Glob over names; * takes slashes too.", examples=EXAMPLE_PATTERN)
    type: str | None = Field(None, description="Points of this type alone.")
    cursor: str | None = Field(None, max_length=2_000, description="`_meta.nextCursor` of the page before.")
    limit: int = Field(500, ge=1, le=5_000, description="Points on a page.")


class TimeseriesAsked(RangeAsked):
    """Parameters of ``GET /timeseries``."""

    site: str = Field(max_length=200, description=SITE, examples=EXAMPLE_SITE)
    points: list[str] | None = Field(None, description="Points, one for each `points`.", examples=[[EXAMPLE_POINT]])
    pattern: str | None = Field(None, description="Glob over names; * takes slashes too.", examples=EXAMPLE_PATTERN)
    interval: Interval = Field(Interval.RAW, description="Readings, or aggregates by their start.")


class WeatherAsked(RangeAsked):
    """Parameters of ``GET /weather``."""

    site: str = Field(max_length=200, description=SITE, examples=EXAMPLE_SITE)


class KpisAsked(DaysAsked):
    """Parameters of ``GET /kpis``."""

    id: list[str] | None = Field(None, description=f"KPIs, {LISTED}; all by default.", examples=[["average-price"]])
    entity: str | None = Field(None, description="Region, site, interconnector or source.", examples=["NSW1"])


class QualityAsked(DaysAsked):
    """Parameters of ``GET /quality``."""

    site: str | None = Field(None, max_length=200, description="Site; all by default.", examples=EXAMPLE_SITE)
    point: str | None = Field(None, description="Point; all by default.", examples=[EXAMPLE_POINT])


class GapsAsked(Asked):
    """Parameters of ``GET /gaps``."""

    state: GapState = Field(GapState.OPEN, description="Open, healed, or all.")
    dataset: str | None = Field(None, description="Table, schema.name.", examples=["aemo.dispatch_region"])
