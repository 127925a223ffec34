"""What the page calls datasets, points' units and regions: short words for people."""

TITLES = {
    "aemo.dispatch_region": "Dispatch prices and demand",
    "aemo.dispatch_interconnector": "Interconnector flows",
    "aemo.unit_scada": "Unit output",
    "aemo.trading_price": "Settlement prices",
    "aemo.price_and_demand": "Aggregated price and demand",
    "aemo.rooftop_pv": "Rooftop solar",
    "aemo.region_forecast": "Forecasts",
    "ace.timeseries_raw": "Readings",
    "ace.weather_raw": "Weather",
}

REGION_NAMES = {
    "NSW1": "New South Wales",
    "QLD1": "Queensland",
    "SA1": "South Australia",
    "TAS1": "Tasmania",
    "VIC1": "Victoria",
}
"""Shorter than in ``regions.py``: New South Wales has the Capital Territory with it."""

UNITS = {
    "amperes": "A",
    "cubicFeetPerMinute": "cfm",
    "cubicMeters": "m³",
    "cubicMetersPerHour": "m³/h",
    "degreesCelsius": "°C",
    "degreesFahrenheit": "°F",
    "hertz": "Hz",
    "kilopascals": "kPa",
    "kilovoltAmperes": "kVA",
    "kilowattHours": "kWh",
    "kilowatts": "kW",
    "litersPerSecond": "L/s",
    "luxes": "lx",
    "megawattHours": "MWh",
    "noUnits": "",
    "partsPerMillion": "ppm",
    "pascals": "Pa",
    "percent": "%",
    "percentRelativeHumidity": "% RH",
    "volts": "V",
    "watts": "W",
}
"""BACnet's engineering units as people write them; others are shown by their BACnet names."""
