"""Tokens that are taken back: at once, on all servers, until they would have run out."""

from __future__ import annotations

import time
from typing import Any, Final

import jwt
import pytest

from rtframework import AuditEntry, ConfigurationError, Recovery, Server, StaticTokenAuth
from rtframework_jwt import JWTAuth
from tests.conftest import Serve
from tests.support.backbone import Broker, FakeBackbone
from tests.support.js import JSClient, JSClients
from tests.support.pairs import KINDS, Kind, running_pair
from tests.support.server import running_server
from tests.support.transports import Transport
from tests.support.until import until

KEY: Final = "k" * 32
AGAIN: Final[dict[str, Any]] = {"reconnection": True, "reconnectionDelay": 20, "reconnectionDelayMax": 50}
AUTH: Final = JWTAuth(key=KEY, algorithms=["HS256"])


def token(user: str, *, ago: int = 60, **claims: Any) -> dict[str, str]:
    """Return what a client signs in with. ``ago``: seconds since the token was issued."""
    now = int(time.time())
    return {"token": jwt.encode({"sub": user, "iat": now - ago, "exp": now + 3600, **claims}, KEY, algorithm="HS256")}


async def check_revoked(client: JSClient) -> None:
    """Check that a client is closed, comes back and is refused."""
    assert await client.disconnected() == "transport close"
    assert (await client.refused())["data"] == {"code": "token_revoked"}


@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])
async def test_which_tokens_are_taken_back(
    serve: Serve, js: JSClients, transport: Transport, recovery: Recovery | None
) -> None:
    """A stolen token would go on to be good; or people be thrown out whose token is."""
    io = Server(auth=AUTH, connection_state_recovery=recovery)
    reasons: list[str] = []
    entries: list[AuditEntry] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))
    io.on_audit(lambda entry: entries.append(entry) if entry.kind == "kick" else None)
    server = await serve(io)

    async def connect(name: str, **claims: Any) -> JSClient:
        return await js.connect(server.url, via=transport, auth=token(name, **claims), **AGAIN)

    stolen, own = await connect("ada", jti="stolen"), await connect("ada", jti="own")
    await io.revoke_tokens(id="stolen")
    await check_revoked(stolen)
    assert (await own.state()).id is not None
    fresh = await connect("ada", ago=0, jti="fresh")
    await io.revoke_tokens(user="ada", issued_before=time.time() - 30)
    await check_revoked(own)
    bob, eve = await connect("bob", ago=30), await connect("eve", ago=90)
    await io.revoke_tokens(issued_before=time.time() - 60)
    await check_revoked(eve)
    for client in (bob, fresh):
        assert (await client.state()).id is not None
    assert reasons == ["token_revoked"] * 3
    assert [(entry.user, entry.code) for entry in entries] == [
        (name, "token_revoked") for name in ("ada", "ada", "eve")
    ]
    await eve.set_auth(token("eve", ago=0))
    await eve.open()
    assert not (await eve.reconnected())["recovered"]


@pytest.mark.parametrize("kind", KINDS)
async def test_on_all_servers(js: JSClients, kind: Kind) -> None:
    """A token that was taken back would be good for the other servers."""
    async with running_pair(kind, auth=AUTH, connection_state_recovery=Recovery()) as (one, two):
        stolen = token("ada", jti="stolen")
        here, there = [await js.connect(url, auth=stolen, **AGAIN) for url in (one[1], two[1])]
        away = await js.connect(two[1], auth=stolen)
        other = await js.connect(two[1], auth=token("ada", jti="own"))
        sid = await away.id()
        await away.kill()
        await away.disconnected()
        await until(lambda: sid not in two[0].sockets)
        await one[0].revoke_tokens(id="stolen")
        for client in (here, there):
            await check_revoked(client)
        assert (await other.state()).id is not None
        await away.set_auth(token("ada", jti="own"))
        await away.open()
        assert not (await away.reconnected())["recovered"], "its session is gone"


async def test_a_server_that_starts_later(js: JSClients) -> None:
    """After a deployment, everybody who was thrown out would be in again."""
    broker = Broker()
    one = Server(auth=AUTH, adapter=FakeBackbone(broker, "one"))
    async with running_server(one):
        await one.revoke_tokens(id="stolen")
        await one.user("bob").disconnect(reconnect=True)
        two = Server(auth=AUTH, adapter=FakeBackbone(broker, "two"))
        async with running_server(two) as server:
            await until(lambda: len(two._host.revocations) == 2)
            for auth, code in ((token("ada", jti="stolen"), "token_revoked"), (token("bob"), "kicked")):
                with pytest.raises(AssertionError, match=code):
                    await js.connect(server.url, auth=auth)


async def test_those_without_a_token_stay(serve: Serve, js: JSClients) -> None:
    """Who takes all tokens back would lock everybody out of the Admin UI, and of namespaces without a door."""
    io = Server(auth=StaticTokenAuth({"a": "ada"}))
    io.instrument(auth=False)
    server = await serve(io)
    ada = await js.connect(server.url, auth={"token": "a"})
    admin = await ada.of("/admin")
    await io.revoke_tokens(issued_before=time.time())
    for client in (ada, admin):
        assert (await client.state()).id is not None
    again = await js.connect(server.url, auth={"token": "a"})
    await again.of("/admin")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"id": ""},
        {"id": 42},
        {"id": "a", "user": "ada"},
        {"id": "a", "issued_before": 1.0},
        {"user": ""},
        {"issued_before": "today"},
        {"issued_before": -1},
    ],
)
async def test_mistakes(wrong: dict[str, Any]) -> None:
    """A program would believe that a token is not good any more."""
    with pytest.raises(ConfigurationError):
        await Server(auth=AUTH).revoke_tokens(**wrong)
