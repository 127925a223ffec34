"""Clients of the API: what ``CLIENT_IDS`` may hold, what each may ask for, whether a secret is right.

``CLIENT_IDS`` is ``a, b``, or a JSON array of ids and of objects ``{"id", "secret" | "secret_hash", "scopes"}``. A
``secret_hash`` is ``scrypt:14:8:1:SALT:HASH`` (N = 2^14, r = 8, p = 1; 16 bytes of salt and 32 of hash in base64url
without padding), made by ``etl-assets keys hash-secret``: the configuration then holds no secret. Without ``scopes`` a
client may read.

A client without a secret is known by its id alone, and may read: development takes that, production refuses to start.
Without any client, development makes one, ``demo``, that may do everything.
"""

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Self

from etl_assets.api.credentials import CredentialsError, kept
from etl_assets.api.keys import makes_its_own
from etl_assets.settings import Settings

COST, BLOCK_SIZE, PARALLELISM = 14, 8, 1
"""16 MB and some 50 ms a secret: dear to guess, bearable for a client that asks every 15 minutes. Hashes of another
cost are refused, because the time that an answer takes would tell which client it is about."""

SCHEME = f"scrypt:{COST}:{BLOCK_SIZE}:{PARALLELISM}"
SALT_BYTES = 16
HASH_BYTES = 32
LONGEST_SECRET = 1024
LONGEST_ID = 128

FORM_OF_HASH = re.compile(rf"{SCHEME}:([\w-]{{22}}):([\w-]{{43}})", re.ASCII)
FORM_OF_ID = re.compile(rf"[!-~]{{1,{LONGEST_ID}}}")
"""Visible ASCII: ids stand in log lines, headers and tokens."""

FIELDS = frozenset({"id", "secret", "secret_hash", "scopes"})
DEMO_CLIENT = "demo"

_AT_ONCE = BoundedSemaphore(4)
"""Secrets hashed at once: guesses from many addresses must not fill the memory."""


class Scope(StrEnum):
    """What a token may be good for."""

    READ_DATA = "read:data"
    READ_TIMESERIES = "read:timeseries"
    OPERATOR = "operator"
    KPI_REPORT = "kpi:report"


MEANINGS: Mapping[Scope, str] = {
    Scope.READ_DATA: "Read intervals of the market, and the state of the collection.",
    Scope.READ_TIMESERIES: "Read sites, points, readings, weather and KPIs.",
    Scope.OPERATOR: "Start runs, and see what is for operators alone.",
    Scope.KPI_REPORT: "Report what became of a KPI's workflow.",
}
READING = frozenset({Scope.READ_DATA, Scope.READ_TIMESERIES})
"""What a client may do where nothing is said."""


class ClientsMissingError(CredentialsError):
    """No client is configured, and this is no place to make one."""


