"""Responses that close their connection: at most one is written, and what follows is not read."""

from __future__ import annotations

import asyncio
import gzip
from functools import cache

import pytest

from rtframework import Limits
from tests.conftest import Serve
from tests.engine import Witness, eventually, join, line, raw_client, wire
from tests.engine.http.test_heads import HANDSHAKE, UPGRADE, closed, statuses


@cache
def bomb() -> bytes:
    """Twenty kilobytes that inflate to twenty megabytes; made once, by the worker of pytest that sends them."""
    return gzip.compress(b"4" * 50_000_000)[:20_000]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-unknown", "identity, gzip"])
async def test_a_compressed_body_is_refused_unread(serve: Serve, coding: str, caplog: pytest.LogCaptureFixture) -> None:
    """A megabyte that inflates to a gigabyte would hold everybody up for seconds."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, wire(server.url) as tcp:
        await join(raw)
        await tcp.send(line(raw, "POST"), f"Content-Encoding: {coding}", "Content-Length: 900000", body=bomb())
        answer = await closed(tcp, within=0.9)
        assert statuses(answer) == [415]
        if coding == "gzip":
            assert answer.endswith(b'{"code":3,"message":"Bad request"}')
            assert await witness.reason() == "transport error", "packets of this client are lost"
    assert "Traceback" not in caplog.text


async def test_a_body_that_is_not_compressed_may_say_so(serve: Serve) -> None:
    """Clients behind libraries that send the header always could not send anything."""
    witness = Witness()
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, wire(server.url) as tcp:
        await join(raw)
        body = b'42["note",1]'
        await tcp.send(line(raw, "POST"), "Content-Encoding: identity", f"Content-Length: {len(body)}", body=body)
        assert await tcp.response() == (200, b"ok")
        await witness.noted(1)


async def test_a_body_that_is_too_large_is_not_drained(serve: Serve) -> None:
    """Each would keep a connection for ten seconds more, and everything that its client sends meanwhile be read."""
    witness = Witness(limits=Limits(max_http_buffer_size=1_000))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, wire(server.url) as tcp:
        await join(raw)
        await tcp.send(line(raw, "POST"), "Content-Length: 900000", body=b"4" * 100_000)
        answer = await closed(tcp, within=0.9)
        assert statuses(answer) == [413]
        assert answer.endswith(b"\r\n\r\n"), "Node's has no body"
        assert b"Connection: close" in answer


async def test_a_client_that_goes_on_sending_is_cut_off(serve: Serve) -> None:
    """Whoever never stops would be read for ever."""
    witness = Witness(limits=Limits(max_http_buffer_size=1_000))
    server = await serve(witness.io)
    async with raw_client(server.url) as raw, wire(server.url) as tcp:
        await join(raw)
        await tcp.send(line(raw, "POST"), "Transfer-Encoding: chunked", body=b"fffff\r\n" + b"4" * 10_000)

        async def go_on() -> None:
            while True:
                await tcp.more(b"4" * 10_000)
                await asyncio.sleep(0.01)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(go_on(), 5)


@pytest.mark.parametrize(
    "length",
    [("Content-Length: 5",), ("Transfer-Encoding: chunked",)],
    ids=["length", "chunked"],
)
async def test_a_websocket_handshake_has_no_body(serve: Serve, length: tuple[str, ...]) -> None:
    """What follows would be body or frames by what came in one segment: a proxy may see another than the server."""
    witness = Witness()
    server = await serve(witness.io)
    async with wire(server.url) as tcp:
        await tcp.send(UPGRADE[0].format(more=""), *UPGRADE[1:], *length, body=b"5\r\nhello\r\n")
        answer = await closed(tcp)
        assert statuses(answer) == [400]
        assert not witness.engine.connections


async def test_a_websocket_handshake_may_say_that_it_has_no_body(serve: Serve) -> None:
    """Clients whose library says so with every request could not connect."""
    server = await serve(Witness().io)
    async with wire(server.url) as tcp:
        await tcp.send(UPGRADE[0].format(more=""), *UPGRADE[1:], "Content-Length: 0")
        assert (await tcp.response())[0] == 101


@pytest.mark.parametrize("together", [True, False], ids=["one segment", "two segments"])
@pytest.mark.parametrize(
    "lines",
    [
        (UPGRADE[0].format(more=""), "Origin: https://evil.org", *UPGRADE[1:]),
        (UPGRADE[0].format(more="&sid=nobody"), *UPGRADE[1:]),
        (UPGRADE[0].format(more=""), *UPGRADE[1:3], "Sec-WebSocket-Version: 12"),
        (HANDSHAKE.format(more=""), *UPGRADE[1:]),
    ],
    ids=["origin", "session", "version", "transport"],
)
@pytest.mark.parametrize("tail", [b"\0" * 60_000, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100], ids=["NULs", "requests"])
async def test_what_follows_a_refused_upgrade_is_thrown_away(
    serve: Serve, lines: tuple[str, ...], tail: bytes, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Four times as much would be written as was sent; and frames be taken for somebody's requests."""
    server = await serve(Witness().io)
    async with wire(server.url) as tcp:
        await tcp.send(*lines, body=tail if together else b"")
        if not together:
            await tcp.more(tail)
        answer = await closed(tcp)
        (status,) = statuses(answer)
        assert 400 <= status < 500
    assert "Traceback" not in caplog.text


async def test_a_client_that_hangs_up_is_let_go_at_once(serve: Serve) -> None:
    """Each refused client would take a connection and a task for a second."""
    server = await serve(Witness().io)
    for _ in range(20):
        async with wire(server.url) as tcp:
            await tcp.send(UPGRADE[0].format(more="&sid=nobody"), *UPGRADE[1:])
            await closed(tcp)
    await eventually(lambda: not server.connections, within=0.9)


async def test_ordinary_refusals_keep_the_connection(serve: Serve) -> None:
    """Behind a proxy that keeps connections, each mistake of a client would cost a new one."""
    server = await serve(Witness().io)
    async with wire(server.url) as tcp:
        for _ in range(3):
            await tcp.send(HANDSHAKE.format(more="&sid=nobody"))
            assert await tcp.response() == (400, b'{"code":1,"message":"Session ID unknown"}')
