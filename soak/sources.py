"""The simulated sources of a soak: at the step's time, with the faults of the plan, and away while they are out."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etl_assets.demo import REGISTRY_PATH, addresses_of
from etl_assets.settings import Settings
from etl_assets.simulator.ace_world import AceSite, AceWorld
from etl_assets.simulator.app import SimulatorServer
from etl_assets.simulator.faults import CATALOGUE, Scope
from etl_assets.simulator.service import Simulator
from soak.spells import Spell, near_reread

if TYPE_CHECKING:
    from etl_assets.simulator.faults import Fault
    from soak.plan import Plan

SITES = (AceSite("building-a", 36), AceSite("building-b", 24, "VIC1", -37.81, 144.96))
"""Small ones: it is the number of syncs that counts."""


def world_of(seed: int) -> AceWorld:
    """The account of a soak."""
    return AceWorld(seed, SITES)


class Sources:
    """The simulator and its faults, step by step."""

    def __init__(self, plan: "Plan") -> None:
        self.plan = plan
        self.simulator = Simulator(plan.seed, lambda: plan.start, ace=world_of(plan.seed))
        self._server: SimulatorServer | None = SimulatorServer(simulator=self.simulator)
        self._server.__enter__()
        self.url = self._server.url
        self.port = self._server.port
        self._on: dict[int, tuple[Fault, datetime]] = {}
        """Faults that are on, and since when, by their spell's number."""
        self.seen: Counter[str] = Counter()
        """Faults that were on, by kind: how many spells."""
        self._times: list[Spell] = []

    def step_to(self, moment: datetime) -> None:
        """Bring clock, faults and outages to an instant."""
        self.simulator.set_time(moment)
        for number, spell in enumerate(self.plan.spells):
            self._switch(number, spell, moment, wanted=spell.start <= moment and not self._is_over(spell, moment))
        is_out = any(outage.holds(moment) for outage in self.plan.outages)
        if is_out and self._server is not None:
            self.close()
        elif not is_out and self._server is None:
            self._server = SimulatorServer(simulator=self.simulator, port=self.port)
            self._server.__enter__()

    def _is_over(self, spell: Spell, moment: datetime) -> bool:
        """Whether a spell has ended. One that spoilt nothing yet goes on, as far as faults may: nobody asked."""
        if spell.end is None or moment < spell.end:
            return False
        scope = CATALOGUE[spell.name].scope
        is_met = scope is Scope.WORLD or self.spoilt().get(spell.name)
        return bool(is_met) or moment >= self.plan.faults_end or (scope is Scope.ACE and near_reread(moment))

    def _switch(self, number: int, spell: Spell, moment: datetime, *, wanted: bool) -> None:
        if wanted and number not in self._on:
            self._on[number] = self.simulator.faults.switch_on(spell.name, **spell.options), moment
            self.seen[spell.name] += 1
        elif not wanted and number in self._on:
            fault, since = self._on.pop(number)
            self.simulator.faults.switch_off(fault)
            self._times.append(Spell(spell.name, since, moment))

    def times(self) -> list[Spell]:
        """When each fault was on; those that still are have no end."""
        still = [Spell(self.plan.spells[number].name, since, None) for number, (_, since) in self._on.items()]
        return [*self._times, *still]

    def spoilt(self) -> Mapping[str, int]:
        """How many requests each kind of fault spoilt so far; those about intervals spoil none."""
        return self.simulator.faults.taken

    def close(self) -> None:
        """Away, as a machine that is off: connections are refused."""
        if self._server is not None:
            self._server.__exit__(None, None, None)
            self._server = None


def environment(plan: "Plan", sources: Sources, folder: Path) -> dict[str, str]:
    """The settings of a soak: its sources, waits in proportion to a week in minutes, and retention within the week.

    All others are empty, which is their default: neither the shell's nor those of a ``.env`` reach into it.
    """
    url, day = sources.url, str(plan.start.date())
    waits = {
        "HTTP_BACKOFF": "0.01", "HTTP_TIMEOUT": "PT2S", "HTTP_RETRIES": "2", "ACE_TIMEOUT": "PT2S",
        "PAGE_SIZE": "1000", "ACE_RETRY_DELAY": "PT0.02S", "ACE_REQUESTS_PER_MINUTE": "1000000",
        "KPI_WEBHOOK_TIMEOUT": "PT2S", "KPI_WEBHOOK_BACKOFF": "0.02", "KPI_BREAKER_PAUSE": "PT1S",
        "RATE_LIMIT_CLIENT": "100000/minute",
        "RATE_LIMIT_ADDRESS": "100000/minute", "RATE_LIMIT_TOKEN": "10000/minute",
    }  # fmt: skip
    kept = {
        "LAKE_RETENTION": "P1D", "RUN_RETENTION": "P2D", "SYNC_RUN_RETENTION": "P3D", "RAW_RETENTION": "P4D",
        "REQUEST_RETENTION": "P1D", "CACHE_MAX_AGE": "P1D", "JOB_RESULT_LIFE": "P1D",
        "ACCESS_TOKEN_LIFE": "PT2H", "REFRESH_TOKEN_LIFE": "P2D",
    }  # fmt: skip
    return {
        **{name.upper(): "" for name in Settings.model_fields},
        "ETL_DATA": str(folder / "data"),
        "MARKET_START": day,
        "SITES_START": day,
        **addresses_of(url, sources.simulator.ace.world),
        "KPI_REGISTRY": f"{url}{REGISTRY_PATH}",
        "KPI_CRON": plan.kpi_cron,
        **waits,
        **kept,
    }