@dataclass(frozen=True, slots=True)
class SecretHash:
    """A secret as it is kept: salted, hashed, not to be had back."""

    salt: bytes = field(repr=False)
    hashed: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: str) -> Self:
        """The hash of a secret, with a salt of its own."""
        salt = secrets.token_bytes(SALT_BYTES)
        return cls(salt, _derived(secret, salt))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The hash in its written form. Raises ``ValueError``, which does not show it, for another form or cost."""
        written = FORM_OF_HASH.fullmatch(text)
        if written is None:
            raise ValueError(f"not {SCHEME}:SALT:HASH")
        salt, hashed = (base64.urlsafe_b64decode(part + "==") for part in written.groups())
        return cls(salt, hashed)

    def written(self) -> str:
        """The written form, ``scrypt:14:8:1:SALT:HASH``."""
        parts = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (self.salt, self.hashed))
        return ":".join((SCHEME, *parts))

    def matches(self, secret: str) -> bool:
        """Whether it is the hash of this secret; takes as long if it is not."""
        return hmac.compare_digest(_derived(secret, self.salt), self.hashed)


@dataclass(frozen=True, slots=True)
class Client:
    """A program that may ask for tokens; without a secret it is known by its id alone."""

    id: str
    scopes: frozenset[Scope] = READING
    secret: SecretHash | None = None


class Clients:
    """All clients. Raises ``CredentialsError`` where two have the same id."""

    def __init__(self, clients: Iterable[Client]) -> None:
        self._clients: dict[str, Client] = {}
        for number, client in enumerate(clients, 1):
            if client.id in self._clients:
                raise CredentialsError(f"CLIENT_IDS: entry {number} has the id of an entry before it")
            self._clients[client.id] = client
        self._nobody = SecretHash.of(secrets.token_urlsafe())

    def __iter__(self) -> Iterator[Client]:
        """The clients, in the order of the configuration."""
        return iter(self._clients.values())

    def get(self, client_id: str) -> Client | None:
        """The client of an id; None where there is none."""
        return self._clients.get(client_id)

    def authenticated(self, client_id: str, secret: str | None) -> Client | None:
        """The client, if the secret is its own; None where it is not, or there is no such client.

        Whoever asks learns neither by the answer nor by its time which of the two it is.
        """
        client = self._clients.get(client_id)
        if client is not None and client.secret is None:
            return client if secret is None else None
        expected = self._nobody if client is None or client.secret is None else client.secret
        is_right = expected.matches((secret or "")[:LONGEST_SECRET])
        return client if is_right and secret else None


def load_clients(settings: Settings) -> Clients:
    """The configured clients; without any, a development machine makes ``demo`` and keeps its secret.

    Raises ``CredentialsError`` for entries that cannot be used, ``ClientsMissingError`` in production without any.
    """
    own = makes_its_own(settings)
    text = settings.client_ids.get_secret_value()
    if not text.strip():
        if not own:
            raise ClientsMissingError(
                "CLIENT_IDS is not set, and in production the API does not start without: "
                '[{"id": "…", "secret_hash": "…"}], the hash from `etl-assets keys hash-secret`.'
            )
        text = f"[{own_client(settings)}]"
    found = parse_clients(text)
    if not own:
        for number, client in enumerate(found, 1):
            if client.secret is None:
                raise CredentialsError(
                    f"CLIENT_IDS: entry {number} ({client.id}) has no secret, and in production anyone could be it: "
                    "give it a secret_hash from `etl-assets keys hash-secret`."
                )
    return Clients(found)


def own_client(settings: Settings) -> str:
    """The client that a development machine makes for itself, as an entry of ``CLIENT_IDS``: JSON with its secret."""

    def new() -> dict[str, object]:
        return {"id": DEMO_CLIENT, "secret": secrets.token_urlsafe(32), "scopes": [str(scope) for scope in Scope]}

    return kept(own_client_path(settings), new)


def own_client_path(settings: Settings) -> Path:
    """The file that keeps it."""
    return settings.api_folder / "client.json"


def parse_clients(text: str) -> list[Client]:
    """The clients of ``CLIENT_IDS``. Raises ``CredentialsError``, which names the entry's number and no secret."""
    if not text.lstrip().startswith(("[", "{")):
        entries: object = [part.strip() for part in text.split(",") if part.strip()]
    else:
        try:
            entries = json.loads(text)
        except (ValueError, RecursionError):
            raise CredentialsError("CLIENT_IDS is neither `a, b` nor JSON.") from None
    if not isinstance(entries, list):
        raise CredentialsError("CLIENT_IDS is not a JSON array of clients; put [ ] around a single one.")
    return [_Entry(number).read(entry) for number, entry in enumerate(entries, 1)]


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where an entry stands, for errors; they say nothing of what it holds."""

    number: int

    def refusal(self, reason: str) -> CredentialsError:
        return CredentialsError(f"CLIENT_IDS: entry {self.number} {reason}.")

    def read(self, entry: object) -> Client:
        entry = {"id": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict):
            raise self.refusal("is neither an id nor an object")
        if not entry.keys() <= FIELDS:
            raise self.refusal(f"has fields beside {', '.join(sorted(FIELDS))}")
        name = entry.get("id")
        if not isinstance(name, str) or not FORM_OF_ID.fullmatch(name):
            raise self.refusal(f"has no id of 1 to {LONGEST_ID} visible ASCII characters")
        scopes, secret = self._scopes(entry), self._secret(entry)
        if secret is None and not scopes <= READING:
            raise self.refusal(f"has no secret, and so may only {' and '.join(sorted(READING))}")
        return Client(name, scopes, secret)

    def _scopes(self, entry: Mapping[str, Any]) -> frozenset[Scope]:
        given = entry.get("scopes", sorted(READING))
        names = given.split() if isinstance(given, str) else given
        try:
            scopes = frozenset(Scope(name) for name in names)
        except (ValueError, TypeError):
            scopes = frozenset()
        if not scopes:
            raise self.refusal(f"has scopes that are not some of {', '.join(Scope)}")
        return scopes

    def _secret(self, entry: Mapping[str, Any]) -> SecretHash | None:
        secret, hashed = entry.get("secret"), entry.get("secret_hash")
        if secret is not None and hashed is not None:
            raise self.refusal("has both a secret and a secret_hash; one is enough")
        if secret is not None:
            if not isinstance(secret, str) or not 0 < len(secret) <= LONGEST_SECRET:
                raise self.refusal(f"has a secret that is not a text of 1 to {LONGEST_SECRET} characters")
            return SecretHash.of(secret)
        if hashed is None:
            return None
        try:
            return SecretHash.parse(hashed)
        except (ValueError, TypeError):
            raise self.refusal(f"has a secret_hash that is not {SCHEME}:SALT:HASH, see `keys hash-secret`") from None


def _derived(secret: str, salt: bytes) -> bytes:
    with _AT_ONCE:
        # A lone surrogate, which JSON can hold, is no UTF-8 and yet some text.
        return hashlib.scrypt(
            secret.encode("utf-8", "surrogatepass"), salt=salt, n=2**COST, r=BLOCK_SIZE, p=PARALLELISM, dklen=HASH_BYTES
        )
