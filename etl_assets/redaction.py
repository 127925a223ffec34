"""Texts without the secrets of the settings: for errors, which quote what they were given."""

import re
from collections.abc import Iterable

from pydantic import SecretStr

from etl_assets.settings import Settings


def without_secrets(text: str, settings: Settings) -> str:
    """An error's text, which may quote an address of a database, a header, or an address with credentials."""
    secrets = [*settings.aemo_api_headers.values(), *_secrets_of_the_lake(settings)]
    kept = [getattr(settings, name) for name in Settings.model_fields]
    secrets += [value.get_secret_value() for value in kept if isinstance(value, SecretStr)]
    secrets.append(settings.kpi_registry.partition("?")[2])
    market = (settings.nemweb_url, settings.aemo_api_url, settings.price_and_demand_url)
    secrets += [_credentials(url) for url in (settings.state_database, settings.kpi_registry, *market)]
    return _without(text, secrets)


def without_secrets_of_the_lake(text: str, settings: Settings) -> str:
    """The same of what ``LAKE_CATALOG`` and ``LAKE_DATA`` hold alone; unchanged where none of it is quoted."""
    return _without(text, _secrets_of_the_lake(settings))


def _secrets_of_the_lake(settings: Settings) -> list[str]:
    address = settings.lake_catalog.removeprefix("postgres:")
    quoted, bare = r"'((?:[^'\\]|\\.)*)'", r"([^'\s&][^\s&]*)"
    passwords = [found or other for found, other in re.findall(rf"password\s*=\s*(?:{quoted}|{bare})", address)]
    # Postgres names a word without "=" as a mistake: the rest of a password that has a blank and no quotes.
    words = [word for word in address.split() if "=" not in word]
    return [address, _credentials(address), *passwords, *words, settings.lake_data.partition("?")[2]]


def _credentials(url: str) -> str:
    """``user:password`` of an address; empty where it has none."""
    before, at, _ = url.rpartition("@")
    return before.rpartition("//")[2] if at else ""


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "…")
    return text
