"""Clients of the API under load: every answer is looked at, tokens are refreshed as they end, exports are fetched.

A refused connection counts only while the API is up: ``up`` says so. Prices are compared with the simulated market.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from math import inf
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random
from typing import Any

import httpx

from etl_assets.market_time import NEM_TIME
from soak.clock import SharedClock

CLIENT_ID = "soak"
SECRET = "the-secret-of-the-soak"  # noqa: S105 (of a server that lives for minutes, on loopback)
CLIENTS = [{"id": CLIENT_ID, "secret": SECRET, "scopes": ["read:data", "read:timeseries", "operator"]}]
PAUSE_S = 0.15
"""Between two requests: the rate is bounded, as two cores are shared by all."""
TIMEOUT_S = 30.0
NOT_YET = HTTPStatus.SERVICE_UNAVAILABLE
"""Documented: there is nothing published yet."""
RESTART_S = 30.0
"""After a refused connection: so long an answer may say that the API has just been started."""
LONGEST_EXPORT_S = 300.0
MOST_WRONG = 100
"""Kept of what was wrong."""


@dataclass(slots=True)
class Load:
    """What the clients met."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By route and status."""
    tokens: int = 0
    refreshed: int = 0
    exports: int = 0
    wrong: list[str] = field(default_factory=list)
    unpriced: int = 0
    """Prices that were null."""
    away: int = 0
    """Requests while the API was restarted."""


