"""The Admin UI's protocol, spoken by a stock client as the UI of ``@socket.io/admin-ui`` speaks it."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from rtframework import (
    AuditEntry,
    ConfigurationError,
    ConnectionRefused,
    EventError,
    Limits,
    Namespace,
    Rate,
    Recovery,
    Server,
    Socket,
)
from rtframework import StaticTokenAuth as Tokens
from rtframework.admin import authenticator as door
from rtframework.admin import login_throttle as attempts
from rtframework.admin import namespace as admin_namespace
from rtframework.admin.live_events import LiveEvents
from rtframework.types import Identity
from rtframework_msgpack import MsgpackSerializer
from tests.conftest import Serve
from tests.support.js import JSClient, JSClients
from tests.support.server import RunningServer
from tests.support.transports import Transport
from tests.support.until import until

CREDENTIALS: Any = {"username": "ada", "password": "right"}


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for seconds."""
    monkeypatch.setattr(door, "DELAY", 0.01)
    monkeypatch.setattr(admin_namespace, "PERIOD", 0.05)


async def admin_of(js: JSClients, server: RunningServer, via: Transport | None = None, **auth: Any) -> JSClient:
    """A page of the Admin UI that is logged in."""
    return await js.connect(server.url + "/admin", via=via, auth=auth or CREDENTIALS)


def instrumented(mode: Any = "development", **options: Any) -> Server:
    """A server that the Admin UI shows."""
    io = Server(**options)
    io.instrument(**CREDENTIALS, mode=mode)
    return io


def quiet(io: Server) -> bool:
    """Whether nothing of the Admin UI is left anywhere: no timer, no hook, no meter."""
    admin: Any = io.of("/admin")
    eio = io._server.eio
    return (
        admin._timer is None
        and not eio.table.meters
        and all(
            each._watcher is None
            and not each.listeners_any()
            and not each.listeners_any_outgoing()
            and not each._outgoing.tapped
            and not any(each.adapter.index.events._listeners.values())  # type: ignore[attr-defined]
            for each in io.namespaces.values()
        )
        and all(each.outbox.sink is each._transport for each in eio.connections.values())
        and all(not hasattr(each._handler, "handler") for each in eio.connections.values())
    )


# --- who comes in ----------------------------------------------------------------------------------------------------


def test_there_is_one_admin_ui() -> None:
    """Two of them, or one in a namespace with handlers of the program, would disturb each other."""
    io = Server()
    io.instrument(auth=False)
    with pytest.raises(ConfigurationError, match="/admin"):
        io.instrument(auth=False, namespace="/other")
    io = Server()
    io.of("/admin").on("x")(lambda socket: None)
    with pytest.raises(ConfigurationError, match="exists already"):
        io.instrument(auth=False)


