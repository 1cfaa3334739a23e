"""Events that are kept and delivered: in one order, also with a store of a program's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rtframework import EncodeError, HistoryEntry, HistoryPage, MemoryHistory, Packet, Target
from rtframework.adapters.history_keepers import MemoryKeeper, StoreKeeper, entry_of
from rtframework.protocols import Adapter, Emitter, HistoryKeeper, HistoryStore
from rtframework.serializers import JSONSerializer
from rtframework.types import HistoryQuery, KeptPacket, KeptRoom
from tests.support.clients import turn

ROOM, OTHER = KeptRoom("a", 10), KeptRoom("b", 10)
TARGET = Target(frozenset(("a", "b")))


class SlowStore(MemoryHistory):
    """A store that waits until the test lets it go on: before an entry is in it, and before the id is told."""

    def __init__(self) -> None:
        super().__init__()
        self.before = asyncio.Semaphore(1000)
        self.after = asyncio.Semaphore(1000)
        self.fails = False

    async def append(self, nsp: str, rooms: Sequence[KeptRoom], entry: HistoryEntry) -> str:
        """Add an entry."""
        await self.before.acquire()
        if self.fails:
            raise OSError("the disk is full")
        id = self.add(nsp, rooms, entry)
        await self.after.acquire()
        return id


class Ground:
    """An adapter and its emitter, which remember what is delivered."""

    def __init__(self) -> None:
        self.delivered: list[Packet] = []
        self.lost: list[Exception] = []
        self._serializer = JSONSerializer()
        self.adapter = cast("Adapter", SimpleNamespace(broadcast=self._broadcast))
        self.emitter = cast(
            "Emitter",
            SimpleNamespace(
                text=self._text, plain=self._serializer.plain, lost=lambda _, __, error: self.lost.append(error)
            ),
        )

    async def _broadcast(self, packet: Packet, target: Target) -> None:
        self.delivered.append(packet)

    def _lose(self, packet: Packet, target: Target, error: Exception) -> None:
        self.lost.append(error)

    def _text(self, packet: Packet) -> str | None:
        frames = self._serializer.encode(Packet(2, "/", packet.data))
        return str(frames[0])[1:] if len(frames) == 1 else None

    @property
    def said(self) -> list[Any]:
        """What was delivered, without ids."""
        return [packet.data[1] for packet in self.delivered]


def said(number: Any) -> Packet:
    """Make an event."""
    return Packet(2, "/", ["said", number])


def shown(page: HistoryPage) -> list[Any]:
    """Return what a page has."""
    return [entry.args[0] for entry in page.entries]


def test_both_are_keepers() -> None:
    """An adapter that keeps history itself would have to do something else."""
    ground = Ground()
    store: HistoryStore = MemoryHistory()
    keepers: list[HistoryKeeper] = [StoreKeeper("/", ground.adapter, ground.emitter, store)]
    keepers.append(MemoryKeeper("/", ground.adapter, ground.emitter, MemoryHistory()))
    assert len(keepers) == 2


@pytest.mark.parametrize("kind", [MemoryKeeper, StoreKeeper])
async def test_kept_and_delivered(kind: Any) -> None:
    """What a client gets live would have another id than in the history, or another place."""
    ground, store = Ground(), MemoryHistory()
    keeper = kind("/", ground.adapter, ground.emitter, store)
    await keeper.broadcast(said(1), TARGET, [ROOM, OTHER])
    opening = keeper.open("a")
    await keeper.broadcast(Packet(2, "/", ["said", b"\x00"]), TARGET, [ROOM])
    pages = [await keeper.read(ROOM, HistoryQuery(), each) for each in (None, opening)]
    assert [shown(page) for page in pages] == [[1, b"\x00"], [1]]
    assert shown(await keeper.read(OTHER, HistoryQuery())) == [1]
    assert [packet.data[-1] for packet in ground.delivered] == [entry.id for entry in pages[0].entries]
    assert all(isinstance(packet, KeptPacket) and packet.at for packet in ground.delivered)
    keeper.close("a", opening)
    await keeper.clear("a")
    assert shown(await keeper.read(ROOM, HistoryQuery())) == []


async def test_what_cannot_be_sent_is_not_kept() -> None:
    """Everybody who joins later would get a page that cannot be encoded."""
    ground, store = Ground(), MemoryHistory()
    for kind in (MemoryKeeper, StoreKeeper):
        keeper: Any = kind("/", ground.adapter, ground.emitter, store)
        with pytest.raises(EncodeError):
            await keeper.broadcast(said(object()), TARGET, [ROOM])
    assert len(store) == 0
    assert ground.delivered == []


async def test_events_of_a_room_are_delivered_in_the_order_of_the_store() -> None:
    """Live events would have another order than the page, and paging by the last id would miss some."""
    ground, store = Ground(), SlowStore()
    keeper = StoreKeeper("/", ground.adapter, ground.emitter, store)
    store.after = asyncio.Semaphore(0)
    emits = [asyncio.ensure_future(keeper.broadcast(said(number), TARGET, [ROOM, OTHER])) for number in range(4)]
    emits.append(asyncio.ensure_future(keeper.broadcast(said(4), TARGET, [OTHER, ROOM])))
    for count in range(5):
        await turn()
        assert ground.said == list(range(count))
        assert shown(await keeper.read(ROOM, HistoryQuery())) == list(range(count + 1))
        store.after.release()
    await asyncio.gather(*emits)
    assert ground.said == [0, 1, 2, 3, 4]
    assert keeper._rooms == {}


@pytest.mark.parametrize("behind", [0, 1, 5])
async def test_a_page_has_what_was_not_delivered_since(behind: int) -> None:
    """A client that joins while others emit would get an event twice, or never."""
    ground, store = Ground(), SlowStore()
    keeper = StoreKeeper("/", ground.adapter, ground.emitter, store)
    for number in range(3):
        await keeper.broadcast(said(number), TARGET, [ROOM])
    store.after = asyncio.Semaphore(0)
    emits = [asyncio.ensure_future(keeper.broadcast(said(number), TARGET, [ROOM])) for number in range(3, 9)]
    await turn()  # the first of them is in the store, and was not delivered
    opening = keeper.open("a")
    at = len(ground.delivered)
    reading = asyncio.ensure_future(keeper.read(ROOM, HistoryQuery(limit=4), opening))
    for _ in range(behind):
        store.after.release()
        await turn()
    for _ in range(6 - behind):
        store.after.release()
    page = await reading
    await asyncio.gather(*emits)
    keeper.close("a", opening)
    assert shown(page) == [0, 1, 2]
    assert shown(page) + ground.said[at:] == list(range(9))
    assert keeper._rooms == {}


async def test_the_emitter_is_cancelled() -> None:
    """What is in the history would never reach those who are in the room."""
    ground, store = Ground(), SlowStore()
    keeper = StoreKeeper("/", ground.adapter, ground.emitter, store)
    store.after = asyncio.Semaphore(0)
    emitting = asyncio.ensure_future(keeper.broadcast(said(1), TARGET, [ROOM]))
    await turn()
    emitting.cancel()
    await asyncio.gather(emitting, return_exceptions=True)
    assert emitting.cancelled()
    store.after.release()
    await turn()
    assert ground.said == [1]
    assert ground.lost == []


async def test_the_store_fails() -> None:
    """Somebody would have an event that others cannot find; or a failure would stop the room for ever."""
    ground, store = Ground(), SlowStore()
    keeper = StoreKeeper("/", ground.adapter, ground.emitter, store)
    store.fails = True
    with pytest.raises(OSError, match="disk is full"):
        await keeper.broadcast(said(1), TARGET, [ROOM])
    store.before = asyncio.Semaphore(0)
    emitting = asyncio.ensure_future(keeper.broadcast(said(2), TARGET, [ROOM]))
    await turn()
    emitting.cancel()
    store.before.release()
    await turn()
    assert [type(error) for error in ground.lost] == [OSError]  # nobody waits for it any more
    store.fails = False
    store.before.release()
    await keeper.broadcast(said(3), TARGET, [ROOM])
    assert ground.said == [3]
    assert keeper._rooms == {}


def test_the_entry_of_an_event() -> None:
    """Pages would be sent to those from whom the event was kept, or decoded in vain."""
    ground = Ground()
    entry = entry_of(said("ä"), Target(frozenset("a"), frozenset("b")), ground.emitter)
    assert (entry.text, entry.except_, entry.event, entry.args) == ('["said","ä"]', frozenset("b"), "said", ("ä",))
    assert entry_of(said(b"x"), TARGET, ground.emitter).text is None
