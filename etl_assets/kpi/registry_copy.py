"""The registry in force: the built-in KPIs and the last good copy of the configured registry.

``refresh`` fetches and checks; what is good becomes the copy, what is not leaves the former one in force. The copy lies
in the data folder, names its source, and needs no other file. Beside it lies the status of the last refresh. Both are
written as a whole: a process that is killed leaves the former one or the new one.

Times are aware, and written in UTC.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, TypeAdapter, ValidationError

from etl_assets.kpi.registry_model import Registry
from etl_assets.kpi.registry_text import RegistryError, built_in, parse_registry
from etl_assets.private_files import write_private
from etl_assets.settings import Settings

NEVER_FETCHED = "never fetched"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegistryStatus:
    """How the last refresh went, and what is in force since.

    ``source`` is the configured registry, without credentials; empty where none is. ``version``, ``total``, ``active``
    and ``digest`` are of what is in force, the built-in KPIs included. ``changed``: other KPIs are in force than the
    refresh before said, or than the built-in ones where this was the first. ``copied_at`` is when the copy in force was
    fetched, from ``copy_source``; None where there is none. ``note`` is what a person should know besides.
    """

    source: str
    checked_at: AwareDatetime | None
    is_good: bool
    error: str
    version: str
    total: int
    active: int
    changed: bool
    copied_at: AwareDatetime | None
    digest: str
    copy_source: str = ""
    note: str = ""


class _Origin(BaseModel):
    """What the copy says of itself, beside the registry."""

    source: str
    fetched_at: AwareDatetime


class _CopyFile(BaseModel):
    copy_of: _Origin


@dataclass(frozen=True, slots=True)
class _Copy:
    registry: Registry
    source: str
    fetched_at: datetime


def in_force(settings: Settings) -> Registry:
    """The KPIs that there are: the configured registry's last good copy over the built-in ones.

    A KPI of the copy replaces the built-in one of the same id. Needs no network. A copy that is damaged is logged, and
    leaves the built-in ones.
    """
    return _merged(settings, _last_good(settings) if _has_copy_in_force(settings) else None)


def registry_digest(settings: Settings) -> str:
    """The digest of the registry in force: another one where the definitions are to be reloaded."""
    return in_force(settings).digest


def registry_status(settings: Settings) -> RegistryStatus:
    """How the last refresh of the configured registry went; where there was none, that it was never fetched."""
    from etl_assets.kpi.registry_source import shown_source

    written = _written_status(settings)
    if written is not None and written.source == shown_source(settings.kpi_registry):
        return written
    return _status(settings, None, NEVER_FETCHED if settings.kpi_registry else "", changed_from=None)


def refresh(settings: Settings, *, now: datetime) -> RegistryStatus:
    """Fetch and check the configured registry, and take it where it is good; says how that went.

    Nothing that is wrong with the source raises. One refresh at a time, of all processes.
    """
    from etl_assets.kpi.registry_source import load_registry, shown_source

    error = ""
    with _turn(settings):
        former = _written_status(settings)
        try:
            if settings.kpi_registry:
                registry = load_registry(settings, settings.kpi_registry)
                _write_copy(settings, registry, shown_source(settings.kpi_registry), now)
        except RegistryError as wrong:
            error = str(wrong)
            _log.warning("The registry of KPIs is not taken, the last good copy stays in force: %s", error)
        before = former.digest if former else _merged(settings, None).digest
        status = _status(settings, now, error, changed_from=before)
        write_private(_status_path(settings), _STATUS.dump_json(status, indent=2))
    _log.info("KPIs in force: %d, %d active, version %s", status.total, status.active, status.version or "unknown")
    return status


def _has_copy_in_force(settings: Settings) -> bool:
    """Whether a registry is configured. The demo's is served by the simulator, and named only while that runs."""
    return bool(settings.kpi_registry) or settings.is_demo


