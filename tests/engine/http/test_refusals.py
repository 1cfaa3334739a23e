"""Refused requests: what the client is told, and what the program."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from rtframework import ConnectionFailure
from rtframework.counters import Counters
from rtframework.engine.http.listeners import Listeners
from rtframework.engine.http.refusals import BAD_REQUEST, FORBIDDEN, MESSAGES, SID_UNKNOWN, Refusals, error_response
from rtframework.limits.audit import Audit


class Desk:
    """Refusals with what they count and whom they tell."""

    def __init__(self) -> None:
        self.counts = Counters()
        self.failures: list[ConnectionFailure] = []
        listeners = Listeners()
        listeners.add("connection_error", self.failures.append)
        self.refusals = Refusals(self.counts, listeners, Audit())
        self.request = make_mocked_request("GET", "/socket.io/")


def body_of(response: web.Response) -> Any:
    """What a client reads."""
    return json.loads(response.text or "")


@pytest.mark.parametrize("code", MESSAGES)
def test_the_codes_are_node_s(code: int) -> None:
    """Tools that know Node's codes would show nothing."""
    request = make_mocked_request("GET", "/socket.io/")
    response = error_response(request, code)
    assert response.text == f'{{"code":{code},"message":"{MESSAGES[code]}"}}', "as JSON.stringify writes it"
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert error_response(request, code, 503, {"X": "y"}).headers["X"] == "y"


@pytest.mark.parametrize(("message", "body"), [("schön", "schön"), ('"', '\\"'), ("\ud800", "\\ud800"), ("\n", "\\n")])
def test_messages_are_written_as_node_writes_them(message: str, body: str) -> None:
    """A client's own tests compare texts; and one that cannot be encoded would be an internal server error."""
    response = error_response(make_mocked_request("GET", "/socket.io/"), FORBIDDEN, 403, message=message)
    assert response.body == f'{{"code":4,"message":"{body}"}}'.encode()
    assert body_of(response)["message"] == message


def test_too_large_is_told_without_a_body() -> None:
    """Node's 413 has none."""
    response = error_response(make_mocked_request("GET", "/socket.io/"), BAD_REQUEST, 413)
    assert (response.body, "Content-Type" in response.headers) == (b"", False)


async def test_a_refusal_is_counted_and_told() -> None:
    """Nobody could find out why clients do not come in."""
    desk = Desk()
    response = await desk.refusals.refuse(desk.request, SID_UNKNOWN, {"sid": "x"})
    assert (response.status, body_of(response)) == (400, {"code": 1, "message": "Session ID unknown"})
    (failure,) = desk.failures
    assert (failure.request, failure.code, failure.context) == (desk.request, SID_UNKNOWN, {"sid": "x"})
    assert desk.counts.requests_refused["session_id_unknown"] == 1


async def test_reasons_have_names() -> None:
    """Statistics would show one number for all that can be wrong with a request."""
    desk = Desk()
    response = await desk.refusals.bad(desk.request, "TRANSPORT_MISMATCH", {"A": "b"}, transport="polling")
    assert (response.status, response.headers["A"]) == (400, "b")
    assert desk.failures[0].context == {"name": "TRANSPORT_MISMATCH", "transport": "polling"}
    assert desk.counts.requests_refused["transport_mismatch"] == 1


@pytest.mark.parametrize(("message", "told"), [("not today", "not today"), (None, "Forbidden")])
async def test_a_program_refuses_with_its_own_words(message: str | None, told: str) -> None:
    """A user would not be told what to do."""
    desk = Desk()
    response = await desk.refusals.forbid(desk.request, message, {})
    assert (response.status, body_of(response)) == (403, {"code": FORBIDDEN, "message": told})
    assert desk.failures[0].context == {"message": message}
