"""Polling of python-socketio's programs, on both libraries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from rtframework.engine import AsyncServer
from rtframework.engine.python_socketio import polling
from tests.conftest import Serve
from tests.support.libraries import LIBRARIES, MAKERS
from tests.support.raw import RawClient, raw_client
from tests.support.until import until


def echoing(library: str) -> tuple[AsyncServer, list[int]]:
    """Make a server that notes what comes."""
    sio: AsyncServer = MAKERS[library]()
    seen: list[int] = []

    @sio.event
    async def note(sid: str, number: int) -> None:
        seen.append(number)

    @sio.event
    async def echo(sid: str, number: int) -> int:
        return number

    return sio, seen


def polling_of(sio: AsyncServer) -> polling.PatientPollingTransport:
    """Return the transport of the only client."""
    (connection,) = sio.eio.connections.values()
    transport = connection.polling
    assert isinstance(transport, polling.PatientPollingTransport)
    return transport


async def in_two_pieces(first: bytes, go_on: asyncio.Event, second: bytes) -> AsyncIterator[bytes]:
    """Send the body of a POST, the second piece when it is time."""
    yield first
    await go_on.wait()
    yield second


@pytest.mark.parametrize("library", LIBRARIES)
async def test_posts_may_overlap(serve: Serve, library: str) -> None:
    """A client that does not wait for the answer to its POST, as several do, would lose its session."""
    sio, seen = echoing(library)
    async with raw_client((await serve(sio)).url) as raw:
        await raw.handshake()
        await raw.post("40")
        await raw.receive()
        answers = await asyncio.gather(*[raw.post(f'42["note",{number}]') for number in range(8)])
        assert [answer.status for answer in answers] == [200] * 8
        await raw.post('421["echo",1]')
        assert await raw.receive() == "431[1]"
    assert sorted(seen) == list(range(8))


async def slow_post(raw: RawClient, go_on: asyncio.Event) -> int:
    """Send a POST whose body comes in two pieces. Return the status of the answer."""
    body = in_two_pieces(b'42["no', go_on, b'te",1]')
    async with raw._session.post(
        raw.endpoint, params=raw.query("polling"), data=body, headers={"Content-Type": "text/plain"}
    ) as response:
        return response.status


async def test_posts_keep_their_order(serve: Serve) -> None:
    """A message would overtake a longer one that was sent before it."""
    sio, seen = echoing(LIBRARIES[1])
    go_on = asyncio.Event()
    async with raw_client((await serve(sio)).url) as raw:
        await raw.handshake()
        await raw.post("40")
        await raw.receive()
        first = asyncio.create_task(slow_post(raw, go_on))
        transport = polling_of(sio)
        await until(lambda: transport._posts == 1)
        second = asyncio.create_task(raw.post('42["note",2]'))
        await until(lambda: transport._posts == 2)
        go_on.set()
        assert await first == 200
        assert (await second).status == 200
        await raw.post('421["echo",1]')
        assert await raw.receive() == "431[1]"
    assert seen == [1, 2]


async def test_posts_that_wait_are_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One client could keep any number of requests open."""
    monkeypatch.setattr(polling, "_MOST_POSTS", 1)
    sio, seen = echoing(LIBRARIES[1])
    go_on = asyncio.Event()
    async with raw_client((await serve(sio)).url) as raw:
        await raw.handshake()
        await raw.post("40")
        await raw.receive()
        first = asyncio.create_task(slow_post(raw, go_on))
        transport = polling_of(sio)
        await until(lambda: transport._posts == 1)
        assert (await raw.post('42["note",2]')).status == 400
        go_on.set()
        assert await first == 400
    assert seen == []


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_content_type_of_a_post_does_not_matter(serve: Serve, library: str) -> None:
    """Clients of libraries that call every body binary would be disconnected."""
    async with raw_client((await serve(echoing(library)[0])).url) as raw:
        await raw.handshake()
        answer = await raw.request("POST", body="40", headers={"Content-Type": "application/octet-stream"})
        assert answer.status == 200
        assert str(await raw.receive()).startswith("40{")


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("transport", [{}, {"transport": ""}])
async def test_polling_needs_no_name(serve: Serve, library: str, transport: dict[str, str]) -> None:
    """A client that says nothing of its transport would be refused."""
    async with raw_client((await serve(echoing(library)[0])).url) as raw:
        answer = await raw.request("GET", query={"EIO": "4", **transport})
        assert answer.status == 200
        opened = json.loads(answer.text[1:])
        assert opened["upgrades"] == ["websocket"]
        query = {"EIO": "4", "sid": opened["sid"], **transport}
        assert (await raw.request("POST", query=query, body="40")).status == 200
        answer = await raw.request("GET", query=query)
        assert answer.text.startswith('40{"sid"')
        websocket = await raw._session.ws_connect(raw.endpoint, params=query)
        await websocket.send_str("2probe")
        assert await websocket.receive_str() == "3probe"
        await websocket.close()
        assert (await raw.request("GET", query={"EIO": "4", "transport": "pigeon"})).status == 400


async def test_a_transport_that_is_off_stays_off(serve: Serve) -> None:
    """Polling that a program has switched off could be had by saying nothing."""
    async with raw_client((await serve(AsyncServer(transports="websocket"))).url) as raw:
        assert (await raw.request("GET", query={"EIO": "4"})).status == 400
