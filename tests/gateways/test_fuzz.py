"""Gateways against almost valid bytes: refused or served, never worse.

The choices are made by a generator with a fixed seed, as in ``tests/engine/test_fuzz.py``; ``RTF_FUZZ_SEED`` and
``RTF_FUZZ_INPUTS`` in the environment mean the same.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Final

import pytest

from rtframework import JSONSerializer, Packet, Reply, Server, Socket
from rtframework.gateways.json_codec import JSONCodec
from rtframework.gateways.packets import read
from tests.conftest import Serve
from tests.engine import eventually
from tests.engine.test_fuzz import INPUTS, SEED, Stopwatch, check, mutate, rubbish
from tests.gateways import application
from tests.support.simulation import client_frame
from tests.support.websocket import REQUEST, tcp

VALID: Final = (
    '{"type":"event","event":"a","args":[]}',
    '{"type":"event","event":"echo","args":["text",1,-2.5e3,true,null,{"k":["v"]}],"id":7}',
    '{"event":"a","args":["é","日本","\\ud83d\\ude00","\\ud800","\\u0000"],"nsp":"/admin"}',
    '{"event":9007199254740991,"id":9007199254740991}',
    '{"type":"ack","id":1,"args":[]}',
    '{"type":"connect","auth":{"token":"x"},"nsp":"/admin"}',
    '{"type":"disconnect"}',
    '{"type":"ping","data":[1]}',
    '{"event":"a","args":[{"_placeholder":true,"num":0},[{"b":{"_placeholder":true,"num":1}}]],"attachments":[2,0]}',
    "{}",
    '{"event":"a","args":[[[[[[[[]]]]]]]],"id":null}',
)


def message_of(rng: random.Random) -> str | bytes:
    """Make something like a message."""
    text = rubbish(rng) if rng.random() < 0.1 else mutate(rng, rng.choice(VALID), VALID)
    if rng.random() < 0.6:
        return text
    head = text.encode(errors="surrogatepass")
    length = len(head) + rng.choice((0, 0, 0, 0, 1, -1, 1_000, 2**31))
    return max(0, length).to_bytes(4, "big") + head + rng.randbytes(rng.choice((0, 2, 2, 2, 5)))


def test_no_message_breaks_the_json_protocol() -> None:
    """A message that somebody made up would raise what nobody catches, or hold everybody up."""
    rng, watch, codec, serializer = random.Random(SEED), Stopwatch(), JSONCodec(), JSONSerializer()
    again = 0
    most = INPUTS // 4
    while watch.inputs < most:
        message = message_of(rng)
        found = watch.run(codec.decode, message)
        if isinstance(found, Reply):
            json.loads(found.message)
        elif isinstance(found, Packet):
            found.nsp = found.nsp if found.nsp.startswith("/") and "," not in found.nsp else "/"
            check(found)
            again += send_on(codec, serializer, found)
    assert again > most // 50, "too few messages are valid for this to mean anything"
    print(f"JSON protocol: {watch.judge(most)}")


def send_on(codec: JSONCodec, serializer: JSONSerializer, packet: Packet) -> bool:
    """What was received can be sent on to clients of the same kind, and arrives as the same."""
    try:
        frames = serializer.encode(packet)
    except Exception:  # noqa: BLE001 - what the serializer refuses is another test's
        return False
    (outgoing,) = read(frames, serializer)
    message = codec.encode_outgoing(outgoing)
    if packet.type not in (2, 3):
        return False
    assert message is not None
    if isinstance(message, bytes) and len(frames) > 11:
        return False
    same = codec.decode(message)
    assert isinstance(same, Packet)
    assert Packet(same.type, same.nsp or "/", same.data, same.id) == packet
    return True


async def visit(port: int, rng: random.Random) -> None:
    """Be one client that nobody wants."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        query = rng.choice(("", "?auth=message", "?token=x", "?nsp=/admin", "?nsp=%2f%00", "?pid=x&offset=y"))
        head = "\r\n".join((f"GET /ws{query} HTTP/1.1", *REQUEST, "", "")).encode()
        sent = bytearray()
        for _ in range(rng.randint(1, 6)):
            message = message_of(rng)
            if isinstance(message, str):
                sent += client_frame(1, message.encode(errors="surrogatepass"))
            else:
                sent += client_frame(2, message)
        sent += client_frame(rng.choice((0, 1, 2, 8, 9, 10, 11)), rubbish(rng).encode(errors="surrogatepass")[:100])
        for _ in range(rng.choice((0, 0, 1, 4))):
            sent[rng.randrange(len(sent))] = rng.randrange(256)
        writer.write(head + bytes(sent))
        try:
            await writer.drain()
            async with asyncio.timeout(rng.choice((0.0, 0.02, 0.1))):
                await reader.read()
        except (TimeoutError, ConnectionError):
            pass
    finally:
        if rng.random() < 0.5:
            writer.transport.abort()
        writer.close()


async def visited(io: Server, url: str, port: int, rng: random.Random, visits: int) -> None:
    """Let so many clients visit a server while another one asks for echoes, and see that nothing is left of them."""
    async with tcp(url) as honest:
        await honest.open(path="/ws")
        await honest.receive()
        for number in range(0, visits, 10):
            await asyncio.gather(*(visit(port, random.Random(rng.random())) for _ in range(10)))
            honest.send(client_frame(1, json.dumps({"event": "echo", "args": [number], "id": number}).encode()))
            assert json.loads(str(await honest.receive())) == {"type": "ack", "args": [number], "id": number}
        table = io._server.eio.table
        for connection in list(table.by_sid.values())[1:]:
            connection.abort("transport close")
        await eventually(lambda: len(table.by_sid) == len(io.sockets) == 1)
        await eventually(lambda: not table.tasks and not table.leaving)
        assert io.stats().inbound_bytes == 0


async def test_no_client_breaks_the_server(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A client with a bug, or an attacker, would end the connections of all, or stay for ever."""
    io = Server()
    io.of("/admin")

    @io.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    server = await serve(application(io))
    await visited(io, server.url, server.port, random.Random(SEED), 200)
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
