"""The HTTP edge: which request goes where."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rtframework import Server
from tests.conftest import Serve
from tests.engine import Witness, join, join_websocket, raw_client

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("method", "query", "headers", "status", "code"),
    [
        ("GET", {}, {}, 400, 0),
        ("GET", {"transport": "carrier pigeon"}, {}, 400, 0),
        ("GET", {"transport": "polling", "sid": "nobody"}, {}, 400, 1),
        ("POST", {"transport": "polling"}, {}, 400, 2),
        ("GET", {"transport": "websocket"}, {}, 400, 3),
        ("GET", {"transport": "websocket", "sid": "mine"}, {}, 400, 3),
        ("DELETE", {"transport": "polling", "sid": "mine"}, {}, 400, 3),
        ("GET", {"transport": "polling", "EIO": "2"}, {}, 400, 5),
        ("GET", {"transport": "polling"}, {"Origin": "https://evil.org"}, 403, 4),
        ("GET", {"transport": "polling"}, UPGRADE, 400, 3),
    ],
)
async def test_what_cannot_be_served_is_refused(
    serve: Serve, method: str, query: dict[str, str], headers: dict[str, str], status: int, code: int
) -> None:
    """Mistakes would be answered with nothing that one could look up."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        if query.get("sid") == "mine":
            query = {**query, "sid": str(raw.sid)}
        answer = await raw.request(method, query={"EIO": "4", **query}, headers=headers)
        assert (answer.status, json.loads(answer.text)["code"]) == (status, code)
        assert len(witness.io.sockets) == 1, "the session has nothing to do with it"


async def test_a_session_by_websocket_is_not_polled(serve: Serve) -> None:
    """Packets would go two ways, and arrive in no order."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join_websocket(raw)
        (sid,) = witness.engine.connections
        answer = await raw.request("GET", query={"EIO": "4", "transport": "polling", "sid": sid})
        assert (answer.status, json.loads(answer.text)["code"]) == (400, 3)
    assert witness.engine.counts.requests_refused["transport_mismatch"] == 1


async def test_a_preflight_opens_nothing(serve: Serve) -> None:
    """A browser would not let a page of another host poll."""
    witness = Witness(cors_allowed_origins="https://a.org")
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        answer = await raw.request("OPTIONS", query={"transport": "polling"}, headers={"Origin": "https://a.org"})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, "https://a.org")
    assert not witness.engine.connections


async def test_what_others_ask_about_connections(serve: Serve) -> None:
    """The Admin UI and the statistics would show nothing."""
    witness = Witness()
    engine: Any = witness.engine
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        await join(one)
        await join_websocket(two)
        assert engine.count_clients() == {"polling": 1, "websocket": 1}
        await witness.io.emit("a", "x" * 1_000)
        assert engine.waiting_bytes() >= 1_000, "for the one who does not poll"
        assert engine.waiting_handlers() == 0


def test_session_ids_tell_no_count() -> None:
    """A client could tell how many others there are, and guess a part of their ids."""
    server = Server()._server.eio
    ids = [server.generate_id() for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert {len(each) for each in ids} == {20}
    for end in (slice(0, 4), slice(-4, None)):  # python-engineio's have a number in the last four characters
        assert len({each[end] for each in ids}) > 990
