"""The outbox: order, one write per turn, a bound in bytes."""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import Any

import pytest

from rtframework import Limits, Server, Socket
from rtframework.engine.frames import EncodedFrames
from rtframework.engine.outbox import Cork, Outbox
from rtframework.protocols import Frames
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, join_websocket, raw_client, wire


class Sink:
    """A transport that takes everything, nothing, or keeps what it took."""

    def __init__(self) -> None:
        self.writes: list[list[str]] = []
        self.open = True
        self.kept = 0
        self.keeps = False

    @property
    def writable(self) -> bool:
        return self.open and not self.kept

    def write(self, frames: list[Frames]) -> bool:
        if self.open:
            self.writes.append([each.polling for each in frames])
            if self.keeps:
                self.kept += sum(each.size for each in frames)
        return self.open

    def buffered(self) -> int:
        return self.kept


class Kit:
    """An outbox with all that belongs to it."""

    def __init__(self, limit: int = 1_000, cork: Cork | None = None) -> None:
        self.sink = Sink()
        self.overflows = 0
        self.outbox = Outbox(cork or Cork(), self.sink, limit, self)

    def overflow(self) -> None:
        self.overflows += 1

    def put(self, *texts: str, volatile: bool = False) -> None:
        for text in texts:
            self.outbox.put(EncodedFrames([text]), volatile)


async def turn() -> None:
    """Let the event loop go round once."""
    await asyncio.sleep(0)


async def test_what_one_turn_puts_leaves_in_one_write_in_order() -> None:
    """A burst of messages would cost one system call each."""
    kit = Kit()
    kit.put("4a", "4b", "4c")
    assert kit.sink.writes == []
    await turn()
    assert kit.sink.writes == [["4a", "4b", "4c"]]
    kit.put("4d")
    await turn()
    assert kit.sink.writes[1:] == [["4d"]]
    await turn()
    assert len(kit.sink.writes) == 2


async def test_outboxes_of_one_cork_do_not_mix() -> None:
    """Somebody would get the messages of somebody else."""
    cork = Cork()
    kits = [Kit(cork=cork) for _ in range(3)]
    for number, kit in enumerate(kits):
        kit.put(f"4{number}")
    kits[0].put("4again")
    await turn()
    assert [kit.sink.writes for kit in kits] == [[["40", "4again"]], [["41"]], [["42"]]]


async def test_frames_wait_for_a_transport_that_takes_none() -> None:
    """What is sent between two polls would be lost."""
    kit = Kit()
    kit.sink.open = False
    kit.put("4a")
    await turn()
    kit.put("4b")
    await turn()
    assert len(kit.outbox) == 2
    kit.sink.open = True
    kit.outbox.flush()
    assert kit.sink.writes == [["4a", "4b"]]
    assert len(kit.outbox) == 0


@pytest.mark.parametrize("kept_by", ["outbox", "transport"])
async def test_more_than_the_bound_overflows_once(kept_by: str) -> None:
    """A client that does not read would take the server's memory."""
    kit = Kit(limit=100)
    kit.sink.open = kept_by == "transport"
    kit.sink.keeps = True
    for _ in range(10):
        kit.put("4" + "x" * 20)
        await turn()
    assert kit.overflows == 1
    assert kit.outbox.closed
    assert len(kit.outbox) == 0
    kit.put("4late")
    await turn()
    assert sum(map(len, kit.sink.writes)) == (4 if kept_by == "transport" else 0)
    assert kit.outbox.dropped == (7 if kept_by == "transport" else 11)


async def test_one_packet_of_any_size_is_taken_when_nothing_waits() -> None:
    """A picture larger than the bound could never be sent."""
    kit = Kit(limit=100)
    kit.put("4" + "x" * 5_000)
    await turn()
    assert (len(kit.sink.writes), kit.overflows) == (1, 0)
    kit.put("4" + "x" * 5_000)
    await turn()
    assert (len(kit.sink.writes), kit.overflows) == (2, 0)


async def test_what_has_left_meanwhile_makes_room() -> None:
    """A client that reads as fast as it can would be disconnected as a slow one."""
    kit = Kit(limit=100)
    kit.sink.keeps = True
    for _ in range(10):
        kit.put("4" + "x" * 60)
        await turn()
        kit.sink.kept = 0
    assert (len(kit.sink.writes), kit.overflows) == (10, 0)


