"""The five regions of the market and what joins them: facts that do not change with the data."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """A region: its id in the market, its name, and the IANA zone of its clocks."""

    region_id: str
    name: str
    time_zone: str


@dataclass(frozen=True, slots=True)
class Interconnector:
    """A link between two regions: positive flow runs from ``source`` to ``sink``."""

    interconnector_id: str
    name: str
    source: str
    sink: str


REGIONS = (
    Region("NSW1", "New South Wales and Australian Capital Territory", "Australia/Sydney"),
    Region("QLD1", "Queensland", "Australia/Brisbane"),
    Region("SA1", "South Australia", "Australia/Adelaide"),
    Region("TAS1", "Tasmania", "Australia/Hobart"),
    Region("VIC1", "Victoria", "Australia/Melbourne"),
)
REGION_IDS = tuple(region.region_id for region in REGIONS)

INTERCONNECTORS = (
    Interconnector("N-Q-MNSP1", "Terranora", "NSW1", "QLD1"),
    Interconnector("NSW1-QLD1", "QNI", "NSW1", "QLD1"),
    Interconnector("T-V-MNSP1", "Basslink", "TAS1", "VIC1"),
    Interconnector("V-S-MNSP1", "Murraylink", "VIC1", "SA1"),
    Interconnector("V-SA", "Heywood", "VIC1", "SA1"),
    Interconnector("VIC1-NSW1", "VNI", "VIC1", "NSW1"),
)


def links_of(region_id: str) -> tuple[Interconnector, ...]:
    """The interconnectors that begin or end in a region."""
    return tuple(link for link in INTERCONNECTORS if region_id in {link.source, link.sink})
