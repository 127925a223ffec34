"""The command line of the API's tokens: ``etl-assets keys new | hash-secret`` and ``etl-assets token``.

What a program is to take in goes to standard output alone; what a person is to read goes to standard error.
"""

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from etl_assets.market_time import utc_now
from etl_assets.settings import settings

keys_app = typer.Typer(no_args_is_help=True, help="Keys that sign tokens, and hashes of clients' secrets.")


class Kind(StrEnum):
    """What a key may sign with."""

    RS256 = "RS256"
    ES256 = "ES256"
    ES384 = "ES384"
    EDDSA = "EdDSA"


@keys_app.command("new")
def new(
    algorithm: Annotated[Kind, typer.Option("--alg", help="What it signs with.", case_sensitive=False)] = Kind.RS256,
) -> None:
    """A new private key as JSON, an entry for SIGNING_KEYS; nothing is stored."""
    from etl_assets.api.keys import new_key

    key = new_key(algorithm.value, now=utc_now())
    _note("Keep it secret. SIGNING_KEYS is a JSON array of such keys: the newest signs, all verify.")
    typer.echo(json.dumps(key, separators=(",", ":")))


@keys_app.command("hash-secret")
def hash_secret() -> None:
    """The hash of a client's secret, for "secret_hash" in CLIENT_IDS; read from a prompt, or from standard input."""
    from etl_assets.api.clients import LONGEST_SECRET, SecretHash

    if sys.stdin.isatty():
        secret = typer.prompt("Secret", hide_input=True, confirmation_prompt=True, err=True)
    else:
        secret = sys.stdin.read().rstrip("\r\n")
    if not 0 < len(secret) <= LONGEST_SECRET:
        raise typer.BadParameter(f"a secret has 1 to {LONGEST_SECRET} characters")
    typer.echo(SecretHash.of(secret).written())


def token(
    client: Annotated[str, typer.Option(help="The client that it is for; the first of CLIENT_IDS by default.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="What it is good for, once a scope; all by default.")] = None,
) -> None:
    """An access token, signed here with the API's own key: the API need not run. Says where to find a made client."""
    from etl_assets.api.clients import own_client_path
    from etl_assets.api.tokens import Tokens

    tokens = Tokens.configured(settings())
    known = {each.id: each for each in tokens.clients}
    found = known.get(client) if client else next(iter(known.values()), None)
    if found is None:
        raise typer.BadParameter(f"no such client; there are: {', '.join(known) or 'none'}", param_hint="--client")
    scopes = frozenset(each for each in found.scopes if not scope or each in scope)
    if unknown := set(scope or ()) - scopes:
        allowed, refused = (", ".join(sorted(names)) for names in (found.scopes, unknown))
        raise typer.BadParameter(f"{found.id} may have {allowed}; not {refused}", param_hint="--scope")
    issued = tokens.issue_alone(found, scopes, now=utc_now())
    if not settings().client_ids.get_secret_value().strip():
        _note(f"Client {found.id}; its secret, for POST /token, is in {own_client_path(settings())}.")
    _note(f"Good for {tokens.life}: {issued.claims.scope}.")
    typer.echo(issued.text)


def _note(text: str) -> None:
    typer.echo(text, err=True)
