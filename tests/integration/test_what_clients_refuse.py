"""Packets that a JavaScript client would refuse: they are refused where they are emitted."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import strategies as st

from rtframework import ConfigurationError, EncodeError, JSONSerializer, Limits, Packet, Recovery, Server, Socket
from rtframework.packets import from_ack, to_ack
from rtframework.types import RESERVED_EVENTS
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.hostile import VALUES, Attacker, as_in_javascript, collect, hostile_arguments
from tests.support.js import JSClient, JSClients
from tests.support.raw import raw_client
from tests.support.thorough import examples
from tests.support.transports import Transport


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
    async with contextlib.AsyncExitStack() as stack:
        attacker = Attacker(url, parser, stack)
        for args in collect(hostile_arguments(parser), examples(400)):
            for event in ("post", "picture", "ask"):
                await attacker.send(event, args)
    for victim in victims:
        await victim.barrier()
        assert as_in_javascript(victim.received("post")) == as_in_javascript(relayed)
    assert [io.sockets.get(socket.id) for socket in sockets] == sockets
    assert attacker.thrown_out
    assert len(relayed) > 20
    assert refused or parser is not None


@pytest.mark.parametrize(
    "name",
    [*sorted(RESERVED_EVENTS), "error", "ping", "reconnect", "", "_placeholder", "\x00", 1, -1, 2**53, 1.5],
)
async def test_a_name_that_a_client_chooses_harms_nobody_else(serve: Serve, js: JSClients, name: Any) -> None:
    """A program that passes events on by their name would throw out everybody."""
    io = Server(allow_eio3=True)

    @io.on_any
    async def pass_on(socket: Socket, event: str | int, *args: Any) -> None:
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
