"""What a client takes for wrong: an answer that nothing explains, a price that is not the market's."""

from collections.abc import Iterator
from datetime import datetime
from multiprocessing import Value
from typing import Any

import httpx
import pytest

from etl_assets.market_time import NEM_TIME
from etl_assets.processes import free_port
from soak.clients import RESTART_S, Client

ROUTE = "/data/latest"
END = datetime(2025, 10, 1, 1, 5, tzinfo=NEM_TIME)


@pytest.fixture
def client() -> Iterator[Client]:
    """A client whose API is up as far as it knows, though nobody listens there."""
    found = Client(f"http://127.0.0.1:{free_port()}", Value("i", 1), seed=1)
    yield found
    found._http.close()


def judge(client: Client, status: int) -> httpx.Response | None:
    return client._judged(ROUTE, httpx.Response(status, text="so it is"))


def restart(client: Client) -> None:
    client._up.value = 0
    client.ask(Client.health)
    client._up.value = 1


def test_an_answer_with_200_or_202_is_handed_on(client: Client) -> None:
    assert judge(client, 200) is not None
    assert judge(client, 202) is not None
    assert client.load.wrong == []


def test_503_before_anything_is_published_is_documented(client: Client) -> None:
    assert judge(client, 503) is None
    assert client.load.wrong == []
    assert client.load.answers[ROUTE, 503] == 1


def test_503_after_a_first_answer_is_wrong(client: Client) -> None:
    judge(client, 200)
    judge(client, 503)

    assert client.load.wrong == [f"{ROUTE}: 503: so it is"]


def test_503_right_after_a_restart_is_none_that_is_wrong_and_later_it_is(client: Client) -> None:
    judge(client, 200)
    restart(client)
    judge(client, 503)
    assert client.load.wrong == []

    client._away_at -= RESTART_S
    judge(client, 503)
    assert client.load.wrong == [f"{ROUTE}: 503: so it is"]


@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_any_other_status_is_wrong_even_before_a_first_answer(client: Client, status: int) -> None:
    judge(client, status)

    assert client.load.wrong == [f"{ROUTE}: {status}: so it is"]


def test_a_refused_connection_is_wrong_only_while_the_api_is_up(client: Client) -> None:
    restart(client)
    assert (client.load.away, client.load.wrong) == (1, [])

    client.ask(Client.health)
    assert [text.split(":")[:2] for text in client.load.wrong] == [["health", " ConnectError"]]


def test_an_answer_that_nobody_can_read_is_wrong(client: Client) -> None:
    def garbled(_: Client) -> None:
        raise KeyError("data")

    client.ask(garbled)

    assert client.load.wrong == ["garbled: the answer lacks or garbles KeyError 'data'"]


def row(price: float | None) -> dict[str, Any]:
    return {"interval_end": END.isoformat(), "region": "SA1", "rrp": price}


def test_the_prices_before_and_after_a_revision_are_right(client: Client) -> None:
    client._look_at_price(ROUTE, row(float(client.market.region(END, "SA1").rrp)))
    client._look_at_price(ROUTE, row(float(client.market.revised_rrp(END, "SA1"))))

    assert client.load.wrong == []


def test_a_price_that_is_not_the_markets_is_wrong_and_one_that_is_null_is_counted(client: Client) -> None:
    client._look_at_price(ROUTE, row(float(client.market.region(END, "SA1").rrp) + 0.01))
    client._look_at_price(ROUTE, row(None))

    assert (len(client.load.wrong), client.load.unpriced) == (1, 1)
