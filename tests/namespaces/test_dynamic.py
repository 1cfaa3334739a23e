"""Namespaces that clients bring into being: one for a name, bounded, cleaned up, and never under somebody's feet."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import pytest

from rtframework import ConfigurationError, ConnectionRefused, MemoryAdapter, Namespace, Recovery, Socket
from rtframework.namespaces.host import Host
from tests.support.clients import FakeClient, Gate, held_clock, idle, make_host, turn
from tests.support.in_process import NOT_ON_UVLOOP

INTERNAL = ("refused", {"message": "Internal server error", "data": {"code": "internal_error"}})
INVALID = ("refused", {"message": "Invalid namespace"})


class Noted(MemoryAdapter):
    """An adapter that notes when it is opened and closed, and waits at gates of the test."""

    log: list[str]
    opening: dict[str, Gate]
    closing: dict[str, Gate]

    async def start(self) -> None:
        if self.nsp in self.opening:
            await self.opening[self.nsp].wait()
        self.log.append(f"start {self.nsp}")

    async def close(self) -> None:
        if self.nsp in self.closing:
            await self.closing[self.nsp].wait()
        self.log.append(f"close {self.nsp}")


class World:
    """A running server with namespaces of clients, and adapters that note what happens to them."""

    def __init__(self, **options: Any) -> None:
        self.log: list[str] = []
        self.opening: dict[str, Gate] = {}
        self.closing: dict[str, Gate] = {}
        members = {"log": self.log, "opening": self.opening, "closing": self.closing}
        self.host: Host = make_host(adapter=type("Adapter", (Noted,), members), **options)
        self.parent = self.host.of("/{name}", None)

    async def start(self) -> World:
        """Serve."""
        await self.host.start()
        self.log.clear()
        return self

    async def visit(self, name: str) -> None:
        """Have a client come and go."""
        client = FakeClient(self.host)
        assert await client.connect(name) == "connected"
        client.depart(name)
        await turn()


# --- one for a name ---------------------------------------------------------------------------------------------------


async def test_clients_that_ask_at_the_same_moment_are_in_one_namespace() -> None:
    """Two people with one link would not see each other."""
    world = World()
    world.opening["/x"] = Gate()
    await world.start()
    clients = [FakeClient(world.host, name) for name in ("ada", "bob", "eve")]
    asking = [asyncio.create_task(world.host.connect(each, "/x", None)) for each in clients]
    await world.opening["/x"].reached()
    assert not any(each.heard("/x") for each in clients)
    clients[2].drop()
    world.opening["/x"].open()
    await asyncio.gather(*asking)
    (child,) = world.parent.children.values()
    assert set(child.sockets) == {"ada1", "bob1"}
    assert dict(world.parent.sockets) == dict(child.sockets)
    assert len(world.parent) == 2
    assert world.log == ["start /x"]


async def test_params_and_parents() -> None:
    """A tenant would be served as another, or by handlers that are not theirs."""
    host = make_host()
    first = host.of(r"/{id:\d+}", None)
    second = host.of(re.compile(r"/(?P<word>\w+)"), None)
    third = host.of(lambda name, auth: bool(auth.get("ok")), None)
    ada = FakeClient(host)
    for name, parent, params in (
        ("/42", first, {"id": "42"}),
        ("/x", second, {"word": "x"}),
        ("/a/b", third, {}),
    ):
        assert await ada.connect(name, {"ok": True}) == "connected"
        child = host.namespaces[name]
        assert (child.parent, dict(child.params), child.label) == (parent, params, parent.name)
        assert parent.children[name] is child
    assert await FakeClient(host).connect("/a/b") == "invalid_namespace", "a function is asked for each client"
    assert await FakeClient(host).connect("/c/d", ["ok"]) == "invalid_namespace"


@pytest.mark.parametrize("end", ["no", "refuses", "fails", "cancelled inside", "hangs"])
@NOT_ON_UVLOOP
async def test_a_function_that_does_not_say_yes(end: str, caplog: pytest.LogCaptureFixture) -> None:
    """A client would wait for ever, or be let in by a mistake; or learn of the inside of the server."""
    host = make_host(namespace_timeout=3)

    async def decide(name: str, auth: Mapping[str, Any]) -> bool:
        if end == "refuses":
            raise ConnectionRefused("for a reason of its own")
        if end == "fails":
            raise LookupError("no database")
        if end == "cancelled inside":
            raise asyncio.CancelledError
        if end == "hangs":
            await asyncio.sleep(60)
        return False

    host.of(decide, None)
    ada = FakeClient(host)
    async with held_clock() as clock:
        asking = asyncio.create_task(ada.connect("/x"))
        await clock.advance(3.1)
        assert await asking == "invalid_namespace"
    assert ada.heard("/x") == [INVALID]
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert bool(errors) == (end in ("fails", "cancelled inside", "hangs"))
    assert set(host.namespaces) == {"/"}


async def test_what_happens_while_a_function_is_asked() -> None:
    """A client would be in a namespace that another parent has made, past the function that guards it."""
    host = make_host()
    gate = Gate()

    async def decide(name: str, auth: Mapping[str, Any]) -> bool:
        await gate.wait()
        return True

    asked: list[str] = []

    def guards(name: str, auth: Mapping[str, Any]) -> bool:
        asked.append(name)
        return bool(auth)

    host.of(decide, None)
    guarded = host.of(guards, None)
    gone = FakeClient(host, "gone")
    clients = {name: FakeClient(host, name[1:]) for name in ("/taken", "/guarded", "/gone")}
    clients["/gone"] = gone
    asking = [asyncio.create_task(host.connect(each, name, None)) for name, each in clients.items()]
    await gate.reached()
    taken = host.of("/taken", None)
    host.dynamic._make(guarded, "/guarded", {})  # type: ignore[arg-type]
    gone.drop()
    gate.open()
    await asyncio.gather(*asking)
    assert clients["/taken"].socket("/taken").namespace is taken
    assert clients["/guarded"].heard("/guarded") == [INVALID]
    assert asked == ["/guarded"]
    assert "/gone" not in host.namespaces


# --- what cannot be opened --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what", ["factory", "wrong name", "no namespace", "announcement", "late announcement", "start"]
)
async def test_what_cannot_be_opened_is_not_there(what: str, caplog: pytest.LogCaptureFixture) -> None:
    """The first client after a failure would be in a namespace without its guards, or never be let in again."""
    fails = True
    log: list[str] = []

    class Broken(MemoryAdapter):
        async def start(self) -> None:
            log.append(f"start {self.nsp}")
            if fails and what == "start" and self.nsp != "/":
                raise OSError("no database")

        async def close(self) -> None:
            log.append(f"close {self.nsp}")

    def factory(name: str) -> Namespace:
        if fails and what == "factory":
            raise LookupError("a mistake of the program")
        if fails and what == "no namespace":
            return None  # type: ignore[return-value]
        return Namespace("/other" if fails and what == "wrong name" else name)

    host = make_host(adapter=Broken)
    parent = host.of("/{name}", factory)

    @host.announcements.on
    def new(namespace: Namespace) -> None:
        if fails and what == "announcement":
            raise LookupError("a mistake of the program")

    @host.announcements.on
    async def late(namespace: Namespace) -> None:
        if fails and what == "late announcement":
            raise LookupError("a mistake of the program")

    await host.start()
    ada = FakeClient(host)
    assert await ada.connect("/x") == "internal_error"
    assert ada.heard("/x") == [INTERNAL]
    await idle(host)
    assert caplog.records
    assert (set(host.namespaces), dict(parent.children)) == ({"/"}, {})
    assert log == ["start /", *["start /x", "close /x"] * (what == "start")]
    fails = False
    assert await ada.connect("/x") == "connected"


@NOT_ON_UVLOOP
async def test_a_namespace_that_takes_too_long_to_open() -> None:
    """A database that hangs would keep clients waiting for ever."""
    world = World(namespace_timeout=2)
    world.opening["/x"] = Gate()
    await world.start()
    ada = FakeClient(world.host)
    async with held_clock() as clock:
        asking = asyncio.create_task(ada.connect("/x"))
        await clock.advance(1.9)
        assert not asking.done()
        await clock.advance(0.2)
        assert await asking == "internal_error"
    assert ada.heard("/x") == [INTERNAL]
    assert not world.parent.children


async def test_one_that_the_program_holds_and_that_cannot_be_opened() -> None:
    """Each failure would let clients have one namespace more than there may be."""

    class Broken(MemoryAdapter):
        async def start(self) -> None:
            if self.nsp == "/held":
                raise OSError("no database")

    host = make_host(adapter=Broken, max_dynamic_namespaces=1)
    host.of("/{name}", None)
    await host.start()
    host.of("/held", None)
    await idle(host)
    assert "/held" not in host.namespaces
    assert await FakeClient(host).connect("/a") == "connected"
    assert await FakeClient(host).connect("/b") == "invalid_namespace"


@NOT_ON_UVLOOP
async def test_one_that_is_being_opened_while_the_server_stops() -> None:
    """Its adapter would be closed twice."""
    world = World()
    world.opening["/x"] = Gate()
    await world.start()
    async with held_clock() as clock:
        asking = asyncio.create_task(world.host.connect(FakeClient(world.host), "/x", None))
        await world.opening["/x"].reached()
        closing = asyncio.create_task(world.host.close())
        await clock.advance(2)
        await closing
        await asking
        await idle(world.host)
    assert world.log.count("close /x") == 1


# --- bounded and cleaned up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clean_up", [False, True])
async def test_when_the_last_client_leaves(clean_up: bool) -> None:
    """What a program keeps in a namespace would vanish, or namespaces of clients fill the memory."""
    world = await World(clean_up=clean_up).start()
    ada, bob = FakeClient(world.host, "ada"), FakeClient(world.host, "bob")
    for client in (ada, bob):
        await client.connect("/x")
    ada.depart("/x")
    await turn()
    assert "/x" in world.host.namespaces
    bob.drop()
    await idle(world.host)
    assert ("/x" in world.host.namespaces) == (not clean_up)
    assert world.log == ["start /x", *["close /x"] * clean_up]


async def test_a_refused_client_keeps_no_namespace() -> None:
    """Anybody could fill the memory with namespaces without ever being let in."""
    world = World(clean_up=True)

    @world.parent.on("connection")
    async def connection(socket: Socket) -> None:
        raise ConnectionRefused

    await world.start()
    for number in range(3):
        assert await FakeClient(world.host).connect(f"/{number}") == "connection_handler"
    await idle(world.host)
    assert set(world.host.namespaces) == {"/"}


async def test_the_longest_idle_is_closed_first(caplog: pytest.LogCaptureFixture) -> None:
    """A busy namespace would be closed for the sake of one that nobody comes back to; or nobody could come."""
    world = await World(max_dynamic_namespaces=3).start()
    for name in ("/a", "/b", "/c"):
        await world.visit(name)
    await world.visit("/a")
    stays = FakeClient(world.host)
    await stays.connect("/b")
    await world.visit("/d")
    assert set(world.host.namespaces) == {"/", "/a", "/b", "/d"}
    await world.visit("/e")
    assert set(world.host.namespaces) == {"/", "/b", "/d", "/e"}
    others = [FakeClient(world.host) for _ in range(2)]
    for client, name in zip(others, ("/d", "/e"), strict=True):
        await client.connect(name)
    refused = FakeClient(world.host)
    assert await refused.connect("/f") == "invalid_namespace"
    assert "there are 3 dynamic namespaces" in caplog.text
    others[0].depart("/d")
    assert await refused.connect("/f") == "connected"
    await idle(world.host)
    assert [line for line in world.log if line.startswith("close")] == ["close /c", "close /a", "close /d"]


async def test_what_the_program_holds_is_kept_and_not_counted() -> None:
    """What a program keeps a reference to would be closed under it, and its emits reach nobody."""
    world = await World(clean_up=True, max_dynamic_namespaces=1).start()
    ada = FakeClient(world.host)
    await ada.connect("/made by a client")
    held = world.host.of("/made by a client", None)
    assert world.host.of("/made by a client", None) is held
    made = world.host.of("/made by the program", None)
    assert made.parent is world.parent
    ada.drop()
    await idle(world.host)
    await world.visit("/x")
    await idle(world.host)
    assert set(world.host.namespaces) == {"/", held.name, made.name}
    bob = FakeClient(world.host)
    assert await bob.connect(held.name) == "connected"
    assert held.sockets == {"ada1": bob.socket(held.name)}
    for name in ("/a,b", "x"):
        assert world.host.dynamic.claim(name) is None


async def test_an_idle_one_that_is_claimed_is_idle_no_more() -> None:
    """The program would hold a namespace that is closed to make room for another."""
    world = await World(max_dynamic_namespaces=1).start()
    await world.visit("/a")
    held = world.host.of("/a", None)
    await world.visit("/b")
    await world.visit("/c")
    assert set(world.host.namespaces) == {"/", "/a", "/c"}
    assert world.parent.children["/a"] is held


async def test_a_client_that_comes_while_the_old_one_is_closed() -> None:
    """Two adapters would be open for one name, and one close the other's subscriptions."""
    world = World(clean_up=True)
    world.closing["/x"] = Gate()
    await world.start()
    ada = FakeClient(world.host)
    await ada.connect("/x")
    first = world.host.namespaces["/x"]
    ada.depart("/x")
    await world.closing["/x"].reached()
    asking = asyncio.create_task(ada.connect("/x"))
    await turn()
    assert world.log == ["start /x"]
    assert ada.receivers == {}
    world.closing["/x"].open()
    assert await asking == "connected"
    assert world.log == ["start /x", "close /x", "start /x"]
    assert world.host.namespaces["/x"] is not first
    assert ada.socket("/x").namespace is world.host.namespaces["/x"]


