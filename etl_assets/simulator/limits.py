"""The price limits of the market: the floor, and the cap of each financial year, in AUD/MWh."""

from datetime import date

PRICE_FLOOR = -1000

_CAPS = (
    (date(1998, 12, 13), 5000),
    (date(2002, 4, 1), 10000),
    (date(2010, 7, 1), 12500),
    (date(2012, 7, 1), 12900),
    (date(2013, 7, 1), 13100),
    (date(2014, 7, 1), 13500),
    (date(2015, 7, 1), 13800),
    (date(2016, 7, 1), 14000),
    (date(2017, 7, 1), 14200),
    (date(2018, 7, 1), 14500),
    (date(2019, 7, 1), 14700),
    (date(2020, 7, 1), 15000),
    (date(2021, 7, 1), 15100),
    (date(2022, 7, 1), 15500),
    (date(2023, 7, 1), 16600),
    (date(2024, 7, 1), 17500),
    (date(2025, 7, 1), 20300),
)
"""First trading day of each cap.

The last one stands for every later year: never above a later, higher cap.
"""


def price_cap(trading_day: date) -> int:
    """The market price cap on a trading day (04:00 to 04:00), AUD/MWh."""
    return next((cap for first, cap in reversed(_CAPS) if trading_day >= first), _CAPS[0][1])
