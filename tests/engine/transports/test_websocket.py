"""The websocket transport: frames as clients really send them, and every way to end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, WSMsgType

from rtframework import Limits, Server, Socket
from rtframework.engine.transports.rfc6455 import FrameReader
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, join_websocket, other_tasks, raw_client, turns_until, wire
from tests.support.raw import RawClient, RawWebSocket
from tests.support.server import RunningServer
from tests.support.websocket import PING, TEXT, frame, websocket

SHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
)
OPEN = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1"


def masked(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """A client's frame, with a mask of zeros."""
    length = len(payload)
    size = bytes((128 | length,)) if length < 126 else bytes((128 | 126,)) + length.to_bytes(2, "big")
    return bytes(((0x80 if fin else 0) | opcode,)) + size + b"\0\0\0\0" + payload


class Party:
    """A server and one client that has joined by websocket."""

    def __init__(self, witness: Witness, server: RunningServer, raw: RawClient, websocket: RawWebSocket) -> None:
        self.witness = witness
        self.server = server
        self.raw = raw
        self.websocket = websocket

    async def assert_gone(self, reason: str) -> None:
        """The session has ended and nothing of it is left."""
        assert await self.witness.reason() == reason
        await eventually(lambda: not (self.witness.engine.tasks or self.witness.engine.connections))
        self.witness.assert_nothing_left()


@pytest.fixture
async def party(serve: Serve) -> AsyncIterator[Party]:
    """One websocket client in a server with a message limit of 20,000 bytes."""
    witness = Witness(max_http_buffer_size=20_000)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        yield Party(witness, server, raw, await join_websocket(raw))


async def test_events_and_binary_both_ways(party: Party) -> None:
    """Nothing at all would work."""
    await party.websocket.send('4515-["echo","é",{"_placeholder":true,"num":0}]'.replace("515", "51"))
    await party.websocket.send(b"\x00\xff")
    await party.websocket.send('421["echo","a",2]')
    assert await party.websocket.receive() == '431["a",2]'
    await party.witness.io.emit("picture", b"\x01", "é")
    assert await party.websocket.receive() == '451-["picture",{"_placeholder":true,"num":0},"é"]'
    assert await party.websocket.receive() == b"\x01"


async def test_a_burst_is_served_in_order(party: Party) -> None:
    """Messages that a client sends quickly would overtake each other."""
    for number in range(500):
        await party.websocket.send(f'42["note",{number}]')
    await party.witness.noted(*range(500))


async def test_events_start_in_order_whether_handlers_wait_or_not(serve: Serve) -> None:
    """The second message of a client could be served before the first."""
    io = Server()
    started: list[int] = []

    @io.on("n")
    async def handler(socket: Socket, number: int) -> int:
        started.append(number)
        if number % 3 == 0:
            await asyncio.sleep(0.001 * (number % 5))
        return number

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for number in range(200):
            await websocket.send(f'42{number}["n",{number}]')
        answers = {await websocket.receive() for _ in range(200)}
        assert answers == {f"43{number}[{number}]" for number in range(200)}
        assert started == list(range(200))


async def test_messages_in_fragments_and_in_one_segment(party: Party) -> None:
    """Clients that fragment, and networks that join, would break the session."""
    async with wire(party.server.url) as http:
        await http.send(OPEN, *SHAKE)
        status, _ = await http.response()
        assert status == 101
        await http.more(
            masked(1, b"4", fin=False) + masked(9, b"ping") + masked(0, b"0", fin=True) + masked(1, b'42["note",1]')
        )
        for byte in masked(1, b'42["note","' + b"x" * 300 + b'"]'):
            await http.more(bytes((byte,)))
        await party.witness.noted(1, "x" * 300)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ("", "parse error"),
        ("x", "parse error"),
        ("7", "parse error"),
        (" ", "parse error"),
        ("é", "parse error"),
        ("2", "transport error"),
        ("2probe", "transport error"),
        (b"unasked", "parse error"),
        (b"", "parse error"),
        ("4", "parse error"),
        ("1", "transport close"),
    ],
)
async def test_a_malformed_packet_ends_the_connection(party: Party, packet: str | bytes, reason: str) -> None:
    """A broken or hostile client would go on, and others pay for it."""
    await party.websocket.send(packet)
    assert await party.websocket.closed() == ([], 1000)
    await party.assert_gone(reason)


