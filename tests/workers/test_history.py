"""The history of rooms of several workers: joins while others emit, and workers that are killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from rtframework import ClusterUnavailable, DecodeError, History, HistoryEntry, Recovery, Server, Socket
from rtframework.cluster.messages import Message, MessageType, Options, SocketsRooms
from rtframework.cluster.pubsub_wire import encode_ephemeral
from rtframework.protocols import HistoryKeeper
from rtframework.testing import TestClient, TestServer
from rtframework.workers import wire
from rtframework.workers.history import WorkersHistory, read_kept
from rtframework_msgpack import MsgpackSerializer
from tests.support.in_process import NOT_ON_UVLOOP
from tests.support.thorough import is_thorough
from tests.support.until import until
from tests.support.workers import WorkersBroker

pytestmark = NOT_ON_UVLOOP

HISTORY = [History("chat:{room}", size=5_000, page=5_000, page_bytes=10_000_000)]
RECOVERY = pytest.mark.parametrize("recovery", [False, True], ids=["plain", "recovery"])


class Reader:
    """A client, and what it was told in rooms."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.pages: list[dict[str, Any]] = []
        self.said: list[Any] = []
        self.ids: list[str] = []
        client.on("history", self._page)
        client.on("said", self._hear)

    def _page(self, page: dict[str, Any]) -> None:
        self.pages.append(page)
        self.said += [entry["args"][0] for entry in page["entries"]]
        self.ids += [entry["id"] for entry in page["entries"]]

    def _hear(self, what: Any, id: str | None = None) -> None:
        self.said.append(what)
        id = id or self.client._offset  # with recovery, the client takes it for its offset
        assert id is not None
        self.ids.append(id)

    async def enter(self, limit: int = 5_000, since: str | None = None, room: str = "chat:1") -> Any:
        """Join a room with history."""
        return await self.client.emit_with_ack("enter", room, limit, since, within=60.0)


class Place:
    """One worker."""

    def __init__(self, broker: WorkersBroker, name: str, recovery: bool = False, **options: Any) -> None:
        options.setdefault("history", HISTORY)
        self.name = name
        self.backbone = broker.backbone(name)
        self.io = Server(adapter=self.backbone, connection_state_recovery=Recovery() if recovery else None, **options)
        self.server = TestServer(self.io)

        @self.io.on("enter")
        async def enter(socket: Socket, room: str, limit: int, since: str | None = None) -> dict[str, Any]:
            page = await socket.join(room, history=limit, since=since)
            return {"gap": page.gap, "more": page.more, "ids": [entry.id for entry in page.entries]}

        @self.io.on("join")
        async def join(socket: Socket, room: str) -> None:
            await socket.join(room)

        @self.io.on("leave")
        async def leave(socket: Socket, room: str) -> None:
            await socket.leave(room)

        @self.io.on("say")
        async def say(socket: Socket, text: str) -> None:
            await socket.to("chat:1").emit("said", text)

    async def reader(self) -> Reader:
        """Connect a client."""
        return Reader(await self.server.connect(within=60.0))


@contextlib.asynccontextmanager
async def workers(count: int, **options: Any) -> AsyncIterator[tuple[WorkersBroker, list[Place]]]:
    """Run workers in this process."""
    broker = WorkersBroker()
    await broker.start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            places = [Place(broker, f"n{number}", **options) for number in range(count)]
            for place in places:
                await stack.enter_async_context(place.server)
            yield broker, places
    finally:
        await broker.stop()


async def all_ids(place: Place, room: str = "chat:1") -> list[str]:
    """Return the ids of the whole history."""
    return [entry.id for entry in (await place.io.history(room, limit=5_000)).entries]


async def test_it_is_a_keeper() -> None:
    """The framework would ask for something that is not there."""
    async with workers(1) as (_, (one,)):
        keeper: HistoryKeeper = one.io.of("/").adapter.history_keeper  # type: ignore[attr-defined]
        assert isinstance(keeper, WorkersHistory)