async def test_a_burst_within_one_turn_is_not_slowness() -> None:
    """A broadcast of several large packets would disconnect everybody, before a byte could leave."""
    kit = Kit(limit=100)
    kit.put(*["4" + "x" * 60] * 10)
    await turn()
    assert kit.overflows == 0
    assert sum(map(len, kit.sink.writes)) == 10


async def test_volatile_packets_are_dropped_unless_they_can_leave_at_once() -> None:
    """Cursor positions of the past would pile up before a slow client."""
    kit = Kit()
    kit.put("4v1", volatile=True)
    await turn()
    kit.sink.kept = 5
    kit.put("4v2", volatile=True)
    kit.sink.kept = 0
    kit.put("4a")
    kit.put("4v3", volatile=True)
    await turn()
    kit.sink.open = False
    kit.put("4v4", volatile=True)
    await turn()
    assert kit.sink.writes == [["4v1"], ["4a"]]
    assert kit.outbox.dropped == 3
    assert len(kit.outbox) == 0


async def test_a_cleared_outbox_takes_nothing_any_more() -> None:
    """Broadcasts to a room would go on filling the memory of a connection that has gone."""
    kit = Kit()
    kit.put("4a")
    assert kit.outbox.clear() == 1
    kit.put("4b")
    await turn()
    assert kit.sink.writes == []
    assert kit.outbox.dropped == 2


async def test_one_broken_transport_does_not_stop_the_others() -> None:
    """One connection that fails in an unforeseen way would mute all that were to be written to after it."""

    class Broken(Sink):
        def write(self, frames: list[Frames]) -> bool:
            raise RuntimeError("unforeseen")

    cork = Cork()
    broken, good = Kit(cork=cork), Kit(cork=cork)
    broken.outbox.sink = Broken()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)
    broken.put("4a")
    good.put("4b")
    await turn()
    good.put("4c")
    await turn()
    assert [text for write in good.sink.writes for text in write] == ["4b", "4c"]


# -- a broadcast to many


class Crowd:
    """Clients to whom broadcasts go, and a clock by which each look at it takes so many seconds."""

    def __init__(self, count: int, seconds: float = 0.003) -> None:
        looks = itertools.count()
        self.cork = Cork(clock=lambda: next(looks) * seconds)
        self.kits = [Kit(cork=self.cork) for _ in range(count)]

    def broadcast(self, text: str, volatile: bool = False) -> None:
        self.cork.broadcast()
        for kit in self.kits:
            kit.put(text, volatile=volatile)
        self.cork.end_broadcast()

    def served(self, text: str) -> int:
        """Return how many have got this."""
        return sum(text in itertools.chain(*kit.sink.writes) for kit in self.kits)


async def test_a_broadcast_leaves_the_event_loop_its_turn() -> None:
    """While one event went to thousands, nobody else would be read, or get an acknowledgement."""
    crowd = Crowd(100)
    crowd.broadcast("4a")
    served: list[int] = []
    while not served or served[-1] < 100:
        await turn()
        served.append(crowd.served("4a"))
    assert served == [32, 64, 96, 100]
    assert [kit.sink.writes for kit in crowd.kits] == [[["4a"]]] * 100


async def test_what_is_for_one_client_passes_a_broadcast_and_takes_along_what_was_before_it() -> None:
    """An acknowledgement would wait for thousands of clients, or come before what was sent earlier."""
    crowd = Crowd(100)
    crowd.broadcast("4a")
    await turn()
    stranger = Kit(cork=crowd.cork)
    stranger.put("4ack")
    crowd.kits[99].put("4ack")
    crowd.broadcast("4b")
    await turn()
    assert stranger.sink.writes == [["4ack"]]
    assert crowd.kits[99].sink.writes == [["4a", "4ack", "4b"]]
    assert crowd.served("4a") < 80
    while crowd.served("4b") < 100:
        await turn()
    assert all([*itertools.chain(*kit.sink.writes)] == ["4a", "4b"] for kit in crowd.kits[:99])
    assert max(len(kit.sink.writes) for kit in crowd.kits[64:]) == 1, "what waits leaves in one write"


async def test_a_broadcast_goes_on_whatever_else_is_sent() -> None:
    """On a busy server, the last clients would never get it."""
    crowd = Crowd(100, seconds=1)
    crowd.broadcast("4a")
    busy = [Kit(cork=crowd.cork) for _ in range(50)]
    turns = 0
    while crowd.served("4a") < 100:
        for kit in busy:
            kit.put("4ack")
        await turn()
        turns += 1
    assert turns <= 100 / 16 + 50  # 16 of the broadcast in each turn, and of the others once what was left
    assert not any(len(kit.outbox) for kit in busy[:16])


