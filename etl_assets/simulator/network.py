"""The invented physical system: five regions, six interconnectors, and the shape of a day.

Capacities are in MW as of 2025; :func:`growth` scales them for other years.
"""

from dataclasses import dataclass
from math import exp


@dataclass(frozen=True, slots=True)
class Region:
    """One market region. Power in MW; ``solar_noon`` in hours of NEM time."""

    name: str
    mean_demand: int
    rooftop: int
    solar_farms: int
    wind_farms: int
    firm: int
    minimum_load: int
    solar_noon: float
    summer: float
    """Summer peak relative to winter: positive where air-conditioning, negative where heating rules."""


REGIONS = (
    Region("NSW1", 9300, 6500, 4300, 2700, 12200, 3300, 11.9, 0.02),
    Region("QLD1", 7000, 6300, 3900, 1300, 9600, 3100, 11.9, 0.09),
    Region("SA1", 1650, 2500, 650, 2400, 2800, 150, 12.8, 0.04),
    Region("TAS1", 1200, 330, 0, 560, 2300, 350, 12.2, -0.10),
    Region("VIC1", 5900, 5100, 1300, 4300, 8400, 3000, 12.3, -0.02),
)
REGION_NAMES = tuple(region.name for region in REGIONS)


@dataclass(frozen=True, slots=True)
class Interconnector:
    """A link between two regions; its flow is positive from ``source`` to ``sink``. Limits in MW."""

    name: str
    source: str
    sink: str
    export_limit: int
    import_limit: int
    nominal_export: int
    nominal_import: int
    steepness: int
    """MW of flow per unit of difference in scarcity between its ends."""
    loss_per_mw2: float
    export_constraint: str
    import_constraint: str


INTERCONNECTORS = (
    Interconnector("N-Q-MNSP1", "NSW1", "QLD1", 92, -180, 264, -264, 500, 8e-4, "N_DLINK_EXP_20", "Q>DLINK_MRGE_7"),
    Interconnector(
        "NSW1-QLD1", "NSW1", "QLD1", 640, -1180, 2204, -2478, 2600, 3.1e-5, "N>>NIL_TW_LD_4", "Q^^N_NIL_BLWX"
    ),
    Interconnector("T-V-MNSP1", "TAS1", "VIC1", 478, -462, 594, -478, 1100, 9e-5, "F_T++NIL_GT_6", "VT_BASS_RC"),
    Interconnector("V-S-MNSP1", "VIC1", "SA1", 214, -198, 220, -220, 560, 4e-4, "VSML_RC_76", "S>NWRV_TX1"),
    Interconnector("V-SA", "VIC1", "SA1", 600, -560, 1050, -1050, 1500, 1.2e-4, "V^^S_HEYW_MAXG", "S_HEYW_SN_130"),
    Interconnector("VIC1-NSW1", "VIC1", "NSW1", 1450, -960, 2399, -2299, 3000, 5e-5, "V::N_MRDN_V2", "N^^V_NIL_WGA"),
)
INTERCONNECTOR_NAMES = tuple(link.name for link in INTERCONNECTORS)

DAY_SHAPE = (
    (0, 0.87), (2, 0.79), (4, 0.77), (5.5, 0.86), (7.5, 1.05), (9, 1.06), (12, 1.03),
    (15, 1.06), (17, 1.19), (18.5, 1.27), (20, 1.19), (22, 1.02), (24, 0.87),
)  # fmt: skip
"""Hour of the day and consumption as a share of the mean, before rooftop solar is taken off."""

PRICE_CURVE = (
    (-0.70, -900), (-0.40, -95), (-0.22, -52), (-0.08, -34), (0.02, -6), (0.10, 24), (0.25, 58),
    (0.42, 84), (0.58, 121), (0.70, 172), (0.82, 298), (1.00, 900), (1.30, 6000),
)  # fmt: skip
"""Scarcity (share of firm capacity that is needed) and the price that clears at it, AUD/MWh."""

FCAS_SERVICES = (
    "RAISE6SEC", "RAISE60SEC", "RAISE5MIN", "RAISEREG",
    "LOWER6SEC", "LOWER60SEC", "LOWER5MIN", "LOWERREG",
    "RAISE1SEC", "LOWER1SEC",
)  # fmt: skip
FCAS_USUAL_PRICE = (0.9, 0.6, 0.4, 6.0, 0.2, 0.3, 0.3, 3.5, 0.8, 0.1)
"""AUD/MWh in a quiet interval, in the order of the services."""


def growth(year: float, middle: float, width: float) -> float:
    """Capacity in a year as a share of 2025's: an S-curve half grown at ``middle``."""
    return (1 + exp((middle - 2025) / width)) / (1 + exp((middle - year) / width))
