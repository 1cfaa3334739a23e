"""The history of a namespace's rooms: what is kept, and what a socket that joins gets, in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtframework import (
    BaseAdapter,
    ClusterUnavailable,
    ConfigurationError,
    EventError,
    History,
    HistoryEntry,
    HistoryPage,
    MemoryHistory,
    Namespace,
    Packet,
    Recovery,
    Socket,
    Target,
)
from rtframework.adapters.memory import MemoryAdapter
from rtframework.namespaces import history as module
from rtframework.namespaces.history import frames_of
from rtframework.protocols import Emitter
from rtframework.types import HistoryQuery, KeptRoom
from tests.support.backbone import Broker, FakeBackbone
from tests.support.clients import FakeClient, FakeEngine, assert_nothing_left, idle, make_host, turn
from tests.support.thorough import examples


class Store:
    """A store of a program's own: that in memory, behind its protocol. ``gate``: what a page waits for."""

    def __init__(self) -> None:
        self.inner = MemoryHistory()
        self.gate: asyncio.Event | None = None
        self.log: list[str] = []

    async def start(self) -> None:
        """Note it."""
        self.log.append("start")

    async def close(self) -> None:
        """Note it."""
        self.log.append("close")

    async def append(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        """Add an entry."""
        await asyncio.sleep(0)
        return self.inner.add(nsp, rooms, entry)

    async def read(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        """Return a page."""
        page = self.inner.find(nsp, room, query)
        if self.gate is not None:
            await self.gate.wait()
        return page

    async def clear(self, nsp: str, room: str) -> None:
        """Forget a room."""
        await self.inner.clear(nsp, room)


def events(client: FakeClient, nsp: str = "/") -> list[Any]:
    """Return the events that a client has got, pages as their entries, the rest without ids."""
    found: list[Any] = []
    for kind, name, *args in client.heard(nsp)[1:]:
        assert kind == "event"
        if name == "history":
            found.append([each["args"][0] for each in args[0]["entries"]])
        else:
            found.append(args[0])
    return found


def ids(client: FakeClient) -> list[str]:
    """Return the ids of all entries that a client has got, in order."""
    found = []
    for _, name, *args in client.heard()[1:]:
        found += [each["id"] for each in args[0]["entries"]] if name == "history" else [args[-1]]
    return found


STORES = pytest.mark.parametrize("own", [False, True], ids=["memory", "own store"])


def rules(own: bool, *rooms: str, **options: Any) -> list[History]:
    """Make a history, in memory or in a store of a program's own."""
    store = Store() if own else None
    return [History(room, store=store, **options) for room in rooms or ("chat:{room}",)]


@STORES
async def test_a_page_then_what_is_said(own: bool) -> None:
    """A client that joins would not know what was said, or get it after what is said now."""
    host = make_host(history=rules(own))
    main = host.of("/", None)
    for number in range(3):
        await main.to("chat:1").emit("said", number)
    ada = FakeClient(host)
    await ada.connect()
    page = await ada.socket().join("chat:1", history=2)
    assert [entry.args for entry in page.entries] == [(1,), (2,)]
    assert (page.more, page.gap) == (True, False)
    await main.to("chat:1").emit("said", 3)
    assert events(ada) == [[1, 2], 3]
    (entry,) = (await main.history("chat:1", limit=1)).entries
    assert ids(ada)[-1] == entry.id
    told = ada.heard()[1][2]
    assert (told["room"], told["gap"], told["more"]) == ("chat:1", False, True)
    assert isinstance(told["entries"][0]["at"], int)


@STORES
async def test_it_comes_back_with_its_last_id(own: bool) -> None:
    """A client that was away would get everything again, or not know that something is missing."""
    host = make_host(history=rules(own, size=4))
    main = host.of("/", None)
    said = []
    for number in range(3):
        await main.to("chat:1").emit("said", number)
        said.append((await main.history("chat:1")).entries[-1].id)
    ada = FakeClient(host)
    await ada.connect()
    assert not (await ada.socket().join("chat:1", since=said[0])).gap
    assert not (await ada.socket().join("chat:1", since=None)).gap
    for number in range(3, 6):
        await main.to("chat:1").emit("said", number)
    page = await ada.socket().join("chat:1", history=10, since=said[0])
    assert page.gap
    for strange in ("", "x" * 100, "\n", "ä", "other.1"):
        page = await ada.socket().join("chat:1", history=10, since=strange)
        assert (page.gap, [entry.args[0] for entry in page.entries]) == (True, [2, 3, 4, 5])
    assert events(ada)[:2] == [[1, 2], [0, 1, 2]]


@STORES
async def test_no_hole_and_nothing_twice_while_others_emit(own: bool) -> None:
    """Under load, a client would miss what was said while it joined, or get it twice."""
    history = rules(own, size=500, page=500)
    host = make_host(history=history)
    main = host.of("/", None)
    clients = [FakeClient(host, f"client{number}-") for number in range(20)]
    for client in clients:
        await client.connect()

    async def flood() -> None:
        for number in range(200):
            await main.to("chat:1").emit("said", number)
            await asyncio.sleep(0)

    async def join(client: FakeClient, after: int) -> None:
        await turn(after)
        await client.socket().join("chat:1", history=500)

    await asyncio.gather(flood(), *(join(client, 7 * number) for number, client in enumerate(clients)))
    for client in clients:
        page, *live = events(client)
        assert page + live == list(range(200))
        assert len(set(ids(client))) == 200


async def test_it_is_held_back_while_the_page_is_read() -> None:
    """What is said while a slow store reads would come before the page."""
    (history,) = rules(True)
    store: Any = history.store
    host = make_host(history=[history])
    main = host.of("/", None)
    await main.to("chat:1").emit("said", 1)
    ada = FakeClient(host)
    await ada.connect()
    store.gate = asyncio.Event()
    joining = asyncio.ensure_future(ada.socket().join("chat:1", history=10))
    await turn()
    await main.to("chat:1").emit("said", 2)
    await ada.socket().emit("said", "to you alone")
    assert events(ada) == []
    store.gate.set()
    await joining
    assert events(ada) == [[1], 2, "to you alone"]


async def test_the_store_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client would get nothing any more because one store hangs."""
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    (history,) = rules(True)
    store: Any = history.store
    host = make_host(history=[history])
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    store.gate = asyncio.Event()
    with pytest.raises(ClusterUnavailable, match=r"not read within 0\.01 s"):
        await ada.socket().join("chat:1", history=10)
    await main.to("chat:1").emit("said", 1)
    assert events(ada) == [1]
    assert "chat:1" in ada.socket().rooms


async def test_in_a_connection_handler() -> None:
    """The most usual place to join a room would not work, or break the order."""
    host = make_host(history=rules(True))
    main = host.of("/", None)
    await main.to("chat:1").emit("said", 1)

    @main.on("connection")
    async def connection(socket: Socket) -> None:
        await socket.emit("said", "welcome")
        await socket.join("chat:1", history=10)
        await main.to("chat:1").emit("said", 2)

    ada = FakeClient(host)
    await ada.connect()
    await main.to("chat:1").emit("said", 3)
    assert events(ada) == ["welcome", [1], 2, 3]


async def test_in_middleware() -> None:
    """A page would be lost without a word: the client is not in yet."""
    host = make_host(history=rules(False))
    main = host.of("/", None)
    told = []

    @main.use
    async def middleware(socket: Socket, call_next: Any) -> None:
        with pytest.raises(ConfigurationError, match="in a connection handler") as error:
            await socket.join("chat:1", history=10)
        told.append(error)
        await call_next()

    assert await FakeClient(host).connect() == "connected"
    assert len(told) == 1


async def test_it_leaves_while_the_page_is_read() -> None:
    """Something of a client that has gone would stay behind, or an error would be logged."""
    (history,) = rules(True)
    store: Any = history.store
    host = make_host(history=[history])
    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    store.gate = asyncio.Event()
    joining = asyncio.ensure_future(socket.join("chat:1", history=10))
    await turn()
    ada.drop()
    store.gate.set()
    assert (await joining).entries == ()
    assert (await socket.join("chat:1", history=10)) == HistoryPage()
    await idle(host)
    assert_nothing_left(host)


async def test_its_client_is_another_socket_when_the_page_is_read() -> None:
    """A client that has left a namespace and come back would get the page of a room that it has not joined."""
    (history,) = rules(True)
    store: Any = history.store
    host = make_host(history=[history])
    await host.of("/", None).to("chat:1").emit("said", 1)
    ada = FakeClient(host)
    await ada.connect()
    store.gate = asyncio.Event()
    joining = asyncio.ensure_future(ada.socket().join("chat:1", history=10))
    await turn()
    host.of("/", None)._membership.disconnect(ada.socket(), close=False)
    await ada.connect()
    store.gate.set()
    assert await joining == HistoryPage()
    assert not any("history" in heard for heard in ada.heard("/"))


async def test_it_leaves_the_room_while_the_page_is_read() -> None:
    """Who is taken out of a room at that moment would get what was said in it."""
    (history,) = rules(True)
    store: Any = history.store
    host = make_host(history=[history])
    main = host.of("/", None)
    await main.to("chat:1").emit("said", 1)
    ada = FakeClient(host)
    await ada.connect()
    store.gate = asyncio.Event()
    joining = asyncio.ensure_future(ada.socket().join("chat:1", history=10))
    await turn()
    await main.sockets_leave("chat:1")
    await ada.socket().emit("said", 2)
    store.gate.set()
    assert await joining == HistoryPage()
    assert events(ada) == [2]


@STORES
async def test_what_is_not_kept(own: bool) -> None:
    """Typing hints would be shown to clients that join a day later."""
    host = make_host(history=rules(own, "chat:{room}", events=["said"]))
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    await ada.socket().join("chat:1")
    await main.to("chat:1").volatile.emit("said", 1)
    await main.to("chat:1").local.emit("said", 2)
    await main.to("chat:1").emit("typing", 3)
    await main.to("other").emit("said", 4)
    await main.to().emit("said", 5)
    await main.emit("said", 6)
    await ada.socket().emit("said", 7)
    await main.to("$user:1", ada.socket().id).emit("said", 8)
    assert (await main.history("chat:1")).entries == ()
    assert [line[2:] for line in ada.heard()[1:]] == [(1,), (2,), (3,), (6,), (7,), (8,)]  # and none has an id


@STORES
async def test_several_rooms(own: bool) -> None:
    """A client in two of the rooms would get an event twice; or only one room would keep it."""
    host = make_host(history=rules(own))
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    await ada.socket().join("chat:1", "chat:2")
    await main.to("chat:1", "chat:2", "other").emit("said", 1)
    assert events(ada) == [1]
    kept = [(await main.history(room)).entries for room in ("chat:1", "chat:2")]
    assert [[entry.id for entry in each] for each in kept] == [ids(ada), ids(ada)]


async def test_rooms_with_different_stores() -> None:
    """An event would have two ids, and clients would ask with the wrong one."""
    host = make_host(history=[History("a", store=Store()), History("b", store=Store()), History("c")])
    main = host.of("/", None)
    with pytest.raises(ConfigurationError, match="different stores"):
        await main.to("a", "b").emit("said", 1)
    with pytest.raises(ConfigurationError, match="different stores"):
        await main.to("a", "c").emit("said", 1)
    await main.to("a", "d").emit("said", 1)


async def test_the_first_that_fits_counts() -> None:
    """An exception for one room could not be made."""
    host = make_host(history=[History("chat:news", size=1), History("chat:{room}", size=9)])
    main = host.of("/", None)
    for room in ("chat:news", "chat:1"):
        for number in range(3):
            await main.to(room).emit("said", number)
    assert [len((await main.history(room)).entries) for room in ("chat:news", "chat:1")] == [1, 3]


async def test_what_was_for_others() -> None:
    """A client would see in the history what was kept from it live."""
    host = make_host(history=rules(False))
    main = host.of("/", None)
    ada, bob = FakeClient(host, "ada"), FakeClient(host, "bob")
    await ada.connect()
    await bob.connect()
    await ada.socket().to("chat:1").emit("said", 1)
    await main.to("chat:1").except_("muted").emit("said", 2)
    await main.to("chat:1").emit("said", 3)
    await ada.socket().join("chat:1", history=9)
    await bob.socket().join("muted")
    await bob.socket().join("chat:1", history=9)
    assert events(ada) == [[2, 3]]
    assert events(bob) == [[1, 3]]
    assert [entry.args[0] for entry in (await bob.socket().history("chat:1")).entries] == [1, 3]
    assert [entry.args[0] for entry in (await main.history("chat:1")).entries] == [1, 2, 3]


async def test_paging() -> None:
    """A client could not scroll back, or anybody could read any room."""
    host = make_host(history=rules(False, page=4))
    main = host.of("/", None)
    for number in range(10):
        await main.to("chat:1").emit("said", number)
    ada = FakeClient(host)
    await ada.connect()
    with pytest.raises(EventError) as error:
        await ada.socket().history("chat:1")
    assert error.value.code == "not_in_room"
    page = await ada.socket().join("chat:1", history=1000)
    found = [entry.args[0] for entry in page.entries]
    while page.more:
        page = await ada.socket().history("chat:1", before=page.entries[0].id, limit=3)
        found = [entry.args[0] for entry in page.entries] + found
    assert found == list(range(10))
    found, last = [], None
    while last is None or page.more:
        page = await main.history("chat:1", after=last or "", limit=3)
        found += [entry.args[0] for entry in page.entries]
        last = page.entries[-1].id
    assert found == list(range(10))[-len(found) :]
    assert (await main.history("chat:1", before="never given out")).entries == ()


async def test_cleared() -> None:
    """What a moderator has deleted would be shown to clients that join later."""
    host = make_host(history=rules(False))
    main = host.of("/", None)
    await main.to("chat:1").emit("said", 1)
    await main.clear_history("chat:1")
    assert (await main.history("chat:1")).entries == ()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"history": -1}, "a number of entries"),
        ({"history": True}, "a number of entries"),
        ({"history": "5"}, "a number of entries"),
        ({"since": 5}, "the id of an entry"),
    ],
)
async def test_wrong_values(options: dict[str, Any], told: str) -> None:
    """A mistake would be taken for "nothing was said"."""
    host = make_host(history=rules(False))
    ada = FakeClient(host)
    await ada.connect()
    with pytest.raises(ConfigurationError, match=told):
        await ada.socket().join("chat:1", **options)
    assert "chat:1" not in ada.socket().rooms


@pytest.mark.parametrize("history", [[], rules(False)], ids=["none at all", "of other rooms"])
async def test_rooms_without_history(history: list[History]) -> None:
    """A mistake in a room's name would be taken for "nothing was said"."""
    host = make_host(history=history)
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    socket = ada.socket()
    await socket.join("other")
    for asking in (
        socket.join("other", history=5),
        socket.history("other"),
        main.history("other"),
        main.clear_history("other"),
    ):
        with pytest.raises(ConfigurationError, match="'other' has no history"):
            await asking
    with pytest.raises(ConfigurationError, match="one room at a time"):
        await socket.join("chat:1", "chat:2", history=5)  # type: ignore[call-overload]


async def test_attachments_of_a_page() -> None:
    """JavaScript clients disconnect themselves when a packet has more than ten attachments."""
    host = make_host(history=rules(False), max_attachments=3)
    main = host.of("/", None)
    for number in range(4):
        await main.to("chat:1").emit("picture", b"%d" % number, {"small": [b"x"]} if number == 2 else "none")
    ada = FakeClient(host)
    await ada.connect()
    page = await ada.socket().join("chat:1", history=10)
    assert ([entry.args[0] for entry in page.entries], page.more) == ([b"2", b"3"], True)
    assert events(ada) == [[b"2", b"3"]]


async def test_with_recovery() -> None:
    """The client takes the last string for its offset: an id at that place would end its session."""
    host = make_host(history=rules(False), recovery=Recovery())
    main = host.of("/", None)
    ada = FakeClient(host)
    await ada.connect()
    await ada.socket().join("chat:1", history=5)
    await main.to("chat:1").emit("said", 1)
    _, name, value, id, offset = ada.heard()[-1]
    assert (name, value) == ("said", 1)
    assert id == (await main.history("chat:1")).entries[0].id
    assert offset != id


async def test_only_in_one_namespace() -> None:
    """A history would be kept for rooms of the same name elsewhere."""
    host = make_host(history=[History("a", nsp="/chat"), History("a", nsp="/t/{name}")])
    parent = host.of("/t/{name}", None)
    chat, main = host.of("/chat", None), host.of("/", None)
    assert main._history is None
    await chat.to("a").emit("said", 1)
    assert len((await chat.history("a")).entries) == 1
    ada, bob = FakeClient(host, "ada"), FakeClient(host, "bob")
    await ada.connect("/t/one")
    await bob.connect("/t/two")
    await parent.to("a").emit("said", 2)
    await ada.socket("/t/one").namespace.to("a").emit("said", 3)
    await ada.socket("/t/one").join("a", history=5)
    await bob.socket("/t/two").join("a", history=5)
    assert events(ada, "/t/one") == [[2, 3]]
    assert events(bob, "/t/two") == [[2]]
    with pytest.raises(ConfigurationError, match="no history"):
        await parent.history("a")


async def test_several_servers_without_a_store() -> None:
    """Each server would keep what it has emitted itself, and nobody would notice."""
    with pytest.raises(ConfigurationError, match="does not keep the history of rooms"):
        make_host(history=[History("a")], adapter=FakeBackbone(Broker(), "a"))
    with pytest.raises(ConfigurationError, match="does not keep the history of rooms"):
        make_host(history=[History("a", store=MemoryHistory())], adapter=FakeBackbone(Broker(), "a"))
    make_host(history=[History("a", store=Store())], adapter=FakeBackbone(Broker(), "a"))


async def test_an_adapter_that_keeps_it_itself() -> None:
    """The adapters of Redis and of workers would not be asked."""
    asked: list[Any] = []

    class Keeper:
        async def broadcast(self, *args: Any) -> None:
            asked.append(("broadcast", args[0].data, args[2]))

        def open(self, room: str) -> str:
            asked.append(("open", room))
            return "here"

        def close(self, room: str, opening: str) -> None:
            asked.append(("close", room, opening))

        async def read(self, room: KeptRoom, query: HistoryQuery, opening: str | None = None) -> HistoryPage:
            asked.append(("read", room, query.limit, opening))
            return HistoryPage((HistoryEntry("1-0", 5, text='["said",1]'),))

        async def clear(self, room: str) -> None:
            asked.append(("clear", room))

    class Adapter(MemoryAdapter):
        def __init__(self, nsp: str, emitter: Emitter) -> None:
            super().__init__(nsp, emitter)
            self.history_keeper = Keeper()

    host = make_host(history=[History("a", size=7)], adapter=Adapter)
    main = host.of("/", None)
    await main.to("a", "b").emit("said", 1)
    ada = FakeClient(host)
    await ada.connect()
    await ada.socket().join("a", history=3)
    await main.clear_history("a")
    room = KeptRoom("a", 7)
    assert asked == [
        ("broadcast", ["said", 1], [room]),
        ("open", "a"),
        ("read", room, 3, "here"),
        ("close", "a", "here"),
        ("clear", "a"),
    ]
    assert events(ada) == [[1]]


async def test_stores_are_started_and_closed() -> None:
    """A store would be asked before its database is open, or leave it open."""
    store = Store()
    host = make_host(history=[History("a", store=store), History("b", store=store), History("c")])
    await host.start()
    await host.close()
    host.stop()
    assert store.log == ["start", "close"]


@STORES
async def test_a_follower(own: bool) -> None:
    """Gateways that are no sockets, such as server-sent events, would miss entries or repeat them."""
    host = make_host(history=rules(own))
    main = host.of("/", None)
    history = main._history
    assert history is not None
    await main.to("chat:1").emit("said", 1)
    (first,) = (await main.history("chat:1")).entries
    await main.to("chat:1").emit("said", 2)
    heard: list[HistoryEntry] = []
    page, follower = await history.follow("chat:1", heard.append, after=first.id, limit=10)
    assert [entry.args[0] for entry in page.entries] == [2]
    await main.to("chat:1").emit("said", 3)
    await main.to("chat:1").volatile.emit("said", 4)
    await main.emit("said", 5)
    (last,) = (await main.history("chat:1", limit=1)).entries
    assert [(each.id, each.event, each.args) for each in heard] == [(last.id, "said", (3,))]
    assert heard[0].at == last.at
    follower.close()
    await main.to("chat:1").emit("said", 6)
    assert len(heard) == 1
    assert main.adapter.sockets(Target(frozenset(("chat:1",)))) == []
    with pytest.raises(ConfigurationError, match="has no history"):
        await history.follow("other", heard.append)


@pytest.mark.parametrize(
    "data",
    [["a"], ["a", 1], [7], [-7, {"x": [1]}], ['q"],\\', "ü\u2028"], ["a,b]", None], ["", []], ["a", b"bytes", 1.5]],
)
def test_a_page_as_it_is_sent(data: list[Any]) -> None:
    """An event's name with a quote in it would break the page of everybody."""
    engine = FakeEngine()
    entry = HistoryEntry("1.2", 3, text=engine.text(Packet(2, "/", data)), data=data)
    frames: Any = frames_of(engine, "/chat", 'a"b', HistoryPage((entry, entry), more=True))
    wanted = {"id": "1.2", "event": data[0], "args": data[1:], "at": 3}
    sent = {"room": 'a"b', "entries": [wanted, wanted], "gap": False, "more": True}
    assert frames.lines == (("/chat", ("event", "history", sent)),)


def test_what_is_left_to_the_adapter() -> None:
    """A server without history would pay for it with every broadcast."""
    assert make_host().of("/", None)._history is None
    assert isinstance(make_host(history=rules(False)).of("/", None), Namespace)
    assert not hasattr(BaseAdapter, "history_keeper")


# --- in any order -----------------------------------------------------------------------------------------------------

_ROOMS = ("chat:a", "chat:b")
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.sampled_from([["chat:a"], ["chat:b"], ["chat:a", "chat:b"]]), st.integers(0, 5)),
        st.tuples(st.just("join"), st.integers(0, 2), st.sampled_from(_ROOMS), st.integers(0, 6), st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 2), st.sampled_from(_ROOMS)),
        st.tuples(st.just("let"), st.integers(0, 3)),
        st.tuples(st.just("turn"), st.integers(1, 3)),
    ),
    max_size=60,
)