async def test_a_namespace_waits_for_its_disconnect_handlers() -> None:
    """A "disconnect" handler would emit into a namespace whose adapter is closed."""
    world = World(clean_up=True)
    gate = Gate()

    @world.parent.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        await gate.wait()
        world.log.append("handler")

    await world.start()
    ada = FakeClient(world.host)
    await ada.connect("/x")
    ada.drop()
    await gate.reached()
    assert "/x" in world.host.namespaces
    gate.open()
    await idle(world.host)
    assert world.log == ["start /x", "handler", "close /x"]


@NOT_ON_UVLOOP
@pytest.mark.parametrize("comes_back", [False, True])
async def test_a_namespace_waits_for_those_who_may_come_back(comes_back: bool) -> None:
    """A client in a tunnel would lose its session with the namespace, or the namespace be kept for nobody."""
    host = make_host(clean_up=True, recovery=Recovery(max_disconnection_duration=60))
    parent = host.of("/{name}", None)
    async with held_clock() as clock:
        await host.start()
        ada = FakeClient(host)
        await ada.connect("/x")
        pid = ada.socket("/x")._pid
        ada.drop()
        await clock.advance(50)
        assert "/x" in parent.children
        if comes_back:
            again = FakeClient(host, "again")
            assert await again.connect("/x", {"pid": pid}) == "connected"
            assert again.socket("/x").id == "ada1"
            await clock.advance(50)
            assert "/x" in parent.children
            again.depart("/x")
            await clock.advance(0.1)
        else:
            await clock.advance(10.1)
        assert not parent.children
        await idle(host)
        await host.close()
        host.stop()


