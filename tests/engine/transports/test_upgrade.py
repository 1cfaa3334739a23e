"""From polling to websocket: whatever happens on the way, each packet arrives once, in order, or the client is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from rtframework import Server, Socket
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, other_tasks, raw_client, wire
from tests.support.raw import NOOP, Closed, RawClient, RawWebSocket
from tests.support.server import RunningServer


class Party:
    """A server and one client that has joined by polling."""

    def __init__(self, witness: Witness, server: RunningServer, raw: RawClient) -> None:
        self.witness = witness
        self.server = server
        self.raw = raw

    @property
    def connection(self) -> Any:
        """The one connection."""
        (connection,) = self.witness.engine.connections.values()
        return connection

    async def websocket(self) -> RawWebSocket:
        """A websocket for the session, that the server has seen."""
        websocket = await self.raw.websocket()
        await eventually(lambda: self.connection.upgrade)
        return websocket

    async def probed(self) -> RawWebSocket:
        """A websocket whose probe was answered."""
        websocket = await self.websocket()
        await websocket.send("2probe")
        assert await websocket.receive() == "3probe"
        return websocket


HASTY: Final = 0.5
"""Seconds: an upgrade that is to come too late. No other may have as few, since a busy machine takes them for one."""
PATIENT: Final = 10.0


def limit_upgrades(witness: Witness, seconds: float) -> None:
    """Say how long the upgrades may take that begin from now on."""
    object.__setattr__(witness.engine.options, "upgrade_timeout", seconds)


@pytest.fixture
async def party(serve: Serve) -> AsyncIterator[Party]:
    """One polling client."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        yield Party(witness, server, raw)


async def test_the_dance(party: Party) -> None:
    """No browser would ever get off polling."""
    websocket = await party.raw.upgrade()
    await websocket.send('421["echo",1]')
    assert await websocket.receive() == "431[1]"
    await party.witness.io.emit("n", 2)
    assert await websocket.receive() == '42["n",2]'
    assert party.witness.only.transport == "websocket"
    assert party.witness.reasons == []
    assert (await party.raw.request("GET")).status == 400
    assert (await party.raw.post('42["note",1]')).status == 400
    assert party.witness.notes == []


async def test_a_waiting_poll_is_ended_by_a_noop(party: Party) -> None:
    """The client would wait for its poll before it moves over: until the next heartbeat."""
    poll = asyncio.create_task(party.raw.request("GET"))
    await eventually(lambda: party.connection.has_poll)
    websocket = await party.websocket()
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    assert (await poll).packets() == [NOOP]
    await websocket.send("5")
    await party.witness.io.emit("n", 1)
    assert await websocket.receive() == '42["n",1]'


async def test_packets_during_the_upgrade_arrive_once_and_in_order(party: Party) -> None:
    """What is sent while a client moves over would be lost, or come twice, or out of order."""
    io = party.witness.io
    received: list[str | bytes] = []
    await io.emit("n", 0)
    poll = asyncio.create_task(party.raw.request("GET"))
    received += (await poll).packets()
    poll = asyncio.create_task(party.raw.request("GET"))
    await eventually(lambda: party.connection.has_poll)
    websocket = await party.websocket()
    await io.emit("n", 1)
    received += (await poll).packets()
    poll = asyncio.create_task(party.raw.request("GET"))
    await websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    await io.emit("n", 2)
    received += [packet for packet in (await poll).packets() if packet != NOOP]
    await io.emit("n", 3)
    await websocket.send("5")
    await io.emit("n", 4)
    await eventually(lambda: party.witness.only.transport == "websocket")
    await io.emit("n", 5)
    while len(received) < 6:
        received.append(await websocket.receive())
    assert received == [f'42["n",{number}]' for number in range(6)]


async def test_packets_under_way_during_many_upgrades(serve: Serve) -> None:
    """The same, where the moments are chosen by chance."""
    witness = Witness()
    server = await serve(witness.io)
    for _ in range(10):
        async with raw_client(server.url) as raw:
            sid = await join(raw)

            async def emit(to: str) -> None:
                for number in range(200):
                    await witness.io.to(to).emit("n", number)
                    if number % 3 == 0:
                        await asyncio.sleep(0)

            emitting = asyncio.create_task(emit(sid))
            await asyncio.sleep(0)
            websocket = await raw.upgrade()
            received = [await websocket.receive() for _ in range(200)]
            assert received == [f'42["n",{number}]' for number in range(200)]
            await emitting
            await websocket.close()


