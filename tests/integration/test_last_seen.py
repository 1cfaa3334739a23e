"""When users and their devices were there last, over tabs, reconnects and servers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rtframework import ConfigurationError, Handshake, Identity, MemoryStore, Recovery, Server, Socket
from rtframework.adapters import RoomIndex
from tests.conftest import Serve
from tests.support.js import JSClients
from tests.support.pairs import KINDS, Kind, running_pair
from tests.support.transports import Transport
from tests.support.until import until

DEVICE = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


class Users:
    """An authenticator that believes everybody."""

    async def authenticate(self, handshake: Handshake) -> Identity:
        return Identity(handshake.auth["user"])


def is_now(seen: datetime | None) -> bool:
    """Tell whether a time is within the last minute."""
    return seen is not None and seen.tzinfo is UTC and timedelta() <= datetime.now(UTC) - seen < timedelta(minutes=1)


async def test_a_user_with_two_tabs(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A list of friends would say "never" of somebody who has just left, or "gone" of somebody with another tab."""
    io = Server(auth=Users(), connection_state_recovery=Recovery())
    chat = io.of("/chat")
    tenants = io.of("/{tenant}")
    server = await serve(io)
    assert await io.user("ada").last_seen() is None
    one, two = [await js.connect(server.url, via=transport, auth={"user": "ada"}) for _ in range(2)]
    assert is_now(await io.user("ada").last_seen())
    await one.disconnect()
    await until(lambda: len(io.sockets) == 1)
    between = datetime.now(UTC)
    last = await io.user("ada").last_seen()
    assert last is not None
    assert last >= between
    await two.disconnect()
    await until(lambda: not io.sockets)
    last = await io.user("ada").last_seen()
    assert is_now(last)
    assert await io.user("ada").last_seen() == last
    assert await chat.user("ada").last_seen() is None
    tenant = await js.connect(server.url + "/acme", via=transport, auth={"user": "ada"})
    await tenant.disconnect()
    await until(lambda: not any(map(len, tenants.children.values())))
    assert is_now(await tenants.user("ada").last_seen())


@pytest.mark.parametrize("kind", KINDS)
async def test_on_another_server(js: JSClients, kind: Kind) -> None:
    """Each server would say another time, and none that of a user of another."""
    async with running_pair(kind, auth=Users()) as ((one, url), (two, _)):
        assert await two.user("ada").last_seen() is None
        client = await js.connect(url, auth={"user": "ada"})
        assert is_now(await two.user("ada").last_seen())
        await client.disconnect()
        await until(lambda: not one.sockets)
        await until(lambda: not one._host.sightings._waiting)
        last = await two.user("ada").last_seen()
        assert is_now(last)
        assert await one.user("ada").last_seen() == last


async def test_it_can_be_switched_off(serve: Serve, js: JSClients) -> None:
    """A program that may not keep it would keep it."""
    store = MemoryStore()
    io = Server(auth=Users(), last_seen=None, store=store)
    server = await serve(io)
    client = await js.connect(server.url, auth={"user": "ada", "device": {"id": DEVICE}})
    await client.disconnect()
    await until(lambda: not io.sockets)
    assert not len(store.table)
    with pytest.raises(ConfigurationError, match="last_seen=seconds"):
        await io.user("ada").last_seen()
    with pytest.raises(ConfigurationError, match="last_seen"):
        Server(last_seen=0)
    with pytest.raises(ConfigurationError, match="devices"):
        Server(devices=-1)


async def test_without_users_nothing_is_kept(serve: Serve, js: JSClients) -> None:
    """Strangers could fill the store."""
    store = MemoryStore()
    io = Server(store=store)
    server = await serve(io)
    client = await js.connect(server.url, auth={"device": {"id": DEVICE}})
    await client.disconnect()
    await until(lambda: not io.sockets)
    assert not len(store.table)


def telling(**options: Any) -> Server:
    """A server that tells clients what it knows of their devices."""
    io = Server(**options)

    @io.on("device?")
    def device(socket: Socket) -> Any:
        it = socket.device
        return None if it is None else [it.id, it.is_new, it.seen is not None, it.last_seen is not None]

    return io


