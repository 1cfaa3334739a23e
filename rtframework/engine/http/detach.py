"""Answering without aiohttp, and taking a TCP connection away from it once a request to upgrade it has been answered.

aiohttp keeps two tasks, the request, its parser, its headers and a queue for each websocket, and wakes a task for each
message. None of that is needed after the handshake: the socket's bytes go to a protocol of the engine's own, and all
that aiohttp held is freed. What is used of aiohttp has no leading underscore, but is not described either: tests watch
it (tests/test_seams.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, cast

from aiohttp import HttpVersion11, web

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.abc import AbstractStreamWriter

    from .protocol import HttpProtocol


class Answered(web.StreamResponse):
    """The response of a handler that has answered by itself: there is nothing left for aiohttp to send."""

    def __init__(self, status: int, *, length: int = 0, keep_alive: bool = False) -> None:
        super().__init__(status=status)
        self._length = length
        self._goes_on = keep_alive

    @property
    def prepared(self) -> bool:
        """True when the headers have been sent, as they have."""
        return True

    @property
    def keep_alive(self) -> bool | None:
        """True when another request may follow on this connection."""
        return self._goes_on

    @property
    def body_length(self) -> int:
        """The size of the body in bytes, for the access log."""
        return self._length

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Do nothing: the headers have been sent."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the body has been sent."""


class _Rest:
    """A parser of aiohttp's that keeps what has come behind a request to upgrade."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: the new protocol is told of the end."""


def can_write(request: web.Request) -> bool:
    """Return whether an answer may be written straight to the connection, with nothing that others would add to it."""
    transport = request.transport
    return (
        transport is not None
        and not transport.is_closing()
        and request.keep_alive
        and "Upgrade" not in request.headers  # behind which the connection is closed
        and request.version == HttpVersion11
        and not request.protocol.writing_paused
        and (request.task is None or not (has_hooks(request) or has_middlewares(request)))
    )


def write(request: web.Request, head: bytes, headers: Mapping[str, str], body: bytes) -> Answered:
    """Answer a request in one write, if ``can_write``; ``head`` is the status line and the headers that are its own."""
    transport = request.transport
    assert transport is not None
    more = b"".join(map(header_line, headers.items())) if headers else b""
    transport.write(b"%b%bDate: %b\r\nContent-Length: %d\r\n\r\n%b" % (head, more, _date(), len(body), body))
    return _WRITTEN if request.task is None else Answered(200, length=len(body), keep_alive=True)


_WRITTEN: Final = Answered(200)
"""For requests that are served directly, whose response nobody sees."""

_USER_TIMEOUT: Final[int | None] = getattr(socket, "TCP_USER_TIMEOUT", None)

_dated = (0, b"")


def _date() -> bytes:
    """Format the time for a ``Date`` header (RFC 9110, 6.6.1), once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, formatdate(now, usegmt=True).encode())
    return _dated[1]


def take_over(request: web.Request, protocol: asyncio.Protocol, answer: bytes) -> bytes:
    """Answer a request and give its connection to another protocol. Return the bytes that came behind the request.

    The request's handler has to return an ``Answered`` without waiting for anything in between. Raises
    ``ConnectionResetError`` when the client has gone.
    """
    handler, transport = request.protocol, request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has gone")
    if request.task is None:  # it has been served directly
        transport.write(answer)
        transport.set_protocol(protocol)
        return cast("HttpProtocol", handler).leave()
    rest = _Rest()
    handler.set_parser(rest)  # type: ignore[arg-type]  # it is used as any parser
    transport.write(answer)
    transport.set_protocol(protocol)
    # aiohttp cleans up as if the connection were lost, but cannot close what it does not have any more.
    handler.transport = None
    handler.force_close()
    asyncio.get_running_loop().call_soon(handler.connection_lost, None)
    return rest.data


def limit_silence(transport: asyncio.BaseTransport, seconds: float) -> None:
    """Have the kernel give a client up that has not acknowledged for so long what was sent (``TCP_USER_TIMEOUT``).

    Nothing comes back from the client of a stream: nobody else can tell.
    """
    sock = transport.get_extra_info("socket")
    if sock is not None and _USER_TIMEOUT is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, round(seconds * 1000))


_SWITCHED: Final = Answered(101)


def begin_websocket(
    request: web.Request, websocket: asyncio.Protocol, answer: bytes, then: Callable[[], None] | None = None
) -> Answered:
    """Answer a request, and give its TCP connection to a websocket; ``then`` is called before that reads anything."""
    rest = take_over(request, websocket, answer)
    if then is not None:
        then()
    if rest:
        websocket.data_received(rest)
    return _SWITCHED if request.task is None else Answered(101)


def header_line(header: tuple[str, str]) -> bytes:
    """Make one line of a response's head. Raises ``ValueError`` for what would be more than one."""
    name, value = header
    if "\r" in value or "\n" in value or "\r" in name or "\n" in name:
        raise ValueError(f"a header is one line, not {name!r}: {value!r}")
    return f"{name}: {value}\r\n".encode()


def has_hooks(request: web.Request) -> bool:
    """Return whether an application on the way wants to see responses that are sent (``on_response_prepare``)."""
    return any(app.on_response_prepare for app in request.match_info.apps)


def has_middlewares(request: web.Request) -> bool:
    """Return whether an application on the way may change what a handler returns."""
    return any(app.middlewares for app in request.match_info.apps)


async def run_hooks(request: web.Request, response: web.StreamResponse) -> list[tuple[str, str]]:
    """Show the response to the applications on the way. Return the headers that it has after that."""
    for app in request.match_info.apps:
        await app.on_response_prepare.send(request, response)
    return lines_of(response)


def lines_of(response: web.StreamResponse) -> list[tuple[str, str]]:
    """List the headers of a response, cookies among them."""
    cookies = [("Set-Cookie", cookie.output(header="").strip()) for cookie in response.cookies.values()]
    return [*response.headers.items(), *cookies]
