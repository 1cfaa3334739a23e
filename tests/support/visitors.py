"""Clients of every protocol that come, do a little, and leave in good order or not: by bytes, so that they cost little.

Each ``visit_…`` makes one visit to a port of :func:`house`, and its number says how it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from rtframework import ConnectionRefused, History, RateLimit, Server, Socket
from rtframework.types import Handshake
from tests.support.server import HOST, reset
from tests.support.simulation import client_frame

Visit = Callable[[int, int], Awaitable[None]]
"""One visit to a port; visits are numbered."""

_PATH: Final = b"/socket.io/?EIO=4&transport="
_HEAD: Final = b" HTTP/1.1\r\nHost: a\r\nOrigin: http://a\r\n"
_UPGRADE: Final = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_ECHO: Final = b'{"event":"echo","args":["a"],"id":1}'
_ECHOED: Final = b'"type":"ack","args":["a"]'
_REPLIES: Final = b"SUBSCRIBE\nid:2\ndestination:/user/queue/reply\n\n\0"
_IN_SOCKJS: Final = b'["{\\"event\\":\\"echo\\",\\"args\\":[\\"a\\"],\\"id\\":1}"]'
_ECHOED_IN_SOCKJS: Final = b'\\"args\\":[\\"a\\"]'


class Doorman:
    """Refuses who comes with the token ``wrong``."""

    async def authenticate(self, handshake: Handshake) -> Any:
        """Let everybody else in."""
        if handshake.auth.get("token") == "wrong":
            raise ConnectionRefused("Unknown token", {"code": "unknown_token"})
        return {"user": "x" * 100}


def house(*, session_timeout: float = 5.0, **options: Any) -> tuple[Server, web.Application]:
    """Make a server, and an application in which it is attached for every protocol.

    ``session_timeout``: that of SockJS.
    """
    io = Server(auth=Doorman(), rate_limit=RateLimit(refusals=None), history=History("p", size=10), **options)

    @io.on("echo")
    async def echo(socket: Socket, value: str) -> str:
        return value

    @io.on("go")
    async def go(socket: Socket) -> None:
        await socket.disconnect()

    async def say(app: web.Application) -> None:
        for number in range(20):
            await io.to("p").emit("said", number)

    app = web.Application()
    io.attach(app)
    io.attach_websocket(app, "/ws")
    io.attach_sse(app, "/events", rooms=["a", "p"], compress=True)
    io.attach_stomp(app, "/stomp", topics=["a"])
    io.attach_sockjs(app, "/sockjs", session_timeout=session_timeout)
    app.on_startup.append(say)
    return io, app


class Wire:
    """A TCP connection to the server."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, *parts: bytes) -> None:
        """Write bytes."""
        self.writer.write(b"".join(parts))

    def text(self, *messages: bytes) -> None:
        """Write text messages of a websocket."""
        self.writer.write(b"".join([client_frame(1, each) for each in messages]))

    def get(self, target: bytes, more: bytes = b"") -> None:
        """Write a request without a body."""
        self.send(b"GET ", target, _HEAD, more, b"\r\n")

    def post(self, target: bytes, body: bytes) -> None:
        """Write a request with a body."""
        self.send(b"POST ", target, _HEAD, b"Content-Length: %d\r\n\r\n" % len(body), body)

    def upgrade(self, target: bytes, more: bytes = b"") -> None:
        """Write a request for a websocket."""
        self.send(b"GET ", target, _HEAD, more, _UPGRADE)

    async def answer(self) -> tuple[bytes, bytes]:
        """Read the head and the body of a response."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        return head, await self.reader.readexactly(length)

    async def until(self, expected: bytes) -> bytes:
        """Read until something has come, and return all of it."""
        found = b""
        while expected not in found:
            data = await self.reader.read(65_536)
            assert data, (expected, found)
            found += data
        return found

    async def close(self) -> None:
        """Close a websocket in good order."""
        self.send(client_frame(8, b"\x03\xe8"))
        await self.end()

    async def end(self) -> None:
        """Wait until the server has closed."""
        with contextlib.suppress(ConnectionResetError):
            while await self.reader.read(65_536):
                pass


@contextlib.asynccontextmanager
async def connected(port: int, number: int) -> AsyncIterator[Wire]:
    """Connect; at the end hang up, every fourth by RST."""
    wire = Wire(*await asyncio.open_connection(HOST, port))
    try:
        yield wire
    finally:
        if number % 4:
            wire.writer.close()
        else:
            reset(wire.writer.transport)


# --- Socket.IO --------------------------------------------------------------------------------------------------------


async def visit_socketio(port: int, number: int) -> None:
    """Come by polling, by websocket, or by both, send two events, and leave."""
    sid = b""
    async with contextlib.AsyncExitStack() as opened:
        if number % 3:
            wire = await opened.enter_async_context(connected(port, number))
            wire.get(_PATH + b"polling")
            sid = b"&sid=" + (await wire.answer())[1].split(b'"')[3]

            async def post(body: bytes) -> None:
                head = b"POST " + _PATH + b"polling" + sid + _HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
                wire.send(head)
                await asyncio.sleep(0)
                wire.send(body)
                assert (await wire.answer())[1] == b"ok"

            await post(b"40")
            if number % 3 == 1:
                await post(b'420["echo","a"]\x1e421["echo","b"]')
                found = b""
                while b'431["b"]' not in found:
                    wire.get(_PATH + b"polling" + sid)
                    found += (await wire.answer())[1]
                await post(b"1")
                return
        wire = await opened.enter_async_context(connected(port, number))
        wire.upgrade(_PATH + b"websocket" + sid)
        first = [b"2probe", b"5"] if sid else [b"40"]
        wire.text(first[0])
        await wire.until(b"3probe" if sid else b'40{"sid"')
        wire.text(*first[1:], b'420["echo","a"]', b'421["echo","b"]')
        await wire.until(b'431["b"]')
        if number % 2:
            await wire.close()


# --- plain websockets -------------------------------------------------------------------------------------------------


async def visit_websocket(port: int, number: int) -> None:
    """Come by plain websocket, send two events, and leave; or say something that is no message."""
    async with connected(port, number) as wire:
        wire.upgrade(b"/ws")
        wire.text(_ECHO, _ECHO.replace(b'"a"', b'"b"'))
        await wire.until(_ECHOED.replace(b'"a"', b'"b"'))
        if number % 2:
            await wire.close()
        elif number % 3 == 0:
            wire.text(b"no message")
            await wire.until(b"invalid message")


# --- server-sent events -----------------------------------------------------------------------------------------------


async def visit_sse(port: int, number: int) -> None:
    """Open a stream, and leave; or be refused."""
    async with connected(port, number) as wire:
        await _stream(wire, number)


async def visit_sse_post(port: int, number: int) -> None:
    """Open a stream, send an event by POST, and leave; or have the server end the stream."""
    async with connected(port, number) as wire:
        found = await _stream(wire, number)
        session = found.partition(b'"session":"')[2].partition(b'"')[0]
        if not session:
            return
        async with connected(port, number // 4) as other:
            other.post(b"/events?sid=" + session, b'["echo","a"]')
            assert (await other.answer())[1] == b'"a"'
            if number % 6 == 1:
                other.post(b"/events?sid=" + session, b'["go"]')
                await wire.end()


async def _stream(wire: Wire, number: int) -> bytes:
    coding = b"Accept-Encoding: gzip\r\n" if number % 5 == 0 else b""
    last = b"&lastEventId=~x~~y" if number % 7 == 0 else b""
    room = b"b" if number % 11 == 0 else b"p" if number % 2 else b"a"
    wire.get(b"/events?room=" + room + last, coding)
    if room == b"b":
        return await wire.until(b"rooms_not_allowed")
    if coding:  # whose first event is not compressed, as nobody else gets it
        return await wire.until(b"\r\n\r\n")
    return await wire.until(b"recovered")


async def visit_poll(port: int, number: int) -> None:
    """Ask for what came, and ask again; or be refused."""
    async with connected(port, number) as wire:
        room = b"b" if number % 5 == 0 else b"p"
        wire.get(b"/events/poll?room=" + room)
        head, body = await wire.answer()
        if room == b"b":
            assert b" 403 " in head, head
            return
        tag = head.partition(b"ETag: ")[2].partition(b"\r\n")[0]
        wire.get(b"/events/poll?room=p", b"If-None-Match: " + tag + b"\r\n")
        assert b" 304 " in (await wire.reader.readuntil(b"\r\n\r\n"))
        since = body.rpartition(b'"next":"')[2].partition(b'"')[0]
        wire.get(b"/events/poll?room=p&since=" + since)
        assert b'"events":[]' in (await wire.answer())[1]


# --- STOMP ------------------------------------------------------------------------------------------------------------


async def visit_stomp(port: int, number: int) -> None:
    """Subscribe, send an event and leave; or ask for what is not allowed, or leave in the middle of a frame."""
    async with connected(port, number) as wire:
        wire.upgrade(b"/stomp", b"Sec-WebSocket-Protocol: v12.stomp\r\n")
        wire.text(b"CONNECT\naccept-version:1.2\nheart-beat:1000,1000\n\n\0")
        wire.text(b"SUBSCRIBE\nid:1\ndestination:/topic/a\n\n\0", _REPLIES)
        wire.text(b'SEND\ndestination:/app/echo\nreceipt:r\ncorrelation-id:c\n\n"a"\0')
        await wire.until(b"receipt-id:r")
        if number % 5 == 0:
            wire.text(b"SUBSCRIBE\nid:3\ndestination:/topic/b\n\n\0")
            await wire.until(b"ERROR")
        elif number % 5 == 1:
            wire.text(b"BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:/app/echo\n\n1\0SEND\nhalf")
        elif number % 5 == 2:
            wire.text(b"UNSUBSCRIBE\nid:1\n\n\0", b"DISCONNECT\nreceipt:d\n\n\0")
            await wire.until(b"receipt-id:d")
        elif number % 5 == 3:
            await wire.close()


# --- SockJS -----------------------------------------------------------------------------------------------------------


async def visit_sockjs(port: int, number: int) -> None:
    """Come by each transport of SockJS in turn, send a message, and leave; or just go away between two polls."""
    kind = (b"websocket", b"xhr", b"xhr_streaming", b"eventsource", b"htmlfile")[number % 5]
    session = b"/sockjs/0/v%d/" % number
    async with connected(port, number // 5) as wire:
        if kind == b"websocket":
            wire.upgrade(session + kind)
            wire.text(_IN_SOCKJS)
            await wire.until(_ECHOED_IN_SOCKJS)
            if number % 2:
                await wire.close()
            return
        if kind == b"xhr":
            wire.post(session + kind, b"")
            assert (await wire.answer())[1] == b"o\n"
        elif kind == b"xhr_streaming":
            wire.post(session + kind, b"")
            await wire.until(b"o\n\r\n")
        else:
            wire.get(session + kind + (b"?c=callback" if kind == b"htmlfile" else b""))
            await wire.until(b"data: o" if kind == b"eventsource" else b'p("o")')
        if number % 3 == 0:
            return
        query = b"?c=callback" if kind == b"htmlfile" else b""
        async with connected(port, number // 20) as other:
            other.post(session + b"xhr_send" + query, _IN_SOCKJS)
            assert b" 204 " in (await other.reader.readuntil(b"\r\n\r\n"))
            found = b""
            while b'"args' not in found and b"args\\" not in found:
                if kind == b"xhr":
                    wire.post(session + kind, b"")
                    found += (await wire.answer())[1]
                else:
                    found += await wire.until(b"args")
            if number % 3 == 1:
                other.post(session + b"xhr_send" + query, b'["{\\"event\\":\\"go\\"}"]')
                assert b" 204 " in (await other.reader.readuntil(b"\r\n\r\n"))
                if kind == b"xhr":
                    while not found.startswith(b"c["):
                        wire.post(session + kind, b"")
                        found = (await wire.answer())[1]
                else:
                    await wire.end()


# --- who does not get in, or does not stay ----------------------------------------------------------------------------


async def visit_abandoned(port: int, number: int) -> None:
    """Go away half-way through a request, or before its answer; be refused; begin wrongly; join nothing."""
    way = number // 4 % 20
    async with connected(port, number) as wire:
        if way < 6:
            target = (
                b"/ws",
                b"/stomp",
                b"/sockjs/0/a%d/websocket" % number,
                b"/events?room=a",
                b"/events/poll?room=p",
                _PATH + b"websocket",
            )[way]
            request = b"GET " + target + _HEAD + (b"\r\n" if 3 <= way < 5 else _UPGRADE)
            wire.send(request[: len(request) * (number % 3 + 1) // 3])
            await asyncio.sleep(0)
        elif way < 8:
            wire.post(b"/sockjs/0/a%d/xhr" % number if way == 6 else b"/sockjs/0/a%d/xhr_streaming" % number, b"")
            await asyncio.sleep(0)
        elif way == 8:
            wire.upgrade(b"/ws?token=wrong")
            await wire.until(b"refused")
        elif way == 9:
            wire.get(b"/events?room=a&token=wrong")
            head, _ = await wire.answer()
            assert b" 401 " in head, head
        elif way == 10:
            wire.get(b"/events/poll?room=p&token=wrong")
            head, _ = await wire.answer()
            assert b" 401 " in head, head
        elif way == 11:
            wire.upgrade(b"/stomp")
            wire.text(b"CONNECT\naccept-version:1.2\ntoken:wrong\n\n\0")
            await wire.until(b"ERROR")
        elif way == 12:
            wire.upgrade(b"/stomp")
            wire.text(b"SEND\ndestination:/app/echo\n\n1\0")
            await wire.until(b"ERROR")
        elif way == 13:
            wire.upgrade(b"/ws?auth=message")
            wire.text(b"no message" if number % 2 else _ECHO)
            await wire.until(b"error" if number % 2 else b"\r\n\r\n")
        elif way == 14:
            wire.upgrade((b"/ws?auth=message", b"/stomp", b"/ws?nsp=/x")[number % 3])
            await wire.until(b"\r\n\r\n")
        elif way == 15:
            wire.post(b"/sockjs/0/a%d/xhr_streaming?token=wrong" % number, b"")
            await wire.until(b"refused")
            await wire.end()
        elif way == 16:
            wire.upgrade(b"/sockjs/0/a%d/websocket" % number)
            wire.text(b"no array")
            await wire.until(b"\x11\x30")  # the code 4400
        elif way == 17:
            wire.upgrade(_PATH + b"websocket")
            wire.text(b'40{"token":"wrong"}')
            await wire.until(b"44{")
        elif way == 18:
            wire.upgrade(_PATH + b"websocket")
            await wire.until(b"0{")
        else:
            wire.get(_PATH + b"polling")
            await wire.answer()


VISITS: Final[dict[str, Visit]] = {
    "socketio": visit_socketio,
    "plain": visit_websocket,
    "sse": visit_sse,
    "sse-post": visit_sse_post,
    "poll": visit_poll,
    "stomp": visit_stomp,
    "sockjs": visit_sockjs,
    "abandoned": visit_abandoned,
}
"""The visits, by what they are called on the command line."""
