"""``sio.eio``: python-engineio's server as programs reach it."""

from __future__ import annotations

import asyncio
from typing import Any

import engineio
import pytest
from aiohttp.test_utils import make_mocked_request

from rtframework.engine import AsyncServer
from tests.conftest import Serve
from tests.engine import eventually, wire
from tests.support.raw import raw_client


def test_a_packet_is_encoded_once_for_all() -> None:
    """A broadcast through a manager of python-socketio's would be encoded for each client."""
    eio = AsyncServer().eio
    text, binary = engineio.packet.Packet(4, "a"), engineio.packet.Packet(4, b"\x00")
    assert eio.frames_of(text) is eio.frames_of(text)
    assert eio.frames_of(text).polling == "4a"
    assert eio.frames_of(binary).packets == [b"\x00"]


def test_an_environ_is_that_of_python_engineio() -> None:
    """Programs that look for an address or a header would find nothing."""
    request = make_mocked_request("GET", "/socket.io/?a=1", headers={"Host": "example.org", "X-Token": "t"})
    environ = AsyncServer().eio.environ_of(request.clone(remote="10.0.0.1"), ("10.0.0.1", 4711))
    expected = {
        "REMOTE_ADDR": "10.0.0.1",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "example.org",
        "HTTP_X_TOKEN": "t",
        "QUERY_STRING": "a=1",
        "wsgi.url_scheme": "http",
    }
    assert {name: environ[name] for name in expected} == expected


async def test_background_tasks_are_kept() -> None:
    """A task that nobody holds may be collected in the middle of its work."""
    eio = AsyncServer().eio

    async def work(value: int, *, more: int) -> int:
        await asyncio.sleep(0)
        return value + more

    task = eio.start_background_task(work, 1, more=2)
    assert task in eio._background
    assert await task == 3
    await eventually(lambda: not eio._background)


@pytest.mark.parametrize(
    ("cookie", "header"),
    [
        (None, None),
        ("io", "io={sid}; path=/; SameSite=Lax"),
        ({"name": "x", "path": "/a", "HttpOnly": True}, "x={sid}; path=/a; HttpOnly"),
    ],
)
async def test_the_cookie_of_a_session(serve: Serve, cookie: Any, header: str | None) -> None:
    """A proxy that looks at it would send a client's requests to several servers."""
    sio = AsyncServer(cookie=cookie)
    server = await serve(sio)
    async with raw_client(server.url) as raw:
        answer = await raw.request("GET", query={"EIO": "4", "transport": "polling"})
    (sid,) = sio.eio.sockets
    assert answer.headers.get("Set-Cookie") == (None if header is None else header.format(sid=sid))


@pytest.mark.parametrize("behind", [b"", b"\x81\x82\0\0\0\x0040"])
async def test_a_client_that_offers_compression_stays(serve: Serve, behind: bytes) -> None:
    """Browsers offer it with every websocket; python-socketio compresses its first packet then, the drop-in none."""
    sio = AsyncServer()

    async def echo(sid: str, data: Any) -> Any:
        return data

    sio.on("echo", echo)
    server = await serve(sio)
    async with wire(server.url) as tcp:
        await tcp.send(
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
            *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
            body=behind,
        )
        head = await tcp.reader.readuntil(b"\r\n\r\n")
        assert b"Sec-WebSocket-Extensions" not in head
        if not behind:
            await tcp.more(b"\x81\x82\0\0\0\x0040")
        await tcp.more(b"\x81\x90\0\0\0\x00" + b'421["echo","hi"]')
        found = b""
        while b'431["hi"]' not in found:
            data = await tcp.reader.read(4_096)
            assert data, found
            found += data


async def test_disconnecting_closes_connections(serve: Serve) -> None:
    """A program could not end a session."""
    sio = AsyncServer()
    server = await serve(sio)
    async with raw_client(server.url) as one, raw_client(server.url) as two:
        await one.handshake()
        await two.handshake()
        await sio.eio.disconnect("nobody")
        await sio.eio.disconnect(str(one.sid))
        assert [each.connection.is_open for each in sio.eio.sockets.values()] == [False, True]
        await sio.eio.disconnect()
        assert not any(each.connection.is_open for each in sio.eio.sockets.values())
