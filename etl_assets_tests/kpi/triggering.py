"""What the tests of webhooks share: a payload, and workflows triggered with it."""

import socket
from datetime import UTC, datetime, timedelta

import pytest

from etl_assets.kpi.webhook import WebhookError, Workflows
from etl_assets.settings import Settings

NOON = datetime(2025, 8, 14, 12, tzinfo=UTC)
PAYLOAD = {"traceId": "trace_20250814_120000_abc12345", "kpiId": "a", "name": "Zähler"}
KEY = "trace_20250814_120000_abc12345:a"
NAME = "d097a361-7bd4"
SECRETS = {"n8n_api_key": "key-sesame", "kpi_webhook_secret": "sign-sesame"}
DEMANDED = {"api_key": "key-sesame", "secret": "sign-sesame"}
STARTED = b'HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n{"message":"Workflow was started"}'


def workflows(**changes: object) -> Workflows:
    values = {"kpi_webhook_backoff": 0, "kpi_webhook_timeout": timedelta(seconds=30), **changes}
    return Workflows(Settings(_env_file=None, **values))


def refused(opened: Workflows, url: str) -> WebhookError:
    with pytest.raises(WebhookError) as caught:
        opened.trigger(url, PAYLOAD, key=KEY)
    return caught.value


def nobody() -> str:
    """An address on loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"
