"""Handshakes: what a client is told, and who is turned away; packet by packet without a network where that will do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.test_utils import make_mocked_request

from rtframework import Limits, Server
from rtframework.engine.handshake import OpenPackets, _accept_of, can_upgrade, coding_for, wants_websocket
from rtframework.options import EngineOptions
from tests.conftest import Serve
from tests.engine import Witness, raw_client

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
UPGRADE = {"Connection": "keep-alive, Upgrade", "Upgrade": "WebSocket", "Sec-WebSocket-Key": KEY}


class Known:
    """What an open packet needs of a connection."""

    def __init__(self, transport: str) -> None:
        self.sid = "s1"
        self.transport = transport


def opened(options: EngineOptions, transport: str, interval: float = 25) -> dict[str, Any]:
    """The content of an open packet."""
    connection: Any = Known(transport)
    packet = OpenPackets(options, interval).of(connection)
    assert packet[0] == "0"
    content: dict[str, Any] = json.loads(packet[1:])
    return content


def test_the_open_packet_says_what_the_client_needs() -> None:
    """A client would ping too late, send too much, or never move to a websocket."""
    options = EngineOptions(ping_timeout=0.5, limits=Limits(max_http_buffer_size=1_000))
    assert opened(options, "polling", 1.5) == {
        "sid": "s1",
        "upgrades": ["websocket"],
        "pingInterval": 1500,
        "pingTimeout": 500,
        "maxPayload": 1000,
    }
    assert opened(options, "websocket")["upgrades"] == []


@pytest.mark.parametrize(
    ("options", "may"),
    [
        (EngineOptions(), True),
        (EngineOptions(allow_upgrades=False), False),
        (EngineOptions(transports=("polling",)), False),
    ],
)
def test_who_may_move_to_a_websocket(options: EngineOptions, may: bool) -> None:
    """A client would try what the server refuses, at each reconnection."""
    assert can_upgrade(options) is may
    assert bool(opened(options, "polling")["upgrades"]) is may


@pytest.mark.parametrize(
    ("compression", "size", "accepts", "coding"),
    [
        (True, 1023, "gzip", None),
        (True, 1024, "gzip", web.ContentCoding.gzip),
        (True, 1024, "deflate, gzip", web.ContentCoding.gzip),
        (True, 1024, "deflate, gzip;q=0.5", web.ContentCoding.deflate),
        (True, 1024, "br", None),
        (True, 1024, None, None),
        (False, 5_000, "gzip", None),
    ],
)
def test_only_large_payloads_are_compressed(
    compression: bool, size: int, accepts: str | None, coding: web.ContentCoding | None
) -> None:
    """Small answers would become larger, or a client would get what it cannot read."""
    headers = {} if accepts is None else {"Accept-Encoding": accepts}
    request = make_mocked_request("GET", "/", headers=headers)
    assert coding_for(EngineOptions(http_compression=compression), request, b"x" * size) is coding


@pytest.mark.parametrize(("value", "wants"), [("websocket", True), ("WebSocket", True), ("h2c", False), (None, False)])
def test_who_wants_a_websocket(value: str | None, wants: bool) -> None:
    """A proxy's own upgrade would be taken for a websocket."""
    request = make_mocked_request("GET", "/", headers={} if value is None else {"Upgrade": value})
    assert wants_websocket(request) is wants


@pytest.mark.parametrize(
    ("request_", "accept"),
    [
        (make_mocked_request("GET", "/", headers=UPGRADE), ACCEPT),
        (make_mocked_request("GET", "/", headers=UPGRADE, version=HttpVersion11), ACCEPT),
        (make_mocked_request("GET", "/", headers=UPGRADE, version=HttpVersion10), None),
        (make_mocked_request("POST", "/", headers=UPGRADE), None),
        (make_mocked_request("GET", "/", headers={**UPGRADE, "Connection": "close"}), None),
        (make_mocked_request("GET", "/", headers={**UPGRADE, "Sec-WebSocket-Key": "short"}), None),
        (make_mocked_request("GET", "/", headers={"Connection": "Upgrade"}), None),
    ],
    ids=["good", "1.1", "1.0", "POST", "close", "key", "no key"],
)
def test_the_answer_to_a_key(request_: web.Request, accept: str | None) -> None:
    """No browser would open a websocket (RFC 6455, 4.2.2); or something that is none would be given one."""
    assert _accept_of(request_) == accept


@pytest.mark.parametrize("sid", ["", "a b", "a/b", "é", "x" * 257, "taken", 7, None])
async def test_session_ids_that_are_none_open_nothing(serve: Serve, sid: Any) -> None:
    """A session could be taken over, or not be reached at all."""
    io = Server()
    made = iter(["taken", sid])
    io.engine.generate_id = lambda request: next(made)
    server = await serve(io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        await one.handshake()
        answer = await two.request("GET", query={"EIO": "4", "transport": "polling"})
    assert (answer.status, json.loads(answer.text)["message"]) == (400, "Bad request")
    assert io.engine.clients_count == 1


async def test_a_full_server_says_so(serve: Serve) -> None:
    """A client could not tell a server that is full from one that is broken, or would ask again at once."""
    witness = Witness(limits=Limits(max_connections=1))
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        await one.handshake()
        answer = await two.request("GET", query={"EIO": "4", "transport": "polling"})
        assert (answer.status, answer.headers["Retry-After"], answer.headers["Connection"]) == (503, "5", "close")
        assert json.loads(answer.text) == {"code": 4, "message": "Too many connections"}
        await one.post("1")
        await two.handshake()
    assert witness.engine.counts.requests_refused["too_many_connections"] == 1
    assert witness.engine.counts.limited["max_connections"] == 1
