"""Connections that end with their token, unless the client has a new one when it is asked."""

from __future__ import annotations

import time
from typing import Any, Final

import jwt
import pytest

from rtframework import AuditEntry, Recovery, Server, Socket
from rtframework_jwt import JWTAuth
from rtframework_jwt import auth as jwt_auth
from rtframework_redis import RedisStreams
from tests.conftest import Serve
from tests.support.cluster.needs import needs
from tests.support.cluster.redis_server import running_redis
from tests.support.js import ConnectError, JSClients
from tests.support.pairs import KINDS, Kind, running_pair
from tests.support.transports import Transport
from tests.support.until import until

KEY: Final = "k" * 32
AGAIN: Final[dict[str, Any]] = {"reconnection": True, "reconnectionDelay": 20, "reconnectionDelayMax": 50}


class Clock:
    """The time by which tokens go, here and in ``JWTAuth``."""

    ahead = 0.0

    def time(self) -> float:
        """Return the time."""
        return time.time() + self.ahead

    def watch(self, io: Server) -> None:
        """Be the clock of a server."""
        io._host.renewals._clock = self.time

    def move(self, seconds: float, *servers: Server) -> None:
        """Let time pass."""
        self.ahead += seconds
        for io in servers:
            io._host.renewals._wake()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A time that the test moves: a token must not run out while a client connects."""
    clock = Clock()
    monkeypatch.setattr(jwt_auth, "time", clock)
    return clock


def token(user: str = "ada", *, lives: float = 3600, **claims: Any) -> str:
    """Make a token that lives for so many seconds."""
    now = time.time()
    return jwt.encode({"sub": user, "iat": int(now), "exp": now + lives, **claims}, KEY, algorithm="HS256")


def ending(clock: Clock, **options: Any) -> Server:
    """Make a server whose connections end with their tokens, and which asks a minute before."""
    auth = JWTAuth(key=KEY, algorithms=["HS256"], refresh_before=60, refresh_grace=options.pop("grace", 15))
    io = Server(auth=auth, **options)
    clock.watch(io)
    return io


def only(io: Server) -> Socket:
    """Return the only socket."""
    (socket,) = io.sockets.values()
    return socket


@pytest.mark.parametrize("as_object", [False, True], ids=["string", "auth object"])
async def test_a_new_token_is_taken_in_place(
    serve: Serve, js: JSClients, transport: Transport, clock: Clock, as_object: bool
) -> None:
    """People would be thrown out each quarter of an hour, or stay in with a token that has run out long ago."""
    io = ending(clock)
    server = await serve(io)
    new = token(jti="new", name="Ada Lovelace", lives=7200)
    auth = {"token": token(jti="old", name="Ada"), "tab": 1}
    client = await js.connect(server.url, via=transport, auth=auth)
    await client.answer("refresh_token", {**auth, "token": new} if as_object else new)
    socket = only(io)
    before = socket.id
    await socket.join("lobby")
    clock.move(3500, io)
    await client.expect_nothing("refresh_token")
    clock.move(50, io)
    (asked,) = await client.wait_for("refresh_token")
    assert 0 <= asked["expires_in"] <= 60
    await until(lambda: socket.user.name == "Ada Lovelace")
    assert only(io) is socket
    assert socket.rooms == {before, "lobby", "$user:ada", "$token:new"}
    assert dict(socket.handshake.auth) == {"token": new, "tab": 1}
    clock.move(100, io)
    await io.user("ada").emit("mail", 1)
    assert await client.wait_for("mail") == [1]
    await client.expect_nothing("refresh_token")
    assert await client.id() == before


async def test_it_is_asked_again(serve: Serve, js: JSClients, clock: Clock) -> None:
    """A connection would end with the second token, though the client has a third one."""
    io = ending(clock)
    server = await serve(io)
    client = await js.connect(server.url, auth={"token": token()})
    socket = only(io)
    for number in (2, 3, 4):
        await client.answer("refresh_token", token(jti=f"{number}", lives=number * 3600))
        clock.move(3600, io)
        await until(lambda: f"$token:{number}" in socket.rooms)  # noqa: B023 - called at once
    assert only(io) is socket


@pytest.mark.parametrize("answer", ["nothing", None, "the same"])
async def test_who_has_no_other_token(
    serve: Serve, js: JSClients, transport: Transport, clock: Clock, answer: str | None
) -> None:
    """Who has signed out elsewhere would stay in; or a page be thrown out for good, because it was asleep."""
    io = ending(clock, grace=0, connection_state_recovery=Recovery())
    reasons: list[str] = []
    io.on("disconnect")(lambda socket, reason: reasons.append(reason))
    server = await serve(io)
    old = token()
    client = await js.connect(server.url, via=transport, auth={"token": old}, **AGAIN)
    before = await client.id()
    if answer == "nothing":
        await client.silent("refresh_token")
        clock.move(3600, io)
    else:
        await client.answer("refresh_token", old if answer == "the same" else None)
        clock.move(3570, io)
        await client.wait_for("refresh_token")
        await until(lambda: len(io._host.renewals))
        assert await client.id() == before, "what it has is good for half a minute more"
        clock.move(30, io)
    assert await client.disconnected() == "transport close"
    refused = await client.refused()
    assert refused["data"] == {"code": "expired"}
    assert reasons == ["token_expired"]
    await client.set_auth({"token": token(lives=7200)})
    await client.open()
    state = await client.reconnected()
    assert (state["recovered"], state["id"]) == (True, before), "nothing is missed meanwhile"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda: token("bob"), "another_user"),
        (lambda: token(lives=-10), "expired"),
        (lambda: "x", "malformed"),
        (lambda: 42, "malformed"),
        (lambda: {"token": ""}, "missing"),
    ],
    ids=["another user", "expired", "no token", "a number", "empty"],
)
@pytest.mark.usefixtures("throttled")
async def test_a_token_that_is_not_good(
    serve: Serve, js: JSClients, clock: Clock, caplog: pytest.LogCaptureFixture, wrong: Any, code: str
) -> None:
    """A client would stay in with the token of somebody else, or with none."""
    io = ending(clock, connection_state_recovery=Recovery())
    entries: list[AuditEntry] = []
    io.on_audit(lambda entry: entries.append(entry) if entry.kind == "refusal" else None)
    server = await serve(io)
    client = await js.connect(server.url, auth={"token": token()}, **AGAIN)
    sid = await client.id()
    await client.answer("refresh_token", wrong())
    clock.move(3570, io)
    assert await client.disconnected() == "transport close"
    assert not (await client.reconnected())["recovered"], "whoever it is begins anew"
    assert [(entry.user, entry.sid, entry.code) for entry in entries] == [("ada", sid, code)]
    assert f"a client of / that was asked for a new token has sent one that is not accepted: '{code}'" in caplog.text


async def test_each_namespace_has_its_token(serve: Serve, js: JSClients, clock: Clock) -> None:
    """A client would lose a namespace whose token is good, or keep one whose token is not."""
    io = ending(clock)
    io.of("/chat")
    server = await serve(io)
    main = await js.connect(server.url, auth={"token": token(lives=7200)})
    chat = await main.of("/chat", auth={"token": token()})
    await chat.answer("refresh_token", token(jti="new", lives=7200))
    clock.move(3600, io)
    await until(lambda: any("$token:new" in socket.rooms for socket in io.of("/chat").sockets.values()))
    await main.expect_nothing("refresh_token")


async def test_a_connection_may_outlive_its_token(serve: Serve, js: JSClients, clock: Clock) -> None:
    """A program that checks tokens at the door alone would have its clients thrown out."""
    io = Server(auth=JWTAuth(key=KEY, algorithms=["HS256"], refresh_before=None))
    clock.watch(io)
    server = await serve(io)
    client = await js.connect(server.url, auth={"token": token()})
    clock.move(4000, io)
    await client.expect_nothing("refresh_token")
    assert not len(io._host.renewals)
    assert (await client.state()).id is not None


@pytest.mark.parametrize("kind", KINDS)
async def test_the_new_token_counts_on_all_servers(js: JSClients, clock: Clock, kind: Kind) -> None:
    """Who is thrown out by the token that it came with would stay, or by the one that it has now."""
    auth = JWTAuth(key=KEY, algorithms=["HS256"])
    async with running_pair(kind, clock.watch, auth=auth, connection_state_recovery=Recovery()) as (one, two):
        client = await js.connect(one[1], auth={"token": token(jti="old")})
        await client.answer("refresh_token", token(jti="new", lives=7200))
        clock.move(3590, one[0], two[0])
        await until(lambda: "$token:new" in only(one[0]).rooms)
        assert await two[0].in_("$token:old").fetch_sockets() == []
        (remote,) = await two[0].in_("$token:new").fetch_sockets()
        await remote.disconnect(reason="stolen", reconnect=False)
        assert (await client.wait_for("kicked"))[0] == {"reason": "stolen", "reconnect": False}


@needs("redis-server")
async def test_a_token_stays_taken_back_when_all_servers_have_ended(serve: Serve, js: JSClients) -> None:
    """Who was thrown out would wait for the next release, and be let in by the token of then."""
    async with running_redis() as redis:

        def make() -> Server:
            return Server(auth=JWTAuth(key=KEY, algorithms=["HS256"]), adapter=RedisStreams(redis.url))

        old, good = token(jti="old", lives=3600), token(jti="good", lives=3600)
        io = make()
        before = await serve(io)
        client = await js.connect(before.url, auth={"token": old})
        await io.revoke_tokens(id="old")
        await client.disconnected()
        await before.stop()
        after = await serve(make())
        with pytest.raises(ConnectError) as refused:
            await js.connect(after.url, auth={"token": old})
        assert refused.value.data == {"code": "token_revoked"}
        await js.connect(after.url, auth={"token": good})
