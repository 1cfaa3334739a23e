"""A connection of Engine.IO 3: whose turn it is to ping, and what of it is served."""

from __future__ import annotations

import asyncio

import pytest

from rtframework import Limits
from rtframework.engine.v3.connection import Connection3
from tests.conftest import Serve
from tests.engine import Witness, eventually, raw_client


@pytest.fixture
async def pair(serve: Serve) -> tuple[Witness, Connection3]:
    """A server, and the connection of an old client that polls and is in the main namespace."""
    witness = Witness(allow_eio3=True, ping_interval=5, ping_timeout=3)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await raw.request("GET", query={"EIO": "3", "transport": "polling"})
    await eventually(lambda: witness.io.sockets)
    (connection,) = witness.engine.connections.values()
    assert isinstance(connection, Connection3)
    return witness, connection


async def test_each_ping_gives_it_the_whole_time_again(pair: tuple[Witness, Connection3]) -> None:
    """Clients that ping in time would be thrown out."""
    _, connection = pair
    now = asyncio.get_running_loop().time()
    first = connection.deadline
    assert 0 < first - now <= 8
    connection.deadline -= 3
    connection.take("2")
    assert connection.deadline >= first
    connection.tick(now + 1)
    assert connection.is_open


async def test_who_does_not_ping_is_gone(pair: tuple[Witness, Connection3]) -> None:
    """A dead client would stay for ever: nobody asks it anything."""
    witness, connection = pair
    connection.tick(connection.deadline + 0.1)
    assert await witness.reason() == "ping timeout"
    assert connection.is_closed


async def test_a_blocked_server_gives_more_time(pair: tuple[Witness, Connection3]) -> None:
    """Everybody would be thrown out after a handler that computes."""
    _, connection = pair
    before = connection.deadline
    connection.postpone(10)
    assert connection.deadline == pytest.approx(before + 10)


async def test_who_leaves_while_the_server_is_busy_is_gone(serve: Serve) -> None:
    """With a sweep that came late, the client was taken to be there for ever, and its handlers ran for ever."""
    witness = Witness(allow_eio3=True, limits=Limits(max_pending_events=1))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await raw.websocket(query={"EIO": "3", "transport": "websocket"})
        await eventually(lambda: witness.io.sockets)
        (connection,) = witness.engine.connections.values()
        connection.receive('42["hold"]')
        await eventually(lambda: witness.holding)
        connection.receive('42["hold"]')  # waits for the first
        connection.end("transport close")
        connection.postpone(0.01)
        connection.tick(connection.deadline)
        assert connection.is_closed
        assert await witness.reason() == "transport close"
        witness.gate.set()


async def test_base64_and_binary_messages_are_one(pair: tuple[Witness, Connection3]) -> None:
    """Pictures of clients without binary messages would not arrive."""
    witness, connection = pair
    for attachment in ("b4AP8=", b"\x04\x00\xff"):
        connection.receive_all(['451-["note",{"_placeholder":true,"num":0}]', attachment])
    await witness.noted(b"\x00\xff", b"\x00\xff")


async def test_an_old_client_answers_no_pings(pair: tuple[Witness, Connection3]) -> None:
    """A client of another version would be kept alive by what means nothing here."""
    witness, connection = pair
    connection.receive_all(["3"])
    assert await witness.reason() == "transport error"
