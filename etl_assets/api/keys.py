"""Keys that sign and verify tokens: what ``SIGNING_KEYS`` may hold, which key signs, what the JWKS shows.

``SIGNING_KEYS`` is a JSON array (or a JWK Set, ``{"keys": […]}``). An entry is

- a JWK object: RSA of 2048 bits or more (RS256), EC P-256 (ES256) or P-384 (ES384), OKP Ed25519 (EdDSA);
- PEM text of such a key;
- a pair ``{"kid", "privateKey" | "private", "publicKey" | "public", "alg"}`` of JWKs or PEM texts.

Every entry verifies; one without a private part does nothing else. The newest private key signs: the one whose ``iat``
or ``created`` (epoch seconds, or ISO 8601) is the latest; one without counts as older than any with; of equals the last
of the array. ``kid`` is the given one, else the thumbprint of RFC 7638. The algorithm is the key's own and never the
token's. To rotate, append a new key, and take the old one out when its last token has expired.

Tokens are in ``tokens.py``.
"""

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jws
from joserfc.errors import InvalidKeyTypeError, JoseError, SecurityWarning, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from etl_assets.api.credentials import CredentialsError, kept
from etl_assets.settings import Settings

Algorithm = Literal["RS256", "ES256", "ES384", "EdDSA"]
AnyKey = RSAKey | ECKey | OKPKey

