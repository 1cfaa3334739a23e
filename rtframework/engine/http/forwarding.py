"""A request that another worker serves, on a connection that cannot be passed on to it: behind TLS, or pipelined.

The request goes through a socket that is made for it, and the response comes back the same way. A websocket is relayed
for as long as it lasts.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, cast

from aiohttp import ClientConnectionResetError, HttpVersion11, web
from multidict import CIMultiDict

from ..closed_transport import release
from ..handover import Neighbours, Peer
from .detach import Answered, take_over

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter, Transport

_END: Final = b"\r\n\r\n"
_PIECE: Final = 65_536
_LARGEST_HEAD: Final = 131_072
"""Bytes of the head of a response."""
_OF_ONE_CONNECTION: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "expect", "proxy-connection"})
"""Headers that are between two ends of a connection (RFC 9110, 7.6.1)."""


async def forward(request: web.BaseRequest, slot: int, neighbours: Neighbours, site: int) -> web.StreamResponse | None:
    """Have another worker serve a request. Return what the request's handler is to return; ``None``: it has gone."""
    ours, theirs = socket.socketpair()
    with theirs:
        peer = Peer(request.protocol.peername, request.secure)
        passed = neighbours.pass_on(slot, theirs.fileno(), _head_of(request), site=site, peer=peer)
    if not passed:
        ours.close()
        return None
    ours.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours, limit=_LARGEST_HEAD)
    relayed = False
    sending = asyncio.get_running_loop().create_task(_send_body(request, writer))
    try:
        response = await _respond(request, reader, writer)
        relayed = isinstance(response, Answered)
        return response
    finally:
        sending.cancel()
        if not relayed:
            writer.close()


def _head_of(request: web.BaseRequest) -> bytes:
    """Write the head of a request as it came, for a connection of its own."""
    upgrades = "Upgrade" in request.headers
    is_coded = "Content-Encoding" in request.headers  # refused by the head alone; aiohttp would inflate the body
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.raw_path.encode(errors="surrogateescape"))]
    for name, value in request.raw_headers:
        lowered = name.lower().decode("latin-1")
        if lowered == "connection" and upgrades:
            lines.append(b"Connection: " + value)
        elif lowered not in _OF_ONE_CONNECTION and not (is_coded and lowered == "content-length"):
            lines.append(name + b": " + value)
    if not upgrades:
        lines.append(b"Connection: close")
    if is_coded:
        lines.append(b"Content-Length: 0")
    elif _is_chunked(request):
        lines.append(b"Transfer-Encoding: chunked")
    return b"\r\n".join(lines) + _END


def _is_chunked(request: web.BaseRequest) -> bool:
    return "Transfer-Encoding" in request.headers


async def _send_body(request: web.BaseRequest, writer: StreamWriter) -> None:
    """Send the body of a request, as fast as it comes and is taken."""
    is_chunked = _is_chunked(request)
    if "Content-Encoding" in request.headers or not (is_chunked or request.can_read_body):
        return
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        transport = request.transport
        if transport is not None:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        while data := await request.content.readany():
            writer.write(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)
            await writer.drain()
        if is_chunked:
            writer.write(b"0\r\n\r\n")
    except (OSError, web.RequestPayloadError):  # the response says how it ends
        writer.close()


async def _respond(request: web.BaseRequest, reader: StreamReader, writer: StreamWriter) -> web.StreamResponse:
    """Send the response on."""
    try:
        head = await reader.readuntil(_END)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
        return web.Response(status=502)  # that worker has gone
    first, *lines = head[: -len(_END)].split(b"\r\n")
    status = int(first.split(b" ", 2)[1])
    if status == 101:
        return _relay(request, head, reader, writer)
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, _, value = line.decode("utf-8", "surrogateescape").partition(":")
        headers.add(name, value.strip())
    is_chunked = headers.get("Transfer-Encoding", "").lower() == "chunked"
    response = web.StreamResponse(
        status=status,
        reason=(first.split(b" ", 2)[2:] or [b""])[0].decode("latin-1"),
        headers=CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OF_ONE_CONNECTION),
    )
    if "close" in headers.get("Connection", "").lower() and not is_chunked and "Content-Length" not in headers:
        response.force_close()
    await response.prepare(request)
    try:
        await (_copy_chunks if is_chunked else _copy)(reader, response)
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        raise ConnectionResetError("the worker has gone") from None
    except ClientConnectionResetError:  # the client has gone
        return response
    await response.write_eof()
    return response


async def _copy(reader: StreamReader, response: web.StreamResponse) -> None:
    left = response.content_length
    while data := await reader.read(_PIECE):
        if left is not None:
            left -= len(data)
        await response.write(data)
    if left:
        raise asyncio.IncompleteReadError(b"", left)


async def _copy_chunks(reader: StreamReader, response: web.StreamResponse) -> None:
    while size := int((await reader.readline()).partition(b";")[0], 16):
        while size:
            data = await reader.read(min(size, _PIECE))
            if not data:
                raise asyncio.IncompleteReadError(b"", size)
            size -= len(data)
            await response.write(data)
        await reader.readexactly(2)


# --- websockets -------------------------------------------------------------------------------------------------------


class _Relay(asyncio.Protocol):
    """The client's end of a websocket of another worker: what the client sends goes there."""

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._client: Transport | None = None
        self._pump: asyncio.Task[None] | None = None

    def begin(self, client: Transport, reader: StreamReader, rest: bytes) -> None:
        """Relay until one of both ends hangs up."""
        self._client = client
        if rest:
            self.data_received(rest)
        self._pump = asyncio.get_running_loop().create_task(self._bring_back(client, reader))

    def data_received(self, data: bytes) -> None:
        self._writer.write(data)
        if self._client is not None and self._writer.transport.get_write_buffer_size() > _PIECE:
            self._client.pause_reading()
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            return
        if self._client is not None:
            self._client.resume_reading()

    async def _bring_back(self, client: Transport, reader: StreamReader) -> None:
        try:
            while data := await reader.read(_PIECE):
                client.write(data)
                await self._may_write.wait()
        except OSError:
            pass
        finally:
            client.close()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        release(self._client)
        self._client = None
        self._may_write.set()
        self._writer.close()


def _relay(request: web.BaseRequest, head: bytes, reader: StreamReader, writer: StreamWriter) -> web.StreamResponse:
    """Answer the handshake of a websocket, and relay what follows."""
    client = request.transport
    if client is None:
        return web.Response(status=400)  # nobody will read it
    relay = _Relay(writer)
    rest = take_over(cast("web.Request", request), relay, head)
    relay.begin(client, reader, rest)
    return Answered(101)