async def test_what_was_posted_before_is_handled_before(serve: Serve) -> None:
    """A client's first message by websocket would overtake those that it sent by POST."""
    io = Server()
    heard: list[int] = []

    @io.on("n")
    async def handler(socket: Socket, number: int) -> None:
        heard.append(number)
        if number % 2:
            await asyncio.sleep(0.001)

    server = await serve(io)
    async with raw_client(server.url) as raw:
        await join(raw)
        websocket = await raw.websocket()
        await websocket.send("2probe")
        await websocket.receive()
        await raw.post(*[f'42["n",{number}]' for number in range(500)])
        await websocket.send("5")
        for number in range(500, 600):
            await websocket.send(f'42["n",{number}]')
        await eventually(lambda: len(heard) == 600)
        assert heard == list(range(600))


async def test_a_silent_websocket_does_not_stop_polling(party: Party) -> None:
    """A proxy that accepts websockets and swallows what they carry would leave its users with nothing."""
    limit_upgrades(party.witness, HASTY)
    websocket = await party.websocket()
    poll = asyncio.create_task(party.raw.receive())
    await party.witness.io.emit("n", 1)
    assert await poll == '42["n",1]' or (await party.raw.receive()) == '42["n",1]'
    await party.raw.post('42["note",1]')
    await party.witness.noted(1)
    started = time.monotonic()
    assert await websocket.closed() == ([], 1000)
    assert time.monotonic() - started < 4
    await party.witness.io.emit("n", 2)
    while (packet := await party.raw.receive()) == NOOP:
        pass
    assert packet == '42["n",2]'
    # Later, when the proxy is gone, it can be tried again.
    limit_upgrades(party.witness, PATIENT)
    websocket = await party.raw.upgrade()
    await websocket.send('421["echo"]')
    assert await websocket.receive() == "431[]"
    assert party.witness.reasons == []


@pytest.mark.parametrize("probes", [False, True], ids=["silent", "after the probe"])
async def test_polls_do_not_spin_while_an_upgrade_is_under_way(serve: Serve, probes: bool) -> None:
    """Behind a proxy that swallows websockets each client would send polls as fast as it can, for ten seconds."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        websocket = await raw.websocket()
        await eventually(lambda: all(each.upgrade for each in witness.engine.connections.values()))
        if probes:
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
        polls = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while True:
                    await raw.request("GET")
                    polls += 1
        assert polls <= 10
        assert witness.reasons == []


@pytest.mark.parametrize("how", ["close", "reset", "nothing after the probe"])
async def test_a_websocket_that_drops_leaves_the_session_polling(serve: Serve, how: str) -> None:
    """One failed attempt to upgrade would end the session, or mute it."""
    witness = Witness(upgrade_timeout=HASTY if how == "nothing after the probe" else PATIENT)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        (connection,) = witness.engine.connections.values()
        websocket = await raw.websocket()
        await eventually(lambda: connection.upgrade)
        if how == "close":
            await websocket.close()
        elif how == "reset":
            transport = websocket.ws.get_extra_info("socket")
            assert transport is not None
            websocket.ws._response.connection.transport.abort()  # type: ignore[union-attr]
        else:
            await websocket.send("2probe")
            assert await websocket.receive() == "3probe"
        await eventually(lambda: not connection.upgrade)
        poll = asyncio.create_task(raw.receive())
        await eventually(lambda: connection.has_poll)
        await witness.io.emit("n", 1)
        assert await poll == '42["n",1]'
        limit_upgrades(witness, PATIENT)
        websocket = await raw.upgrade()
        await websocket.send('421["echo"]')
        assert await websocket.receive() == "431[]"
        assert witness.reasons == []


@pytest.mark.parametrize("packet", ["2", "2x", "probe", '42["note",1]', "3probe", "", b"2probe"])
async def test_a_wrong_probe_ends_the_attempt_only(party: Party, packet: str | bytes) -> None:
    """Packets would be taken from a websocket that is not the session's yet."""
    websocket = await party.websocket()
    await websocket.send(packet)
    assert await websocket.closed() == ([], 1000)
    await party.raw.post('42["note",2]')
    await party.witness.noted(2)
    assert party.witness.reasons == []


@pytest.mark.parametrize("packet", ["2probe", '42["note",1]', "6", b"5"])
async def test_a_wrong_word_after_the_probe_ends_the_attempt_only(party: Party, packet: str | bytes) -> None:
    """The session would be on both transports at once."""
    websocket = await party.probed()
    await websocket.send(packet)
    assert await websocket.closed() == ([], 1000)
    await party.witness.io.emit("n", 1)
    assert await party.raw.receive() == '42["n",1]'
    assert party.witness.only.transport == "polling"
    assert party.witness.notes == []


async def test_a_second_websocket_is_accepted_and_closed(party: Party) -> None:
    """The protocol says so: a client must see a websocket that ends, not an HTTP error."""
    during = await party.probed()
    second = await party.raw.websocket()
    assert await second.closed() == ([], 1000)
    await during.send("5")
    await eventually(lambda: party.witness.only.transport == "websocket")
    third = await party.raw.websocket()
    assert await third.closed() == ([], 1000)
    await during.send('421["echo"]')
    assert await during.receive() == "431[]"