async def test_name_and_password(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Anybody could come in with a wrong password, or the right person could not."""
    server = await serve(instrumented())
    for auth in (
        {},
        {"username": "ada", "password": "wrong"},
        {"username": "bob", "password": "right"},
        {"username": "ada", "password": ["right"]},
        {"username": None, "password": "right"},
        {"sessionId": "guessed"},
        {"sessionId": ""},
        {"sessionId": None},
        {"sessionId": {"length": 1}},
    ):
        client = await js.connect(server.url + "/admin", via=None, wait=False, auth=auth)
        assert (await client.refused())["message"] == "invalid credentials"
        assert client.received("config") == []
    client = await admin_of(js, server, transport)
    [session_id] = await client.wait_for("session")
    assert len(session_id) >= 24
    await client.disconnect()
    # as the page does when it is loaded again
    again = await admin_of(js, server, transport, sessionId=session_id)
    await again.wait_for("config")
    await again.expect_nothing("session")


async def test_bcrypt_hashes(serve: Serve, js: JSClients) -> None:
    """Whoever comes from Node would have to find out the password behind the hash in the configuration."""
    bcrypt = pytest.importorskip("bcrypt")
    for prefix in (b"2a", b"2b"):
        io = Server()
        hashed = bcrypt.hashpw("pässword".encode(), bcrypt.gensalt(4, prefix=prefix)).decode()
        io.instrument(username="ada", password=hashed)
        server = await serve(io)
        await admin_of(js, server, username="ada", password="pässword")
        for wrong in ("password", hashed, "x" * 100, "pässword\0"):
            client = await js.connect(server.url + "/admin", wait=False, auth={"username": "ada", "password": wrong})
            assert (await client.refused())["message"] == "invalid credentials"


async def test_guessing_is_slow_and_limited(
    serve: Serve, js: JSClients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A password could be tried out as fast as the network allows, by many connections at once."""
    monkeypatch.setattr(attempts, "OF_ADDRESS", Rate(4, per=600))
    server = await serve(instrumented())
    await admin_of(js, server)  # the right password does not count
    clients = [
        await js.connect(server.url + "/admin", wait=False, auth={"username": "ada", "password": str(number)})
        for number in range(6)
    ]
    refusals = [await client.refused() for client in clients]
    messages = sorted(each["message"] for each in refusals)
    assert messages == ["invalid credentials"] * 4 + ["too many attempts"] * 2
    data = next(each["data"] for each in refusals if "data" in each)
    assert data["code"] == "too_many_attempts"
    assert 15 < data["retryAfter"] <= 150
    client = await js.connect(server.url + "/admin", wait=False, auth=CREDENTIALS)
    assert (await client.refused())["message"] == "too many attempts"
    assert "right" not in caplog.text


async def test_ten_wrong_passwords_do_not_lock_the_right_one_out(
    serve: Serve, js: JSClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody behind the same address could keep the administrator out."""
    monkeypatch.setattr(attempts, "OF_ADDRESS", Rate(10, per=5))
    monkeypatch.setattr(door, "DELAY", 0.01)
    server = await serve(instrumented())
    for number in range(10):
        client = await js.connect(server.url + "/admin", wait=False, auth={"username": "ada", "password": str(number)})
        assert (await client.refused())["message"] == "invalid credentials"
    await admin_of(js, server)


async def test_the_answer_to_a_wrong_password_takes_a_while(
    serve: Serve, js: JSClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guessing would cost nothing."""
    server = await serve(instrumented())
    asked: list[float] = []
    release = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        await release.wait()

    monkeypatch.setattr(door, "asyncio", SimpleNamespace(sleep=sleep))
    client = await js.connect(server.url + "/admin", wait=False, auth={"username": "ada", "password": "no"})
    await until(lambda: asked == [door.DELAY])
    assert client.inbox.received("connect_error") == []
    release.set()
    assert (await client.refused())["message"] == "invalid credentials"


async def test_the_servers_own_authenticator_has_no_say(serve: Serve, js: JSClients) -> None:
    """The UI, which knows name and password only, could not log in to a server that wants tokens; or with a token."""
    io = instrumented(auth=Tokens({"token": Identity("1")}))
    server = await serve(io)
    await admin_of(js, server)
    client = await js.connect(server.url + "/admin", wait=False, auth={"token": "token"})
    assert (await client.refused())["message"] == "invalid credentials"
    await js.connect(server.url, auth={"token": "token"})


async def test_without_credentials(serve: Serve, js: JSClients) -> None:
    """What was asked for in so many words would not be done."""
    io = Server()
    io.instrument(auth=False, namespace="/inside")
    client = await js.connect((await serve(io)).url + "/inside")
    await client.wait_for("config")
    await client.expect_nothing("session")


# --- what it is told -------------------------------------------------------------------------------------------------

COMMANDS = ["EMIT", "JOIN", "LEAVE", "DISCONNECT", "MJOIN", "MLEAVE", "MDISCONNECT"]


@pytest.mark.parametrize(
    ("mode", "read_only", "features"),
    [
        ("production", False, [*COMMANDS, "AGGREGATED_EVENTS"]),
        ("production", True, ["AGGREGATED_EVENTS"]),
        ("development", False, [*COMMANDS, "AGGREGATED_EVENTS", "ALL_EVENTS"]),
        ("development", True, ["AGGREGATED_EVENTS", "ALL_EVENTS"]),
    ],
)
async def test_features(
    serve: Serve, js: JSClients, transport: Transport, mode: Any, read_only: bool, features: list[str]
) -> None:
    """The UI would show buttons that do nothing, or hide what is there."""
    io = Server()
    io.instrument(**CREDENTIALS, mode=mode, read_only=read_only)
    client = await admin_of(js, await serve(io), transport)
    assert await client.wait_for("config") == [{"supportedFeatures": features}]


async def test_statistics(serve: Serve, js: JSClients, transport: Transport) -> None:
    """The dashboard would stay empty, or show another server."""
    io = Server()
    io.instrument(**CREDENTIALS, server_id="one")

    @io.on("echo")
    async def echo(socket: Socket, text: str) -> str:
        return text

    io.of("/chat/{tenant}")
    server = await serve(io)
    client = await js.connect(server.url + "/chat/a", via=transport)
    admin = await admin_of(js, server, transport)
    [first] = await admin.wait_for("server_stats")
    assert first["serverId"] == "one"
    assert isinstance(first["hostname"], str)
    assert isinstance(first["pid"], int)
    assert first["uptime"] > 0
    assert first["clientsCount"] == 2
    polling = 2 if transport.name == "polling" else 0
    assert first["pollingClientsCount"] in ((polling,) if transport.name != "upgrade" else (0, 1, 2))
    assert first["namespaces"] == [
        {"name": "/", "socketsCount": 0},
        {"name": "/admin", "socketsCount": 1},
        {"name": "/chat/a", "socketsCount": 1},
    ]
    main = await client.of("/")
    assert await main.emit_with_ack("echo", "é" * 1000) == "é" * 1000
    other = await js.connect(server.url, via=transport)
    await other.disconnect()

    def total(kind: str) -> int:
        events = [event for [stats] in admin.received("server_stats") for event in stats["aggregatedEvents"]]
        assert all(event["timestamp"] % 1000 == 0 for event in events)
        return sum(event["count"] for event in events if event["type"] == kind)

    await until(lambda: total("rawConnection") == 1 and total("rawDisconnection") == 1)
    await until(lambda: total("bytesIn") > 2000 and total("bytesOut") > 2000)
    assert total("packetsIn") >= 3
    assert total("packetsOut") >= 3


async def test_production_tells_nothing_of_sockets(serve: Serve, js: JSClients, transport: Transport) -> None:
    """Whatever clients send and who they are would be on a screen, at the cost of a packet for each event."""
    io = instrumented("production")

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("room")

    @io.on("x")
    async def x(socket: Socket) -> str:
        await io.emit("y")
        return "done"

    server = await serve(io)
    admin = await admin_of(js, server, transport)
    client = await js.connect(server.url, via=transport)
    assert await client.emit_with_ack("x") == "done"
    await client.disconnect()
    await admin.wait_for("server_stats", where=lambda stats: stats["clientsCount"] == 1)
    await admin.barrier()
    assert {item.name for item in admin.inbox.log if not item.life} == {"session", "config", "server_stats"}
    assert io.listeners_any() == io.listeners_any_outgoing() == ()
    assert io.of("/")._watcher is None


async def test_everything_that_happens(serve: Serve, js: JSClients, transport: Transport) -> None:
    """The lists of sockets, rooms and events would be incomplete, or wrong."""
    io = instrumented()
    chats = io.of("/chat/{tenant}")

    @io.on("connection")
    @chats.on("connection")
    async def connection(socket: Socket) -> None:
        socket.data["name"] = "Grace"
        await socket.join("lobby")

    @io.on("say")
    async def say(socket: Socket, text: str, picture: bytes) -> str:
        await io.to("lobby").emit("said", text, picture)
        return "ok"

    @io.on("rename")
    async def rename(socket: Socket, name: str) -> None:
        socket.data["name"] = name
        await socket.leave("lobby")

    server = await serve(io)
    early = await js.connect(server.url, via=transport)
    admin = await admin_of(js, server, transport)
    [sockets] = await admin.wait_for("all_sockets")
    early_id, admin_id = await early.id(), await admin.id()
    assert [each["id"] for each in sockets] == [early_id]
    assert sockets[0]["nsp"] == "/"
    assert sockets[0]["data"] == {"name": "Grace"}
    assert sockets[0]["rooms"] == sorted([early_id, "lobby"])
    assert sockets[0]["transport"] == ("polling" if transport.name == "polling" else "websocket")
    assert sockets[0]["handshake"]["address"] == "127.0.0.1"
    assert sockets[0]["handshake"]["issued"] > 1_600_000_000_000

    # the page itself
    [itself, when] = await admin.wait_for("socket_connected")
    assert (itself["id"], itself["nsp"]) == (admin_id, "/admin")
    assert when.endswith("Z")

    # one comes, to two namespaces, one of which is new
    late = await js.connect(server.url, via=transport)
    late_id = await late.id()
    [shown, _] = await admin.wait_for("socket_connected")
    assert shown["id"] == late_id
    assert shown["rooms"] == sorted([late_id, "lobby"])
    chat = await late.of("/chat/acme")
    [in_chat, _] = await admin.wait_for("socket_connected")
    assert (in_chat["nsp"], in_chat["id"]) == ("/chat/acme", await chat.id())
    assert in_chat["clientId"] == shown["clientId"] != sockets[0]["clientId"]
    assert in_chat["clientId"] not in json.dumps((await late.state()).engine_id)

    # events
    assert await late.emit_with_ack("say", "hello", b"\x01\x02") == "ok"
    [nsp, sid, args, _] = await admin.wait_for("event_received")
    assert (nsp, sid, args) == ("/", late_id, ["say", "hello", b"\x01\x02"])
    sent = [await admin.wait_for("event_sent") for _ in range(2)]
    assert [each[:3] for each in sent] == [["/", sid, ["said", "hello", b"\x01\x02"]] for sid in (early_id, late_id)]

    await late.emit_with_ack(7)
    [nsp, sid, args, _] = await admin.wait_for("event_received")
    assert (nsp, sid, args) == ("/", late_id, [7])

    # data and rooms
    await late.emit("rename", "Linus")
    [changed] = await admin.wait_for("socket_updated", where=lambda change: change["data"] == {"name": "Linus"})
    assert (changed["id"], changed["nsp"]) == (late_id, "/")
    await admin.wait_for("room_left", where=lambda nsp, room, sid, when: (room, sid) == ("lobby", late_id))
    await admin.wait_for(
        "room_joined", where=lambda nsp, room, sid, when: (nsp, room, sid) == ("/chat/acme", "lobby", in_chat["id"])
    )

    # one goes
    await late.disconnect()
    [nsp, sid, reason, _] = await admin.wait_for("socket_disconnected")
    assert (nsp, sid, reason) == ("/", late_id, "client namespace disconnect")


async def test_with_messagepack(serve: Serve, js: JSClients) -> None:
    """The page's "MessagePack parser" would be for nothing."""
    io = instrumented(serializer=MsgpackSerializer())
    server = await serve(io)
    client = await js.connect(server.url, parser="msgpack")
    admin = await js.connect(server.url + "/admin", auth=CREDENTIALS, parser="msgpack")
    [sockets] = await admin.wait_for("all_sockets")
    assert [each["id"] for each in sockets] == [await client.id()]
    assert await admin.ack_args("join", "/", "room", await client.id()) == []
    await admin.wait_for("room_joined", where=lambda nsp, room, sid, when: room == "room")


async def test_a_change_of_transport(serve: Serve, js: JSClients) -> None:
    """A client that has moved to websocket would be shown as polling for ever."""
    io = instrumented()
    server = await serve(io)
    admin = await admin_of(js, server)
    refuse = await js.connect(server.url, transports=["polling"])
    socket = io.sockets[await refuse.id()]
    [shown, _] = await admin.wait_for("socket_connected", where=lambda socket, when: socket["nsp"] == "/")
    assert shown["transport"] == "polling"
    upgrading = await js.connect(server.url, transports=["polling", "websocket"])
    await upgrading.upgraded()
    sid = await upgrading.id()

    def last() -> Any:
        told = [item.args[0] for item in admin.inbox.log if item.name in ("socket_connected", "socket_updated")]
        return next((each["transport"] for each in reversed(told) if each["id"] == sid), None)

    await until(lambda: last() == "websocket")
    assert socket.transport == "polling"


async def test_secrets_are_not_shown(serve: Serve, js: JSClients) -> None:
    """A screenshot of the UI would give away sessions and tokens of clients, and the page is somebody's browser."""
    io = instrumented()

    class Vault:
        def __repr__(self) -> str:
            return "SECRET"

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        socket.data.update(vault=Vault(), items=[Vault()])

    server = await serve(io)
    headers = {"Cookie": "session=SECRET", "Authorization": "Bearer SECRET", "X-Api-Key": "SECRET", "X-Real-IP": "::1"}
    await js.connect(
        server.url, transports=["websocket"], extraHeaders=headers, query={"token": "SECRET"}, auth={"token": "SECRET"}
    )
    admin = await admin_of(js, server)
    [sockets] = await admin.wait_for("all_sockets")
    await admin.wait_for("socket_connected")
    assert "SECRET" not in json.dumps([item.args for item in admin.inbox.log], default=str)
    assert "right" not in json.dumps([item.args for item in admin.inbox.log], default=str)
    handshake = sockets[0]["handshake"]
    assert handshake["headers"]["authorization"] == handshake["headers"]["cookie"] == "(hidden)"
    assert handshake["headers"]["x-real-ip"] == "::1"
    assert handshake["query"] == {"token": "(hidden)", "EIO": "4", "transport": "websocket"}
    assert handshake["url"] == "/socket.io/?token=(hidden)&EIO=4&transport=websocket"
    assert sockets[0]["data"] == {"vault": "<Vault>", "items": ["<Vault>"]}


async def test_the_handshake_is_shown_when_asked_for(serve: Serve, js: JSClients) -> None:
    """Who looks for a missing cookie in development could not see it."""
    io = Server()
    io.instrument(**CREDENTIALS, mode="development", show_handshake=True)
    server = await serve(io)
    await js.connect(server.url, transports=["websocket"], extraHeaders={"Cookie": "a=b"}, auth={"token": "SECRET"})
    admin = await admin_of(js, server)
    [sockets] = await admin.wait_for("all_sockets")
    assert sockets[0]["handshake"]["headers"]["cookie"] == "a=b"
    assert "SECRET" not in json.dumps(sockets)


async def test_what_cannot_be_shown_harms_nobody(serve: Serve, js: JSClients) -> None:
    """A client with an odd name or room would take the UI down, or itself."""
    io = instrumented()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        loop: dict[Any, Any] = {}
        loop[1] = loop
        half = "\ud800"
        socket.data.update(loop=loop, nan=float("nan"), big=2**70, half=half, many=set(range(1000)), blob=bytes(10**6))
        await socket.join(half, "y" * 1024)

    server = await serve(io)
    await js.connect(server.url)
    admin = await admin_of(js, server)
    [sockets] = await admin.wait_for("all_sockets")
    data = sockets[0]["data"]
    assert data["nan"] == "nan"
    assert data["big"] == str(2**70)
    assert data["half"] == "?"
    assert data["blob"] == "<1000000 bytes>"
    assert len(data["many"]) == 101
    assert "?" in sockets[0]["rooms"]
    await js.connect(server.url)
    await admin.wait_for("socket_connected", where=lambda socket, when: socket["nsp"] == "/")


async def test_more_sockets_than_fit(serve: Serve, js: JSClients, caplog: pytest.LogCaptureFixture) -> None:
    """With many clients the UI would be disconnected as a slow consumer, again and again."""
    io = instrumented(limits=Limits(max_outbox=8_000))
    server = await serve(io)
    first = await js.connect(server.url)
    for number in range(9):
        await first.of(f"/{number}", wait=False)
        io.of(f"/{number}")
    more = [await js.connect(server.url) for _ in range(12)]
    admin = await admin_of(js, server)
    [sockets] = await admin.wait_for("all_sockets")
    assert 3 < len(sockets) < len(more)
    assert "sockets: see Limits.max_outbox" in caplog.text
    assert (await admin.state()).connected


async def test_nothing_is_left_when_nobody_watches(serve: Serve, js: JSClients, transport: Transport) -> None:
    """A server would pay for the UI at every message, for ever after somebody has had a look."""
    io = instrumented()
    io.of("/chat/{tenant}")
    server = await serve(io)
    assert quiet(io)
    client = await js.connect(server.url + "/chat/a", via=transport)
    first = await admin_of(js, server, transport)
    second = await admin_of(js, server, transport)
    late = await js.connect(server.url + "/chat/b", via=transport)
    assert not quiet(io)
    await first.disconnect()
    await second.wait_for("socket_disconnected")
    assert not quiet(io)
    await second.kill() if transport.name == "websocket" else await second.disconnect()
    await until(lambda: quiet(io))
    again = await admin_of(js, server, transport)
    [sockets] = await again.wait_for("all_sockets")
    assert {each["id"] for each in sockets} == {await client.id(), await late.id()}
    await again.disconnect()
    await until(lambda: quiet(io))


async def test_what_fails_to_begin_leaves_nothing(
    serve: Serve, js: JSClients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An adapter without room events, say, would leave a timer and meters behind at every login."""
    io = instrumented()
    server = await serve(io)

    def fail(self: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(LiveEvents, "start", fail)
    client = await js.connect(server.url + "/admin", wait=False, auth=CREDENTIALS)
    assert (await client.refused())["message"] == "Internal server error"
    assert "no such thing" in caplog.text
    assert quiet(io)


async def test_a_page_that_comes_back(serve: Serve, js: JSClients) -> None:
    """After the network was gone a page would show what was there before, above all with recovery."""
    io = instrumented(connection_state_recovery=Recovery())
    server = await serve(io)
    admin = await js.connect(server.url + "/admin", transports=["websocket"], auth=CREDENTIALS)
    await admin.wait_for("all_sockets")
    await admin.kill()
    await admin.disconnected()
    client = await js.connect(server.url)
    await admin.open()
    await admin.reconnected()
    [sockets] = await admin.wait_for("all_sockets")
    assert [each["id"] for each in sockets] == [await client.id()]
    other = await js.connect(server.url)
    await admin.wait_for("socket_connected", where=lambda socket, when: socket["nsp"] == "/")
    await other.disconnect()
    await admin.wait_for("socket_disconnected", where=lambda nsp, *args: nsp == "/")


async def test_who_is_refused_is_never_shown(serve: Serve, js: JSClients) -> None:
    """A client that a connection handler refuses would stay in the list for ever."""
    io = instrumented()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.join("room")
        raise ConnectionRefused("no")

    server = await serve(io)
    admin = await admin_of(js, server)
    client = await js.connect(server.url, wait=False)
    await client.refused()
    await admin.wait_for("room_left", where=lambda nsp, room, sid, when: room == "room")
    await admin.barrier()
    shown = [item.args[0]["nsp"] for item in admin.inbox.log if item.name == "socket_connected"]
    assert shown == ["/admin"]
    assert not [item for item in admin.inbox.log if item.name == "socket_disconnected"]


async def test_a_namespace_that_is_made_or_replaced_meanwhile(serve: Serve, js: JSClients) -> None:
    """What happens in a namespace that did not exist when the UI came would never be seen."""
    io = instrumented(cleanup_empty_child_namespaces=True)

    class Main(Namespace):
        async def on_ping_me(self, socket: Socket) -> str:
            return "pong"

    io.register_namespace(Main("/"))  # after instrument()
    io.of("/chat/{tenant}")
    server = await serve(io)
    admin = await admin_of(js, server)
    for _ in range(2):  # the second time a new child of the same name
        client = await js.connect(server.url + "/chat/a")
        await admin.wait_for("socket_connected", where=lambda socket, when: socket["nsp"] == "/chat/a")
        await client.disconnect()
        await admin.wait_for("socket_disconnected", where=lambda nsp, *args: nsp == "/chat/a")
        await until(lambda: "/chat/a" not in io.namespaces)
    io.of("/late")
    await js.connect(server.url + "/late")
    await admin.wait_for("socket_connected", where=lambda socket, when: socket["nsp"] == "/late")
    client = await js.connect(server.url)
    assert await client.emit_with_ack("ping_me") == "pong"
    await admin.wait_for("event_received", where=lambda nsp, sid, args, when: args == ["ping_me"])


# --- what it may do --------------------------------------------------------------------------------------------------


async def test_commands(serve: Serve, js: JSClients, transport: Transport) -> None:
    """The buttons of the UI would do nothing."""
    io = instrumented("production")
    io.of("/other")
    server = await serve(io)
    admin = await admin_of(js, server, transport)
    one, two = [await js.connect(server.url, via=transport) for _ in range(2)]
    elsewhere = await one.of("/other")
    one_id, two_id = await one.id(), await two.id()

    # to one socket, by its id, without and with an ack
    await admin.emit("join", "/", "room", one_id)
    await until(lambda: "room" in io.sockets[one_id].rooms)
    assert "room" not in io.sockets[two_id].rooms
    assert await admin.ack_args("emit", "/", "room", "hello", 1, b"\x02") == []
    assert await one.wait_for("hello") == [1, b"\x02"]
    await two.expect_nothing("hello")
    assert await admin.ack_args("leave", "/", "room", one_id) == []
    assert "room" not in io.sockets[one_id].rooms

    # to all
    assert await admin.ack_args("join", "/", ["a", "b"]) == []
    assert all({"a", "b"} <= socket.rooms for socket in io.sockets.values())
    assert await admin.ack_args("leave", "/", "a", "b") == []
    assert not any("a" in socket.rooms for socket in io.sockets.values())
    assert await admin.ack_args("emit", "/", None, "all") == []
    assert await one.wait_for("all") == await two.wait_for("all") == []

    # away with them
    await admin.emit("_disconnect", "/", False, one_id)
    assert await one.disconnected() == "io server disconnect"
    assert (await elsewhere.state()).connected
    assert await admin.ack_args("_disconnect", "/", True) == []
    assert await two.disconnected() == "io server disconnect"
    await until(lambda: not io.sockets)
    assert (await elsewhere.state()).connected


async def test_commands_that_make_no_sense(serve: Serve, js: JSClients) -> None:
    """A mistake in a command would make a namespace, or be lost without a word."""
    io = instrumented("production", limits=Limits(max_room_name=5))
    server = await serve(io)
    admin = await admin_of(js, server)
    await js.connect(server.url)

    async def code(*command: Any) -> str:
        answer: dict[str, Any] = await admin.emit_with_ack(*command)
        return str(answer["error"]["code"])

    assert await code("join", "/nowhere", "room") == "unknown_namespace"
    assert await code("emit", "/", None, "disconnect") == "reserved_event"
    assert await code("join", "/", 5) == "invalid_payload"
    assert await code("join", "/") == "invalid_payload"
    assert await code("_disconnect", "/", "yes") == "invalid_payload"
    assert await code("join", "/", "too long") == "room_name_too_long"
    assert "/nowhere" not in io.namespaces


async def test_read_only(serve: Serve, js: JSClients) -> None:
    """Somebody who may only look could disconnect everybody with a client of his own."""
    io = Server()
    io.instrument(**CREDENTIALS, mode="development", read_only=True)
    server = await serve(io)
    client = await js.connect(server.url)
    admin = await admin_of(js, server)
    for command in (
        ["emit", "/", None, "x"],
        ["join", "/", "room"],
        ["leave", "/", "room"],
        ["_disconnect", "/", True],
    ):
        answer = await admin.emit_with_ack(*command)
        assert answer["error"]["code"] == EventError("unknown_event").code
    assert (await client.state()).connected
    await client.expect_nothing("x")


async def test_commands_are_in_the_audit_log(serve: Serve, js: JSClients) -> None:
    """Nobody could find out afterwards which administrator threw a client out."""
    io = instrumented()
    entries: list[AuditEntry] = []

    @io.on_audit
    def note(entry: AuditEntry) -> None:
        entries.append(entry)

    server = await serve(io)
    admin = await admin_of(js, server)
    client = await js.connect(server.url)
    sid = await client.id()
    await admin.emit_with_ack("_disconnect", "/", False, sid)
    await client.disconnected()
    here = "127.0.0.1"
    login, command, kick = [entry for entry in entries if entry.kind != "refusal"]
    assert (login.kind, login.address, login.user, login.nsp) == ("login", here, "ada", "/admin")
    assert command == AuditEntry("admin", here, "ada", nsp="/", sid=login.sid, code="disconnect")
    assert kick == AuditEntry("kick", here, nsp="/", sid=sid)
