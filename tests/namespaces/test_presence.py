"""Who is in a room: what clients and programs are told, by the store in memory."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rtframework import (
    ConfigurationError,
    ConnectionRefused,
    EncodeError,
    EventError,
    Handshake,
    History,
    Identity,
    Member,
    Presence,
    Recovery,
    Server,
    Socket,
)
from rtframework.testing import Clock, TestClient, TestServer
from tests.support.clients import FakeClient, make_host, turn
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.simulation import SimulatedLoop
from tests.support.thorough import is_thorough

pytestmark = NOT_ON_UVLOOP
EVENTS = ("presence", "presence_join", "presence_leave", "presence_update")


class Auth:
    """Whoever says a name has it; without one, nobody knows who it is."""

    async def authenticate(self, handshake: Handshake) -> Any:
        name = handshake.auth.get("user")
        return Identity(name, name=name.title()) if isinstance(name, str) else object()


def make(presence: Any = None, **options: Any) -> Server:
    """Make a server whose clients join and leave rooms as they like."""
    rule = Presence("chat:{id}", meta=lambda socket: {"name": socket.user.name}) if presence is None else presence
    io = Server(auth=Auth(), presence=rule, **options)

    @io.on("join")
    async def join(socket: Socket, *rooms: str) -> str:
        await socket.join(*rooms)
        return "joined"

    @io.on("leave")
    async def leave(socket: Socket, room: str) -> None:
        await socket.leave(room)

    @io.on("say")
    async def say(socket: Socket, room: str, text: str) -> None:
        await io.to(room).emit("said", text)

    @io.on("meta")
    async def change(socket: Socket, room: str, meta: Any) -> None:
        await socket.update_presence(room, meta)

    return io


@asynccontextmanager
async def served(io: Server) -> AsyncIterator[TestServer]:
    async with TestServer(io, clock=Clock()) as server:
        yield server


def heard(client: TestClient) -> list[tuple[str, Any]]:
    """Take what a client was told of people, in order: the event, and its members or its user."""
    found = []
    for item in client.received:
        if item.event in EVENTS and not item.taken:
            item.taken = True
            (data,) = item.args
            people = [(each["user"], each["tabs"]) for each in data["members"]] if "members" in data else data["user"]
            found.append((str(item.event), people))
    return found


async def ada_and_bob(server: TestServer) -> tuple[TestClient, TestClient]:
    """Return two people in a room who know of each other, and have taken that."""
    ada, bob = [await server.connect(auth={"user": name}) for name in ("ada", "bob")]
    for each in (ada, bob):
        await each.emit("join", "chat:1")
    heard(ada), heard(bob)
    return ada, bob


async def test_who_joins_gets_the_list_and_the_others_are_told() -> None:
    """A page would show an empty room, or one without its newest guest."""
    io = make()
    async with served(io) as server:
        ada, bob = [await server.connect(auth={"user": name}) for name in ("ada", "bob")]
        assert await ada.emit_with_ack("join", "chat:1") == "joined"
        assert await ada.receive("presence") == {
            "room": "chat:1",
            "members": [{"user": "ada", "meta": {"name": "Ada"}, "tabs": 1}],
            "more": False,
        }
        await bob.emit("join", "chat:1", "lobby")
        assert heard(bob) == [("presence", [("ada", 1), ("bob", 1)])], "the list alone, with himself in it"
        assert await ada.receive("presence_join") == {"room": "chat:1", "user": "bob", "meta": {"name": "Bob"}}
        await ada.receive_nothing()
        assert [(each.user, each.meta, each.tabs) for each in await io.presence("chat:1")] == [
            ("ada", {"name": "Ada"}, 1),
            ("bob", {"name": "Bob"}, 1),
        ]
        with pytest.raises(ConfigurationError, match=r"lobby.*presence=Presence"):
            await io.presence("lobby")


async def test_the_tabs_of_a_user_are_one() -> None:
    """Somebody who has two tabs open would come twice, and leave with the first one that is closed."""
    io = make()
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        tab = await server.connect(auth={"user": "ada"})
        await tab.emit("join", "chat:1")
        assert heard(tab) == [("presence", [("ada", 2), ("bob", 1)])]
        await ada.disconnect()
        assert heard(bob) == []
        await tab.emit("leave", "chat:1")
        assert heard(bob) == [("presence_leave", "ada")]
        assert heard(tab) == []
        assert [each.user for each in await io.presence("chat:1")] == ["bob"]


async def test_a_lost_connection_is_told_after_the_grace_only() -> None:
    """People would flicker whenever a phone changes networks."""
    io = make()
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        await ada.lose_connection()
        assert [(each.user, each.tabs) for each in await io.presence("chat:1")] == [("ada", 0), ("bob", 1)]
        await server.clock.advance(9)
        await ada.reconnect()
        await ada.emit("join", "chat:1")
        assert heard(ada) == [("presence", [("ada", 1), ("bob", 1)])]
        await server.clock.advance(60)
        assert heard(bob) == []
        await ada.lose_connection()
        await server.clock.advance(9.9)
        assert heard(bob) == []
        await server.clock.advance(0.2)
        assert heard(bob) == [("presence_leave", "ada")]


async def test_a_tab_that_is_back_and_leaves_is_told_at_once_only_with_the_last() -> None:
    """A tab that waits for its grace would keep somebody in the list who has gone, or the other way round."""
    io = make()
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        tab = await server.connect(auth={"user": "ada"})
        await tab.emit("join", "chat:1")
        await ada.lose_connection()
        await tab.disconnect()
        assert heard(bob) == [], "the first one may come back"
        await server.clock.advance(10.1)
        assert heard(bob) == [("presence_leave", "ada")]


@pytest.mark.parametrize("way", ["kick", "namespace", "close", "room", "client"])
async def test_who_is_sent_away_leaves_at_once(way: str) -> None:
    """Somebody who was thrown out would stay in the list."""
    io = make()
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        if way == "kick":
            await io.user("ada").disconnect(reason="spam", reconnect=True)
        elif way == "namespace":
            await io.sockets[ada.id].disconnect()
        elif way == "close":
            await io.sockets[ada.id].disconnect(close=True)
        elif way == "room":
            await io.user("ada").leave("chat:1")
        else:
            await ada.disconnect()
        await server.settle()
        assert heard(bob) == [("presence_leave", "ada")]


async def test_a_lost_tab_of_somebody_who_is_thrown_out_is_not_waited_for() -> None:
    """Somebody who was thrown out would stay in the list because of a tunnel just before."""
    io = make()
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        tab, eve = [await server.connect(auth={"user": name}) for name in ("ada", "eve")]
        for each in (tab, eve):
            await each.emit("join", "chat:1")
        heard(bob)
        await ada.lose_connection()
        await eve.lose_connection()
        await server.clock.advance(1)
        await io.user("ada").disconnect(reconnect=True)
        await server.settle()
        assert heard(bob) == [("presence_leave", "ada")], "eve may come back"
        await server.clock.advance(10)
        assert heard(bob) == [("presence_leave", "eve")]


async def test_a_lost_tab_that_is_back_is_not_lost() -> None:
    """Who was in a tunnel, and comes again after being thrown out, would vanish from the list."""
    io = make(connection_state_recovery=Recovery(skip_middlewares=True))
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        await ada.lose_connection()
        await ada.reconnect()
        assert ada.recovered
        host = io._host
        host.take_over([host.revocations.make("$user:ada", "kicked").to_plain()])  # another server throws her out
        await server.settle()
        assert heard(bob) == []
        assert [(each.user, each.tabs) for each in await io.presence("chat:1")] == [("ada", 1), ("bob", 1)]


async def test_lost_tabs_are_not_remembered_for_good() -> None:
    """A server on which people come and go would fill its memory."""
    io = make()
    async with served(io) as server:
        for _ in range(20):
            client = await server.connect(auth={"user": "ada"})
            await client.emit("join", "chat:1")
            await client.lose_connection()
            await server.clock.advance(11)
        presence = io._host.namespaces["/"]._presence
        assert presence is not None
        assert sum(map(len, presence._lost.values())) == 1


async def test_every_way_into_a_room_counts() -> None:
    """Who was put into a room by the server would hear of others, and nobody of them."""
    io = make(connection_state_recovery=Recovery())

    @io.use
    async def early(socket: Socket, call_next: Callable[[], Any]) -> None:
        if socket.user.id == "early":
            await socket.join("chat:1")
        await call_next()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.user.id == "handler":
            await socket.join("chat:1")

    async with served(io) as server:
        bob = await server.connect(auth={"user": "bob"})
        await bob.emit("join", "chat:1")
        heard(bob)
        for name in ("early", "handler", "moved"):
            client = await server.connect(auth={"user": name})
            if name == "moved":
                await io.user("moved").join("chat:1")
                await server.settle()
            assert heard(bob) == [("presence_join", name)]
            ((event, people),) = heard(client)
            assert event == "presence"
            assert (name, 1) in people
            await client.lose_connection()
            await client.reconnect()
            assert client.recovered
            again = ("presence", [("bob", 1), (name, 1)])
            assert heard(client) == [again] * (2 if name == "handler" else 1)
            await client.emit("leave", "chat:1")
            assert heard(bob) == [("presence_leave", name)]


async def test_what_a_recovered_client_has_missed() -> None:
    """Its list would be that of the moment when its connection was lost."""
    io = make(connection_state_recovery=Recovery())
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        await bob.emit("say", "chat:1", "hello")
        await ada.lose_connection()
        eve = await server.connect(auth={"user": "eve"})
        await eve.emit("join", "chat:1")
        await bob.disconnect()
        await ada.reconnect()
        assert ada.recovered
        missed = [("presence_join", "eve"), ("presence_leave", "bob")]
        assert heard(ada) == [*missed, ("presence", [("ada", 1), ("eve", 1)])], "the last list may have been lost"
        await server.clock.advance(60)
        assert heard(eve) == [("presence", [("ada", 0), ("bob", 1), ("eve", 1)]), ("presence_leave", "bob")]


async def test_a_refused_client_was_never_there() -> None:
    """Somebody who was let in by nobody would be a ghost in the room."""
    io = make()

    @io.on("connection")
    async def connection(socket: Socket) -> None:
        if socket.user.id == "eve":
            await socket.join("chat:1")
            raise ConnectionRefused("not you")

    async with served(io) as server:
        _, bob = await ada_and_bob(server)
        with pytest.raises(ConnectionRefused):
            await server.connect(auth={"user": "eve"})
        assert heard(bob) == [("presence_join", "eve"), ("presence_leave", "eve")]
        assert [each.user for each in await io.presence("chat:1")] == ["ada", "bob"]


async def test_who_has_no_user_stands_for_itself() -> None:
    """Guests would all be one person, or nobody."""
    io = make(Presence("chat:{id}"))
    async with served(io) as server:
        one, two = [await server.connect() for _ in range(2)]
        await one.emit("join", "chat:1")
        await two.emit("join", "chat:1")
        assert heard(one) == [("presence", [(one.id, 1)]), ("presence_join", two.id)]


async def test_rooms_that_are_never_meant() -> None:
    """A function or an expression that fits all rooms would tell everybody of each socket."""
    io = make(Presence(lambda room: True))

    @io.on("follow")
    async def follow(socket: Socket, id: str) -> None:
        await socket.join(id, socket_ids=True)

    async with served(io) as server:
        ada = await server.connect(auth={"user": "ada"})
        bob = await server.connect(auth={"user": "bob"})
        await bob.emit("follow", ada.id)
        await io.sockets[bob.id].join("half \ud800 pair")
        assert (heard(ada), heard(bob)) == ([], [])
        for room in ("$user:ada", "half \ud800 pair"):
            with pytest.raises(ConfigurationError, match="no presence"):
                await io.presence(room)


async def test_hostile_ids() -> None:
    """A user could forge an event by its name, or break the list for everybody."""
    io = make()
    async with served(io) as server:
        bob = await server.connect(auth={"user": "bob"})
        await bob.emit("join", 'chat:"}]')
        names = ['"},{"user":"root"', "\u2028\\\n", "a" * 10_000, "\U0001f600"]
        for name in names:
            client = await server.connect(auth={"user": name})
            await client.emit("join", 'chat:"}]')
        assert heard(bob)[1:] == [("presence_join", name) for name in names]
        assert {each.user for each in await io.presence('chat:"}]')} == {"bob", *names}


async def test_meta_that_cannot_be_shown() -> None:
    """A mistake in a function for meta would hide people, or kill the join without a word."""
    meta: Any = None

    def show(socket: Socket) -> Any:
        if isinstance(meta, Exception):
            raise meta
        return meta

    io = make(Presence("chat:{id}", meta=show, max_meta=100))
    errors: list[Exception] = []

    @io.exception_handler(Exception)
    def keep(socket: Socket, error: Exception) -> EventError:
        errors.append(error)
        return EventError("broken")

    async with served(io) as server:
        bob = await server.connect(auth={"user": "bob"})
        await bob.emit("join", "chat:1")
        heard(bob)
        for number, each in enumerate([RuntimeError("no name"), "x" * 99, b"bytes", float("nan"), object()]):
            meta = each
            client = await server.connect(auth={"user": f"eve{number}"})
            await client.emit("join", "chat:1")
            assert await bob.receive("presence_join") == {"room": "chat:1", "user": f"eve{number}", "meta": None}
            assert len(errors) == number + 1
            assert isinstance(errors[-1], RuntimeError if number == 0 else EncodeError)
            assert ("presence", [("bob", 1), *((f"eve{each}", 1) for each in range(number + 1))]) in heard(client)
        await bob.emit("meta", "chat:1", "x" * 200)
        assert isinstance(errors[-1], EncodeError)
        await bob.receive_nothing("presence_update")


async def test_meta_that_takes_a_while() -> None:
    """People without a name would be told, or somebody who has left meanwhile."""
    asked: list[asyncio.Future[str]] = []

    async def name(socket: Socket) -> str:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    io = make(Presence("chat:{id}", meta=name))
    async with served(io) as server:
        ada, bob = [await server.connect(auth={"user": each}) for each in ("ada", "bob")]
        await ada.emit("join", "chat:1")
        await ada.emit("say", "chat:1", "held back")
        await ada.receive_nothing()
        asked[0].set_result("Ada")
        await server.settle()
        assert [item.event for item in ada.received] == ["presence", "said"]
        heard(ada)
        await bob.emit("join", "chat:1")
        await bob.emit("meta", "chat:1", "Robert")
        asked[1].set_result("Bob")
        await server.settle()
        assert await ada.receive("presence_join") == {"room": "chat:1", "user": "bob", "meta": "Robert"}
        await bob.emit("leave", "chat:1")
        for way in ("leave", "disconnect"):
            client = await server.connect(auth={"user": "eve"})
            await client.emit("join", "chat:1")
            await (client.emit("leave", "chat:1") if way == "leave" else client.disconnect())
            asked[-1].set_result("Eve")
            await server.settle()
        assert heard(ada) == [("presence_leave", "bob")]
        client = await server.connect(auth={"user": "slow"})
        await client.emit("join", "chat:1")
        await server.clock.advance(5.1)
        assert heard(ada) == [("presence_join", "slow")], "it is there, whatever becomes of its name"
        assert heard(client) == []
        await client.emit("say", "chat:1", "nothing is held back any more")
        assert await client.receive("said")


async def test_meta_is_changed_for_all_tabs() -> None:
    """A status would be that of one tab, or gone after a second one was opened."""
    io = make()
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        await ada.emit("meta", "chat:1", {"status": "busy"})
        for each in (ada, bob):
            update = await each.receive("presence_update")
            assert update == {"room": "chat:1", "user": "ada", "meta": {"status": "busy"}}
        tab = await server.connect(auth={"user": "ada"})
        await tab.emit("join", "chat:1")
        assert (await tab.receive("presence"))["members"][0]["meta"] == {"status": "busy"}
        socket = io.sockets[tab.id]
        with pytest.raises(EventError, match="not in that room"):
            await socket.update_presence("chat:2", 1)
        with pytest.raises(ConfigurationError):
            await make_without().update_presence("chat:2", 1)


def make_without() -> Socket:
    """Return a socket of a server without presence."""
    host = make_host()
    client = FakeClient(host, "ada")
    return host.namespaces["/"]._make_socket(client, "ada", Handshake(), None)


async def test_long_lists() -> None:
    """A room with many people would cost each guest a second, and a program its memory."""
    io = make(Presence("chat:{id}", max_list=3))
    async with served(io) as server:
        clients = [await server.connect(auth={"user": f"u{number}"}) for number in range(5)]
        for each in clients:
            await each.emit("join", "chat:1")
        assert await clients[2].receive("presence") == {
            "room": "chat:1",
            "members": [{"user": f"u{number}", "meta": None, "tabs": 1} for number in range(3)],
            "more": False,
        }
        last = await clients[4].receive("presence")
        assert ([each["user"] for each in last["members"]], last["more"]) == (["u0", "u1", "u2"], True)
        page = await io.presence("chat:1", limit=2)
        assert [each.user for each in page] == ["u0", "u1"]
        assert [each.user for each in await io.presence("chat:1", limit=2, after=page[-1].user)] == ["u2", "u3"]
        assert await io.presence("chat:1", after="u9") == []
        for limit in (0, True, 1.5):
            with pytest.raises(ConfigurationError, match="whole number"):
                await io.presence("chat:1", limit=limit)  # type: ignore[arg-type]


async def test_namespaces_are_apart() -> None:
    """People of one namespace would be seen in another, and in none of those that are made for clients."""
    io = make([Presence("a", nsp="/admin"), Presence("{room}", nsp="/of/{tenant}")])

    async def join(socket: Socket, room: str) -> None:
        await socket.join(room)

    admin, of = io.of("/admin"), io.of("/of/{tenant}")
    admin.on("join")(join)
    of.on("join")(join)
    async with served(io) as server:
        cases = (("/", "a", False), ("/admin", "a", True), ("/admin", "b", False), ("/of/x", "b", True))
        for nsp, room, is_told in cases:
            client = await server.connect(nsp, auth={"user": nsp})
            await client.emit("join", room)
            assert heard(client) == ([("presence", [(nsp, 1)])] if is_told else []), nsp
        assert [each.user for each in await io.of("/of/x").presence("b")] == ["/of/x"]
        with pytest.raises(ConfigurationError, match="ask one"):
            await of.presence("b")
        with pytest.raises(ConfigurationError, match="no presence"):
            await io.presence("a")


async def test_a_namespace_that_ends_while_somebody_may_come_back() -> None:
    """A grace that is over after its namespace would be an error in the log, or somebody would come twice."""
    io = make([Presence("r")], cleanup_empty_child_namespaces=True)

    @io.of("/of/{tenant}").on("join")
    async def join(socket: Socket) -> None:
        await socket.join("r")

    async with served(io) as server:
        ada = await server.connect("/of/x", auth={"user": "ada"})
        await ada.emit("join")
        await ada.lose_connection()
        assert "/of/x" not in io.namespaces
        bob = await server.connect("/of/x", auth={"user": "bob"})
        await bob.emit("join")
        assert heard(bob) == [("presence", [("ada", 0), ("bob", 1)])]
        await bob.lose_connection()
        await server.clock.advance(60)
        assert "/of/x" not in io.namespaces
        eve = await server.connect("/of/x", auth={"user": "eve"})
        await eve.emit("join")
        assert heard(eve) == [("presence", [("eve", 1)])]


async def test_the_first_rule_that_fits_counts() -> None:
    """A program could not have one room that is different."""
    io = make([Presence("chat:vip", grace=0, meta=lambda socket: "vip"), Presence("chat:{id}")])
    async with served(io) as server:
        ada = await server.connect(auth={"user": "ada"})
        await ada.emit("join", "chat:vip", "chat:2")
        first, second = await ada.receive("presence"), await ada.receive("presence")
        assert [first["members"][0]["meta"], second["members"][0]["meta"]] == ["vip", None]
        await ada.lose_connection()
        assert await io.presence("chat:vip") == []
        assert [(each.user, each.tabs) for each in await io.presence("chat:2")] == [("ada", 0)]


async def test_joining_again_tells_the_list_again() -> None:
    """A page that is built anew over the same connection would have an empty list."""
    io = make()
    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        await ada.emit("join", "chat:1")
        assert heard(ada) == [("presence", [("ada", 1), ("bob", 1)])]
        assert heard(bob) == []


async def test_nothing_is_left_when_the_server_stops() -> None:
    """A server that serves again would have ghosts in its rooms."""
    io = make()
    async with served(io) as server:
        await ada_and_bob(server)
    async with served(io) as server:
        assert await io.presence("chat:1") == []
        ada = await server.connect(auth={"user": "ada"})
        await ada.emit("join", "chat:1")
        assert heard(ada) == [("presence", [("ada", 1)])]


async def test_a_member_is_told_by_its_fields() -> None:
    """A program would not know when somebody came."""
    io = make()
    async with served(io) as server:
        await ada_and_bob(server)
        ada, bob = await io.presence("chat:1")
        assert ada == Member("ada", {"name": "Ada"}, 1, ada.since)
        assert 0 < ada.since <= bob.since


async def test_history_and_presence_in_one_room() -> None:
    """Who joins would get what was said after what is said now, or wait for ever."""
    io = make(history=History("chat:{id}"))

    @io.on("enter")
    async def enter(socket: Socket, room: str) -> None:
        await socket.join(room, history=10)

    async with served(io) as server:
        ada, bob = await ada_and_bob(server)
        await ada.emit("say", "chat:1", "one")
        await ada.emit("leave", "chat:1")
        await ada.emit("enter", "chat:1")
        await bob.emit("say", "chat:1", "two")
        names = [item.event for item in ada.received][-3:]
        assert names == ["history", "presence", "said"]
        page = await ada.receive("history")
        assert [entry["event"] for entry in page["entries"]] == ["said"], "changes of presence are not kept"
        assert heard(bob) == [("presence_leave", "ada"), ("presence_join", "ada")]


# --- anything in any order, against a model ---------------------------------------------------------------------------

ROOMS = ("chat:1", "chat:2")


class People:
    """Clients that come, join, get lost, come back and are thrown out, in simulated time, and who should be there."""

    def __init__(self, seed: int) -> None:
        self.chosen = random.Random(seed)
        self.loop = asyncio.get_running_loop()
        self.host = make_host(auth=Auth(), recovery=Recovery(), presence=(Presence("chat:{id}"),))
        self.main = self.host.namespaces["/"]
        self.here: dict[str, FakeClient] = {}
        """By socket id: the clients that are connected."""
        self.users: dict[str, str] = {}
        self.rooms: dict[str, set[str]] = {}
        self.lost: dict[str, tuple[str, float]] = {}
        """By socket id: the private ids of those that were lost, and the times when they were."""
        self.shown: dict[str, set[str]] = {}
        self.numbers = itertools.count()

    async def connect(self, user: str, pid: str | None = None) -> FakeClient:
        """Let a client in."""
        client = FakeClient(self.host, f"c{next(self.numbers)}-")
        auth = {"user": user} if pid is None else {"user": user, "pid": pid}
        assert await client.connect(auth=auth) == "connected"
        sid = client.socket().id
        self.here[sid], self.users[sid] = client, user
        self.rooms.setdefault(sid, set())
        return client

    async def step(self) -> None:
        """Let one thing happen."""
        chosen, roll = self.chosen, self.chosen.random()
        sid = chosen.choice(list(self.here)) if self.here else None
        room = chosen.choice(ROOMS)
        if roll < 0.12 or sid is None:
            await self.connect(chosen.choice("abcde"))
        elif roll < 0.4:
            await self.here[sid].socket().join(room)
            self.rooms[sid].add(room)
        elif roll < 0.5:
            await self.here[sid].socket().leave(room)
            self.rooms[sid].discard(room)
        elif roll < 0.65:
            pid = self.here[sid].socket()._pid
            assert pid is not None
            self.here.pop(sid).drop()
            self.lost[sid] = pid, self.loop.time()
        elif roll < 0.75 and self.lost:
            sid = chosen.choice(list(self.lost))
            pid, since = self.lost.pop(sid)
            client = await self.connect(self.users[sid], pid)
            if client.socket().id != sid:  # too late, or nobody knows what it has got of what it missed
                self.lost[sid] = "forgotten", since
        elif roll < 0.8:
            self.here.pop(sid).depart()
            del self.rooms[sid]
        elif roll < 0.84:
            socket = self.here.pop(sid).socket()
            await socket.disconnect(chosen.random() < 0.5, reason="x", reconnect=False)
            del self.rooms[sid]
        elif roll < 0.86:
            await self.main.in_(ROOMS[0]).sockets_join(ROOMS[1])
            for each in self.here:
                if ROOMS[0] in self.rooms[each]:
                    self.rooms[each].add(ROOMS[1])
        else:
            await asyncio.sleep(chosen.choice([0.5, 3, 8, 30]))
        await turn(3)
        for sid in [sid for sid, (_, since) in self.lost.items() if self.loop.time() - since > 200]:
            del self.lost[sid], self.rooms[sid]

    def expected(self, room: str) -> dict[str, int]:
        """Return who should be in a room, with how many tabs."""
        found: dict[str, int] = {}
        for sid, rooms in self.rooms.items():
            is_here = sid in self.here
            if room in rooms and (is_here or self.loop.time() - self.lost[sid][1] < 10):
                found[self.users[sid]] = found.get(self.users[sid], 0) + is_here
        return found

    def watch(self, watcher: FakeClient) -> None:
        """Take what a client was told that is always there."""
        for line in watcher.heard():
            if line[0] != "event":
                continue
            name, told = line[1], line[2]
            people = self.shown.setdefault(told["room"], set())
            if name == "presence":
                people.clear()
                people.update(each["user"] for each in told["members"])
            elif name == "presence_join":
                assert told["user"] not in people, "told twice"
                people.add(told["user"])
            elif name == "presence_leave":
                people.remove(told["user"])
        watcher.line.sent.clear()


@pytest.mark.parametrize("seed", range(8 if is_thorough() else 1))
def test_no_ghost_after_anything(seed: int) -> None:
    """Somebody would stay in a list for good, or be missing from it."""

    async def go_on() -> None:
        people = People(seed)
        watcher = await people.connect("watcher")
        people.here.pop(watcher.socket().id)
        people.rooms.pop(watcher.socket().id)
        await watcher.socket().join(*ROOMS)
        for _ in range(10_000):
            await people.step()
            people.watch(watcher)
            for room in ROOMS:
                expected = {**people.expected(room), "watcher": 1}
                found = await people.main._members_of(room, 99, None)
                assert {each.user: each.tabs for each in found} == expected
                assert people.shown[room] == set(expected)

    loop = SimulatedLoop()
    logging.getLogger("rtframework").setLevel(logging.CRITICAL)
    try:
        loop.run_until_complete(go_on())
    finally:
        logging.getLogger("rtframework").setLevel(logging.NOTSET)
        loop.close()