async def test_many_single_events_take_turns_too() -> None:
    """A loop over all sockets that emits to each would hold up everybody, where a broadcast does not."""
    crowd = Crowd(100)
    for kit in crowd.kits:
        kit.put("4a")
    await turn()
    assert crowd.served("4a") < 100
    for kit in crowd.kits:
        kit.put("4b")
    while crowd.served("4b") < 100:
        await turn()
    assert all([*itertools.chain(*kit.sink.writes)] == ["4a", "4b"] for kit in crowd.kits)


async def test_one_volatile_event_waits_behind_a_broadcast() -> None:
    """A cursor would stand still for those to whom the broadcast has not gone yet; or all its positions would wait."""
    crowd = Crowd(100)
    crowd.broadcast("4a")
    for text in ("4cursor 1", "4cursor 2"):
        crowd.broadcast(text, volatile=True)
    while crowd.served("4a") < 100:
        await turn()
    assert [[*itertools.chain(*kit.sink.writes)] for kit in crowd.kits] == [["4a", "4cursor 1"]] * 100
    assert {kit.outbox.dropped for kit in crowd.kits} == {1}
    crowd.broadcast("4cursor 3", volatile=True)
    while crowd.served("4cursor 3") < 100:
        await turn()


async def test_who_leaves_while_a_broadcast_is_on_its_way_holds_up_nobody() -> None:
    """The others would not get what was sent to all."""
    crowd = Crowd(100)
    crowd.broadcast("4a")
    await turn()
    for kit in crowd.kits[50:60]:
        kit.outbox.clear()
    while crowd.served("4a") < 90:
        await turn()
    assert not crowd.cork._later


async def test_the_bound_holds_for_what_waits_for_its_turn() -> None:
    """A fast client would be taken for a slow one, because of what has not been written to it yet."""
    crowd = Crowd(100)
    for number in range(40):
        crowd.broadcast(f"4{number:0100}")  # the bound is 1,000 bytes
    while crowd.served(f"4{39:0100}") < 100:
        await turn()
    assert not sum(kit.overflows for kit in crowd.kits)
    assert {len([*itertools.chain(*kit.sink.writes)]) for kit in crowd.kits} == {40}


async def test_held_outboxes_are_flushed_when_the_holder_says_so() -> None:
    """An acknowledgement would wait for one more turn of the event loop than it has to, or for ever."""
    kit = Kit(cork=(cork := Cork()))
    cork.hold()
    kit.put("4a")
    cork.flush()
    assert kit.sink.writes == [["4a"]]
    cork.hold()
    kit.put("4b")
    await turn()
    assert len(kit.outbox) == 1
    cork.release()
    await turn()
    assert kit.sink.writes == [["4a"], ["4b"]]
    kit.put("4c")
    await turn()
    assert kit.sink.writes[2:] == [["4c"]]


# -- through real sockets


async def deaf_websocket(port: int) -> socket.socket:
    """Open a session by websocket, join, and read nothing any more."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await loop.sock_connect(sock, ("127.0.0.1", port))
    await loop.sock_sendall(
        sock,
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
        b"\x81\x82\x00\x00\x00\x0040",
    )
    got = b""
    async with asyncio.timeout(3):
        while b"40{" not in got:
            got += await loop.sock_recv(sock, 4096)
    return sock


LIMIT = 200_000


async def test_a_websocket_that_never_reads_is_a_slow_consumer_and_harms_nobody(serve: Serve) -> None:
    """One dead phone in a room would take the server's memory, or everybody else's messages."""
    witness = Witness(limits=Limits(max_outbox=LIMIT))
    server = await serve(witness.io)
    sock = await deaf_websocket(server.port)
    (deaf,) = witness.io.sockets
    try:
        async with raw_client(server.url) as one, raw_client(server.url) as two:
            websocket = await join_websocket(one)
            await join(two)
            blob = "x" * 10_000
            most = 0
            (connection,) = [
                each for each in witness.engine.connections.values() if each is witness.io.sockets[deaf].conn
            ]
            for number in range(1_000):
                await witness.io.emit("news", number, blob)
                most = max(most, connection.outbox._bytes, connection.outbox.sink.buffered())
                received = [await websocket.receive(), await two.receive()]
                assert all(str(packet).startswith(f'42["news",{number},"x') for packet in received)
                if witness.reasons:
                    break
            assert witness.reasons == ["slow consumer"]
            assert most <= LIMIT + 20_000
            assert deaf not in witness.io.sockets
            assert len(witness.io.sockets) == 2
            await witness.io.emit("news", "last")
            assert [await websocket.receive(), await two.receive()] == ['42["news","last"]'] * 2
    finally:
        sock.close()


async def test_a_client_that_never_polls_is_a_slow_consumer(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A polling session that its client has forgotten would collect messages until it times out."""
    witness = Witness(limits=Limits(max_outbox=LIMIT))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        sent = 0
        while not witness.reasons and sent < 100:
            await witness.io.emit("news", "x" * 10_000)
            sent += 1
            await turn()
        assert 15 < sent < 25
        assert await witness.reason() == "slow consumer"
        assert (await raw.request("GET")).status == 400
    assert sum("slow consumer" in record.message for record in caplog.records) == 1
    witness.assert_nothing_left()