async def test_a_websocket_for_a_websocket_session_is_closed(serve: Serve) -> None:
    """Somebody could take over a session that never polled."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        first, _ = await raw.open_websocket()
        second = await raw.websocket()
        await second.send("2probe")
        assert await second.closed() == ([], 1000)
        await first.send("40")
        assert str(await first.receive()).startswith("40{")


@pytest.mark.parametrize("how", ["close", "abort", "client"])
@pytest.mark.parametrize("probed", [False, True])
async def test_a_session_that_ends_takes_the_new_websocket_along(party: Party, how: str, probed: bool) -> None:
    """A websocket without a session would stay open until its client gives up."""
    websocket = await (party.probed() if probed else party.websocket())
    connection = party.connection
    if how == "close":
        connection.close("forced close")
        answer = await party.raw.request("GET")
        assert answer.packets()[-1] == "1"
    elif how == "abort":
        connection.abort("ping timeout")
    else:
        await party.raw.post("1")
    started = time.monotonic()
    assert await websocket.closed() == ([], 1000)
    assert time.monotonic() - started < 4
    expected = {"close": "forced close", "abort": "ping timeout", "client": "transport close"}
    assert await party.witness.reason() == expected[how]
    await eventually(lambda: not party.witness.engine.tasks)
    party.witness.assert_nothing_left()


async def test_a_session_that_closes_as_the_client_moves_over(party: Party) -> None:
    """The last words of the server would be lost between the two transports."""
    websocket = await party.probed()
    await party.witness.io.emit("last words")
    party.connection.close("forced close")
    await websocket.send("5")
    packets, code = await websocket.closed()
    assert packets in (['42["last words"]', "1"], ['42["last words"]'])
    assert code == 1000
    await eventually(lambda: not party.witness.engine.connections)
    assert party.witness.reasons == ["forced close"]


async def test_an_upgrade_to_nothing(serve: Serve) -> None:
    """Guessing session ids would open websockets."""
    server = await serve(Witness().io)
    async with raw_client(server.url) as raw:
        raw.sid = "x" * 20
        with pytest.raises(Exception, match="400"):
            await raw.websocket()


async def test_upgrades_can_be_forbidden(serve: Serve) -> None:
    """A server whose balancer cannot carry websockets would have clients fall into it."""
    witness = Witness(allow_upgrades=False)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        assert (await raw.handshake())["upgrades"] == []
        answer = await raw.request(
            "GET",
            query=raw.query("websocket"),
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            },
        )
        assert answer.status == 400
        assert json.loads(answer.text)["code"] == 3


async def test_upgrades_at_the_same_time(serve: Serve) -> None:
    """Two tabs that open at once would get into each other's way."""
    witness = Witness()
    server = await serve(witness.io)

    async def one(number: int) -> None:
        async with raw_client(server.url) as raw:
            await join(raw)
            websocket = await raw.upgrade()
            await websocket.send(f'421["echo",{number}]')
            assert await websocket.receive() == f"431[{number}]"
            await websocket.send("1")
            with pytest.raises(Closed):
                await websocket.receive()

    await asyncio.gather(*(one(number) for number in range(20)))
    await eventually(lambda: len(witness.reasons) == 20)
    assert set(witness.reasons) == {"transport close"}
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


async def test_attempts_leave_nothing_behind(party: Party, caplog: pytest.LogCaptureFixture) -> None:
    """Each failed attempt, of a client behind a bad proxy say, would cost a task."""
    before = len(other_tasks())
    for number in range(10):
        websocket = await party.websocket()
        if number % 2:
            await websocket.send("2probe")
            await websocket.receive()
        await websocket.close()
        await eventually(lambda: not party.connection.upgrade)
    await eventually(lambda: len(other_tasks()) <= before + 2)
    assert not caplog.records


async def test_a_client_that_vanishes_as_it_probes_costs_no_traceback(
    party: Party, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody could fill the log with errors."""
    for number in range(10):
        async with wire(party.server.url) as http:
            await http.send(
                f"GET /socket.io/?EIO=4&transport=websocket&sid={party.raw.sid} HTTP/1.1",
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
                body=b"\x81\x86\0\0\0\0" + b"2probe" + (b"\x81\x81\0\0\0\0" + b"5" if number % 2 else b""),
            )
            http.reset()
        await eventually(lambda: all(not each.upgrade for each in party.witness.engine.connections.values()))
        if not party.witness.engine.connections:  # this one had moved over before it vanished
            party.raw.sid = None
            await join(party.raw)
    assert not [record for record in caplog.records if record.exc_info]
