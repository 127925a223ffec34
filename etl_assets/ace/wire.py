"""The wire model: what ACE's answers mean. Pure: bytes in, rows out, no network.

Readings are in ``page_wire``, weather in ``weather_wire``, lists of sites and points in ``listing_wire``, and the
reading of times and numbers in ``fields``.
"""

from etl_assets.ace.listing_wire import POINT_COLUMNS, SITE_COLUMNS, Listing, decode_points, decode_sites
from etl_assets.ace.page_wire import READINGS, BadRecord, BrokenPage, NotAPage, Page, decode_page
from etl_assets.ace.weather_wire import NO_WEATHER, WEATHER_COLUMNS, Weather, decode_weather

__all__ = [
    "NO_WEATHER",
    "POINT_COLUMNS",
    "READINGS",
    "SITE_COLUMNS",
    "WEATHER_COLUMNS",
    "BadRecord",
    "BrokenPage",
    "Listing",
    "NotAPage",
    "Page",
    "Weather",
    "decode_page",
    "decode_points",
    "decode_sites",
    "decode_weather",
]