@RECOVERY
async def test_workers_keep_one_history(recovery: bool) -> None:
    """A client would see only what its own worker has emitted."""
    async with workers(2, recovery=recovery) as (broker, (one, two)):
        ada, bob = await one.reader(), await two.reader()
        await one.io.to("chat:1").emit("said", 1)
        await two.io.to("chat:1", "chat:2").emit("said", 2)
        assert (await ada.enter(1))["more"]
        assert not (await bob.enter())["more"]
        await one.io.to("chat:1").except_("nobody").emit("said", 3)
        await two.io.to("chat:1", "chat:3").emit("said", 4)
        await two.io.to("chat:1").emit("said", {"deep": [None, 10**30]})
        await one.io.to("chat:1").emit("said", b"\x00")
        await one.io.to("chat:1").compress(False).emit("said", "é")
        await until(lambda: len(ada.said) == 6 and len(bob.said) == 7)
        assert ada.said == [2, 3, 4, {"deep": [None, 10**30]}, b"\x00", "é"]
        assert bob.said == [1, *ada.said]
        for place in (one, two):
            entries = (await place.io.history("chat:1")).entries
            assert [entry.args[0] for entry in entries] == bob.said
            assert [entry.id for entry in entries] == bob.ids
        assert ada.ids == bob.ids[1:]
        assert all(id.startswith(f"{broker.broker.epoch}.") for id in bob.ids)
        assert [entry.id for entry in (await one.io.history("chat:2")).entries] == bob.ids[1:2]
        await one.io.clear_history("chat:1")
        page = await two.io.history("chat:1", after=bob.ids[-1])
        assert (page.entries, page.gap) == ((), True)


async def test_pages() -> None:
    """A client that scrolls back would get entries twice, or stop before the first one."""
    async with workers(2) as (_, (one, two)):
        for number in range(7):
            await one.io.to("chat:1").emit("said", number)
        page = await two.io.history("chat:1", limit=3)
        found = [entry.args[0] for entry in page.entries]
        while page.more:
            page = await two.io.history("chat:1", before=page.entries[0].id, limit=3)
            found = [*(entry.args[0] for entry in page.entries), *found]
        assert found == list(range(7))
        first = (await two.io.history("chat:1")).entries[0].id
        page = await two.io.history("chat:1", after=first, limit=3)
        assert ([entry.args[0] for entry in page.entries], page.more) == ([1, 2, 3], True)
        assert (await two.io.history("chat:1", before="other.7")).entries == ()


async def test_what_was_not_for_a_client_is_not_in_its_page() -> None:
    """A client would get its own words again."""
    async with workers(1) as (_, (one,)):
        ada = await one.reader()
        await ada.client.emit_with_ack("say", "mine")
        await one.io.to("chat:1").emit("said", "all")
        await ada.enter()
        assert ada.said == ["all"]


async def test_who_comes_back_after_a_day() -> None:
    """A client that was away for longer than recovery allows would have a hole, or everything again."""
    async with workers(2, history=[History("chat:{room}", size=5)]) as (_, (one, two)):
        ada, bob = await one.reader(), await two.reader()
        await ada.enter(10)
        for number in range(3):
            await one.io.to("chat:1").emit("said", number)
        await until(lambda: len(ada.said) == 3)
        for number in range(3, 8):
            await one.io.to("chat:1").emit("said", number)
        assert not (await bob.enter(10, ada.ids[2]))["gap"]
        assert bob.said == [3, 4, 5, 6, 7]
        await one.io.to("chat:1").emit("said", 8)
        assert (await bob.enter(10, ada.ids[2]))["gap"]
        for unknown in ("other.7", f"{ada.ids[0].partition('.')[0]}.999999", "7", "x" * 1_000):
            assert (await bob.enter(10, unknown))["gap"]


async def test_with_another_serializer() -> None:
    """The page would hold what the clients' parser does not know."""
    async with workers(2, serializer=MsgpackSerializer()) as (_, (one, two)):
        await one.io.to("chat:1").emit("said", 1, b"x", {"a": None})
        (entry,) = (await two.io.history("chat:1")).entries
        assert (entry.event, entry.args) == ("said", (1, b"x", {"a": None}))


async def test_rooms_that_are_used_least_are_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    """The broker would grow with each room that there ever was; or it would forget without telling."""
    broker = WorkersBroker()
    await broker.start()
    place = Place(broker, "n0")
    place.backbone.history_rooms = 3
    async with place.server:
        for number in range(5):
            await place.io.to(f"chat:{number}").emit("said", number)
        assert [bool(await all_ids(place, f"chat:{number}")) for number in range(5)] == [False, False, True, True, True]
        assert broker.broker.rooms.history.forgotten == 2
    assert "the history of a room is forgotten: more than 3 rooms" in caplog.text
    await broker.stop()