@pytest.mark.parametrize("packet", ["0", "5", "6", "3", "6x"])
async def test_packets_that_mean_nothing_are_passed_over(party: Party, packet: str) -> None:
    """Clients that send a superfluous NOOP, as some do, would be closed."""
    await party.websocket.send(packet)
    await party.websocket.send('421["echo"]')
    assert await party.websocket.receive() == "431[]"


async def test_a_message_over_the_limit_ends_the_connection(party: Party) -> None:
    """One client could fill the server's memory with a single message."""
    await party.websocket.send('42["note","' + "x" * 20_000 + '"]')
    packets, code = await party.websocket.closed()
    assert (packets, code) == ([], 1009)
    await party.assert_gone("transport error")
    assert party.witness.notes == []


async def test_a_message_of_exactly_the_limit_is_taken(party: Party) -> None:
    """The limit that is announced would not be the one that is meant."""
    packet = '42["note","' + "x" * (20_000 - 13) + '"]'
    await party.websocket.send(packet)
    await party.witness.noted("x" * (20_000 - 13))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked(1, b'42["note","\xff"]'), 1007),
        (masked(3, b""), 1002),
        (b"\xf1\x80\0\0\0\0", 1002),
        (masked(0, b"alone"), 1002),
        (masked(9, b"x" * 126), 1002),
    ],
    ids=["not UTF-8", "opcode", "RSV bits", "continuation of nothing", "long ping"],
)
async def test_bad_frames_end_the_connection(serve: Serve, data: bytes, code: int) -> None:
    """What breaks RFC 6455 would be guessed at."""
    witness = Witness()
    server = await serve(witness.io)
    async with wire(server.url) as http:
        await http.send(OPEN, *SHAKE)
        assert (await http.response())[0] == 101
        await http.more(masked(1, b"40"))
        await eventually(lambda: witness.io.sockets)
        await http.more(data)
        async with asyncio.timeout(3):
            rest = await http.reader.read()
        assert code.to_bytes(2, "big") in rest
    assert await witness.reason() == "transport error"
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()
    assert witness.notes == []