async def test_a_socket_that_is_not_in_yet_is_bounded_too(serve: Serve) -> None:
    """A connection handler that takes its time would let messages pile up without a bound."""
    io = Server(limits=Limits(max_outbox=LIMIT))
    entered, gate = asyncio.Event(), asyncio.Event()
    reasons: list[str] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("room")
        entered.set()
        await gate.wait()

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        reasons.append(reason)

    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await entered.wait()
        for _ in range(40):
            await io.to("room").emit("news", "x" * 10_000)
        packets, _ = await websocket.closed()
        assert packets == []
        gate.set()
        await eventually(lambda: reasons)
        assert reasons == ["slow consumer"]
        assert not io.sockets


async def test_volatile_messages_do_not_wait_for_a_poll(serve: Serve) -> None:
    """A client that polls seldom would see every cursor position of the last minute."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        await join(raw)
        await witness.io.volatile.emit("cursor", 1)
        await witness.io.emit("news", 1)
        assert await raw.receive() == '42["news",1]'
        poll = asyncio.create_task(raw.receive())
        await eventually(lambda: witness.only.conn.has_poll)  # type: ignore[attr-defined]
        await witness.io.volatile.emit("cursor", 2)
        assert await poll == '42["cursor",2]'


async def test_order_is_kept_across_many_turns(serve: Serve) -> None:
    """Clients would see messages in another order than they were sent."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        websocket = await join_websocket(one)
        await join(two)

        async def emit() -> None:
            for number in range(300):
                await witness.io.emit("n", number)
                if number % 7 == 0:
                    await turn()

        async def receive(client: Any) -> list[str | bytes]:
            return [await client.receive() for _ in range(300)]

        expected = [f'42["n",{number}]' for number in range(300)]
        _, by_websocket, by_polling = await asyncio.gather(emit(), receive(websocket), receive(two))
        assert by_websocket == expected
        assert by_polling == expected


async def test_a_poll_that_is_not_read_keeps_the_bound(serve: Serve) -> None:
    """A polling client could have the bound's worth of memory for each of any number of polls."""
    witness = Witness(limits=Limits(max_outbox=LIMIT))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, wire(server.url) as http:
        await join(raw)
        await http.send(f"GET /socket.io/?EIO=4&transport=polling&sid={raw.sid} HTTP/1.1")
        await eventually(lambda: witness.only.conn.has_poll)  # type: ignore[attr-defined]
        for _ in range(60):
            await witness.io.emit("news", "x" * 10_000)
            await turn()
        assert await witness.reason() == "slow consumer"


async def test_the_newest_is_kept_however_the_emits_come(serve: Serve) -> None:
    """After a burst the last value, the one that counts, would be missing."""
    io = Server(limits=Limits(max_outbox=100_000, slow_consumer="drop_oldest"))
    server = await serve(io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for _ in range(20):  # until the kernel's buffers are full
            for _ in range(100):
                await io.emit("blob", "x" * 10_000)
            await asyncio.sleep(0)
        for number in range(100):
            await io.emit("value", number, "x" * 10_000)
        async with asyncio.timeout(5):
            while not str(packet := await websocket.receive()).startswith('42["value",99'):
                assert isinstance(packet, str)
