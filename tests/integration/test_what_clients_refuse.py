"""Packets that a JavaScript client would refuse: they are refused where they are emitted."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtframework import EncodeError, JSONSerializer, Limits, Packet, Recovery, Server, Socket
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.js import JSClient, JSClients
from tests.support.raw import raw_client
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
    """Turn all numbers into floats, which is what they are there."""
    if isinstance(value, list):
        return [as_in_javascript(each) for each in value]
    if isinstance(value, dict):
        return {key: as_in_javascript(each) for key, each in value.items()}
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
