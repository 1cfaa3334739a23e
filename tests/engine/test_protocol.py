"""Socket.IO v5 over raw transports: what a client may say, and what happens to one that says anything else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rtframework import (
    ConnectionRefused,
    EncodeError,
    EventError,
    JSONSerializer,
    Limits,
    Server,
    Socket,
)
from rtframework.types import RESERVED_EVENTS
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, join_websocket, raw_client
from tests.support.raw import Closed, RawClient, RawWebSocket


class Party:
    """A server, a bystander that must not be harmed, and a client whose packets are looked at."""

    def __init__(self, witness: Witness, by: str, raw: RawClient, websocket: RawWebSocket | None) -> None:
        self.witness = witness
        self.by = by
        self.raw = raw
        self.websocket = websocket
        self.bystander: RawWebSocket | None = None

    async def send(self, *packets: str | bytes) -> None:
        """Send packets by the client's transport."""
        if self.websocket is None:
            await self.raw.post(*packets)
            return
        for packet in packets:
            await self.websocket.send(packet)

    async def receive(self) -> str | bytes:
        """The next packet to the client."""
        return await (self.raw if self.websocket is None else self.websocket).receive()

    async def assert_closed(self, reason: str) -> None:
        """This connection has gone for this reason; everybody else is well."""
        assert await self.witness.reason() == reason
        assert self.witness.reasons == [reason]
        if self.websocket is None:
            assert (await self.raw.request("GET")).text in ("1", '{"code":1,"message":"Session ID unknown"}')
        else:
            await self.websocket.closed()
        assert self.bystander is not None
        await self.bystander.send('429["echo","well"]')
        assert await self.bystander.receive() == '439["well"]'
        assert len(self.witness.io.sockets) == 1
        assert len(self.witness.engine.connections) == 1


@pytest.fixture(params=["polling", "websocket", "upgrade"])
async def party(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Party]:
    """One client on each transport, and a bystander."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as other, raw_client(server.url) as raw:
        bystander = await join_websocket(other)
        websocket = None
        if request.param == "websocket":
            websocket = await join_websocket(raw)
        else:
            await join(raw)
            if request.param == "upgrade":
                websocket = await raw.upgrade()
        party = Party(witness, request.param, raw, websocket)
        party.bystander = bystander
        yield party


# -- what is allowed


async def test_joining_and_leaving_namespaces(party: Party) -> None:
    """One connection could not carry several namespaces."""
    party.witness.io.of("/admin").on("who")(lambda socket: socket.nsp)
    await party.send('40/admin,{"token":"x"}')
    joined = str(await party.receive())
    assert joined.startswith('40/admin,{"sid":"')
    await party.send('42/admin,7["who"]')
    assert await party.receive() == '43/admin,7["/admin"]'
    await party.send("41/admin,")
    await party.send('421["echo"]')
    assert await party.receive() == "431[]"
    await party.send("40/admin,")
    again = str(await party.receive())
    assert again.startswith('40/admin,{"sid":"')
    assert again != joined


async def test_public_ids_are_not_the_session_s(party: Party) -> None:
    """Whoever learns a socket's id, as everybody in a room does, could send in its name."""
    ids = {socket.id for socket in party.witness.io.sockets.values()}
    sessions = set(party.witness.engine.connections)
    assert not ids & sessions
    assert all(len(each) >= 20 for each in ids | sessions)


async def test_an_unknown_namespace_is_refused_with_a_message(party: Party) -> None:
    """``err.message`` of the JavaScript client would be empty."""
    await party.send("40/nowhere,")
    assert await party.receive() == '44/nowhere,{"message":"Invalid namespace"}'
    await party.send('40/nowhere,{"a":1}', '421["echo"]')
    assert await party.receive() == '44/nowhere,{"message":"Invalid namespace"}'
    assert await party.receive() == "431[]"


async def test_acknowledgements_that_nobody_expects_are_passed_over(party: Party) -> None:
    """One stray acknowledgement would break the ones that are expected, or the connection."""
    _, socket = party.witness.io.sockets.values()
    await party.send("430[]", "4399999[1]", "430[5]", '421["echo"]')
    assert await party.receive() == "431[]"
    asking = asyncio.create_task(socket.timeout(3).emit_with_ack("question"))
    question = str(await party.receive())
    assert question.endswith('["question"]')
    id = question[2:].partition("[")[0]
    await party.send(f"43{id}[1,2]", f"43{id}[3]")
    assert await asking == (1, 2)
    await party.send('421["echo"]')
    assert await party.receive() == "431[]"