async def test_a_long_message_right_behind_connect(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """The log would name a limit that the message does not exceed."""
    server = await serve(Witness().io)
    async with wire(server.url) as http:
        await http.send(OPEN, *SHAKE)
        assert (await http.response())[0] == 101
        await http.more(masked(1, b"40") + masked(1, b'42["note","%b"]' % (b"x" * 17_000)))
        async with asyncio.timeout(3):
            assert (1009).to_bytes(2, "big") in await http.reader.read()
    assert "more than 16384 bytes (Limits.max_connect_size)" in caplog.text


async def test_a_client_that_closes_is_gone_at_once(party: Party) -> None:
    """People who close the page would be shown as being online until a ping times out."""
    started = time.monotonic()
    await party.websocket.close()
    await party.assert_gone("transport close")
    assert time.monotonic() - started < 4
    assert party.websocket.ws.close_code == 1000


async def test_a_client_that_is_cut_off_is_gone_at_once(serve: Serve) -> None:
    """The same for a browser that crashes."""
    witness = Witness()
    server = await serve(witness.io)
    async with wire(server.url) as http:
        await http.send(OPEN, *SHAKE)
        await http.response()
        await http.more(masked(1, b"40"))
        await eventually(lambda: witness.io.sockets)
        http.reset()
        assert await witness.reason(within=1) in ("transport close", "transport error")
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


async def test_a_client_may_leave_while_handlers_run(party: Party) -> None:
    """A question whose asker has gone would raise in the server, or stay for ever."""
    await party.websocket.send('421["hold"]')
    await party.websocket.send('422["hold"]')
    await eventually(lambda: party.witness.holding == 2)
    await party.websocket.close()
    assert await party.witness.reason() == "transport close"
    party.witness.gate.set()
    await eventually(lambda: party.witness.holding == 0)
    await party.assert_gone("transport close")


async def test_a_server_that_closes_says_so(party: Party) -> None:
    """Clients would not know whether to come back."""
    await party.witness.io.emit("last words")
    await party.witness.only.disconnect(close=True)
    packets, code = await party.websocket.closed()
    assert packets[0] == '42["last words"]'
    assert code == 1000
    await party.assert_gone("server namespace disconnect")


async def test_a_client_that_is_thrown_out_is_told(party: Party) -> None:
    """Without the DISCONNECT packet that Node sends, a banned JavaScript client comes back at once, by itself."""
    party.witness.io.of("/admin")
    await party.websocket.send("40/admin,")
    await party.websocket.receive()
    await party.witness.only.disconnect(close=True)
    packets, _ = await party.websocket.closed()
    assert sorted(map(str, packets)) == ["41", "41/admin,"]


async def test_compression_is_not_negotiated(serve: Serve) -> None:
    """Every client that offers it, as browsers do, would cost four times the memory."""
    server = await serve(Witness().io)
    async with (
        ClientSession() as session,
        session.ws_connect(f"{server.url}/socket.io/?EIO=4&transport=websocket", compress=15) as ws,
    ):
        assert ws.compress == 0
        first = await ws.receive()
        assert first.type is WSMsgType.TEXT
        assert json.loads(first.data[1:])["upgrades"] == []


async def test_a_broken_websocket_request_is_refused(serve: Serve) -> None:
    """It would be an internal server error, with a traceback for every such request."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        for headers in ({"Connection": "Upgrade", "Upgrade": "websocket"}, {"Upgrade": "websocket"}):
            answer = await raw.request("GET", query=raw.query("websocket"), headers=headers)
            assert answer.status in (400, 426)
        answer = await raw.request(
            "GET", headers={"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        )
        assert answer.status == 400
    assert not witness.engine.connections


# -- back-pressure


async def test_too_many_events_at_work_pause_reading(serve: Serve) -> None:
    """A client could start any number of slow handlers: the memory of the server would be its."""
    witness = Witness(limits=Limits(max_pending_events=5))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for number in range(30):
            await websocket.send(f'42{number}["hold",{number}]')
        await websocket.send('42["note","last"]')
        await eventually(lambda: witness.holding == 5)
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=0.1)
        assert (witness.holding, witness.notes) == (5, [])
        witness.gate.set()
        answers = [await websocket.receive() for _ in range(30)]
        assert answers == [f"43{number}[{number}]" for number in range(30)]
        await witness.noted("last")


async def test_a_paused_client_is_paused_by_tcp(serve: Serve) -> None:
    """What it sends meanwhile would be read into the server's memory after all."""
    witness = Witness(limits=Limits(max_pending_events=1))
    server = await serve(witness.io)
    async with wire(server.url) as http:
        await http.send(OPEN, *SHAKE)
        await http.response()
        await http.more(masked(1, b"40") + masked(1, b'421["hold"]'))
        await eventually(lambda: witness.holding)
        frame = masked(1, b'42["note","' + b"x" * 60_000 + b'"]')
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while sent < 1_000:
                    await http.more(frame)
                    sent += 1
        assert sent < 500
        witness.gate.set()
        await eventually(lambda: len(witness.notes) >= sent - 1)


async def test_a_session_that_closes_while_it_is_not_read_ends(serve: Serve) -> None:
    """A shutdown would wait in vain for clients that are held up."""
    witness = Witness(limits=Limits(max_pending_events=1))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('42["hold"]')
        await websocket.send('42["hold"]')
        (connection,) = witness.engine.connections.values()
        await eventually(lambda: connection.blocked and connection.inbox)
        connection.abort("ping timeout")
        await websocket.closed()
        witness.gate.set()
        await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
        assert witness.reasons == ["ping timeout"]
        witness.assert_nothing_left()


async def test_closing_does_not_wait_for_handlers(serve: Serve) -> None:
    """A connection that is busy would be kept until its ping timeout after the server has closed it."""
    witness = Witness(limits=Limits(max_pending_events=1))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('42["hold"]')
        await websocket.send('42["hold"]')
        (connection,) = witness.engine.connections.values()
        await eventually(lambda: connection.blocked and connection.inbox)
        connection.close("forced close")
        assert await websocket.closed() == ([], 1000)
        try:
            await eventually(lambda: not witness.engine.connections, within=0.5)
        finally:
            witness.gate.set()


# -- handlers that misbehave


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
async def test_a_handler_whose_work_was_cancelled_harms_nobody(serve: Serve, waits: bool) -> None:
    """A handler that awaits a task which somebody cancelled would disconnect, or mute, its client."""
    io = Server()
    reasons: list[str] = []

    @io.on("cancelled")
    async def cancelled(socket: Socket) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        if not waits:
            task.cancel()
            await turns_until(task.done)
        else:
            asyncio.get_running_loop().call_later(0.01, task.cancel)
        await task

    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    done.cancel()

    @io.on("at once")
    async def at_once(socket: Socket) -> None:
        await done

    @io.on("echo")
    def echo(socket: Socket, value: int) -> int:
        return value

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        reasons.append(reason)

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('421["cancelled"]' if waits else '421["at once"]')
        await websocket.send('422["echo",5]')
        answers = sorted([str(await websocket.receive(timeout=1)) for _ in range(2)])
        assert answers[0].startswith('431[{"error":{"code":"internal_error"')
        assert answers[1] == "432[5]"
        assert reasons == []


async def test_handlers_may_use_the_current_task(serve: Serve) -> None:
    """Timeouts and task groups, which need the current task, would break in handlers."""
    io = Server()

    @io.on("timeout")
    async def timeout(socket: Socket) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "in time"
        return "never"

    @io.on("group")
    async def group(socket: Socket) -> int:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return sum(task.result() for task in made)

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for _ in range(2):
            await websocket.send('421["timeout"]')
            await websocket.send('422["group"]')
            assert sorted([str(await websocket.receive()) for _ in range(2)]) == ['431["in time"]', "432[3]"]


async def test_a_handler_s_task_may_be_cancelled(serve: Serve) -> None:
    """A search that is called off by the next key press would disconnect whoever types."""
    io = Server()
    searches: list[asyncio.Task[Any]] = []
    called_off: list[str] = []

    @io.on("search")
    async def search(socket: Socket, text: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        searches.append(task)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            called_off.append(text)
            raise

    @io.on("call off")
    def call_off(socket: Socket) -> None:
        searches.pop().cancel()

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for number in range(3):
            await websocket.send(f'42["search","{number}"]')
            await websocket.send(f'42{number}["call off"]')
            assert await websocket.receive(timeout=1) == f"43{number}[]"
        await websocket.send('429["call off"]')
        assert str(await websocket.receive(timeout=1)).startswith('439[{"error"')
        assert called_off == ["0", "1", "2"]


async def test_a_handler_may_disconnect_its_own_client(serve: Serve) -> None:
    """Throwing somebody out for what they have just written would fail."""
    io = Server()

    @io.on("bad word")
    async def bad_word(socket: Socket) -> str:
        await socket.disconnect()
        return "never seen"

    @io.on("very bad word")
    async def very_bad_word(socket: Socket) -> str:
        await socket.disconnect(close=True)
        await asyncio.sleep(0)
        return "never seen"

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('421["bad word"]')
        assert await websocket.receive() == "41"
        await websocket.send("40")
        assert str(await websocket.receive()).startswith("40{")
        await websocket.send('422["very bad word"]')
        packets, code = await websocket.closed()
        assert [packet for packet in packets if packet != "41"] == []
        assert code == 1000
        assert not io.sockets


# -- shutdown


async def test_shutdown_tells_everybody_and_leaves_nothing(serve: Serve) -> None:
    """Clients would wait for a server that has gone, and the process would not end."""
    before = other_tasks()
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two, raw_client(server.url) as three:
        websocket = await join_websocket(one)
        await websocket.send('42["hold"]')
        await websocket.send('42["hold"]')
        await eventually(lambda: witness.holding == 2)
        polling = await two.handshake()
        assert polling
        await two.post("40")
        await two.receive()
        poll = asyncio.create_task(two.request("GET"))
        await eventually(lambda: any(each.has_poll for each in witness.engine.connections.values()))
        upgraded, _ = await three.open_websocket()
        await witness.io.emit("last words")
        assert (await poll).packets() == ['42["last words"]']
        poll = asyncio.create_task(two.request("GET"))
        await eventually(lambda: any(each.has_poll for each in witness.engine.connections.values()))
        witness.gate.set()
        await eventually(lambda: not witness.holding)
        started = time.monotonic()
        stopping = asyncio.create_task(server.stop())
        assert (await websocket.closed())[0] == ['42["last words"]']
        assert await upgraded.closed() == ([], 1000)
        await stopping
        assert time.monotonic() - started < 4
        assert witness.reasons == ["server shutting down"] * 2
        assert (await poll).packets() == ["1"]
        with pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the system pleases
            await three.websocket()
    witness.assert_nothing_left()
    await eventually(lambda: not (other_tasks() - before))


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_shutdown_does_not_wait_for_a_handler_for_ever(serve: Serve, by: str) -> None:
    """One handler that waits for something that never comes would keep the process alive for a minute."""
    witness = Witness()
    server = await serve(witness.io, shutdown_timeout=6)
    async with raw_client(server.url) as raw:
        if by == "polling":
            await join(raw)
            await raw.post('42["hold"]')
        else:
            await (await join_websocket(raw)).send('42["hold"]')
        await eventually(lambda: witness.holding == 1)
        stopping = asyncio.create_task(server.stop())
        done, _ = await asyncio.wait([stopping], timeout=4.5)
        witness.gate.set()
        await stopping
        assert done


async def test_the_closing_handshake_is_completed(serve: Serve) -> None:
    """A client that is just sending would get a reset, and lose the last words that were on their way to it."""
    witness = Witness()
    server = await serve(witness.io)
    async with wire(server.url) as http:
        await http.send(OPEN, *SHAKE)
        await http.response()
        await http.more(masked(1, b"40"))
        await eventually(lambda: witness.io.sockets)
        await witness.io.emit("last words")
        (connection,) = witness.engine.connections.values()
        connection.close("forced close")
        async with asyncio.timeout(3):
            await http.reader.readuntil(b'42["last words"]')
            await http.reader.readuntil(b"\x88\x02\x03\xe8")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await http.reader.read()
        await http.more(masked(1, b'42["note",1]') + masked(8, b"\x03\xe8"))
        async with asyncio.timeout(3):
            assert await http.reader.read() == b""
    assert witness.reasons == ["forced close"]
    assert witness.notes == []
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


async def test_nothing_is_received_after_the_end(party: Party) -> None:
    """Handlers would run for clients that have gone."""
    await party.websocket.send("1")
    with contextlib.suppress(ConnectionError):
        for _ in range(5):
            await party.websocket.send('42["note",1]')
    assert (await party.websocket.closed())[0] == []
    await party.assert_gone("transport close")
    assert party.witness.notes == []


# -- turns


class Counting:
    """A receiver that counts."""

    def __init__(self) -> None:
        self.messages = 0
        self.controls: list[bytes] = []

    def receive(self, packet: str | bytes) -> None:
        self.messages += 1

    def control(self, opcode: int, payload: bytes) -> None:
        self.controls.append(payload)


@pytest.mark.parametrize("frames", [masked(1, b""), masked(1, b"x"), masked(9, b""), masked(2, b"", fin=False)])
def test_a_burst_of_frames_is_read_in_turns(frames: bytes) -> None:
    """40,000 pings, or empty fragments, in one read held everybody up for a third of a second."""
    counting = Counting()
    reader = FrameReader(counting, counting, 1_000)
    more = reader.feed(frames + masked(0, b"", fin=False) * 10_000 if not frames[0] & 0x80 else frames * 10_000)
    turns = 1
    while more:
        assert counting.messages + len(counting.controls) <= 256 * turns
        turns += 1
        more = reader.feed(b"")
    assert turns >= 10_000 // 256
    assert reader.held == 0


def test_messages_are_decompressed_in_turns() -> None:
    """A quarter of a megabyte from the network became 250 MB in one go."""
    counting = Counting()
    reader = FrameReader(counting, counting, 100_000, inflates=True)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = (packer.compress(b"a" * 90_000) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
    frame = bytearray(masked(1, packed))
    frame[0] |= 0x40
    more = reader.feed(bytes(frame) * 50)
    assert counting.messages == 2
    assert reader.held < 50 * len(frame)
    while more:
        more = reader.feed(b"")
    assert (counting.messages, reader.held) == (50, 0)


async def test_the_latest_of_many_pings_is_answered(party: Party) -> None:
    """A client that sends pings as fast as it can would have the server write as many answers (RFC 6455, 5.5.3)."""
    async with websocket(party.server.url) as peer:
        await peer.join()
        peer.send(*(frame(PING, str(number).encode()) for number in range(5_000)), frame(TEXT, b'421["echo"]'))
        assert await peer.receive() == "431[]"
        assert peer.pongs[-1] == b"4999"
        assert len(peer.pongs) <= 5_000 // 256 + 5


async def test_others_are_served_between_the_frames_of_a_burst(party: Party) -> None:
    """Everybody would wait for the burst of one client."""
    async with websocket(party.server.url) as peer:
        await peer.join()
        served: list[int] = []
        connection = party.witness.engine.connections[str(party.raw.sid)]
        transport = connection.websocket
        assert transport is not None
        loop = asyncio.get_running_loop()
        other = next(each for each in party.witness.engine.connections.values() if each is not connection).websocket
        assert other is not None
        assert other._reader is not None
        read, feed = 0, other._reader.feed

        def watched(data: bytes) -> bool:
            nonlocal read
            read += 1
            loop.call_soon(served.append, read)  # somebody else's turn
            return feed(data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FrameReader, "feed", lambda self, data: watched(data))
            peer.send(frame(PING) * 10_000)
            peer.send(frame(TEXT, b'421["echo"]'))
            assert await peer.receive() == "431[]"
        assert len(served) >= 10_000 // 256
        assert served == list(range(1, len(served) + 1)), "turn by turn"


async def test_nothing_follows_a_close_frame(party: Party, caplog: pytest.LogCaptureFixture) -> None:
    """300 events and a broken frame in one segment ended in a traceback for each, and the wrong reason."""
    async with websocket(party.server.url) as peer:
        await peer.join()
        peer.send(frame(TEXT, b'421["echo",1]') * 300 + frame(3))
        end = await peer.end()
        assert end.code == 1002
    assert party.witness.reasons == ["transport error"]
    assert not [record for record in caplog.records if record.exc_info]


# -- long messages


async def test_a_message_that_comes_slowly_is_a_sign_of_life(serve: Serve) -> None:
    """Somebody with a bad line who sends a picture would be disconnected in the middle of it, again and again."""
    witness = Witness(ping_interval=0.1, ping_timeout=0.1, limits=Limits(least_rate=1_000))
    server = await serve(witness.io)
    async with websocket(server.url) as peer:
        await peer.join()
        whole = frame(TEXT, b'42["note","' + b"x" * 20_000 + b'"]')
        sent = 0
        start = asyncio.get_running_loop().time()
        while sent < len(whole):  # 20 KB a second, and no answer to any ping
            peer.send(whole[sent : sent + 400])
            sent += 400
            await asyncio.sleep(0.02)
        assert asyncio.get_running_loop().time() - start > 0.5
        await eventually(lambda: witness.notes)
    assert len(witness.notes[0]) == 20_000


@pytest.mark.parametrize("rate", [0, 20])
async def test_a_message_that_comes_too_slowly_is_none(serve: Serve, rate: int) -> None:
    """Whoever sends a byte now and then would stay for ever, dead or alive."""
    witness = Witness(ping_interval=0.1, ping_timeout=0.1, limits=Limits(least_rate=1_000))
    server = await serve(witness.io)
    async with websocket(server.url) as peer:
        await peer.join()
        peer.send(frame(TEXT, b'42["note","' + b"x" * 20_000 + b'"]')[:-1_000])
        for _ in range(200):
            if witness.reasons:
                break
            peer.send(b"x" * (rate // 20))
            await asyncio.sleep(0.02)
    assert witness.reasons == ["ping timeout"]


async def test_an_answer_to_a_ping_that_was_not_read_is_none(serve: Serve) -> None:
    """A client that reads nothing and says that it is there would hold what is sent to it for ever."""
    witness = Witness(ping_interval=0.1, ping_timeout=0.2, limits=Limits(max_outbox=50_000_000))
    server = await serve(witness.io)
    async with websocket(server.url) as peer:
        await peer.join()
        peer.transport.pause_reading()
        await witness.only.emit("blob", "x" * 8_000_000)
        for _ in range(200):
            if witness.reasons:
                break
            peer.send(frame(TEXT, b"3"))
            await asyncio.sleep(0.02)
    assert witness.reasons == ["ping timeout"]


async def test_an_answer_to_a_ping_behind_much_counts_once_that_was_read(serve: Serve) -> None:
    """A client that is still reading what it was sent would be disconnected while it does."""
    witness = Witness(ping_interval=0.1, ping_timeout=1.0, limits=Limits(max_outbox=50_000_000))
    server = await serve(witness.io)
    async with websocket(server.url) as peer:
        await peer.join()
        for _ in range(20):
            await witness.only.emit("blob", "x" * 200_000)
        pings = 0
        while pings < 4:
            if await peer.receive() == "2":
                pings += 1
                peer.send(frame(TEXT, b"3"))
                await witness.only.emit("blob", "x" * 200_000)
    assert "ping timeout" not in witness.reasons