# --- with the application ---------------------------------------------------------------------------------------------


async def test_nothing_is_cleaned_up_while_the_server_stops() -> None:
    """An adapter would be closed twice."""
    world = await World(clean_up=True).start()
    held = world.host.of("/held", None)
    ada = FakeClient(world.host)
    await ada.connect("/x")
    await world.host.close()
    ada.drop("server shutting down")
    await idle(world.host)
    assert sorted(world.log) == ["close /", "close /held", "close /x", "start /held", "start /x"]
    world.host.stop()
    assert world.host.namespaces == {"/": world.host.of("/", None), "/held": held}
    world.log.clear()
    await world.host.start()
    assert world.log == ["start /", "start /held"]
    await world.visit("/x")
    await idle(world.host)
    assert world.log[2:] == ["start /x", "close /x"]


def test_a_parent_has_one_factory() -> None:
    """The second file that asks for the parent would silently get namespaces of another class."""
    host = make_host()

    class Own(Namespace): ...

    parent = host.of("/{a}", Own)
    assert host.of("/{a}", None) is host.of("/{a}", Own) is parent
    with pytest.raises(ConfigurationError, match="another factory"):
        host.of("/{a}", Namespace)
    assert type(host.of("/x", None)) is Own
    assert host.of("/{b}", None) is not parent