async def test_a_follower_hears_all_workers() -> None:
    """Gateways that are no sockets would miss what other workers emit."""
    async with workers(2) as (_, (one, two)):
        await one.io.to("chat:1").emit("said", 1)
        heard: list[HistoryEntry] = []
        history = two.io.of("/")._history
        assert history is not None
        page, follower = await history.follow("chat:1", heard.append, limit=10)
        assert [entry.args[0] for entry in page.entries] == [1]
        await one.io.to("chat:1").emit("said", 2)
        await two.io.to("chat:1").emit("said", b"3")
        await until(lambda: len(heard) == 2)
        assert [entry.args[0] for entry in heard] == [2, b"3"]
        (_, *rest) = (await one.io.history("chat:1")).entries
        assert [(entry.id, entry.at) for entry in heard] == [(entry.id, entry.at) for entry in rest]
        follower.close()


async def test_a_broker_that_does_not_answer() -> None:
    """A join would hang, or its client would get nothing any more."""
    async with workers(1) as (broker, (one,)):
        outcomes: list[str] = []

        @one.io.on("try")
        async def attempt(socket: Socket) -> None:
            try:
                async with asyncio.timeout(0.2):
                    await socket.join("chat:1", history=5)
            except TimeoutError:
                outcomes.append("late")
            assert "chat:1" in socket.rooms

        ada = await one.reader()
        await broker.freeze()
        await ada.client.emit_with_ack("try", within=60.0)
        assert outcomes == ["late"]
        await broker.thaw()
        await one.io.to("chat:1").emit("said", 1)
        await until(lambda: ada.said == [1])
        assert not one.io.of("/").adapter.history_keeper._openings  # type: ignore[attr-defined]
        await broker.broker.stop()
        with pytest.raises(ClusterUnavailable):
            await one.io.history("chat:1")
        with pytest.raises(ClusterUnavailable):
            await one.io.to("chat:1").emit("said", 2)


@RECOVERY
async def test_an_earlier_message_that_arrives_later_is_in_the_page(recovery: bool) -> None:
    """A client would get an older event behind newer ones, if another room of the event was here before.

    The worker reads nothing for a while: then the broker has put events in order that were sent here only if somebody
    was in their room by then.
    """
    async with workers(2, recovery=recovery) as (broker, (one, two)):
        neighbour, both, new = [await one.reader() for _ in range(3)]
        await neighbour.enter(0, room="chat:2")
        await both.enter(0, room="chat:2")
        await broker.isolate("n0")
        emitting = [
            asyncio.create_task(two.io.to(*rooms).emit("said", number))
            for number, rooms in enumerate((["chat:1"], ["chat:1", "chat:2"], ["chat:1"]))
        ]
        await asyncio.gather(*emitting)
        entering = [asyncio.create_task(each.enter()) for each in (new, both)]
        index = one.io.of("/").adapter.index  # type: ignore[attr-defined]
        await until(lambda: len(index.members("chat:1")) == 2)
        await broker.rejoin("n0")
        await asyncio.gather(*entering)
        await two.io.to("chat:1").emit("said", 3)
        await until(lambda: new.said[-1:] == both.said[-1:] == [3] and neighbour.said == [1])
        assert new.said == [0, 1, 2, 3]
        assert new.ids == await all_ids(one)
        assert sorted(both.said) == [0, 1, 2, 3]