@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])
async def test_devices(serve: Serve, js: JSClients, transport: Transport, recovery: Recovery | None) -> None:
    """A user would be warned of a new device at each visit, or never."""
    seen: list[Any] = []
    io = telling(auth=Users(), devices=3600, connection_state_recovery=recovery)

    @io.use
    async def look(socket: Socket, call_next: Any) -> None:
        seen.append(socket.device and socket.device.is_new)
        await call_next()

    server = await serve(io)
    auth: dict[str, Any] = {"user": "ada", "device": {"id": DEVICE, "seen": 1_700_000_000_000}}
    one = await js.connect(server.url, via=transport, auth=auth)
    assert await one.emit_with_ack("device?") == [DEVICE, True, True, False]
    await one.disconnect()
    await until(lambda: not io.sockets)
    two = await js.connect(server.url, via=transport, auth=auth)
    assert await two.emit_with_ack("device?") == [DEVICE, False, True, True]
    other = await js.connect(server.url, via=transport, auth={**auth, "user": "bob"})
    assert await other.emit_with_ack("device?") == [DEVICE, True, True, False]
    for device in (None, {"id": "short"}):
        none = await js.connect(server.url, via=transport, auth={"user": "ada", "device": device})
        assert await none.emit_with_ack("device?") is None
    assert seen == [True, False, True, None, None]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_device_is_known_to_all_servers(js: JSClients, kind: Kind) -> None:
    """A device would be new at each server."""

    def tell(io: Server) -> None:
        @io.on("new?")
        def new(socket: Socket) -> bool | None:
            return None if socket.device is None else socket.device.is_new

    async with running_pair(kind, tell, auth=Users(), devices=3600) as ((one, url), (_, there)):
        auth = {"user": "ada", "device": {"id": DEVICE}}
        client = await js.connect(url, auth=auth)
        assert await client.emit_with_ack("new?") is True
        await until(lambda: not one._host.sightings._waiting)
        client = await js.connect(there, auth=auth)
        assert await client.emit_with_ack("new?") is False


async def test_without_the_option_the_client_is_believed(serve: Serve, js: JSClients) -> None:
    """A program that only wants to greet would need a store."""
    server = await serve(telling())
    for seen, is_new in ((None, True), (1_700_000_000_000, False)):
        client = await js.connect(server.url, auth={"device": {"id": DEVICE, "seen": seen}})
        assert await client.emit_with_ack("device?") == [DEVICE, is_new, not is_new, False]


async def test_repeats_of_a_device(serve: Serve, js: JSClients) -> None:
    """A client without a user would have its order placed twice after each reconnect."""
    calls: list[str] = []
    io = Server()

    @io.on("buy", idempotent=True)
    def buy(socket: Socket, event_id: str) -> int:
        calls.append(event_id)
        return len(calls)

    server = await serve(io)
    for expected in (1, 1):
        client = await js.connect(server.url, auth={"device": {"id": DEVICE}})
        assert await client.emit_with_ack("buy", "1") == expected
        await client.disconnect()
    other = await js.connect(server.url, auth={"device": {"id": DEVICE[::-1]}})
    assert await other.emit_with_ack("buy", "1") == 2


class Elsewhere(MemoryStore):
    """A store that takes a moment, as one over a network."""

    async def set(self, key: str, value: bytes, seconds: float) -> None:
        await asyncio.sleep(0.01)
        await super().set(key, value, seconds)


async def test_a_server_that_stops(serve: Serve, js: JSClients) -> None:
    """After a release, everybody who was there would have been there last when they came."""
    store = Elsewhere()
    first = Server(auth=Users(), store=store)
    server = await serve(first)
    for number in range(20):
        await js.connect(server.url, auth={"user": str(number)})
    await until(lambda: len(store.table) == 20 and not first._host.sightings._waiting)
    before = datetime.now(UTC)
    await server.stop()
    second = Server(auth=Users(), store=store)
    await serve(second)
    for number in range(20):
        last = await second.user(str(number)).last_seen()
        assert last is not None
        assert last >= before - timedelta(milliseconds=1)  # it is kept in whole milliseconds


async def test_a_user_with_very_many_sockets(serve: Serve, js: JSClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that share one token would come more slowly the more there are: each would have all others listed."""
    io = Server(auth=Users())
    server = await serve(io)
    await js.connect(server.url, auth={"user": "ada"})
    listed: list[Any] = []
    real = RoomIndex.select

    def select(index: RoomIndex, *args: Any) -> list[str]:
        listed.append(args)
        return real(index, *args)

    monkeypatch.setattr(RoomIndex, "select", select)
    client = await js.connect(server.url, auth={"user": "ada"})
    await client.disconnect()
    await until(lambda: len(io.sockets) == 1)
    assert not listed
