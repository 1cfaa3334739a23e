"""Clients that are thrown out: they are told why, and stay away or come back with fresh credentials."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import jwt
import pytest

from rtframework import AuditEntry, ConfigurationError, Identity, Recovery, Server, Socket, StaticTokenAuth, Target
from rtframework_jwt import JWTAuth
from rtframework_redis import RedisStreams
from tests.conftest import Serve
from tests.support.cluster.needs import needs
from tests.support.cluster.node_server import running_node
from tests.support.cluster.redis_server import running_redis
from tests.support.js import JSClient, JSClients
from tests.support.pairs import KINDS, Kind, running_pair
from tests.support.server import running_server
from tests.support.transports import Transport
from tests.support.until import until

KEY: Final = "k" * 32
AGAIN: Final[dict[str, Any]] = {"reconnection": True, "reconnectionDelay": 20, "reconnectionDelayMax": 50}


def token(user: str, *, issued: float = 0, **claims: Any) -> dict[str, str]:
    """Return what a client signs in with. ``issued``: seconds from now."""
    now = int(time.time())
    claims = {"sub": user, "iat": int(now + issued), "exp": now + 3600, **claims}
    return {"token": jwt.encode(claims, KEY, algorithm="HS256")}


def signed(**options: Any) -> dict[str, Any]:
    """Return the options of a server with tokens."""
    return {"auth": JWTAuth(key=KEY, algorithms=["HS256"], leeway=60), **options}


async def kick_of(client: JSClient) -> dict[str, Any]:
    """Wait until a client is told that it is thrown out."""
    told: dict[str, Any] = (await client.wait_for("kicked"))[0]
    return told


@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])
async def test_who_is_thrown_out_is_told_why(
    serve: Serve, js: JSClients, transport: Transport, recovery: Recovery | None
) -> None:
    """People would see a page that has stopped, or one that comes back again and again."""
    io = Server(**signed(connection_state_recovery=recovery))
    reasons: list[str] = []
    entries: list[AuditEntry] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))
    io.on_audit(lambda entry: entries.append(entry) if entry.kind == "kick" else None)
    server = await serve(io)
    ada, bob = [await js.connect(server.url, via=transport, auth=token(name), **AGAIN) for name in ("ada", "bob")]
    sids = [await ada.id(), await bob.id()]
    await io.emit("before")
    await io.user("ada").disconnect(reason="spam")
    await io.sockets[sids[1]].disconnect(reason="flood", reconnect=False)
    for client, reason in ((ada, "spam"), (bob, "flood")):
        assert await kick_of(client) == {"reason": reason, "reconnect": False}
        assert await client.disconnected() == "io server disconnect"
        assert client.received("before"), "what was sent before it has arrived"
    await until(lambda: reasons == ["spam", "flood"])
    assert [(entry.user, entry.sid, entry.code) for entry in entries] == [
        ("ada", sids[0], "spam"),
        ("bob", sids[1], "flood"),
    ]
    await ada.open()
    assert not (await ada.reconnected())["recovered"], "the same credentials are good for a new beginning"


@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])
async def test_fresh_credentials_are_asked_for(
    serve: Serve, js: JSClients, transport: Transport, recovery: Recovery | None
) -> None:
    """After a change of password, who has the old token would be back at once."""
    io = Server(**signed(connection_state_recovery=recovery))
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))
    server = await serve(io)
    old = token("ada", issued=-30)
    ada = await js.connect(server.url, via=transport, auth=old, **AGAIN)
    bob = await js.connect(server.url, via=transport, auth=token("bob", issued=-30))
    await io.user("ada").disconnect(reason="password changed", reconnect=True)
    assert await kick_of(ada) == {"reason": "password changed", "reconnect": True}
    assert await ada.disconnected() == "transport close"
    refused = await ada.refused()
    assert refused["data"] == {"code": "kicked"}
    assert reasons == ["password changed"]
    await ada.set_auth(token("ada"))
    await ada.open()
    assert not (await ada.reconnected())["recovered"]
    assert (await bob.state()).id is not None
    with pytest.raises(AssertionError, match="kicked"):
        await js.connect(server.url, via=transport, auth=old)


async def test_one_socket_comes_back_with_another_token(serve: Serve, js: JSClients) -> None:
    """Who has stolen a token would stay in; or its owner, who has signed in elsewhere, be thrown out with the thief."""
    io = Server(**signed())
    server = await serve(io)
    stolen, own = token("ada", jti="stolen", issued=-30), token("ada", jti="own", issued=-30)
    thief, ada = [await js.connect(server.url, auth=auth, **AGAIN) for auth in (stolen, own)]
    assert io.sockets[await thief.id()].rooms >= {"$token:stolen", "$user:ada"}
    (remote,) = [each for each in await io.fetch_sockets() if each.id == io.sockets[each.id].id == await thief.id()]
    await remote.disconnect(reason="stolen", reconnect=True)
    assert await kick_of(thief) == {"reason": "stolen", "reconnect": True}
    assert (await thief.refused())["data"] == {"code": "kicked"}
    assert (await ada.state()).id is not None
    again = await js.connect(server.url, auth=own)
    await io.sockets[await again.id()].disconnect(reconnect=True)
    assert await kick_of(again) == {"reason": "", "reconnect": True}
    with pytest.raises(AssertionError, match="kicked"):
        await js.connect(server.url, auth=own)


@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])
@pytest.mark.parametrize("kind", KINDS)
async def test_on_all_servers(js: JSClients, kind: Kind, recovery: Recovery | None) -> None:
    """Who is thrown out would stay on another server, or come back there."""
    heard: list[str] = []

    def prepare(io: Server) -> None:
        io.on("disconnect")(lambda socket, reason: heard.append(f"{socket.user.id}: {reason}"))

    async with running_pair(kind, prepare, **signed(connection_state_recovery=recovery)) as (one, two):
        old = token("ada", issued=-30)
        ada = [
            await js.connect(url, auth=old, transports=[how], **AGAIN)
            for url, how in ((one[1], "polling"), (two[1], "websocket"), (two[1], "polling"))
        ]
        bob = await js.connect(two[1], auth=token("bob"), **AGAIN)
        await one[0].user("ada").disconnect(reason="password changed", reconnect=True)
        for client in ada:
            assert await kick_of(client) == {"reason": "password changed", "reconnect": True}
            assert await client.disconnected() == "transport close"
            assert (await client.refused())["data"] == {"code": "kicked"}
        await until(lambda: heard == ["ada: password changed"] * 3)
        await ada[1].set_auth(token("ada"))
        await ada[1].open()
        await ada[1].reconnected()
        (remote,) = [each for each in await one[0].fetch_sockets() if each.id != await bob.id()]
        await remote.disconnect(reason="enough", reconnect=False)
        assert await kick_of(ada[1]) == {"reason": "enough", "reconnect": False}
        assert await ada[1].disconnected() == "io server disconnect"
        await one[0].user("bob").disconnect()
        assert await kick_of(bob) == {"reason": "", "reconnect": False}
        assert await bob.disconnected() == "io server disconnect"
        await until(lambda: heard[3:] == ["ada: enough", "bob: server namespace disconnect"])


async def test_who_connects_meanwhile(serve: Serve, js: JSClients) -> None:
    """A client whose middleware still runs would not be there to be thrown out, and be let in after that."""
    io = Server(**signed())
    gate, reached = asyncio.Event(), asyncio.Event()

    @io.use
    async def slowly(socket: Socket, call_next: Any) -> None:
        reached.set()
        await gate.wait()
        await call_next()

    server = await serve(io)
    ada = await js.connect(server.url, auth=token("ada", issued=-30), wait=False)
    await reached.wait()
    await io.user("ada").disconnect(reconnect=True)
    gate.set()
    assert (await ada.refused())["data"] == {"code": "kicked"}
    assert not io.sockets


async def test_nobody_can_be_asked_for_credentials_that_has_none(serve: Serve, js: JSClients) -> None:
    """A program would believe that a client without a user is kept out."""
    io = Server()
    server = await serve(io)
    client = await js.connect(server.url)
    socket = io.sockets[await client.id()]
    with pytest.raises(ConfigurationError, match="fresh credentials"):
        await socket.disconnect(reconnect=True)
    (remote,) = await io.fetch_sockets()
    with pytest.raises(ConfigurationError, match="fresh credentials"):
        await remote.disconnect(reconnect=True)
    await remote.disconnect(reconnect=False)
    assert await kick_of(client) == {"reason": "", "reconnect": False}


async def test_credentials_without_a_time(serve: Serve, js: JSClients) -> None:
    """A table of tokens cannot tell an old one from a new one: who is thrown out would be back at once."""
    io = Server(auth=StaticTokenAuth({"a": Identity("ada")}))
    server = await serve(io)
    ada = await js.connect(server.url, auth={"token": "a"}, **AGAIN)
    await io.user("ada").disconnect(reconnect=True)
    assert (await ada.refused())["data"] == {"code": "kicked"}


@needs("redis-server", "node")
async def test_a_client_on_a_server_of_node(js: JSClients) -> None:
    """Who is thrown out would stay, if the balancer has sent it to the other half of the fleet."""
    async with running_redis() as redis, running_node(url=redis.url) as node:
        io = Server(adapter=RedisStreams(redis.url, name="one"), **signed())
        async with running_server(io):
            ada = await js.connect(node.url)
            other = await js.connect(node.url)
            adapter = io.of("/").adapter
            await adapter.add_sockets(Target(frozenset({await ada.id()})), ["$user:ada"])  # as its program does
            await io.user("ada").emit("mail", 1)
            assert (await ada.wait_for("mail"))[0] == 1
            assert [each.id for each in await io.user("ada").fetch_sockets()] == [await ada.id()]
            await io.user("ada").disconnect(reason="spam")
            assert await kick_of(ada) == {"reason": "spam", "reconnect": False}
            assert await ada.disconnected() == "io server disconnect"
            assert (await other.state()).id is not None