class Client:
    """One client: its token, its questions."""

    def __init__(self, url: str, up: "Synchronized[int]", seed: int) -> None:
        from etl_assets.simulator.market import Market

        self.load = Load()
        self.market = Market(seed)
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)
        self._up = up
        self._tokens: dict[str, str] = {}
        self._latest: datetime | None = None
        self._jobs: dict[str, float] = {}
        """Exports asked for, and when, by the monotonic clock."""
        self._known: set[str] = set()
        self._away_at = -inf
        self._sites: set[str] = set()

    def ask(self, what: Callable[["Client"], None]) -> None:
        """One question; what goes wrong with it is noted."""
        was_up = bool(self._up.value)
        try:
            what(self)
        except httpx.TransportError as error:
            if was_up and self._up.value:
                self.wrong(f"{what.__name__}: {type(error).__name__}: {error}")
            self.load.away += 1
            self._away_at = time.monotonic()
        except Exception as error:  # noqa: BLE001 (an answer that nobody can read is told, and the next is asked for)
            self.wrong(f"{what.__name__}: the answer lacks or garbles {type(error).__name__} {error}")

    def wrong(self, what: str) -> None:
        """Note an answer that is not as it must be."""
        if len(self.load.wrong) < MOST_WRONG:
            self.load.wrong.append(what)

    def _has_restarted(self) -> bool:
        return time.monotonic() - self._away_at < RESTART_S

    def get(self, route: str, path: str, **params: object) -> httpx.Response | None:
        """A GET with a good token; None where the answer is a documented 503, or wrong."""
        return self._asked(route, "GET", path, params=params)

    def post(self, route: str, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """The same with a body."""
        return self._asked(route, "POST", path, json=body)

    def _asked(self, route: str, method: str, path: str, **more: Any) -> httpx.Response | None:  # noqa: ANN401 (httpx's)
        answer = self._sent(method, path, **more)
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            self._refresh()
            answer = self._sent(method, path, **more)
        return self._judged(route, answer)

    def _sent(self, method: str, path: str, **more: Any) -> httpx.Response:  # noqa: ANN401 (httpx's own options)
        if not self._tokens:
            self._log_in()
        headers = {"Authorization": f"Bearer {self._tokens.get('access_token', '')}"}
        return self._http.request(method, path, headers=headers, **more)

    def _judged(self, route: str, answer: httpx.Response) -> httpx.Response | None:
        self.load.answers[route, answer.status_code] += 1
        if answer.status_code in (HTTPStatus.OK, HTTPStatus.ACCEPTED):
            self._known.add(route)
            return answer
        is_early = answer.status_code == NOT_YET and (route not in self._known or self._has_restarted())
        if not is_early:
            self.wrong(f"{route}: {answer.status_code}: {answer.text[:200]}")
        return None

    def _log_in(self) -> None:
        form = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": SECRET}
        self._take_tokens(self._http.post("/token", data=form), "/token")
        self.load.tokens += 1

    def _refresh(self) -> None:
        """Other tokens for the refresh token; where a kill took the answer away, a new log-in."""
        form = {
            "refresh_token": self._tokens.get("refresh_token", ""), "client_id": CLIENT_ID, "client_secret": SECRET,
        }  # fmt: skip
        answer = self._http.post("/refresh", data=form)
        if answer.status_code == HTTPStatus.OK:
            self._take_tokens(answer, "/refresh")
            self.load.refreshed += 1
        else:
            self.load.answers["/refresh", answer.status_code] += 1
            if not self._has_restarted():
                self.wrong(f"/refresh: {answer.status_code}: {answer.text[:200]}")
            self._tokens = {}
            self._log_in()

    def _take_tokens(self, answer: httpx.Response, route: str) -> None:
        self.load.answers[route, answer.status_code] += 1
        if answer.status_code == HTTPStatus.OK:
            self._tokens = answer.json()
        else:
            self.wrong(f"{route}: {answer.status_code}: {answer.text[:200]}")

    # What is asked

    def latest(self) -> None:
        """The newest interval: never older than the one before, and at the market's own prices."""
        if (answer := self.get("/data/latest", "/data/latest")) is None:
            return
        if not (rows := answer.json()["data"]):
            return
        ends = {datetime.fromisoformat(row["interval_end"]) for row in rows}
        if self._latest and min(ends) < self._latest:
            self.wrong(f"/data/latest went back from {self._latest} to {min(ends)}")
        self._latest = min(ends)
        for row in rows:
            self._look_at_price("/data/latest", row)

    def _look_at_price(self, route: str, row: dict[str, Any]) -> None:
        if row["rrp"] is None:
            # Of an interval whose file came without its prices, until the next file brings them.
            self.load.unpriced += 1
            return
        end = datetime.fromisoformat(row["interval_end"]).astimezone(NEM_TIME)
        region = row.get("region_id") or row["region"]
        true = self.market.region(end, region).rrp, self.market.revised_rrp(end, region)
        # The settlement price, in cents, stands in for the dispatch price for a while.
        if not any(abs(row["rrp"] - float(price)) < 0.0051 for price in true):  # noqa: PLR2004
            self.wrong(f"{route}: {region} at {end}: {row['rrp']} is not {true[0]}")

    def day(self) -> None:
        """A region's last hours: in order, each interval once."""
        if self._latest is None:
            return
        start = self._latest - timedelta(hours=6)
        params = {"from": start.isoformat(), "to": self._latest.isoformat(), "region": "SA1"}
        if answer := self.get("/data", "/data", **params):
            ends = [row["interval_end"] for row in answer.json()["data"]]
            if not ends or ends != sorted(set(ends)):
                self.wrong(f"/data: {len(ends)} intervals are none, not in order, or doubled")

    def readings(self) -> None:
        """A site's last hour."""
        if self._latest is None or not self._is_listed("building-a"):
            return
        params = {"from": (self._latest - timedelta(hours=1)).isoformat(), "to": self._latest.isoformat()}
        if answer := self.get("/timeseries", "/timeseries", site="building-a", pattern="*", **params):
            rows = [(row["point_name"], row["timestamp"]) for row in answer.json().get("data", ())]
            if len(set(rows)) != len(rows):
                self.wrong("/timeseries: readings are doubled")

    def _is_listed(self, site: str) -> bool:
        """Whether a site is there to be asked for; once it is, it must stay."""
        if site not in self._sites and (answer := self.get("/sites", "/sites")):
            self._sites |= {row["site_name"] for row in answer.json()["data"]}
        return site in self._sites

    def state(self) -> None:
        """How things stand."""
        self.get("/status", "/status")

    def health(self) -> None:
        """Whether the process answers."""
        self.get("/health/live", "/health/live")

    def export(self) -> None:
        """A job for two days of a site; those asked for before are looked after, and fetched once."""
        if self._latest is None or not self._is_listed("building-b"):
            return
        for job in list(self._jobs):
            self._look_after(job)
        if len(self._jobs) < 2:  # noqa: PLR2004 (as many as may run at once)
            body = {
                "site": "building-b", "pattern": "*", "format": "csv",
                "from": (self._latest - timedelta(days=1)).isoformat(), "to": self._latest.isoformat(),
            }  # fmt: skip
            if answer := self.post("/timeseries/jobs", "/timeseries/jobs", body):
                self._jobs[answer.json()["jobId"]] = time.monotonic()

    def _look_after(self, job: str) -> None:
        if (answer := self.get("/jobs/{job_id}", f"/jobs/{job}")) is None:
            return
        match answer.json()["status"]:
            case "completed":
                del self._jobs[job]
                if self.get("/jobs/{job_id}/result", f"/jobs/{job}/result"):
                    self.load.exports += 1
            case "failed" | "cancelled":
                del self._jobs[job]
                self.wrong(f"export {job}: {answer.text[:200]}")
            case status if time.monotonic() - self._jobs[job] > LONGEST_EXPORT_S:
                del self._jobs[job]
                self.wrong(f"export {job} is {status} after {LONGEST_EXPORT_S:g} s")


def press(orders: Connection, clock: Path, url: str, up: "Synchronized[int]", seed: int) -> None:
    """Ask until anything comes; then answer with a ``Load``."""
    from etl_assets.market_time import use_clock

    use_clock(SharedClock(clock))
    client, random = Client(url, up, seed), Random(seed)  # noqa: S311
    questions = [Client.latest, Client.day, Client.readings, Client.state, Client.health, Client.export]
    weights = [6, 3, 3, 1, 1, 0.05]
    client.ask(Client.latest)
    while not orders.poll(PAUSE_S):
        client.ask(random.choices(questions, weights)[0])
        time.sleep(0)
    orders.send(client.load)