# --- a visit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clean_up", [False, True])
async def test_a_visit_keeps_a_namespace_as_long_as_it_lasts(clean_up: bool) -> None:
    """What is emitted to clients of another server would be lost on the way, or leave a namespace for each name."""
    world = await World(clean_up=clean_up).start()
    world.opening["/x"] = Gate()
    visit = world.host.dynamic.visit("/x")
    entering = asyncio.create_task(visit.__aenter__())
    await world.opening["/x"].reached()
    assert not entering.done(), "it is open before it is used"
    world.opening["/x"].open()
    child = await entering
    assert child is world.host.namespaces["/x"]
    await turn()
    assert world.log == ["start /x"]
    await visit.__aexit__(None, None, None)
    await idle(world.host)
    assert ("/x" in world.host.namespaces) is not clean_up
    assert world.log == ["start /x", *(["close /x"] if clean_up else [])]


async def test_a_visit_sees_the_clients_that_are_there() -> None:
    """Those of this server would be in another namespace of the same name, or be closed with the visit."""
    world = await World(clean_up=True).start()
    client = FakeClient(world.host)
    await client.connect("/x")
    async with world.host.dynamic.visit("/x") as child:
        assert child is not None
        assert len(child) == 1
    await turn()
    assert world.host.namespaces["/x"] is child


