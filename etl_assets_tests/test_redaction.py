"""Texts without the secrets of the settings, whatever an error quotes."""

import pytest

from etl_assets.redaction import without_secrets, without_secrets_of_the_lake
from etl_assets.settings import Settings


def choose(**changes: object) -> Settings:
    return Settings(_env_file=None, **changes)


@pytest.mark.parametrize(
    ("secret", "quoted"),
    [
        ({"n8n_api_key": "s3cret"}, "header s3cret"),
        ({"kpi_webhook_secret": "s3cret"}, "key s3cret"),
        ({"metrics_webhook_url": "http://host/s3cret"}, "no answer of http://host/s3cret"),
        ({"kpi_registry": "http://user:s3cret@host/registry.json"}, "http://user:s3cret@host"),
        ({"kpi_registry": "http://host/registry.json?token=s3cret"}, "/registry.json?token=s3cret"),
        ({"state_database": "postgresql://user:s3cret@host/etl"}, "no route to user:s3cret@host"),
        ({"aemo_api_headers": {"X-Key": "s3cret"}}, "refused: X-Key s3cret"),
        ({"lake_catalog": "postgres:host=db password=s3cret"}, "no pg_hba.conf entry for s3cret"),
    ],
)
def test_no_secret_is_left_in_what_quotes_it(secret: dict[str, object], quoted: str) -> None:
    assert "s3cret" not in without_secrets(f"SomeError: {quoted}", choose(**secret))


@pytest.mark.parametrize(
    ("setting", "text", "left"),
    [
        (
            "postgres:host=db password=s3cret",
            'at "postgres:host=db password=s3cret": refused',
            'at "postgres:…": refused',
        ),
        ("postgres:password=s3cret host=db", "password=s3cret host=other", "password=… host=other"),
        ("postgres:password = s3cret host=db", "what is s3cret?", "what is …?"),
        ("postgres:host=db password='two w0rds'", "what is two w0rds?", "what is …?"),
        (r"postgres:password='it\'s' host=db", r"what is it\'s?", "what is …?"),
        ("postgres:password=two w0rds host=db", 'missing "=" after "w0rds"', 'missing "=" after "…"'),
        ("postgres:postgresql://me:s3cret@db/lake", 'at "postgresql://me:s3cret@db/lake": refused', 'at "…": refused'),
        ("postgres:postgresql://me:p@ss@db/lake?sslmode=off", "what is me:p@ss?", "what is …?"),
        ("postgres:postgresql://db/lake?password=s3cret&user=me", "what is s3cret?", "what is …?"),
    ],
)
def test_of_the_catalogs_address_neither_the_whole_nor_the_password_is_left(setting: str, text: str, left: str) -> None:
    assert without_secrets_of_the_lake(text, choose(lake_catalog=setting)) == left


def test_what_quotes_no_secret_of_the_lake_is_left_as_it_is() -> None:
    chosen = choose(lake_catalog="postgres:host=db password=s3cret", n8n_api_key="column")

    assert without_secrets_of_the_lake("no such column: lake", chosen) == "no such column: lake"
    assert without_secrets_of_the_lake("no such column: lake", choose()) == "no such column: lake"