OF_CURVES: Mapping[str, Algorithm] = {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}
OF_TYPES: Mapping[str, type[AnyKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}

RSA_BITS = 2048
LONGEST_KID = 128
"""A token's header has to stay within the 512 bytes that verifiers take."""

PRIVATE_NAMES = ("privateKey", "private")
PUBLIC_NAMES = ("publicKey", "public")
DATE_NAMES = ("iat", "created")


class KeysMissingError(CredentialsError):
    """There is no key to sign with, and this is no place to make one."""


class _OneAlgorithm(JWSRegistry):
    """Takes a single algorithm, whatever a token asks for.

    EdDSA is discouraged as a name that leaves the curve open (RFC 9864). Here the key pins the curve, and the
    libraries of clients know no other name yet: so without the library's warning.
    """

    def get_alg(self, name: str) -> Any:  # noqa: ANN401 - the library's model of an algorithm is private
        if [name] != self.allowed:
            raise UnsupportedAlgorithmError(f"Algorithm of '{name}' is not this key's")
        return self.algorithms[name]


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key with its id and its one algorithm; ``created`` is in epoch seconds, 0 where it is not known."""

    kid: str
    algorithm: Algorithm
    created: float
    key: AnyKey = field(repr=False)

    @property
    def is_private(self) -> bool:
        """Whether it can sign."""
        return self.key.is_private

    def sign(self, payload: bytes, *, kind: str) -> str:
        """A compact JWS of a payload; ``kind`` is its ``typ``."""
        header = {"alg": self.algorithm, "kid": self.kid, "typ": kind}
        return jws.serialize_compact(header, payload, self.key, registry=_OneAlgorithm(algorithms=[self.algorithm]))

    def verified(self, token: str) -> bytes:
        """The payload of a compact JWS. Raises ``JoseError`` or ``ValueError`` where this key did not sign it."""
        registry = _OneAlgorithm(algorithms=[self.algorithm])
        payload = jws.deserialize_compact(token, self.key, registry=registry).payload
        assert payload is not None  # noqa: S101 - only a detached one is
        return payload

    def public_jwk(self) -> dict[str, Any]:
        """The public part as the JWKS shows it."""
        parts = self.key.as_dict(private=False)
        shown = {name: parts[name] for name in ("kty", *self.key.value_registry) if name in parts}
        return {**shown, "kid": self.kid, "use": "sig", "alg": self.algorithm}


class KeyRing:
    """All keys: the newest private one signs, every one verifies.

    Raises ``CredentialsError`` where two have the same id, ``KeysMissingError`` where none can sign.
    """

    def __init__(self, keys: Iterable[SigningKey], *, name: str = "SIGNING_KEYS") -> None:
        self._keys: dict[str, SigningKey] = {}
        for number, key in enumerate(keys, 1):
            if key.kid in self._keys:
                raise CredentialsError(f"{name}: entry {number} has the kid of an entry before it; each needs its own")
            self._keys[key.kid] = key
        private = [key for key in self._keys.values() if key.is_private]
        if not private:
            raise KeysMissingError(f"{name} holds no private key to sign with: add one from `etl-assets keys new`.")
        # Reversed, because of equals max takes the first.
        self.signing = max(reversed(private), key=lambda key: key.created)

    def get(self, kid: str) -> SigningKey | None:
        """The key of an id; None where there is none."""
        return self._keys.get(kid)

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public keys as a JWK Set (RFC 7517)."""
        return {"keys": [key.public_jwk() for key in self._keys.values()]}


def load_keys(settings: Settings) -> KeyRing:
    """The configured keys; without any, a development machine makes one and keeps it.

    Raises ``CredentialsError`` for entries that cannot be used, ``KeysMissingError`` in production without any.
    """
    if text := settings.signing_keys.get_secret_value():
        return KeyRing(parse_keys(text))
    if not makes_its_own(settings):
        raise KeysMissingError(
            "SIGNING_KEYS is not set, and in production the API does not start without: "
            "put a key from `etl-assets keys new` into it, as a JSON array."
        )
    path = settings.api_folder / "keys.json"
    name = f"{path} (remove it to have a new one made)"
    return KeyRing(parse_keys(kept(path, lambda: [new_key("RS256")]), name=name), name=name)


def makes_its_own(settings: Settings) -> bool:
    """Whether keys and a client that are not configured are made here: in development alone.

    Not wherever data is simulated: who runs production on it is still not to have a client that nobody configured.
    """
    return settings.environment == "development"


def new_key(algorithm: Algorithm, *, now: datetime | None = None) -> dict[str, Any]:
    """A new private key as a JWK; ``now`` (aware) dates it, for the newest to sign."""
    if algorithm == "RS256":
        key: AnyKey = RSAKey.generate_key(RSA_BITS)
    elif algorithm == "EdDSA":
        key = OKPKey.generate_key("Ed25519")
    else:
        key = ECKey.generate_key({"ES256": "P-256", "ES384": "P-384"}[algorithm])
    dated = {} if now is None else {"iat": int(now.timestamp())}
    return {**key.as_dict(private=True), "kid": key.thumbprint(), "use": "sig", "alg": algorithm, **dated}


def parse_keys(text: str, *, name: str = "SIGNING_KEYS") -> list[SigningKey]:
    """The keys of a JSON array or JWK Set. Raises ``CredentialsError``, which names the entry's number and ``name``."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        raise CredentialsError(f"{name} is not JSON; it is an array of keys, see `etl-assets keys new`.") from None
    if isinstance(entries, dict) and "keys" in entries:
        entries = entries["keys"]
    if not isinstance(entries, list):
        raise CredentialsError(f"{name} is not a JSON array of keys; put [ ] around a single one.")
    return [_Entry(name, number).read(entry) for number, entry in enumerate(entries, 1)]


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where an entry stands, for errors; they say nothing of what it holds."""

    name: str
    number: int

    def refusal(self, reason: str) -> CredentialsError:
        return CredentialsError(f"{self.name}: entry {self.number} {reason}.")

    def read(self, entry: object) -> SigningKey:
        if isinstance(entry, str):
            entry = {"publicKey" if "PRIVATE KEY" not in entry else "privateKey": entry}
        if not isinstance(entry, dict):
            raise self.refusal("is neither a JWK object, nor PEM text, nor a pair of keys")
        key = self._material(entry)
        algorithm = self._algorithm(key)
        if entry.get("alg", algorithm) not in {algorithm, key.get("crv")}:
            raise self.refusal(f"names an algorithm that is not its key's, {algorithm}")
        return SigningKey(self._kid(entry, key), algorithm, self._created(entry), key)

    def _material(self, entry: Mapping[str, Any]) -> AnyKey:
        if "kty" in entry:
            return self._imported(entry)
        private, public = _first(entry, PRIVATE_NAMES), _first(entry, PUBLIC_NAMES)
        if private is None and public is None:
            raise self.refusal("holds no key: a JWK has kty, a pair privateKey or publicKey")
        key = self._imported(public if private is None else private)
        if private is None and key.is_private:
            raise self.refusal("has a private key as its public one")
        if private is not None and not key.is_private:
            raise self.refusal("has a public key as its private one")
        if private is not None and public is not None and self._imported(public).thumbprint() != key.thumbprint():
            raise self.refusal("is a pair of which one key does not belong to the other")
        return key

    def _imported(self, material: object) -> AnyKey:
        types: Sequence[type[AnyKey]] = tuple(OF_TYPES.values())
        if isinstance(material, dict):
            kind = OF_TYPES.get(str(material.get("kty")))
            if kind is None:
                raise self.refusal("is no RSA, EC or OKP key; symmetric keys cannot be used")
            if material.get("use", "sig") != "sig":
                raise self.refusal('is not for signatures ("use")')
            # What else it says (key_ops, x5c …) does not change how it is used here.
            material = {name: material[name] for name in ("kty", *kind.value_registry) if name in material}
            types = (kind,)
        elif not isinstance(material, str):
            raise self.refusal("holds a key that is neither a JWK object nor PEM text")
        return self._first_that_reads(material, types)

    def _first_that_reads(self, material: Any, types: Sequence[type[AnyKey]]) -> AnyKey:  # noqa: ANN401 - dict or text
        for kind in types:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", SecurityWarning)
                    return kind.import_key(material)
            except InvalidKeyTypeError:
                continue
            except SecurityWarning:
                raise self.refusal(f"is an RSA key of less than {RSA_BITS} bits") from None
            except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
                break
        raise self.refusal("holds a key that cannot be read: a JWK, or PEM text without a password") from None

    def _algorithm(self, key: AnyKey) -> Algorithm:
        if isinstance(key, RSAKey):
            return "RS256"
        try:
            return OF_CURVES[key.curve_name]
        except KeyError:
            raise self.refusal("has a curve that is not P-256, P-384 or Ed25519") from None

    def _kid(self, entry: Mapping[str, Any], key: AnyKey) -> str:
        given = entry.get("kid")
        if given is None:
            return key.thumbprint()
        if not isinstance(given, str) or not 0 < len(given) <= LONGEST_KID or not given.isprintable():
            raise self.refusal(f"has a kid that is not a text of up to {LONGEST_KID} characters")
        return given

    def _created(self, entry: Mapping[str, Any]) -> float:
        given = _first(entry, DATE_NAMES)
        if isinstance(given, str):
            try:
                moment = datetime.fromisoformat(given)
            except ValueError:
                raise self.refusal("has a date that is not ISO 8601") from None
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if given is None:
            return 0
        if isinstance(given, bool) or not isinstance(given, int | float) or not -inf < given < inf:
            raise self.refusal("has a date that is neither epoch seconds nor ISO 8601")
        return given


def _first(entry: Mapping[str, Any], names: Iterable[str]) -> Any:  # noqa: ANN401 - JSON
    return next((entry[name] for name in names if entry.get(name) is not None), None)
