"""A token service for tests: keys that are made once, a small application with one route a scope, tokens at will."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import Depends, FastAPI

from etl_assets.api.keys import new_key
from etl_assets.api.principal import Principal, requires
from etl_assets.api.problems import install_problem_handlers
from etl_assets.api.routes.tokens import router
from etl_assets.api.tokens import Tokens
from etl_assets.settings import Settings

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
SECRET = "s3cret-of-the-reader"  # noqa: S105 - for tests
OPERATOR_SECRET = "s3cret-of-the-operator"  # noqa: S105 - for tests
CLIENTS = [
    {"id": "reader", "secret": SECRET},
    {"id": "operator", "secret": OPERATOR_SECRET, "scopes": ["read:data", "read:timeseries", "operator"]},
    "page",
]
"""``page`` is a client without a secret, as the seeds have them."""


@cache
def jwk_text(algorithm: str = "RS256", number: int = 0) -> str:
    """A private key as JSON; the same for the same number."""
    return json.dumps({**new_key(algorithm), "kid": f"{algorithm}-{number}"})


def jwk(algorithm: str = "RS256", number: int = 0, **more: object) -> dict[str, Any]:
    return {**json.loads(jwk_text(algorithm, number)), **more}


def configured(folder: Path, *keys: object, **more: object) -> Settings:
    """Settings with these keys (one of RSA by default) and the clients above."""
    given = {"signing_keys": json.dumps(list(keys) or [jwk()]), "client_ids": json.dumps(CLIENTS)}
    return Settings(_env_file=None, etl_data=folder / "data", **{**given, **more})


@dataclass
class Service:
    """The service as a client meets it, on loopback; ``now`` is what its clock says."""

    settings: Settings
    tokens: Tokens
    now: datetime = NOW
    http: httpx.Client = field(init=False)
    url: str = ""

    def token(self, client: str = "reader", secret: str = SECRET, **more: str) -> dict[str, Any]:
        """What POST /token grants."""
        form = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret, **more}
        answer = self.http.post("/token", data=form)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refresh(self, token: str, client: str = "reader", secret: str = SECRET, **more: str):
        form = {"refresh_token": token, "client_id": client, "client_secret": secret, **more}
        return self.http.post("/refresh", data=form)

    def revoke(self, token: str, client: str = "reader", secret: str = SECRET):
        return self.http.post("/revoke", data={"token": token, "client_id": client, "client_secret": secret})

    def get(self, token: str | None, path: str = "/read"):
        """A route that wants a scope, asked with a token."""
        return self.http.get(path, headers={} if token is None else {"Authorization": f"Bearer {token}"})


def application(settings: Settings, tokens: Tokens, now: Any) -> FastAPI:
    app = FastAPI()
    app.state.settings, app.state.tokens, app.state.now = settings, tokens, now
    install_problem_handlers(app)
    app.include_router(router)

    @app.get("/read")
    async def read(principal: Annotated[Principal, Depends(requires("read:data"))]) -> dict[str, Any]:
        return {"client": principal.client_id, "scopes": sorted(principal.scopes), "token": principal.token_id}

    @app.get("/operate")
    async def operate(principal: Annotated[Principal, Depends(requires("operator"))]) -> str:
        return principal.client_id

    return app


@contextmanager
def token_service(settings: Settings, now: datetime = NOW) -> Iterator[Service]:
    """The service with the keys and clients of settings, at work."""
    service = Service(settings, Tokens.configured(settings), now)
    with serving(application(settings, service.tokens, lambda: service.now)) as url, httpx.Client(base_url=url) as http:
        service.url, service.http = url, http
        yield service


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The application on loopback; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            # A connection waits in the listener's queue until the server takes it.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)
