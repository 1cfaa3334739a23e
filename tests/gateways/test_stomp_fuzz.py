"""STOMP against almost valid bytes: refused or served, never worse.

The choices are made by a generator with a fixed seed, as in ``tests/engine/test_fuzz.py``; ``RTF_FUZZ_SEED`` and
``RTF_FUZZ_INPUTS`` in the environment mean the same.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any, Final

import pytest
from aiohttp import web

from rtframework import Server, Socket
from rtframework.gateways.stomp_bodies import read_args
from rtframework.gateways.stomp_frames import V11, V12, Frame, StompError, StompReader, encode_frame
from tests.conftest import Serve
from tests.engine import eventually
from tests.engine.test_fuzz import INPUTS, SEED, Stopwatch, mutate, rubbish
from tests.support.simulation import client_frame
from tests.support.stomp import StompPeer, stomp
from tests.support.websocket import REQUEST

VALID: Final = (
    "CONNECT\naccept-version:1.2,1.1\nhost:a\nheart-beat:0,10000\nlogin:a:b\n\n\0",
    "STOMP\r\naccept-version:1.1\r\nheart-beat:1,1\r\n\r\n\0\r\n",
    'SEND\ndestination:/app/echo\ncontent-type:application/json\nreceipt:1\ncontent-length:9\n\n{"a":[1]}\0',
    "SEND\ndestination:/app/echo\ncontent-type:text/plain;charset=utf-8\ntransaction:t\n\ntext\0\n",
    "SEND\ndestination:/app/echo\nargs:2\ncorrelation-id:a\\cb\nreply-to:/user/queue/x\n\n[1,2]\0",
    'SEND\ndestination:/app/a\nattachments:2,0\nargs:1\n\n[{"_placeholder":true,"num":0}]ab\0',
    "SEND\ndestination:/reply/1\ncontent-type:application/octet-stream\ncontent-length:3\n\n\0\1\2\0",
    "SUBSCRIBE\nid:1\ndestination:/topic/open\nack:client\nreceipt:r\\n\n\n\0",
    "SUBSCRIBE\nid:2\ndestination:/user/queue/*\nack:client-individual\n\n\0",
    "SUBSCRIBE\nid:3\ndestination:/app/echo\n\n\0",
    "UNSUBSCRIBE\nid:1\n\n\0",
    "ACK\nid:1.2-3\n\n\0NACK\nid:2.1\nmessage-id:1\nsubscription:2\n\n\0",
    "BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0ABORT\ntransaction:t\n\n\0",
    "DISCONNECT\nreceipt:77\n\n\0",
    "\n\r\n\n",
)


def data_of(rng: random.Random) -> bytes:
    """Make something like frames."""
    text = rubbish(rng) if rng.random() < 0.1 else "".join(rng.choices(VALID, k=rng.choice((1, 1, 2, 3))))
    return mutate(rng, text, VALID).encode(errors="surrogatepass")


def read_all(data: bytes) -> list[tuple[str, dict[str, str], bytes, Any]]:
    """Read what has come, whole and in two pieces, which makes no difference."""
    found: list[list[Frame]] = []
    mistakes: list[StompError | None] = []
    middle = len(data) // 2
    for pieces in ((data,), (data[:middle], data[middle:]), tuple(data[at : at + 1] for at in range(len(data)))):
        reader, frames, mistake = StompReader(3_000), [], None
        for piece in pieces:
            try:
                frames += reader.feed(piece)
            except StompError as error:
                frames += error.frames
                mistake = error
                break
        found.append(frames)
        mistakes.append(mistake)
    seen = [[(each.command, each.headers, each.body, each.size) for each in frames] for frames in found]
    assert seen[0] == seen[1] == seen[2], f"it matters how {data!r} comes: {seen}"
    if mistakes[0] is not None:
        raise mistakes[0]
    assert mistakes[1] is mistakes[2] is None, f"it matters how {data!r} comes: {mistakes}"
    read = []
    for frame in found[0]:
        for version in (V11, V12):
            try:
                headers = frame.unescaped(version)
                args = read_args(headers, frame.body, max_attachments=10)
            except StompError:
                continue
            assert type(args) is list
            read.append((frame.command, headers, frame.body, args))
    return read


def test_no_bytes_break_the_reader() -> None:
    """Bytes that somebody made up would raise what nobody catches, or hold everybody up."""
    rng, watch = random.Random(SEED), Stopwatch()
    most, again = INPUTS // 10, 0
    while watch.inputs < most:
        for command, headers, body, _ in watch.run(read_all, data_of(rng)) or ():
            again += send_on(command, headers, body)
    assert again > most // 50, "too few frames are valid for this to mean anything"
    print(f"STOMP: {watch.judge(most)}")


def send_on(command: str, headers: dict[str, str], body: bytes) -> bool:
    """What was received can be sent on, and arrives as the same."""
    if command in ("CONNECT", "STOMP", "CONNECTED") or "content-length" in headers:
        return False
    lines = [(name, value) for name, value in headers.items() if name]
    written = encode_frame(command, lines, body, version=V12)
    (frame,) = StompReader(100_000).feed(written)
    found = frame.unescaped(V12)
    found.pop("content-length", None)
    assert (frame.command, found, frame.body) == (command, headers, body)
    return True


async def visit(port: int, rng: random.Random) -> None:
    """Be one client that nobody wants."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = "\r\n".join(("GET /stomp HTTP/1.1", *REQUEST, "", "")).encode()
        sent = bytearray()
        if rng.random() < 0.8:
            sent += client_frame(1, VALID[rng.randrange(2)].encode())
        for _ in range(rng.randint(1, 8)):
            data = data_of(rng)
            cut = rng.choice((0, 0, rng.randint(0, len(data))))
            for piece in (data[:cut], data[cut:]):
                sent += client_frame(rng.choice((1, 2)), piece)
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


def application(io: Server) -> web.Application:
    """Make an application for :func:`visited`."""
    app = web.Application()
    io.attach_stomp(app, topics="open")

    @io.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    return app


async def visited(io: Server, url: str, port: int, rng: random.Random, visits: int) -> None:
    """Let so many clients visit a server while another one asks for echoes, and see that nothing is left of them."""
    honest = await StompPeer.connect(url, "", {})
    for number in range(0, visits, 10):
        await asyncio.gather(*(visit(port, random.Random(rng.random())) for _ in range(10)))
        honest.send(stomp("SEND", json.dumps(number), destination="/app/echo", correlation_id=number))
        got = await honest.next()
        while got.headers.get("correlation-id") != str(number):
            got = await honest.next()
        assert got.args == [number]
    table = io._server.eio.table
    for connection in list(table.by_sid.values())[1:]:
        connection.abort("transport close")
    await eventually(lambda: len(table.by_sid) == len(io.sockets) == 1)
    await eventually(lambda: not table.tasks and not table.leaving)
    assert io.stats().inbound_bytes == 0
    honest.drop()
    await eventually(lambda: not io.sockets)


async def test_no_client_breaks_the_server(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A client with a bug, or an attacker, would end the connections of all, or stay for ever."""
    io = Server()
    server = await serve(application(io))
    await visited(io, server.url, server.port, random.Random(SEED), 200)
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
