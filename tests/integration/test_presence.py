"""Who is in a room, as real clients are told: with the stock client, and with the package for browsers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest

from rtframework import Identity, Presence, Recovery, Server, Socket
from rtframework_redis import RedisPubSub, RedisStreams
from tests.conftest import Serve
from tests.support.browser import Pages
from tests.support.client_page import ClientPage, client_page
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.js import JSClient, JSClients
from tests.support.server import running_server
from tests.support.transports import Transport

ROOM: Final = "chat:1"
AGAIN: Final[dict[str, Any]] = {"reconnection": True, "reconnectionDelay": 20, "reconnectionDelayMax": 50}


class Names:
    """Believes whoever says a name."""

    async def authenticate(self, handshake: Any) -> Identity:
        """Return the user of that name."""
        return Identity(handshake.auth["user"], name=handshake.auth["user"].title())


def chat(**options: Any) -> Server:
    """Make a server with rooms that people join, speak in, and leave."""
    rule = Presence("chat:{id}", meta=lambda socket: {"name": socket.user.name}, grace=options.pop("grace", 10))
    io = Server(auth=Names(), presence=rule, cors_allowed_origins="*", cors_credentials=False, **options)

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        await socket.join(room)
        await io.to(room).emit("said", f"{socket.user.name} is here")

    @io.on("leave")
    async def leave(socket: Socket, room: str) -> None:
        await io.to(room).emit("said", f"{socket.user.name} goes")
        await socket.leave(room)

    @io.on("status")
    async def status(socket: Socket, room: str, text: str) -> None:
        await socket.update_presence(room, {"name": socket.user.name, "status": text})

    return io


def names(told: dict[str, Any]) -> list[tuple[str, int]]:
    """Return who is in a list, and with how many tabs."""
    return [(each["user"], each["tabs"]) for each in told["members"]]


async def member(js: JSClients, url: str, user: str, **options: Any) -> JSClient:
    """Connect somebody, who joins."""
    client = await js.connect(url, auth={"user": user}, **options)
    await client.emit_with_ack("join", ROOM)
    return client


@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])
async def test_who_is_here(serve: Serve, js: JSClients, transport: Transport, recovery: Recovery | None) -> None:
    """A page would have to ask again and again, and show people who have gone."""
    server = await serve(chat(connection_state_recovery=recovery))
    ada = await member(js, server.url, "ada", via=transport)
    assert names((await ada.wait_for("presence"))[0]) == [("ada", 1)]
    bob = await member(js, server.url, "bob", via=transport)
    assert names((await bob.wait_for("presence"))[0]) == [("ada", 1), ("bob", 1)]
    assert (await ada.wait_for("presence_join"))[0] == {"room": ROOM, "user": "bob", "meta": {"name": "Bob"}}
    await bob.emit("status", ROOM, "busy")
    for each in (ada, bob):
        told = (await each.wait_for("presence_update"))[0]
        assert told == {"room": ROOM, "user": "bob", "meta": {"name": "Bob", "status": "busy"}}
    await bob.emit("leave", ROOM)
    assert (await ada.wait_for("presence_leave"))[0]["user"] == "bob"
    await bob.emit_with_ack("join", ROOM)
    assert (await ada.wait_for("presence_join"))[0]["meta"] == {"name": "Bob"}
    await bob.disconnect()
    assert (await ada.wait_for("presence_leave"))[0]["user"] == "bob"
    await bob.expect_nothing("presence_leave")


async def test_a_reconnect_is_nothing(serve: Serve, js: JSClients, transport: Transport) -> None:
    """People would flicker in all lists whenever a train goes through a tunnel."""
    server = await serve(chat())
    ada = await member(js, server.url, "ada", via=transport)
    bob = await member(js, server.url, "bob", via=transport, **AGAIN)
    assert (await ada.wait_for("presence_join"))[0]["user"] == "bob"
    await bob.kill()
    await bob.reconnected()
    await bob.emit_with_ack("join", ROOM)
    assert names((await bob.wait_for("presence"))[0]) == [("ada", 1), ("bob", 1)]
    for event in ("presence_join", "presence_leave"):
        await ada.expect_nothing(event)


async def test_who_does_not_come_back_leaves(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A laptop that was closed would stay in the list for good."""
    server = await serve(
        chat(grace=0.2, ping_interval=0.5, ping_timeout=0.5)
    )  # a polling client may vanish between polls
    ada = await member(js, server.url, "ada", via=transport)
    bob = await member(js, server.url, "bob", via=transport)
    await bob.kill()
    assert (await ada.wait_for("presence_leave"))[0]["user"] == "bob"


