"""What a job's record says of a call that was not accepted."""

import json
import socket
from base64 import b64encode
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl_assets.http import UNSENDABLE, SourceError, Unavailable
from etl_assets.kpi.refusals import EXCERPT_LENGTH, excerpt, refusal, secrets_in

TIMEOUT = timedelta(seconds=30)
KEY = "n8n_api_4f0a1b2c3d4e5f60718293a4b5c6d7e8"


def answered(status: int, body: str = "", outcomes: tuple[str, ...] = ()) -> SourceError:
    error = SourceError(f"Status {status}", "http://n8n.example", status)
    error.body = body
    error.outcomes = outcomes or (str(status),)
    return error


def unanswered(cause: Exception, system: OSError | None = None) -> SourceError:
    error = Unavailable("No answer", "http://n8n.example")
    cause.__cause__ = system
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (302, "Put the final address into webhookUrl"),
        (400, "what the workflow asks for"),
        (401, "N8N_API_KEY"),
        (403, "KPI_WEBHOOK_SECRET"),
        (404, "that the workflow is active"),
        (405, "must take POST"),
        (429, "KPI_WEBHOOK_BACKOFF"),
        (500, "the workflow's executions"),
        (503, "the workflow's host is up"),
    ],
)
def test_each_status_says_what_to_do(status: int, hint: str) -> None:
    told = refusal(answered(status), (), TIMEOUT)

    assert told.reason.startswith(f"status {status}")
    assert hint in told.hint


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_gateway_without_anybody_behind_it_is_a_host_that_does_not_answer(status: int) -> None:
    assert refusal(answered(status), (), TIMEOUT).is_unreachable


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 408, 429, 500, 501])
def test_any_other_answer_is_the_workflows_own(status: int) -> None:
    assert not refusal(answered(status), (), TIMEOUT).is_unreachable


@pytest.mark.parametrize(
    ("cause", "system", "reason"),
    [
        (
            httpx.ConnectError(""),
            ConnectionRefusedError(111, "Connection refused"),
            "no connection (Connection refused)",
        ),
        (httpx.ConnectError(""), OSError(101, "Network is unreachable"), "no connection (Network is unreachable)"),
        (httpx.ConnectError(""), socket.gaierror(-2, "Name or service not known"), "its name cannot be looked up"),
        (httpx.ConnectError(""), None, "no connection"),
        (httpx.ConnectTimeout(""), TimeoutError(), "no connection within the time-out"),
    ],
)
def test_without_a_connection_it_is_the_host_that_does_not_answer(
    cause: Exception, system: OSError | None, reason: str
) -> None:
    told = refusal(unanswered(cause, system), (), TIMEOUT)

    assert told.reason.startswith(reason)
    assert told.is_unreachable


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (httpx.ReadTimeout(""), "no answer within 30 s"),
        (httpx.RemoteProtocolError(""), "the connection ended without a whole answer"),
        (httpx.ReadError(""), "the connection ended without a whole answer"),
        (httpx.DecodingError(""), "an answer of more than 1 MB"),
    ],
)
def test_once_the_call_went_out_the_workflow_may_have_started(cause: Exception, reason: str) -> None:
    told = refusal(unanswered(cause), (), TIMEOUT)

    assert told.reason == f"{reason}; whether the workflow was started is not known"
    assert (told.is_unreachable, told.is_unanswered) == (False, True)


@pytest.mark.parametrize("cause", [httpx.WriteError(""), httpx.WriteTimeout("")])
def test_a_call_that_did_not_go_out_whole_started_nothing(cause: Exception) -> None:
    told = refusal(unanswered(cause), (), TIMEOUT)

    assert (told.reason, told.is_unanswered) == ("the call could not be sent whole", False)


@pytest.mark.parametrize(
    ("problem", "hint"), [(UNSENDABLE, "N8N_API_KEY is plain ASCII"), ("The host's name cannot be looked up", "63")]
)
def test_a_call_that_cannot_be_sent_says_what_to_change(problem: str, hint: str) -> None:
    assert hint in refusal(SourceError(problem, "http://n8n.example"), (), TIMEOUT).hint


def test_another_error_that_is_just_being_handled_is_not_taken_for_the_cause() -> None:
    cause = httpx.ConnectError("")
    cause.__context__ = ConnectionRefusedError(111, "Connection refused")
    cause.__context__.__context__ = OSError(28, "No space left on device")

    assert refusal(unanswered(cause), (), TIMEOUT).reason == "no connection (Connection refused)"


def test_what_each_try_ended_with_is_told() -> None:
    told = refusal(answered(500, '{"message":"Error in workflow"}', ("timeout", "503", "500")), (), TIMEOUT)

    assert told.reason == "status 500: Error in workflow (after 3 tries: timeout, 503, 500)"


@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        ('{"message":"Error in workflow"}', "Error in workflow"),
        ('{"code":0}', '{"code":0}'),
        ("[1, 2]", "[1, 2]"),
        ("No\r\n  such\tthing.\x00", "No such thing"),
        ("<html><body>Oops</body></html>", ""),
        ("", ""),
        ("x" * 300, "x" * EXCERPT_LENGTH + "…"),
    ],
)
def test_an_answer_is_quoted_on_one_short_line(body: str, quoted: str) -> None:
    assert excerpt(body, ()) == quoted


def test_the_address_of_a_webhook_that_is_not_registered_is_not_repeated() -> None:
    address = httpx.URL("https://n8n.example/webhook/d097a361-7bd4/kpi-brief")
    body = json.dumps(
        {"code": 404, "message": 'The requested webhook "POST d097a361-7bd4/kpi-brief" is not registered.'}
    )

    quoted = excerpt(body, secrets_in(address))

    assert quoted == 'The requested webhook "POST … is not registered'


def test_everything_of_an_address_that_may_be_secret_is_known() -> None:
    address = httpx.URL("https://anna:s%C3%A9same@n8n.example/webhook/to%20ken/sub?auth=pass%20word&n=1")

    assert secrets_in(address) == {
        "to%20ken", "to ken", "sub", "anna", "sésame", b64encode("anna:sésame".encode()).decode(),
        "auth=pass%20word&n=1", "auth=pass word&n=1", "auth", "pass%20word", "pass word", "n", "1",
    }  # fmt: skip


def test_a_query_is_quoted_neither_whole_nor_by_its_names() -> None:
    address = httpx.URL("https://n8n.example/webhook/x1?t0ken-as-name&who=anna")

    quoted = excerpt(
        "POST /webhook/x1?t0ken-as-name&who=anna refused: x1, t0ken-as-name, who and anna", secrets_in(address)
    )

    assert quoted == "POST /webhook/…?… refused: …, … … and …"


def test_a_short_secret_is_hidden_where_it_stands_alone_and_leaves_words_as_they_are() -> None:
    assert excerpt("n: no 1 in 11 nodes, n=1", {"n", "1"}) == "…: no … in 11 nodes, …=…"


@given(st.text(max_size=500), st.text(max_size=500), st.integers(8, len(KEY)))
def test_a_key_is_quoted_from_no_answer_even_where_that_ends_in_its_middle(before: str, after: str, cut: int) -> None:
    body = before + KEY + after if cut == len(KEY) else before + KEY[:cut]

    assert KEY[:8] not in excerpt(body, {KEY})
