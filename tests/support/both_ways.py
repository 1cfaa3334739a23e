"""The same bytes to two servers: to one that serves requests without a task where it may, and to one that never does.

Whatever a client sends, both have to answer the same, and have to be in the same state behind it.
"""

from __future__ import annotations

import asyncio
import random
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeAlias

from aiohttp import web

from rtframework import Limits, Server, Socket
from rtframework.engine import AsyncServer
from rtframework.testing.idle import settle
from rtframework.testing.memory_transport import MemoryTransport
from tests.support.server import see
from tests.support.simulation import client_frame

Step: TypeAlias = tuple[int, bytes]
"""A connection's number, and bytes that come on it; the numbers ``EMIT`` and ``HANG_UP`` are other things to do."""

EMIT: Final = -1
HANG_UP: Final = -2

_NOT_COMPARED: Final = (b"date", b"server")
_IDS: Final = re.compile(rb'"sid":"[\w-]{20}"')
CONNECTIONS: Final = 3
PAGE: Final = b"a page of the program"


@dataclass
class Side:
    """One of the two servers, with the connections of the case that runs."""

    runner: web.AppRunner
    io: Any
    """A ``Server``, or the drop-in's ``AsyncServer``."""
    heard: list[Any]
    wires: list[MemoryTransport] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    def engine(self) -> Any:
        """Its inside."""
        return self.io._server.eio if isinstance(self.io, Server) else self.io.eio

    def connect(self) -> None:
        """Open the connections of a case."""
        self.close()
        server = self.runner.server
        assert server is not None
        self.received = []
        for _ in range(CONNECTIONS):
            end = Received()
            self.received.append(end)
            self.wires.append(MemoryTransport(asyncio.get_running_loop(), server(), far_end=end))

    def close(self) -> None:
        """Cut all connections off, and end the sessions."""
        for each in self.wires:
            each.reset()
        self.wires = []
        for connection in list(self.engine().connections.values()):
            connection.abort("transport close")
        self.heard.clear()

    def state(self) -> Any:
        """All that a case has changed."""
        return {
            "answers": [answers_of(bytes(each.data)) for each in self.received],
            "closed": [each.is_closing() or end.has_ended for each, end in zip(self.wires, self.received, strict=True)],
            "sessions": sorted(
                (sid, each.transport, each.is_open, each.has_poll, each.upgrade is not None)
                for sid, each in self.engine().connections.items()
            ),
            "handshakes": self._handshakes(),
            "heard": list(self.heard),
        }

    def _handshakes(self) -> list[Any]:
        if isinstance(self.io, Server):
            return [_handshake_of(each) for each in self.io.sockets.values()]
        return [_environ_of(each.environ) for each in self.engine().sockets.values()]


def _environ_of(environ: Mapping[str, Any]) -> Any:
    """What a program of python-socketio sees of it, which may look at aiohttp's request, too."""
    its = environ["aiohttp.request"]
    fields = (its.method, its.path_qs, its.rel_url, its.version, its.remote, its.scheme, its.host, its.raw_headers)
    more = (dict(its.query), dict(its.cookies), [*its.headers.items()], its.match_info.route.method)
    return [(name, value) for name, value in environ.items() if isinstance(value, str)], fields, more


def _handshake_of(socket: Socket) -> Any:
    """What a program sees of the request that has opened a connection."""
    its = socket.handshake
    fields = (its.query, its.cookies, its.address, its.secure, its.xdomain, its.url)
    return [*its.headers.items(), *(dict(each) if isinstance(each, Mapping) else each for each in fields)]