class GatedStore(Store):
    """A store each of whose steps waits until the schedule lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[asyncio.Future[None]] = []

    async def _gate(self) -> None:
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]

    def let(self, number: int) -> None:
        """Let one step go on."""
        if self.waiting:
            self.waiting.pop(number % len(self.waiting)).set_result(None)

    async def append(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        """Add an entry."""
        await self._gate()
        id = self.inner.add(nsp, rooms, entry)
        await self._gate()
        return id

    async def read(self, nsp: str, room: KeptRoom, query: HistoryQuery) -> HistoryPage:
        """Return a page."""
        await self._gate()
        page = self.inner.find(nsp, room, query)
        await self._gate()
        return page


def _sessions(client: FakeClient, room: str, ids: Sequence[str], left: Sequence[int]) -> list[tuple[Any, list[str]]]:
    """Return what a client has got of a room each time that it has joined: the page, and the ids with what followed."""
    found: list[tuple[Any, list[str]]] = []
    is_in = False
    for at, (_, name, *args) in enumerate(client.heard()[1:]):
        is_in = is_in and at not in left
        if name == "history" and args[0]["room"] == room:
            found.append((args[0], [entry["id"] for entry in args[0]["entries"]]))
            is_in = True
        elif name != "history" and is_in and args[-1] in ids:
            found[-1][1].append(args[-1])
    return found


@pytest.mark.parametrize("own", [False, True], ids=["memory", "own store"])
@settings(max_examples=examples(600), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_in_any_order(own: bool, steps: list[Any]) -> None:
    """Some order of emits, joins and a slow store would leave a hole, or give an entry twice or too early."""
    asyncio.run(_run(own, steps))


async def _run(own: bool, steps: list[Any]) -> None:
    store = GatedStore()
    host = make_host(history=[History("chat:{room}", size=1000, page=1000, store=store if own else None)])
    main = host.of("/", None)
    clients = [FakeClient(host, name) for name in ("ada", "bob", "eve")]
    for client in clients:
        await client.connect()
    tasks: list[asyncio.Task[Any]] = []
    busy: dict[tuple[int, str], asyncio.Task[Any]] = {}
    left: dict[tuple[int, str], list[int]] = {}
    since: dict[str, list[str]] = {room: [] for room in _ROOMS}
    for kind, *rest in steps:
        if kind == "emit":
            rooms, number = rest
            target = clients[number].socket().to(*rooms) if number < 2 else main.to(*rooms)
            tasks.append(asyncio.ensure_future(target.emit("said", len(tasks))))
        elif kind == "join":
            number, room, limit, by_id = rest
            if (number, room) in busy and not busy[number, room].done():
                continue
            known = [args[-1] for _, name, *args in clients[number].heard()[1:] if name == "said"]
            options: dict[str, Any] = {"since": known[-1]} if by_id and known else {}
            since[room] += options.values()
            joining = clients[number].socket().join(room, history=limit, **options)
            busy[number, room] = asyncio.ensure_future(joining)
            tasks.append(busy[number, room])
        elif kind == "leave":
            number, room = rest
            if (number, room) not in busy or busy[number, room].done():
                await clients[number].socket().leave(room)
                left.setdefault((number, room), []).append(len(clients[number].heard()) - 1)
        elif kind == "let":
            store.let(*rest)
        else:
            await turn(*rest)
    while not all(task.done() for task in tasks):
        store.let(0)
        await turn(1)
    await asyncio.gather(*tasks)
    for room in _ROOMS:
        entries = store.inner.find("/", KeptRoom(room, 1000), HistoryQuery(limit=1000)).entries
        if not own:
            assert host.memory_history is not None
            entries = host.memory_history.find("/", KeptRoom(room, 1000), HistoryQuery(limit=1000)).entries
        for number, client in enumerate(clients):
            mine = [entry.id for entry in entries if client.socket().id not in entry.except_]
            sessions = _sessions(client, room, mine, left.get((number, room), ()))
            for which, (page, got) in enumerate(sessions):
                start = mine.index(got[0]) if got else 0
                assert got == mine[start : start + len(got)], "a hole, something twice, or another order"
                if which == len(sessions) - 1 and room in client.socket().rooms:
                    assert not got or got[-1] == mine[-1], "something is missing at the end"
                if not page["more"] and not page["gap"] and got and not since[room]:
                    assert start == 0, "something is missing at the beginning"