async def test_older_clients_are_told_too(serve: Serve, js: JSClients) -> None:
    """A fleet of apps that cannot all be updated would be half blind."""
    server = await serve(_open())
    ada = await js.connect(server.url, v2=True)
    await ada.emit_with_ack("join", ROOM)
    (told,) = await ada.wait_for("presence")
    assert [each["tabs"] for each in told["members"]] == [1]


def _open() -> Server:
    io = Server(presence=Presence("chat:{id}"), allow_eio3=True)

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        await socket.join(room)

    return io


Make = Callable[[str, str], Any]


@pytest.fixture(params=["streams", "classic", "sharded"])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, str]]:
    """Return the URLs of two servers at one Redis."""
    make: Make = {
        "streams": lambda url, name: RedisStreams(url, name=name),
        "classic": lambda url, name: RedisPubSub(url, name=name),
        "sharded": lambda url, name: RedisPubSub(url, name=name, sharded=True),
    }[request.param]
    async with (
        running_redis() as redis,
        running_server(chat(adapter=make(redis.url, "one"))) as one,
        running_server(chat(adapter=make(redis.url, "two"))) as two,
    ):
        yield one.url, two.url


@needs("redis-server")
async def test_two_servers_have_one_list(pair: tuple[str, str], js: JSClients) -> None:
    """A list would be that of the server that one happens to be at."""
    ada = await member(js, pair[0], "ada")
    bob = await member(js, pair[1], "bob")
    assert names((await bob.wait_for("presence"))[0]) == [("ada", 1), ("bob", 1)]
    assert (await ada.wait_for("presence_join"))[0]["user"] == "bob"
    assert await ada.wait_for("said") == ["Ada is here"]
    assert await ada.wait_for("said") == ["Bob is here"]
    tab = await member(js, pair[1], "ada")
    assert names((await tab.wait_for("presence"))[0]) == [("ada", 2), ("bob", 1)]
    await ada.disconnect()
    await bob.expect_nothing("presence_leave")
    await tab.emit("leave", ROOM)
    assert (await bob.wait_for("presence_leave"))[0]["user"] == "ada"


async def test_the_package_shows_who_is_here(serve: Serve, browser: Pages, js: JSClients) -> None:
    """The helper would be of use only with servers that were written for it."""
    server = await serve(chat())
    client = ClientPage(await browser.open())
    await client.load((await serve(client_page())).url)
    await client.start({"hosts": server.url, "auth": {"user": "ada"}})
    await client.run(f"window.den = presence(socket, '{ROOM}')")
    await client.run(f"socket.emitWithAck('join', '{ROOM}')")
    await client.until("den.get().length === 1")
    bob = await member(js, server.url, "bob")
    await client.until("den.get().length === 2")
    await bob.emit("status", ROOM, "busy")
    await client.until("den.get()[1].meta.status === 'busy'")
    assert await client.run("den.get()") == [
        {"user": "ada", "meta": {"name": "Ada"}, "tabs": 1},
        {"user": "bob", "meta": {"name": "Bob", "status": "busy"}, "tabs": 1},
    ]
    await bob.disconnect()
    await client.until("den.get().length === 1")