async def test_those_who_join_at_once_share_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart, the broker would send a page a thousand times; or some would get one that lacks the end."""
    async with workers(2) as (broker, (one, two)):
        asked: list[Any] = []
        read = broker.broker.rooms.history.find_without

        def find(*args: Any) -> Any:
            asked.append(args)
            return read(*args)

        monkeypatch.setattr(broker.broker.rooms.history, "find_without", find)
        for number in range(3):
            await two.io.to("chat:1").emit("said", number)
        readers = [await one.reader() for _ in range(20)]
        await broker.isolate("n0")
        entering = [asyncio.create_task(reader.enter()) for reader in readers[:10]]
        index = one.io.of("/").adapter.index  # type: ignore[attr-defined]
        await until(lambda: len(index.members("chat:1")) == 10)
        await broker.rejoin("n0")
        await asyncio.gather(*entering)
        assert len(asked) == 1
        await broker.isolate("n0")
        entering = [asyncio.create_task(reader.enter()) for reader in readers[10:15]]
        await until(lambda: len(index.members("chat:1")) == 15)
        await two.io.to("chat:1").emit("said", 3)  # the others come later, and their page has it
        entering += [asyncio.create_task(reader.enter()) for reader in readers[15:]]
        await until(lambda: len(index.members("chat:1")) == 20)
        await broker.rejoin("n0")
        await asyncio.gather(*entering)
        await two.io.to("chat:1").emit("said", 4)
        for reader in readers:
            await until(lambda: reader.said == [0, 1, 2, 3, 4])  # noqa: B023 - waited for at once
        assert len(asked) == 2


@RECOVERY
async def test_a_page_is_as_long_as_it_was_asked_for(recovery: bool) -> None:
    """A client that joins while others emit would get a shorter page, and take it for all that there is."""
    async with workers(2, recovery=recovery) as (broker, (one, two)):
        first, second, third = [await one.reader() for _ in range(3)]
        await first.enter(0)
        for number in range(20):
            await two.io.to("chat:1").emit("said", number)
        index = one.io.of("/").adapter.index  # type: ignore[attr-defined]
        for reader, count in ((second, 3), (third, 15)):  # a few come live meanwhile, then many
            members = len(index.members("chat:1"))
            await broker.isolate("n0")
            entering = asyncio.create_task(reader.enter(5))
            await until(lambda: len(index.members("chat:1")) > members)  # noqa: B023 - waited for at once
            for _ in range(count):
                await two.io.to("chat:1").emit("said", "live")
            await broker.rejoin("n0")
            assert (await entering)["more"]
        assert second.said[:8] == [15, 16, 17, 18, 19, "live", "live", "live"]
        assert third.said[:5] == [18, 19, "live", "live", "live"]
        await until(lambda: len(third.said) == 20 and len(second.said) == 23)
        assert second.ids == (await all_ids(two))[15:]
        assert third.ids == (await all_ids(two))[18:]


@pytest.mark.parametrize("seed", range(60 if is_thorough() else 6))
async def test_no_hole_and_nothing_twice_whatever_happens(seed: int) -> None:
    """Under load, a client would miss what was said while it joined, or get it twice, when a worker dies, too."""
    choose = random.Random(seed)
    async with workers(4, recovery=bool(seed % 2)) as (broker, places):
        survivors = places[:3]
        readers: list[Reader] = []

        async def flood(place: Place, name: str) -> None:
            for number in range(150):
                rooms = choose.choice([["chat:1"], ["chat:1"], ["chat:1", "chat:2"], ["chat:1", "lobby"], ["chat:2"]])
                emits = [place.io.to(*rooms).emit("said", f"{name}{number}.{each}") for each in range(3)]
                await asyncio.gather(*emits)

        async def come(place: Place) -> None:
            reader = await place.reader()
            if choose.random() < 0.3:
                await reader.client.emit_with_ack("join", "else")
            await reader.enter()
            readers.append(reader)
            if choose.random() < 0.5:  # it leaves and is back, with what it has seen last
                await reader.client.emit_with_ack("leave", "chat:1", within=60.0)
                await asyncio.sleep(0)
                answer = await reader.enter(since=reader.ids[-1] if reader.ids else None)
                assert not answer["gap"]

        async def kill() -> None:
            await until(lambda: broker.broker.published > 300)
            await broker.crash("n3")
            flooding[3].cancel()  # a process that was killed says nothing more

        flooding = [asyncio.create_task(flood(place, place.name)) for place in places]
        killing = asyncio.create_task(kill())
        for count in (1, 2, 1, 4, 1, 3, 1):
            await asyncio.gather(*(come(choose.choice(survivors)) for _ in range(count)))
        await asyncio.gather(*flooding[:3], killing)
        with pytest.raises(asyncio.CancelledError):
            await flooding[3]
        await survivors[0].io.to("chat:1").emit("said", "end")
        for reader in readers:
            await until(lambda: reader.said[-1] == "end")  # noqa: B023 - waited for at once
        expected = await all_ids(survivors[1])
        for reader in readers:
            assert reader.ids == expected
        for name in ("n0", "n1", "n2"):
            said = [each for each in readers[0].said if each.startswith(name)]
            assert said == sorted(said, key=lambda each: tuple(map(int, each[2:].split("."))))


def test_what_is_no_event_is_not_read() -> None:
    """A page would fail as a whole because of one entry."""
    message = Message(int(MessageType.SOCKETS_JOIN), SocketsRooms(Options(["a"]), ["b"]), "n", "/")
    payload = wire.encode_kept(7, bytes([wire.IS_MESSAGE]) + encode_ephemeral(message))
    with pytest.raises(DecodeError):
        read_kept(payload)
    it = read_kept(wire.encode_kept(7, wire.encode_event("/", ["a"], ["b"], wire.NOT_COMPRESSED, '["x"]')))
    rooms: Sequence[Any] = (it.at, it.key, list(it.rooms), list(it.except_), it.compress, it.text)
    assert rooms == (7, "/", ["a"], ["b"], False, '["x"]')