async def test_visits_are_bounded() -> None:
    """A caller that names a million tenants would fill the memory, or close those that have clients."""
    world = await World(max_dynamic_namespaces=2).start()
    client = FakeClient(world.host)
    await client.connect("/kept")
    for name in ("/1", "/2", "/3"):
        async with world.host.dynamic.visit(name) as child:
            assert child is not None
        await turn()
    assert set(world.host.namespaces) == {"/", "/kept", "/3"}
    other = FakeClient(world.host)
    await other.connect("/other")
    async with world.host.dynamic.visit("/4") as child:
        assert child is None, "all have clients"


async def test_a_visit_of_what_is_none() -> None:
    """A misspelt name would be a namespace for good."""
    world = await World().start()
    for name in ("x", "/a/b", "/a,b", "/" + "x" * 1000):
        async with world.host.visit(name) as child:
            assert child is None
    assert set(world.host.namespaces) <= {"/"}


async def test_a_visit_of_what_cannot_be_opened(caplog: pytest.LogCaptureFixture) -> None:
    """An emit would go to an adapter that has not started."""
    world = await World().start()
    world.host.announcements.on(_later)
    async with world.host.visit("/x") as child:
        assert child is None
    assert "cannot be opened" in caplog.text
    assert "/x" not in world.host.namespaces


async def _later(namespace: Namespace) -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError
