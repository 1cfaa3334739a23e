"""Packets that a JavaScript client would refuse: they are refused where they are emitted."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any, Final

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtframework import ConfigurationError, EncodeError, JSONSerializer, Limits, Packet, Recovery, Server, Socket
from rtframework.packets import from_ack, to_ack
from rtframework.types import RESERVED_EVENTS
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.js import JSClient, JSClients
from tests.support.raw import Closed, RawWebSocket, raw_client
from tests.support.thorough import examples
from tests.support.transports import Transport

KEYS: Final = st.sampled_from(["_placeholder", "num", "type", "data", ""]) | st.text(max_size=5)
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.just({"_placeholder": True, "num": 0}),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS.filter("__proto__".__ne__), inner, max_size=4),
    max_leaves=30,
)


def collect(strategy: st.SearchStrategy[list[Any]], number: int) -> list[list[Any]]:
    """Return examples of a strategy, for a test that is async."""
    found: list[list[Any]] = []

    @settings(max_examples=number, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(strategy)
    def note(example: list[Any]) -> None:
        found.append(example)

    note()
    return found


def as_in_javascript(value: Any) -> Any:
    """Turn all numbers into floats, which is what they are there; NaN equals itself."""
    if isinstance(value, list | tuple):
        return [as_in_javascript(each) for each in value]
    if isinstance(value, dict):
        return {key: as_in_javascript(each) for key, each in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


async def receivers(js: JSClients, url: str, parser: str | None) -> list[JSClient]:
    """Connect a client of each kind."""
    if parser is not None:
        return [await js.connect(url, transports=[each], parser="msgpack") for each in ("polling", "websocket")]
    return [
        await js.connect(url, transports=["polling"]),
        await js.connect(url, transports=["websocket"]),
        await js.connect(url, transports=["websocket"], v2=True),
    ]


@pytest.mark.parametrize("parser", [None, "msgpack"])
async def test_whatever_is_emitted_arrives_or_is_refused_here(serve: Serve, js: JSClients, parser: str | None) -> None:
    """One emit of the wrong value would disconnect every client that receives it."""
    io = Server(serializer=None if parser is None else MsgpackSerializer(), allow_eio3=parser is None)

    @io.on("give")
    async def give(socket: Socket, number: int) -> Any:
        return tuple(cases[number])

    cases = collect(st.lists(VALUES, max_size=3), examples(300))
    clients = await receivers(js, (await serve(io)).url, parser)
    refused = 0
    for number, args in enumerate(cases):
        try:
            await io.emit("value", *args)
        except EncodeError:
            refused += 1
            answer = await clients[0].emit_with_ack("give", number)
            assert answer == {"error": {"code": "internal_error", "message": "Internal server error"}}
            continue
        for client in clients:
            assert as_in_javascript(await client.wait_for("value")) == as_in_javascript(args)
        if args:
            assert as_in_javascript(await clients[0].ack_args("give", number)) == as_in_javascript(args)
    assert refused < len(cases) / 2
    assert all(socket.connected for socket in io.sockets.values())
    assert len(io.sockets) == len(clients)


def survives(value: Any, parser: str | None) -> bool:
    """Tell whether a JavaScript client can send a value: notepack.io cannot send whole numbers of more than 53 bits."""
    if isinstance(value, list):
        return all(survives(each, parser) for each in value)
    if isinstance(value, dict):
        return all(survives(each, parser) for each in value.values())
    return parser is None or not isinstance(value, float) or abs(value) < 2**53


@pytest.mark.parametrize("parser", [None, "msgpack"])
async def test_whatever_is_asked_is_answered_or_is_refused_here(
    serve: Serve, js: JSClients, parser: str | None
) -> None:
    """One question with the wrong value would disconnect the client that is asked, or all of them."""
    io = Server(serializer=None if parser is None else MsgpackSerializer(), allow_eio3=parser is None)
    clients = await receivers(js, (await serve(io)).url, parser)
    for client in clients:
        await client.echo("ask")
    sockets = list(io.sockets.values())
    refused = 0
    for args in collect(st.lists(VALUES, max_size=3).filter(lambda args: survives(args, parser)), examples(300)):
        try:
            answers = await io.timeout(5).emit_with_ack("ask", *args)
        except EncodeError:
            refused += 1
            for socket in sockets:
                with pytest.raises(EncodeError):
                    await socket.timeout(5).emit_with_ack("ask", *args)
            continue
        expected = as_in_javascript(to_ack(from_ack(args)))
        assert len(answers) == len(clients)
        for answer in [*answers.values()]:
            assert as_in_javascript(to_ack(answer)) == expected
        for socket in sockets:
            answer = await socket.timeout(5).emit_with_ack("ask", *args)
            assert as_in_javascript(to_ack(answer)) == expected
    assert refused or parser is not None
    assert list(io.sockets.values()) == sockets


class Attachment:
    """A placeholder of the JSON parser on the wire; ``number`` is that of its attachment, if there is one."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Attachment({self.number!r})"


class Verbatim(str):
    """JSON that no encoder would write."""

    __slots__ = ()


NUMBERS: Final = st.sampled_from([0, 1, 2, 5, -1, 1.0, True, None, "0", [0], 2**53, 1e300])
ODD_JSON: Final = st.sampled_from(
    [
        "1e400",
        "-1e400",
        "-0",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        '"\\ud800"',
        '"\\u0000"',
        '"\\ud83d\\ude00"',
        '"\u2028\x7f"',
        '{"__proto__":{"a":1}}',
        '{"__proto__":null}',
        '{"a":1,"a":2}',
        '{"":{"":""}}',
        '{"toJSON":1,"hasOwnProperty":1,"constructor":null}',
        '{"_placeholder":false,"num":0}',
        '{"_placeholder":"true","num":0}',
        '{"\\u005fplaceholder":true,"num":0}',
        '{"_placeholder" : true , "num" : 0}',
        '{"_placeholder":true,"_placeholder":false,"num":0}',
        '{"_placeholder":true}',
        '"_placeholder"',
        "[" * 300 + "]" * 300,
        '{"a":' * 300 + "1" + "}" * 300,
        "NaN",
        "[1,]",
    ]
).map(Verbatim)
ODD_MSGPACK: Final = st.sampled_from(
    [
        msgpack.ExtType(0, b"\x00"),
        msgpack.ExtType(0, b"abc"),
        msgpack.ExtType(0, bytes(8)),
        msgpack.ExtType(0, b"\x00\x00\x01\x90" + bytes(4)),
        msgpack.ExtType(0, b"\x7f" + b"\xff" * 7),
        msgpack.ExtType(0, b"\x80" + bytes(7)),
        msgpack.ExtType(0, b""),
        msgpack.ExtType(5, b"x"),
        msgpack.Timestamp(0, 5),
        msgpack.Timestamp(2**40, 0),
        math.nan,
        math.inf,
        -math.inf,
        2**64 - 1,
        -(2**63),
        {1: 2},
        {None: 1},
        {"length": -1, "type": 9, "nsp": 1},
        b"\xc1" * 20,
    ]
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Make arguments of what clients send, ordinary values and odd ones."""
    keys = KEYS.filter("__proto__".__ne__)
    values = st.recursive(
        VALUES | leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )
    return st.lists(values, max_size=3)


def to_json(value: Any) -> str:
    """Write JSON, whatever it may be."""
    if isinstance(value, Verbatim):
        return str(value)
    if isinstance(value, Attachment):
        return json.dumps({"_placeholder": True, "num": value.number})
    if isinstance(value, list):
        return f"[{','.join(map(to_json, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(key)}:{to_json(each)}' for key, each in value.items())}}}"
    return json.dumps(value)


def json_frames(head: str, args: list[Any]) -> list[str | bytes]:
    """Write the frames of a packet as a client may that is no JavaScript client; ``head``: type, ``%``, id."""
    attachments: list[bytes] = []

    def take_out(value: Any) -> Any:
        if isinstance(value, bytes):
            attachments.append(value)
            return Attachment(len(attachments) - 1)
        if isinstance(value, list):
            return [take_out(each) for each in value]
        if isinstance(value, dict):
            return {key: take_out(each) for key, each in value.items()}
        if isinstance(value, Attachment):
            attachments.append(b"odd")
        return value

    body = to_json(take_out(args))
    if not attachments:
        return ["4" + head.replace("%", "") + body]
    kind = {"2": "5", "3": "6"}[head[0]]
    return [f"4{kind}{len(attachments)}-{head[2:]}{body}", *attachments]


def msgpack_frames(head: str, args: list[Any]) -> list[str | bytes]:
    """Write the frame of a packet as a client may that is no JavaScript client."""
    id = {"id": int(head[2:])} if head[2:] else {}
    return [msgpack.packb({"type": int(head[0]), "nsp": "/", "data": args, **id})]


class Attacker:
    """A client that comes back whenever it is thrown out."""

    def __init__(self, url: str, parser: str | None, stack: contextlib.AsyncExitStack) -> None:
        self._url = url
        self._parser = parser
        self._stack = stack
        self._websocket: RawWebSocket | None = None
        self.thrown_out = 0

    async def send(self, event: str, args: list[Any]) -> None:
        """Send an event, answer the question that the server may ask with the same, wait until it was served."""
        frames_of = json_frames if self._parser is None else msgpack_frames
        try:
            websocket = await self._connect()
            for frame in frames_of("2%1", [event, *args]):
                await websocket.send(frame)
            while True:
                packet = self._read(await websocket.receive())
                if packet[0] == "question":
                    for frame in frames_of(f"3%{packet[1]}", args):
                        await websocket.send(frame)
                elif packet[0] == "done":
                    return
        except (Closed, ConnectionError):
            self._websocket = None
            self.thrown_out += 1

    async def _connect(self) -> RawWebSocket:
        if self._websocket is None:
            raw = await self._stack.enter_async_context(raw_client(self._url))
            self._websocket, _ = await raw.open_websocket()
            await self._websocket.send("40" if self._parser is None else msgpack.packb({"type": 0, "nsp": "/"}))
            await self._websocket.receive()
        return self._websocket

    def _read(self, frame: str | bytes) -> tuple[str, Any]:
        """Tell a question with its id, and the answer to the event, from what else may come."""
        if self._parser is None:
            text = frame if isinstance(frame, str) else ""
            question = re.match(r'42(\d+)\["question"', text)
            return ("question", question[1]) if question else ("done" if text.startswith("43") else "", None)
        assert isinstance(frame, bytes)
        packet = msgpack.unpackb(frame, strict_map_key=False)
        if packet["type"] == 2 and packet["data"][0] == "question":
            return "question", packet["id"]
        return ("done" if packet["type"] == 3 else ""), None


@pytest.mark.parametrize("parser", [None, "msgpack"])
async def test_whatever_a_client_sends_harms_nobody_else(serve: Serve, js: JSClients, parser: str | None) -> None:
    """A client that finds the right value would throw out everybody to whom a program passes it on."""
    io = Server(serializer=None if parser is None else MsgpackSerializer(), allow_eio3=parser is None)
    relayed: list[Any] = []
    refused = 0

    async def relay(*args: Any) -> None:
        nonlocal refused
        try:
            await io.emit("post", *args)
        except EncodeError:
            refused += 1
        else:
            relayed.append(args)

    @io.on("post")
    async def post(socket: Socket, *args: Any) -> None:
        await relay(*args)

    @io.on("picture")
    async def picture(socket: Socket, *args: Any) -> None:
        await relay(*args, b"picture")
        await relay({key: b"picture" for key in args if isinstance(key, str)})

    @io.on("ask")
    async def ask(socket: Socket, *args: Any) -> None:
        await relay(await socket.timeout(5).emit_with_ack("question"))

    url = (await serve(io)).url
    victims = await receivers(js, url, parser)
    sockets = list(io.sockets.values())
    leaves = ODD_JSON | NUMBERS.map(Attachment) if parser is None else ODD_MSGPACK
    async with contextlib.AsyncExitStack() as stack:
        attacker = Attacker(url, parser, stack)
        for args in collect(nested(leaves), examples(400)):
            for event in ("post", "picture", "ask"):
                await attacker.send(event, args)
    for victim in victims:
        await victim.barrier()
        assert as_in_javascript(victim.received("post")) == as_in_javascript(relayed)
    assert [io.sockets.get(socket.id) for socket in sockets] == sockets
    assert attacker.thrown_out
    assert len(relayed) > 50
    assert refused or parser is not None


@pytest.mark.parametrize("name", [*sorted(RESERVED_EVENTS), "error", "ping", "reconnect", "", "_placeholder", "\x00"])
async def test_a_name_that_a_client_chooses_harms_nobody_else(serve: Serve, js: JSClients, name: str) -> None:
    """A program that passes events on by their name would throw out everybody."""
    io = Server(allow_eio3=True)

    @io.on_any
    async def pass_on(socket: Socket, event: str, *args: Any) -> None:
        with contextlib.suppress(ConfigurationError):
            await io.emit(event, *args, b"picture")

    url = (await serve(io)).url
    victims = await receivers(js, url, None)
    sockets = list(io.sockets.values())
    async with contextlib.AsyncExitStack() as stack:
        attacker = Attacker(url, None, stack)
        await attacker.send(name, [])
        await attacker.send("then", [])
    for victim in victims:
        assert await victim.wait_for("then") == [b"picture"]
    assert [io.sockets.get(socket.id) for socket in sockets] == sockets


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ([[b"x"] * 11], r"11 binary attachments, and clients accept 10 \(Limits.max_attachments\)"),
        (
            [{"_placeholder": True, "num": 5}, b"picture"],
            'the key "_placeholder" cannot be sent in a packet with bytes',
        ),
        ([{"_placeholder": 1, "num": 0}, b"picture"], 'the key "_placeholder"'),
        ([[{"a": {"_placeholder": True, "num": 0}}], {"b": [b"picture"]}], 'the key "_placeholder"'),
    ],
)
async def test_an_emit_is_refused_before_anybody_gets_it(
    serve: Serve, js: JSClients, transport: Transport, args: list[Any], problem: str
) -> None:
    """Every receiver would be disconnected with "parse error", or a picture would take an object's place."""
    io = Server(connection_state_recovery=Recovery())
    client = await js.connect((await serve(io)).url, via=transport)
    with pytest.raises(EncodeError, match=problem) as caught:
        await io.emit("many", *args)
    assert str(caught.value).startswith("'many': ")
    with pytest.raises(EncodeError, match=problem):
        await next(iter(io.sockets.values())).timeout(5).emit_with_ack("many", *args)
    await io.emit("ok", b"1")
    assert (await client.wait_for("ok"))[0] == b"1"


async def test_a_client_cannot_make_a_relay_harm_others(serve: Serve, js: JSClients) -> None:
    """A client that sends what looks like a placeholder would throw out everybody whom it is relayed to."""
    io = Server()

    @io.on("post")
    async def post(socket: Socket, data: Any) -> None:
        await io.emit("post", data, b"picture")

    url = (await serve(io)).url
    victim = await js.connect(url)
    async with raw_client(url) as attacker:
        websocket, _ = await attacker.open_websocket()
        await websocket.send("40")
        assert str(await websocket.receive()).startswith('40{"sid"')
        for data in ('{"_placeholder":true,"num":5}', '{"_placeholder":true,"num":0}', '[{"\\u005fplaceholder":true}]'):
            await websocket.send(f'421["post",{data}]')
            assert str(await websocket.receive()).startswith('431[{"error":{"code":"internal_error"')
        await websocket.send('42["post",{"_placeholders":true}]')
    assert await victim.wait_for("post") == [{"_placeholders": True}, b"picture"]


def test_the_bound_of_attachments_is_an_option() -> None:
    """A program whose clients are made to take more could not send more."""
    assert len(JSONSerializer(max_attachments=20).encode(Packet(2, "/", ["many", *[b"x"] * 20]))) == 21
    io = Server(limits=Limits(max_attachments=20))
    with pytest.raises(EncodeError, match="clients accept 20"):
        io._server.encode(Packet(2, "/", ["many", *[b"x"] * 21]))