async def test_half_an_emoji_disconnects_nobody(party: Party) -> None:
    """A text that JavaScript cut in the middle of an emoji would disconnect whoever wrote it."""
    await party.send('421["echo","a\\ud83d"]')
    assert await party.receive() == '431["a\ufffd"]'


async def test_events_without_a_handler_are_answered(party: Party) -> None:
    """A client would wait for ever for the answer to a misspelt event."""
    await party.send('421["nobody",1]', '42["nobody"]', '422["echo",2]')
    assert json.loads(str(await party.receive())[3:]) == [
        {"error": {"code": "unknown_event", "message": "no handler for 'nobody'"}}
    ]
    assert await party.receive() == "432[2]"


# -- what is not


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
async def test_reserved_events_close_the_connection(party: Party, name: str) -> None:
    """A client could run the connection or disconnect handler of its choice."""
    await party.send(f'42["{name}",{{"forged":true}},{{}}]')
    await party.assert_closed("parse error")


@pytest.mark.parametrize(
    "packets",
    [
        ("42",),
        ("42{}",),
        ("42[]",),
        ("42[5.5]",),
        ("42[null]",),
        ('42[["note"]]',),
        ('42["note"',),
        ('42["note",NaN]',),
        ('42["note",1]]',),
        ("4",),
        ("48",),
        ("4x",),
        ("43[]",),
        ("431{}",),
        ("41[]",),
        ("40[]",),
        ('44"x"x',),
        ("45",),
        ('45-["note"]',),
        ('451-["note",{"_placeholder":true,"num":0}]', '42["note",1]'),
        ('451-["note",{"_placeholder":true,"num":5}]', b"x"),
        ('451-["note",{"_placeholder":true}]', b"x"),
        ('451-["connect"]', b"x"),
        (b"unasked",),
        ('450-["note",1]', b"unasked"),
        ('42["note",' + "[" * 200_000,),
        ('42["note",' + '{"a":' * 100_000,),
        ('450-["note",' + "[" * 200_000,),
    ],
    ids=lambda packets: repr(packets)[:40],
)
async def test_malformed_packets_close_the_connection(
    party: Party, packets: tuple[str | bytes, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """What a client meant would be guessed at, or its mistake harm others."""
    await party.send(*packets)
    await party.assert_closed("parse error")
    assert party.witness.notes in ([], [1])
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO]


@pytest.mark.usefixtures("throttled")
@pytest.mark.parametrize(
    ("packet", "setting"),
    [
        ('4511-["note"]', "a packet with more than 10 attachments (Limits.max_attachments)"),
        ('45999999999-["note"]', "a packet with more than 10 attachments (Limits.max_attachments)"),
        (f'42["{"x" * 1_025}"]', "an event whose name has more than 1024 characters (Limits.max_event_name)"),
    ],
    ids=["attachments", "many-attachments", "name"],
)
async def test_a_packet_beyond_a_limit_names_it_in_the_log(
    party: Party, packet: str, setting: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who sends eleven pictures would be disconnected, and nobody could find out why."""
    await party.send(packet)
    await party.assert_closed("parse error")
    warnings = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert warnings == [f"closing a connection that sent {setting}"]


async def test_the_log_says_what_is_wrong_with_a_packet(party: Party, caplog: pytest.LogCaptureFixture) -> None:
    """A client of one's own would be closed with "parse error", and no word of what it has sent."""
    caplog.set_level(logging.INFO, "rtframework.engine")
    await party.send('42["connect"]')
    await party.assert_closed("parse error")
    told = "closing a connection that sent an invalid packet: invalid payload: a reserved event name"
    assert told in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    "packet",
    [
        '44{"message":"x"}',
        '42/nowhere,["note",1]',
        "43/nowhere,1[]",
        "41/nowhere,",
        '44/nowhere,{"message":"x"}',
    ],
)
async def test_packets_that_make_no_sense_now_close_the_connection(party: Party, packet: str) -> None:
    """As in Node: a client that is in two minds about where it is cannot be served rightly."""
    await party.send(packet)
    await party.assert_closed("forced server close")
    assert party.witness.notes == []


async def test_nothing_after_a_malformed_packet_is_served(party: Party) -> None:
    """Half of what a broken client sends would be believed."""
    await party.send('42["note",1]', '42["note",2')
    with contextlib.suppress(Closed, ConnectionError):
        await party.send('42["note",3]')
    await party.assert_closed("parse error")
    assert party.witness.notes == [1]


async def test_events_before_joining_close_the_connection(serve: Serve) -> None:
    """Events would be served for somebody who has not been authenticated."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send('42["note",1]')
        assert await websocket.closed() == ([], 1000)
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()
    assert witness.notes == []


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_who_asks_twice_before_it_is_let_in_gets_one_answer(serve: Serve, by: str) -> None:
    """React's strict mode connects, disconnects and connects at once: all namespaces of the page would be lost."""
    gates: list[asyncio.Event] = []

    class Slow:
        async def authenticate(self, handshake: object) -> str:
            gates.append(asyncio.Event())
            await gates[-1].wait()
            return "user"

    witness = Witness(auth=Slow())
    slow = witness.io.of("/slow")
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = None
        if by == "websocket":
            websocket, _ = await raw.open_websocket()
        else:
            await raw.handshake()
        party = Party(witness, by, raw, websocket)
        for packet in ("40", "40/slow,", "40/slow,", "40"):
            await party.send(packet)
        await eventually(lambda: len(gates) == 2)
        for gate in gates:
            gate.set()
        assert {str(await party.receive())[:9] for _ in range(2)} == {'40{"sid":', "40/slow,{"}
        await party.send('421["echo"]')
        assert await party.receive() == "431[]"
        assert (len(gates), len(witness.io.sockets), len(slow.sockets)) == (2, 1, 1)
        await party.send("1")
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


async def test_who_asks_twice_at_once_gets_one_answer(party: Party) -> None:
    """The same, where nothing takes time: the second packet is served when the first has been answered."""
    party.witness.io.of("/admin")
    if party.websocket is None:
        await party.send("40/admin,", "40/admin,", '421["echo"]')
    else:
        (connection,) = (each for each in party.witness.engine.connections.values() if each.sid == party.raw.sid)
        connection.receive_all(["40/admin,", "40/admin,", '421["echo"]'])
    assert str(await party.receive()).startswith('40/admin,{"sid"')
    assert await party.receive() == "431[]"
    assert len(party.witness.io.of("/admin").sockets) == 1


async def test_who_asks_for_a_namespace_that_it_is_in_starts_anew(party: Party) -> None:
    """A page that gave up before the answer came, and asks again later, would wait for ever, or lose all the others."""
    heard: list[str] = []
    admin = party.witness.io.of("/admin")
    admin.on("disconnect")(lambda socket, reason: heard.append(reason))
    await party.send("40/admin,")
    first = await party.receive()
    await party.send('40/admin,{"token":"x"}')
    second = await party.receive()
    assert str(second).startswith('40/admin,{"sid"')
    assert second != first
    (socket,) = admin.sockets.values()
    assert (socket.id in str(second), socket.handshake.auth) == (True, {"token": "x"})
    assert heard == ["client namespace disconnect"]
    await party.send('421["echo"]')
    assert await party.receive() == "431[]"


@pytest.mark.parametrize("packet", ['42["note",1]', "41", "431[]"])
async def test_a_client_that_does_not_wait_to_be_let_in_is_closed(serve: Serve, packet: str) -> None:
    """Events would be served for somebody who is being authenticated."""
    gate = asyncio.Event()

    class Slow:
        async def authenticate(self, handshake: object) -> str:
            await gate.wait()
            return "user"

    witness = Witness(auth=Slow())
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await websocket.send(packet)
        assert await websocket.closed() == ([], 1000)
        gate.set()
        await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
        await eventually(lambda: not witness.engine.connections)
        witness.assert_nothing_left()
    assert (witness.notes, witness.reasons) == ([], [])


async def test_too_many_namespaces_close_the_connection(serve: Serve) -> None:
    """One client that joins thousands would slow everybody down."""
    witness = Witness(limits=Limits(max_namespaces=3))
    for number in range(5):
        witness.io.of(f"/{number}")
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        for number in range(2):
            await websocket.send(f"40/{number},")
            await websocket.receive()
        await websocket.send("41/1,")
        await websocket.send("40/2,")
        await websocket.receive()
        await websocket.send("40/3,")
        assert await websocket.closed() == ([], 1000)
        assert await witness.reason() == "forced server close"
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


# -- a client that comes and goes while its connection handler runs


def gated(io: Server, gates: list[asyncio.Event], fails: Callable[[int], bool]) -> list[Socket]:
    """A connection handler whose n-th run waits for the n-th gate, and fails if it is told to."""
    seen: list[Socket] = []

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        number = len(seen)
        seen.append(socket)
        await gates[number].wait()
        if fails(number):
            raise RuntimeError("refused")

    return seen


async def test_a_late_refusal_does_not_hit_the_next_attempt(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody could leave sockets behind that are in rooms for ever, though nobody is there any more."""
    witness = Witness()
    gates = [asyncio.Event(), asyncio.Event()]
    seen = gated(witness.io, gates, lambda number: number == 0)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await eventually(lambda: len(seen) == 1)
        await websocket.send("41")
        await eventually(lambda: not seen[0].connected)
        await websocket.send("40")
        gates[1].set()
        with contextlib.suppress(TimeoutError):  # the connection may be closed for it: that is one good answer
            await eventually(lambda: len(seen) == 2, within=0.3)
        gates[0].set()
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: any("refused" in (record.exc_text or "") for record in caplog.records), within=0.3)
        await websocket.close()
    await eventually(lambda: not witness.engine.connections)
    await eventually(lambda: not witness.io.sockets, within=0.5)
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


async def test_two_attempts_at_once_leave_no_ghost(serve: Serve) -> None:
    """Anybody could leave sockets behind that are in rooms for ever, though nobody is there any more."""
    authenticating = asyncio.Event()
    authenticated = 0

    class SlowLater:
        async def authenticate(self, handshake: object) -> str:
            nonlocal authenticated
            authenticated += 1
            if authenticated > 1:
                await authenticating.wait()
            return "user"

    witness = Witness(auth=SlowLater())
    gates = [asyncio.Event() for _ in range(3)]
    gates[1].set()
    gates[2].set()
    seen = gated(witness.io, gates, lambda number: False)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await eventually(lambda: len(seen) == 1)
        try:
            await websocket.send("41")
            await websocket.send("40")
            await eventually(lambda: authenticated == 2, within=0.3)
            gates[0].set()
            await asyncio.sleep(0.01)
            await websocket.send("40")
            await eventually(lambda: authenticated == 3, within=0.3)
        except (TimeoutError, ConnectionError):
            pass  # the connection was closed: that is one good answer
        gates[0].set()
        authenticating.set()
        await asyncio.sleep(0.05)
        await websocket.close()
    await eventually(lambda: not witness.engine.connections)
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


async def test_leaving_during_the_connection_handler(serve: Serve) -> None:
    """What a connection handler set up would never be taken down."""
    witness = Witness()
    gate = asyncio.Event()
    seen = gated(witness.io, [gate], lambda number: False)
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        await eventually(lambda: len(seen) == 1)
        await websocket.close()
        await eventually(lambda: not witness.engine.connections)
        assert witness.reasons == []
        gate.set()
        assert await witness.reason() == "transport close"
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


# -- answers that cannot be sent


async def test_nan_is_refused_where_it_is_emitted(party: Party) -> None:
    """NaN would reach clients as null, or break every one of them."""
    errors: list[Exception] = []

    @party.witness.io.on("average")
    async def average(socket: Socket) -> float:
        try:
            await party.witness.io.emit("n", math.nan)
        except EncodeError as error:
            errors.append(error)
        return math.nan

    await party.send('421["average"]', '422["echo",2]')
    assert await party.receive() == '431[{"error":{"code":"internal_error","message":"Internal server error"}}]'
    assert await party.receive() == "432[2]"
    assert len(errors) == 1
    assert party.witness.reasons == []


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: object(), id="object"),
        pytest.param(lambda: "\ud83d", id="surrogate"),
        pytest.param(lambda: {(1, 2): 3}, id="keys"),
        pytest.param(lambda: (yield_error())(), id="exception"),
    ],
)
async def test_an_answer_that_cannot_be_sent_is_an_internal_error(party: Party, answer: Callable[[], Any]) -> None:
    """The client would wait for its answer until it gives up."""
    party.witness.io.on("odd")(lambda socket: answer())
    await party.send('421["odd"]')
    assert await party.receive() == '431[{"error":{"code":"internal_error","message":"Internal server error"}}]'


def yield_error() -> Callable[[], Any]:
    """Something that fails without being foreseen."""

    def fails() -> Any:
        raise ZeroDivisionError("secret detail")

    return fails


async def test_details_that_cannot_be_sent_are_an_internal_error(party: Party) -> None:
    """The same for what an EventError carries."""

    @party.witness.io.on("odd")
    def odd(socket: Socket) -> None:
        raise EventError("odd", details=object())

    await party.send('421["odd"]')
    assert await party.receive() == '431[{"error":{"code":"internal_error","message":"Internal server error"}}]'


async def test_a_failing_hook_is_an_internal_error(serve: Serve) -> None:
    """The client would wait for its answer until it gives up."""

    def hook(value: Any) -> Any:
        raise KeyError("no idea")

    witness = Witness(serializer=JSONSerializer(enc_hook=hook))
    witness.io.on("odd")(lambda socket: object())
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        websocket = await join_websocket(raw)
        await websocket.send('421["odd"]')
        answer = str(await websocket.receive(timeout=0.5))
        assert answer == '431[{"error":{"code":"internal_error","message":"Internal server error"}}]'


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("no", object()),
        ("half an emoji \ud83d", None),
        (ValueError("an exception as the message"), None),
    ],
    ids=["data", "surrogate", "exception"],
)
async def test_a_refusal_that_cannot_be_sent_still_refuses(serve: Serve, message: Any, data: Any) -> None:
    """The client would wait for ever to be let in."""

    class No:
        async def authenticate(self, handshake: object) -> None:
            raise ConnectionRefused(message, data)

    server = await serve(Witness(auth=No()).io)
    async with raw_client(server.url) as raw:
        websocket, _ = await raw.open_websocket()
        await websocket.send("40")
        answer = str(await websocket.receive(timeout=0.5))
        assert answer.startswith('44{"message":"')
        await websocket.send("40")
        assert str(await websocket.receive(timeout=0.5)) == answer


# -- a broken part of the program


class Broken:
    """A serializer whose decoder fails in a way that nobody foresaw."""

    def __init__(self) -> None:
        self.good = JSONSerializer()

    def encode(self, packet: Any) -> Any:
        return self.good.encode(packet)

    def decoder(self) -> Any:
        good = self.good.decoder()

        class Decoder:
            def decode(self, frame: str | bytes) -> Any:
                if frame == '2["bug"]':
                    raise ZeroDivisionError("unforeseen")
                return good.decode(frame)

        return Decoder()


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_a_decoder_that_fails_closes_that_connection(serve: Serve, by: str) -> None:
    """A mistake in a serializer would leave clients that are connected but not heard any more."""
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    witness = Witness(serializer=Broken())
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        if by == "polling":
            await join(raw)
            await raw.post('42["bug"]')
        else:
            websocket = await join_websocket(raw)
            await websocket.send('42["hold"]')  # the reader is in a task of its own now
            await websocket.send('42["bug"]')
        assert await witness.reason(within=0.5) == "parse error"
        witness.gate.set()
    await eventually(lambda: not (witness.engine.tasks or witness.engine.connections))
    witness.assert_nothing_left()


async def test_a_flood_of_malformed_packets_is_cheap_and_quiet(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Anybody could fill the disk with tracebacks."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw:
        for _ in range(50):
            raw.sid = None
            await raw.handshake()
            await raw.post("4x")
        assert not witness.engine.connections
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("by", ["polling", "websocket"])
async def test_an_authenticator_whose_work_was_cancelled_refuses(serve: Serve, by: str) -> None:
    """A look-up that was cancelled would leave a client that is neither let in nor refused, and not heard any more."""
    called_off: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    called_off.cancel()

    class Cancelled:
        async def authenticate(self, handshake: object) -> None:
            await called_off

    server = await serve(Witness(auth=Cancelled()).io)
    async with raw_client(server.url) as raw:
        client: RawClient | RawWebSocket = raw
        if by == "polling":
            await raw.handshake()
            await raw.post("40")
            await raw.post("40")
        else:
            client, _ = await raw.open_websocket()
            await client.send("40")
            await client.send("40")
        for _ in range(2):
            answer = str(await client.receive(timeout=0.5))
            assert answer.startswith('44{"message":"Internal server error"')
