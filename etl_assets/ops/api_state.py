"""What the API has on record of requests and of runs that operators asked for, and what it shows of collections.

Instants are UTC; nothing here reads the clock.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, delete, func, insert, select, update

from etl_assets.ops.database import begin
from etl_assets.ops.tables import REQUEST_ANALYTICS, SYNC_RUNS, TRIGGERS
from etl_assets.settings import Settings


def record_requests(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put requests on record, each with the columns of ``request_analytics``."""
    if rows:
        with begin(settings) as connection:
            connection.execute(insert(REQUEST_ANALYTICS), [dict(row) for row in rows])


def forget_requests(settings: Settings, *, now: datetime) -> int:
    """Remove records of requests older than ``REQUEST_RETENTION``; returns how many. What was triggered stays."""
    old = REQUEST_ANALYTICS.c.at < now - settings.request_retention
    with begin(settings) as connection:
        return connection.execute(delete(REQUEST_ANALYTICS).where(old)).rowcount


def record_trigger(settings: Settings, *, client_id: str, reason: str, what: Mapping[str, Any], now: datetime) -> str:
    """Put on record who asks for a run and why, before it is started; returns the record's id."""
    trigger_id = f"trigger_{secrets.token_hex(8)}"
    row = {"trigger_id": trigger_id, "at": now, "client_id": client_id, "reason": reason, "what": dict(what)}
    with begin(settings) as connection:
        connection.execute(insert(TRIGGERS).values(**row))
    return trigger_id


def settle_trigger(settings: Settings, trigger_id: str, *, run_id: str | None = None, error: str | None = None) -> None:
    """Put on record which run a trigger started, or why it started none."""
    with begin(settings) as connection:
        changed = update(TRIGGERS).where(TRIGGERS.c.trigger_id == trigger_id)
        connection.execute(changed.values(run_id=run_id, error=error))


def triggers(settings: Settings, *, limit: int = 100) -> list[dict[str, Any]]:
    """What operators asked for, the newest first."""
    with begin(settings) as connection:
        rows = connection.execute(select(TRIGGERS).order_by(TRIGGERS.c.at.desc()).limit(limit)).mappings()
        return [dict(row) for row in rows]


def last_sync_runs(settings: Settings) -> list[dict[str, Any]]:
    """The last collection of every dataset and site, by dataset and site (empty outside sites)."""
    run = SYNC_RUNS.c
    of = (run.dataset, run.site_name)
    newest = select(*of, func.max(run.finished_at).label("finished_at")).group_by(*of).subquery()
    is_newest = and_(
        run.dataset == newest.c.dataset,
        func.coalesce(run.site_name, "") == func.coalesce(newest.c.site_name, ""),
        run.finished_at == newest.c.finished_at,
    )
    query = select(SYNC_RUNS).join(newest, is_newest).order_by(run.dataset, run.site_name, run.run_id)
    with begin(settings) as connection:
        rows = connection.execute(query).mappings()
        return list({(row["dataset"], row["site_name"] or ""): dict(row) for row in rows}.values())
