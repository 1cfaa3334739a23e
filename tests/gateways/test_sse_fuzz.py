"""Server-sent events against almost valid requests: refused or served, never worse.

The choices are made by a generator with a fixed seed, as in ``tests/engine/test_fuzz.py``; ``RTF_FUZZ_SEED`` and
``RTF_FUZZ_INPUTS`` in the environment mean the same.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Final

import pytest
from aiohttp import web

from rtframework import ConnectionRefused, Handshake, History, Recovery, Server, Tickets
from rtframework.gateways.event_stream import EventId, EventStreamReader, ServerSentEvent
from tests.conftest import Serve
from tests.engine import eventually
from tests.engine.test_fuzz import INPUTS, SEED, Stopwatch, mutate, rubbish
from tests.support.event_source import stream

QUERIES: Final = (
    "room=a&room=chat:1",
    "room=chat:1&history=5",
    "lastEventId=t~pid~x.1~y.2",
    "nsp=/&room=%24a",
    "ticket=eyJ.abc&since=x.17&limit=5",
    "room=%00%ff%ed%a0%80&room=" + "x" * 300,
)
IDS: Final = ("~~~", "t~pid~x.17~y.18", "x.17", "1700000000000-0", "left~~~", "~pid~~", "0")
ACCEPTS: Final = ("text/event-stream", "application/json", "*/*", "text/*;q=0.1, image/png", "text/event-stream;q=0")
STREAM: Final = "event: a\ndata: 1\nid: 7\n\n: x\n\nretry: 10\n\ndata\ndata: {}\n\n"
STATUSES: Final = frozenset({200, 204, 400, 401, 403, 404, 405, 406, 408, 413, 429, 431, 503})


def read(text: str) -> list[ServerSentEvent]:
    """Read a stream."""
    return list(EventStreamReader().feed(text))


def test_no_id_and_no_stream_breaks_the_reader() -> None:
    """A client that comes back with an id that it made up would raise what nobody catches."""
    rng, watch = random.Random(SEED), Stopwatch()
    while watch.inputs < INPUTS // 8:
        text = rubbish(rng) if rng.random() < 0.2 else mutate(rng, rng.choice(IDS), IDS)
        found = watch.run(EventId.parse, text)
        assert found is None or found.text.isascii()
        for event in watch.run(read, mutate(rng, STREAM, (STREAM,))):
            assert "\n" not in event.event
            assert "\0" not in event.id


async def test_no_ticket_breaks_the_authenticator() -> None:
    """A ticket that somebody made up would raise what nobody catches."""
    rng = random.Random(SEED)
    tickets = Tickets("a secret of enough bytes")
    good = tickets.make("ada")

    for _ in range(2_000):
        ticket = mutate(rng, good, (good,))
        if ticket not in ("", good):
            with pytest.raises(ConnectionRefused):
                await tickets.authenticate(Handshake(query={"ticket": ticket}))


async def ask(port: int, request: bytes) -> int:
    """Send a request, and hang up when its status has come. Return that; 0: the server has hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except ConnectionError:
        return 0
    finally:
        writer.close()


async def test_no_request_breaks_the_server(serve: Serve) -> None:
    """A request that somebody made up would end the streams of all."""
    rng = random.Random(SEED)
    io = Server(history=History("chat:{room}"), connection_state_recovery=Recovery(max_sessions=5))
    app = web.Application()
    io.attach_sse(app, rooms=lambda socket, names: True)
    server = await serve(app)
    await io.to("chat:1").emit("said", 1)
    bodies = ('{"event":"a","args":[1]}', '["a",1]', "[]")
    async with stream(f"{server.url}/events?room=a") as other:
        session = (await other.data("connect"))["session"]
        for number in range(400):
            query = mutate(rng, rng.choice(QUERIES), QUERIES).encode(errors="surrogatepass")
            query = b"".join(b"%%%02x" % each if each < 33 or each > 126 else bytes((each,)) for each in query)
            id = mutate(rng, rng.choice(IDS), IDS).encode(errors="surrogatepass").translate(None, b"\r\n\0")
            path = rng.choice((b"/events", b"/events", b"/events/poll"))
            if number % 4:
                head = b"GET %b?%b HTTP/1.%d\r\nHost: x\r\n" % (path, query, rng.choice((0, 1, 1)))
                head += b"Accept: %b\r\nLast-Event-ID: %b\r\n\r\n" % (rng.choice(ACCEPTS).encode(), id)
                status = await ask(server.port, head)
            else:
                body = mutate(rng, rng.choice(bodies), bodies).encode(errors="surrogatepass")
                post = f"POST /events?sid={session} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                status = await ask(server.port, post.encode() + body)
            assert status in STATUSES | {0}, (status, query, id)
        await io.to("a").emit("still", "here")
        assert await other.data("still") == "here"
        assert json.loads(other.events[0].data)["session"] == session
    await eventually(lambda: not io._server.eio.connections)
