"""Streams that are compressed."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtframework import Recovery, Server
from rtframework.gateways.event_stream_gzip import blocks_of, stored
from tests.conftest import Serve
from tests.engine import eventually
from tests.gateways.test_sse import serve_events
from tests.integration.test_server_sent_events import LISTEN, serve_page
from tests.support.event_source import stream

if TYPE_CHECKING:
    from tests.support.browser import Pages


@given(st.lists(st.binary(max_size=400) | st.just(b"x" * 70_000), max_size=4))
def test_blocks_of_several_events_are_one_stream(parts: list[bytes]) -> None:
    """A client could not read beyond the first event."""
    decompressor = zlib.decompressobj(-15)
    for part in parts:
        assert decompressor.decompress(blocks_of(part) + stored(part)) == part + part


@pytest.mark.parametrize("recovery", [None, Recovery()])
async def test_each_event_arrives_at_once(serve: Serve, recovery: Recovery | None) -> None:
    """An event would wait in the compressor for the next ones."""
    io = Server(connection_state_recovery=recovery)
    server = await serve_events(serve, io, compress=True, heartbeat=0.05)
    async with stream(f"{server.url}/events", Accept_Encoding="gzip, br") as events:
        await events.next("connect")
        assert events.response.headers["Content-Encoding"] == "gzip"
        for value in ("x", "y" * 1_000, {"é": ["z" * 70_000]}):
            await io.emit("n", value)
            assert await events.data("n") == value
        await events.until(": ping\n\n")
    async with stream(f"{server.url}/events", Accept_Encoding="br, gzip;q=0") as events:
        await events.next("connect")
        assert "Content-Encoding" not in events.response.headers
        assert events.response.headers["Vary"] == "Accept-Encoding"


async def test_the_stream_ends_with_its_checksum(serve: Serve) -> None:
    """Strict readers would take the end of a stream for a failure."""
    io = Server()
    server = await serve_events(serve, io, compress=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /events HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    await eventually(lambda: len(io.sockets) == 1)
    await io.emit("n", "x" * 1_000)
    await next(iter(io.sockets.values())).disconnect()
    text = gzip.decompress(await reader.read())
    assert text.startswith(b"retry: 3000\nevent: connect\n")
    assert b'event: n\ndata: "xxxxx' in text
    assert text.endswith(b"event: disconnect\ndata: null\nid: left~~~\n\n")
    writer.close()


async def test_an_event_is_compressed_once_for_all(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compression would cost its time for each client."""
    io = Server()
    server = await serve_events(serve, io, compress=True)
    made: list[bytes] = []

    def count(data: bytes) -> bytes:
        made.append(data)
        return blocks_of(data)

    monkeypatch.setattr("rtframework.gateways.event_stream_gzip.blocks_of", count)
    url = f"{server.url}/events"
    async with stream(url, Accept_Encoding="gzip") as one, stream(url, Accept_Encoding="gzip") as two:
        await one.next("connect")
        await two.next("connect")
        await io.emit("n", "x" * 1_000)
        assert await one.data("n") == await two.data("n") == "x" * 1_000
        assert len(made) == 1


async def test_a_browser_reads_it(serve: Serve, browser: Pages) -> None:
    """Browsers ask for gzip always: streams would be lost as soon as it is switched on."""
    io = Server(connection_state_recovery=Recovery())
    server = await serve_page(serve, io, compress=True, retry=0.02)
    page = await browser.open(server.url)
    await page.evaluate(LISTEN, "/events")
    await page.wait_for_function("got.length == 1")
    await io.emit("said", "x" * 1_000)
    await page.wait_for_function("got.length == 2")
    await io.emit("said", "short")
    await page.wait_for_function("got.length == 3")
    next(iter(io.sockets.values())).conn.close("transport close")
    await page.wait_for_function("got.length == 4")
    assert await page.evaluate("got[3][1].recovered")
    await page.evaluate("source.close()")