class Received:
    """The client's end of a connection."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.has_ended = False

    def feed_data(self, data: bytes) -> None:
        self.data += data

    def feed_eof(self) -> None:
        self.has_ended = True

    def set_exception(self, exc: Exception) -> None:
        pass


def answers_of(data: bytes) -> list[Any]:
    """Take what a server has sent apart: the status, headers and body of each answer, and what follows the last."""
    found: list[Any] = []
    while data.startswith(b"HTTP/"):
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = sorted(
            (name.lower(), value.strip())
            for name, _, value in (line.partition(b":") for line in lines)
            if name.lower() not in _NOT_COMPARED
        )
        named = dict(headers)
        length = int(named.get(b"content-length", b"0"))
        if data.startswith(b"HTTP/"):  # the answer to a HEAD
            length = 0
        body, data = data[:length], data[length:]
        if b"content-encoding" in named:
            body = zlib.decompressobj(47).decompress(body)
            headers = [(name, value) for name, value in headers if name != b"content-length"]
        found.append((first.partition(b" ")[2], headers, _IDS.sub(b"<id>", body)))
    return [*found, _IDS.sub(b"<id>", data)]


def _make_drop_in(heard: list[Any]) -> AsyncServer:
    """The drop-in, with the same handlers."""
    sio = AsyncServer(
        async_mode="aiohttp", cors_allowed_origins=["https://friend.example"], max_http_buffer_size=20_000
    )

    async def note(sid: str, value: Any = None) -> Any:
        heard.append(value)
        return value

    async def disconnect(sid: str, reason: str) -> None:
        heard.append(reason)

    sio.on("note", note)
    sio.on("disconnect", disconnect)
    return sio


def _make_server(heard: list[Any], **options: Any) -> Server:
    io = Server(
        allow_eio3=True,
        cors_allowed_origins=["https://friend.example"],
        limits=Limits(max_http_buffer_size=20_000),
        **options,
    )

    @io.on("note")
    def note(socket: Socket, value: Any = None) -> Any:
        heard.append(value)
        return value

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str) -> None:
        heard.append(reason)

    return io


async def _side(*, directly: bool, drop_in: bool, **options: Any) -> Side:
    app = web.Application(middlewares=() if directly else (see,))
    heard: list[Any] = []
    io: Any = _make_drop_in(heard) if drop_in else _make_server(heard, **options)
    io.attach(app)

    async def page(request: web.Request) -> web.Response:
        return web.Response(body=PAGE + await request.read())

    app.router.add_route("*", "/page", page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    return Side(runner, io, heard)


async def run(sides: Sequence[Side], steps: Sequence[Step]) -> list[Any]:
    """Do these steps with each server. Return what has become of each."""
    found = []
    for side in sides:
        side.connect()
        numbers = count(1)
        handshakes: Any = side.engine().handshakes
        handshakes._generate_id = lambda numbers=numbers: f"session-{next(numbers):012}"
        await settle()
        for number, data in steps:
            if number == EMIT:
                await side.io.emit("news", data.decode("latin-1"))
            elif number == HANG_UP:
                side.wires[data[0]].hang_up()
                await settle()
                for connection in list(side.engine().connections.values()):
                    connection.look()  # as the heartbeat does: aiohttp tells nobody of a client that has hung up
            else:
                side.wires[number].send(data)
            await settle()
        found.append(side.state())
        side.close()
        await settle()
    return found


class BothWays:
    """Two servers that differ in nothing but the way in which they serve requests; ``drop_in``: of python-socketio."""

    def __init__(self, *, drop_in: bool = False, **options: Any) -> None:
        self._options = {"drop_in": drop_in, **options}
        self.sides: list[Side] = []

    async def __aenter__(self) -> BothWays:
        self.sides = [await _side(directly=each, **self._options) for each in (True, False)]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for each in self.sides:
            each.close()
            await settle()
            await each.runner.cleanup()

    async def check(self, steps: Sequence[Step]) -> Any:
        """Do these steps with both. Return what has become of them. Raises ``AssertionError`` if it is not the same."""
        directly, by_aiohttp = await run(self.sides, steps)
        assert directly == by_aiohttp, f"\n{steps!r}\ndirectly:   {directly!r}\nby aiohttp: {by_aiohttp!r}"
        return directly


def check_both(cases: Iterable[Sequence[Step]], *, drop_in: bool = False) -> list[Any]:
    """Do the steps of these cases with both, in an event loop that shows when nothing more will come."""

    async def check() -> list[Any]:
        async with BothWays(drop_in=drop_in) as both:
            return [await both.check(steps) for steps in cases]

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(check())


# --- made-up cases ------------------------------------------------------------------------------------------------


HEADERS: Final = (
    b"Connection: keep-alive",
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    b"Accept: */*",
    b"Accept-Encoding: gzip, deflate, br, zstd",
    b"Accept-Encoding: identity",
    b"Accept-Language: en-GB,en;q=0.9",
    b"Referer: http://a/",
    b"Cookie: session=0123456789abcdef; b=c",
    b"Origin: http://a",
    b"Origin: https://friend.example",
    b"Pragma: no-cache",
    b"Cache-Control: no-cache",
)
ODD: Final = (
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Content-Length: 2",
    b"Content-Length: 0",
    b"Content-Length: +2",
    b"Content-Length: 2, 2",
    b"Expect: 100-continue",
    b"Origin: https://enemy.example",
    b"Origin: null",
    b"Origin:",
    b"Connection: close",
    b"Proxy-Connection: close",
    b"Proxy-Connection: keep-alive",
    b"TE: trailers",
    b"Trailer: a",
    b"Keep-Alive: 1",
    b"HTTP2-Settings: a",
    b"Sec-WebSocket-Key1: a",
    b"x-own: b",
    b"X-Own: b",
    b"sec-fetch-mode: cors",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Host: b",
    b"Host:",
    b"Content-Encoding: gzip",
    b"Content-Encoding: identity",
    b"Content-Type: application/octet-stream",
    b"Content-Type: text/plain;charset=UTF-8",
    b" folded",
    b"\tfolded",
    b"X-A: b\nX-C: d",
    b"X-A: b\x00c",
    b"X-A: \xe9\xff",
    b"X-A : b",
    b"X(A): b",
    b": b",
    b"X-A",
    b"X-A:",
    b"X-A:b",
    b"X-A: b \t",
    b"X-A:\tb",
    b"X-A: \x7f",
    b"X-A: " + b"b" * 9_000,
    b"X-A: " + b"b" * 40_000,
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Sec-WebSocket-Protocol: a, b",
    b"X-Forwarded-For: 203.0.113.7",
)
BODIES: Final = (
    b"40",
    b'42["note",1]',
    b'420["note","\xc3\xa9"]\x1e3',
    b"1",
    b"3",
    b"2",
    b"x",
    b"",
    b"bAQID",
    b"4\xff",
    b'42["note",1]\x1e' * 400 + b"3",
    b'42["note","' + b"a" * 3_000 + b'"]',
    b'42["note","' + b"a" * 30_000 + b'"]',
    b"2:40",
    b'12:42["note",1]',
)
SID: Final = b"session-000000000001"
_WEBSOCKET: Final = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def request(method: bytes, target: bytes, headers: Sequence[bytes] = (), body: bytes | None = None) -> bytes:
    """Write a request."""
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: a", *headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join((*lines, b"", body or b""))


def target(transport: bytes, sid: bytes = b"", more: bytes = b"", version: bytes = b"4") -> bytes:
    """Write the target of a request of the protocol."""
    session = b"&sid=" + sid if sid else b""
    return b"/socket.io/?EIO=" + version + b"&transport=" + transport + b"&t=abc" + session + more


OPENING: Final = request(b"GET", target(b"polling"), HEADERS[:4])
PLAIN: Final[tuple[bytes, ...]] = (
    OPENING,
    request(b"GET", target(b"polling", SID), HEADERS[:4]),
    request(b"POST", target(b"polling", SID), HEADERS[:4], b"40"),
    request(b"GET", target(b"websocket", SID), _WEBSOCKET) + client_frame(1, b"2probe"),
    request(b"GET", target(b"websocket"), _WEBSOCKET) + client_frame(1, b"40"),
    request(b"GET", b"/page"),
    request(b"OPTIONS", target(b"polling"), (HEADERS[9], b"Access-Control-Request-Method: POST")),
)


def steps_of(rng: random.Random) -> list[Step]:
    """Make up what clients send: mostly what browsers send, with a few things wrong."""
    steps: list[Step] = []
    if rng.random() < 0.9:
        version = rng.choice((b"4", b"4", b"4", b"3"))
        steps.append((0, request(b"GET", target(b"polling", version=version), rng.sample(HEADERS, 3))))
        if rng.random() < 0.8:
            steps.append((0, request(b"POST", target(b"polling", SID), (), b"40" if version == b"4" else b"2:40")))
        if rng.random() < 0.5:
            steps.append((1, request(b"GET", target(b"polling", SID), HEADERS[:4])))
    for _ in range(rng.randint(1, 4)):
        number = rng.randrange(CONNECTIONS)
        roll = rng.random()
        if roll < 0.08:
            steps.append((EMIT, rng.choice((b"a", b"b" * 2_000))))
            continue
        if roll < 0.12:
            steps.append((HANG_UP, bytes((number,))))
            continue
        data = b"".join(_request(rng) for _ in range(rng.choice((1, 1, 1, 1, 2, 3))))
        data = _broken(rng, data)
        steps += [(number, piece) for piece in _pieces(rng, data)]
    if len(steps) > 1 and rng.random() < 0.3:  # something else between two pieces
        at = rng.randrange(len(steps) - 1)
        if steps[at][0] != steps[at + 1][0]:
            steps[at : at + 2] = reversed(steps[at : at + 2])
    return steps


def _request(rng: random.Random) -> bytes:
    transport = rng.choice((b"polling",) * 6 + (b"websocket", b"websocket", b"x", b""))
    sid = rng.choice((SID, SID, SID, b"", b"nobody"))
    more = rng.choice(
        (b"",) * 12 + (b"&j=1", b"&b64=1", b"%", b"%26", b"+", b"#a", b"&sid=", b"&&", b"\xe9", b'"', b"<")
    )
    where = target(transport, sid, more, rng.choice((b"4", b"4", b"4", b"4", b"3", b"5", b"")))
    where = rng.choice(
        (where,) * 20 + (b"http://a" + where, b"/page", b"*", b"//socket.io/", where[:11], b"/socket.io/x")
    )
    method = rng.choice((b"GET",) * 8 + (b"POST",) * 6 + (b"OPTIONS", b"HEAD", b"PUT", b"get", b"CONNECT", b"PRI"))
    headers = rng.sample(HEADERS, rng.randint(0, 5))
    if transport == b"websocket":
        headers += _WEBSOCKET
    for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2))):
        headers.insert(rng.randint(0, len(headers)), rng.choice(ODD))
    body = rng.choice(BODIES) if method == b"POST" or rng.random() < 0.05 else None
    data = request(method, where, headers, body)
    if transport == b"websocket" and rng.random() < 0.7:
        data += client_frame(1, rng.choice((b"2probe", b"40", b"5", b"x")))
    if rng.random() < 0.03:
        data = data.replace(
            b"HTTP/1.1", rng.choice((b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/11", b"http/1.1")), 1
        )
    return data


def _broken(rng: random.Random, data: bytes) -> bytes:
    """Break a few bytes, most times none."""
    roll = rng.random()
    if roll < 0.75:
        return data
    if roll < 0.8:
        return data.replace(b"\r\n", b"\n", rng.choice((1, 2, 99)))
    if roll < 0.82:
        return rng.choice((b"\r\n", b"\n", b" ", b"\0")) + data
    broken = bytearray(data)
    head = data.find(b"\r\n\r\n") + 4
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(max(4, head))
        change = rng.randrange(3)
        if change == 0:
            broken[at : at + 1] = bytes((rng.choice((0, 9, 10, 13, 32, 34, 58, 127, 128, 255, rng.randrange(256))),))
        elif change == 1:
            del broken[at : at + rng.randint(1, 3)]
        else:
            broken[at:at] = bytes((rng.choice((0, 9, 10, 13, 32, 58, rng.randrange(256))),))
    return bytes(broken)


def _pieces(rng: random.Random, data: bytes) -> list[bytes]:
    """Cut what is sent, most times not at all."""
    if rng.random() < 0.6 or len(data) < 2:
        return [data]
    cuts = sorted(rng.sample(range(1, len(data)), min(rng.randint(1, 3), len(data) - 1)))
    behind = data.find(b"\r\n\r\n") + 4
    if 4 <= behind < len(data) and rng.random() < 0.5:  # as browsers do
        cuts = [behind] if rng.random() < 0.6 else sorted({behind, rng.randrange(behind, len(data))})
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