def _merged(settings: Settings, copy: _Copy | None) -> Registry:
    """Assets stay unique, also where the copy was made while the built-in KPIs were others."""
    ours = built_in() if settings.kpi_built_in else Registry()
    if copy is None:
        return ours
    taken = {kpi.asset_name for kpi in copy.registry.kpis}
    kpis = (*(kpi for kpi in ours.kpis if kpi.asset_name not in taken), *copy.registry.kpis)
    active = sum(kpi.active for kpi in kpis)
    counted = copy.registry.metadata.model_copy(update={"total_kpis": len(kpis), "active_kpis": active})
    return Registry(kpis=kpis, metadata=counted)


def _status(settings: Settings, at: datetime | None, error: str, *, changed_from: str | None) -> RegistryStatus:
    from etl_assets.kpi.registry_source import shown_source

    copy = _last_good(settings)
    used = copy if _has_copy_in_force(settings) else None
    registry = _merged(settings, used)
    return RegistryStatus(
        source=shown_source(settings.kpi_registry),
        checked_at=at,
        is_good=not error,
        error=error,
        version=registry.metadata.version,
        total=len(registry.kpis),
        active=len(registry.active),
        changed=changed_from is not None and registry.digest != changed_from,
        copied_at=used.fetched_at if used else None,
        digest=registry.digest,
        copy_source=used.source if used else "",
        note=_note(settings, copy, shown_source(settings.kpi_registry)),
    )


def _note(settings: Settings, copy: _Copy | None, source: str) -> str:
    if not _has_copy_in_force(settings):
        return f"KPI_REGISTRY is empty: the copy of {copy.source} is not in force" if copy else ""
    if copy is None and not settings.kpi_registry:
        return ""
    if copy is None:
        left = "the built-in KPIs alone are" if settings.kpi_built_in else "no KPI is"
        return f"there is no good copy: {left} in force"
    return "" if source in ("", copy.source) else f"in force is the copy of {copy.source}"


def _copy_path(settings: Settings) -> Path:
    return settings.kpi_folder / "registry.json"


def _status_path(settings: Settings) -> Path:
    return settings.kpi_folder / "registry-status.json"


_STATUS = TypeAdapter(RegistryStatus)


def _last_good(settings: Settings) -> _Copy | None:
    path = _copy_path(settings)
    try:
        text = path.read_bytes()
        registry = parse_registry(text, str(path))
        origin = _CopyFile.model_validate_json(text).copy_of
    except FileNotFoundError:
        return None
    except (OSError, RegistryError) as error:
        _log.warning("The last good copy of the registry cannot be used, see `etl-assets kpi refresh`: %s", error)
        return None
    except ValidationError:
        _log.warning("The last good copy of the registry cannot be used, see `etl-assets kpi refresh`: %s", path)
        return None
    return _Copy(registry, origin.source, origin.fetched_at)


def _written_status(settings: Settings) -> RegistryStatus | None:
    path = _status_path(settings)
    try:
        return _STATUS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        _log.warning("The registry's status %s cannot be read (%s)", path, type(error).__name__)
        return None


def _write_copy(settings: Settings, registry: Registry, source: str, now: datetime) -> None:
    """Make a registry the last good copy. Raises ``RegistryError`` where the copy could not be read again."""
    content = registry.model_dump(mode="json", by_alias=True, exclude={"kpis": {"__all__": {"sql_file"}}})
    origin = _CopyFile(copy_of=_Origin(source=source, fetched_at=now)).model_dump(mode="json")
    text = json.dumps(content | origin, indent=1, ensure_ascii=False).encode()
    # With its files of SQL in it, it may have grown too large.
    parse_registry(text, f"{source}, with its files of SQL")
    # It may hold the tokens of webhooks.
    write_private(_copy_path(settings), text)


@contextmanager
def _turn(settings: Settings) -> Iterator[None]:
    """One refresh at a time: a slow one must not put an older registry over a newer."""
    from filelock import FileLock

    settings.kpi_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(settings.kpi_folder / "registry.lock"):
        yield
