"""The adapter that recovers: against the suite for adapters, and against a naive model of who should get what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import pytest

from rtframework import ConfigurationError, MemoryAdapter, Packet, PacketType, Recovery, Target
from rtframework.adapters.recovering import SessionAwareAdapter, in_memory
from rtframework.engine.frames import EncodedFrames
from rtframework.exceptions import EncodeError
from rtframework.protocols import Emitter, Frames, Session
from rtframework.testing import AdapterConformance
from rtframework.testing.conformance.deliveries import Deliveries


class TestSessionAwareAdapter(AdapterConformance):
    """It is an adapter like any other, but that what it delivers has an offset."""

    def adapter(self, nsp: str, emitter: Emitter) -> SessionAwareAdapter:
        return SessionAwareAdapter(nsp, emitter)


class Keeps(Deliveries):
    """An emitter that keeps who was sent what."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, list[Any]] = {}
        self.data: dict[int, list[Any]] = {}
        self.kept: list[Frames] = []

    def send(
        self,
        sids: Collection[str],
        packet: Packet | Callable[[], Packet],
        *,
        volatile: bool = False,
        compress: bool = True,
        frames: Frames | None = None,
        rooms: Collection[str] | None = None,
    ) -> None:
        assert isinstance(packet, Packet)
        data = self.data[id(self.encode(packet) if frames is None else frames)]
        assert data[: len(packet.data)] == packet.data
        for sid in sids:
            self.sent.setdefault(sid, []).append(data)

    def encode(self, packet: Packet, *, compress: bool = True) -> EncodedFrames:
        if packet.data[-1] is None or object in map(type, packet.data):
            raise EncodeError("cannot be sent")
        frames = EncodedFrames(["4" + "x" * 10])
        self.kept.append(frames)  # so that no other has its id
        self.data[id(frames)] = packet.data
        return frames


@dataclass
class World:
    """An adapter with a clock that is set by hand."""

    recovery: Recovery = field(default_factory=Recovery)
    emitter: Keeps = field(default_factory=Keeps)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.emitter.recovery = self.recovery
        self.adapter = SessionAwareAdapter("/", self.emitter, clock=lambda: self.now)

    async def emit(self, name: Any, *rooms: str, but: str = "", id: int | None = None, **flags: bool) -> None:
        """Emit an event without arguments."""
        target = Target(frozenset(rooms) if rooms else None, frozenset(but.split()), **flags)
        await self.adapter.broadcast(Packet(PacketType.EVENT, "/", [name], id), target)

    def leave(self, sid: str) -> None:
        """A socket goes and may come back."""
        adapter = self.adapter
        adapter.persist_session(Session(sid, f"pid of {sid}", adapter.rooms(sid), {}))
        adapter.remove_all(sid)

    async def back(
        self, sid: str, offset: str | None = None, accept: Callable[[Session], bool] = lambda _: True
    ) -> list[Any] | None:
        """It comes back: the events that it has missed."""
        session = await self.adapter.restore_session(f"pid of {sid}", offset, accept)
        if session is None:
            return None
        self.adapter.add(sid, session.rooms)
        return [self.emitter.data[id(frames)][0] for frames in session.missed]


async def test_each_event_has_an_offset() -> None:
    """A client would not know how far it has got, or take an argument of its own for an offset."""
    world = World()
    world.adapter.add("ada", ["ada"])
    packet = Packet(PacketType.EVENT, "/", ["a", 1])
    await world.adapter.broadcast(packet, Target())
    assert packet.data == ["a", 1], "the packet may be somebody else's, too"
    await world.emit("b", volatile=True)
    await world.emit("c", id=7)
    await world.emit("d", "ada")
    first, volatile, question, last = world.emitter.sent["ada"]
    log = world.adapter._log
    assert [log.position(data[-1]) for data in (first, volatile, last)] == [1, 1, 2]
    assert question == ["c"]
    world.leave("ada")
    assert await world.back("ada") == ["a", "d"]


async def test_what_cannot_be_sent_is_not_kept() -> None:
    """A mistake in one emit would be sent to those who come back."""
    world = World()
    world.adapter.add("ada", ["ada"])
    world.leave("ada")
    with pytest.raises(EncodeError):
        await world.emit(object())
    assert await world.back("ada") == []


async def test_how_long_sessions_are_waited_for() -> None:
    """A namespace would be closed under a client that is about to come back, or be kept for nobody."""
    world = World(Recovery(max_disconnection_duration=10))
    assert world.adapter.session_time() == 0
    for sid in ("ada", "bob"):
        world.adapter.add(sid, [sid])
        world.leave(sid)
        world.now += 4
    assert world.adapter.session_time() == 6
    assert await world.back("bob") == []
    assert 2 <= world.adapter.session_time() <= 6
    assert await world.back("ada") == []
    assert world.adapter.session_time() == 0
    world.leave("ada")
    world.now += 11
    assert world.adapter.session_time() == 0


async def test_a_pid_works_once_and_for_its_time() -> None:
    """Whoever learns of an old pid could take over the state of somebody else."""
    world = World(Recovery(max_disconnection_duration=10))
    world.adapter.add("ada", ["ada", "x"])
    world.leave("ada")
    assert await world.back("grace") is None
    assert await world.back("ada") == []
    assert world.adapter.rooms("ada") == {"ada", "x"}
    assert await world.back("ada") is None
    world.leave("ada")
    world.now = 10.0
    assert await world.back("ada") == []
    world.leave("ada")
    world.now = 20.1
    assert await world.back("ada") is None
    assert not world.adapter._sessions


async def test_what_was_not_used_keeps_its_time() -> None:
    """Trying again and again would keep a session for ever."""
    world = World(Recovery(max_disconnection_duration=10))
    world.adapter.add("ada", ["ada"])
    world.leave("ada")
    world.now = 9.0
    session = await world.adapter.restore_session("pid of ada", None, lambda _: True)
    assert session is not None
    world.adapter.persist_session(session)
    await world.emit("a")
    world.now = 10.0
    assert await world.back("ada") == ["a"]
    session = await world.adapter.restore_session("pid of ada", None, lambda _: True)
    assert session is None


async def test_who_is_refused_takes_nothing() -> None:
    """Somebody else's attempt would cost a client its session, or keep it for longer than the program wants."""
    world = World(Recovery(max_disconnection_duration=10))
    world.adapter.add("ada", ["ada", "x"])
    world.leave("ada")
    await world.emit("a", "x")
    asked: list[Session] = []

    def refuse(session: Session) -> bool:
        asked.append(session)
        return False

    for _ in range(2):
        assert await world.back("ada", None, refuse) is None
    assert [(sorted(each.rooms), len(each.missed)) for each in asked] == [(["ada", "x"], 1)] * 2
    assert world.adapter.rooms("ada") == frozenset()
    await world.emit("b", "ada")
    world.now = 9.9
    assert await world.back("ada") == ["a", "b"]
    world.leave("ada")
    world.adapter.forget_session("pid of ada")
    world.adapter.forget_session("pid of nobody")
    assert await world.back("ada") is None
    assert len(world.adapter._sessions) == 0


def test_it_needs_settings() -> None:
    """Nothing would be kept, and nobody would know why."""
    emitter = Keeps()
    emitter.recovery = None
    assert type(in_memory("/", emitter)) is MemoryAdapter
    with pytest.raises(ConfigurationError, match="connection_state_recovery"):
        SessionAwareAdapter("/", emitter)
    emitter.recovery = Recovery()
    assert type(in_memory("/", emitter)) is SessionAwareAdapter


async def test_sessions_are_bounded() -> None:
    """Clients that connect and vanish would fill the memory."""
    world = World(Recovery(max_sessions=2))
    for sid in ("ada", "grace", "linus"):
        world.adapter.add(sid, [sid])
        world.leave(sid)
    assert await world.back("ada") is None
    assert await world.back("grace") == []
    assert await world.back("linus") == []


async def test_nothing_is_kept_for_nobody() -> None:
    """Emits to rooms that nobody is in would push out what somebody needs."""
    world = World()
    world.adapter.add("ada", ["ada"])
    await world.emit("a", "x")
    assert len(world.adapter._log) == 0
    world.leave("ada")
    await world.emit("b", "ada")
    assert len(world.adapter._log) == 1


async def test_memory_is_given_back_when_nothing_happens() -> None:
    """What people have said, and who they are, would stay in the memory of an idle server."""
    world = World(Recovery(max_disconnection_duration=0.1))
    world.adapter.add("ada", ["ada"])
    await world.emit("a")
    world.leave("ada")
    world.now = 100.0
    async with asyncio.timeout(5):
        while world.adapter._sessions or len(world.adapter._log):  # noqa: ASYNC110 - a timer does it
            await asyncio.sleep(0.01)
    assert world.adapter._sweeper is None
    await world.adapter.close()


def everything(world: World, chance: random.Random) -> tuple[Callable[[], Any], ...]:
    """The ways of emitting."""
    rooms = ["x", "y", "z", "s0", "s1", "s2"]
    return (
        lambda: {"rooms": (), "but": ""},
        lambda: {"rooms": (), "but": chance.choice(rooms)},
        lambda: {"rooms": tuple(chance.sample(rooms, 2)), "but": ""},
        lambda: {"rooms": (chance.choice(rooms),), "but": " ".join(chance.sample(rooms, 2))},
    )


@pytest.mark.parametrize("seed", range(40))
async def test_missed_packets_are_exact(seed: int) -> None:
    """Somebody would lose a packet, or get one twice or one that was not for them, in some order of events."""
    chance = random.Random(seed)
    tight = seed % 2 == 1
    world = World(Recovery(max_packets=chance.randint(3, 30)) if tight else Recovery())
    adapter = world.adapter
    emits = everything(world, chance)
    truth: dict[str, list[tuple[int, str]]] = {f"s{number}": [] for number in range(3)}
    """For each client: every packet that it was to get, since it was let in."""
    away: dict[str, frozenset[str]] = {}
    held: dict[str, int] = dict.fromkeys(truth, 0)
    """How many of these it has got."""
    gaps = refused = 0
    for sid in truth:
        adapter.add(sid, [sid])
    for step in range(400):
        sid = chance.choice(list(truth))
        what = chance.random()
        if what < 0.5:
            how = chance.choice(emits)()
            before = adapter._log.head
            await world.emit(step, *how["rooms"], but=how["but"])
            if adapter._log.head == before:
                continue  # nobody was there
            offset = adapter._log.offset(adapter._log.head)
            for each, packets in truth.items():
                rooms = away.get(each, adapter.rooms(each))
                if (not how["rooms"] or rooms & set(how["rooms"])) and not rooms & set(how["but"].split()):
                    packets.append((step, offset))
        elif what < 0.65 and sid not in away:
            adapter.add(sid, [chance.choice("xyz")])
        elif what < 0.75 and sid not in away:
            adapter.remove(sid, [chance.choice("xyz")])
        elif what < 0.85 and sid not in away:
            away[sid] = adapter.rooms(sid)
            # It is cut off: it has got some of what was sent, as far as it got.
            held[sid] = chance.randint(held[sid], len(truth[sid]))
            world.leave(sid)
        elif sid in away:
            packets, has = truth[sid], held[sid]
            last = packets[has - 1][1] if has else None
            if chance.random() < 0.4:  # another user asks for it first, or nobody is there to take it
                asked: list[Session] = []
                assert await world.back(sid, last, lambda session, asked=asked: bool(asked.append(session))) is None  # type: ignore[misc]
                assert [each.sid for each in asked] in ([sid], [])
                if asked:
                    names = [world.emitter.data[id(frames)][0] for frames in asked[0].missed]
                    assert names == [name for name, _ in packets[has:]]
                    refused += 1
            missed = await world.back(sid, last)
            if missed is None:
                assert tight
                gaps += 1
                adapter.remove_all(sid)
                adapter._sessions.clear()  # what is left of all who are away: they come as new ones
                for each in away:
                    adapter.add(each, [each])
                    truth[each], held[each] = [], 0
                away.clear()
            else:
                assert missed == [name for name, _ in packets[has:]]
                held[sid] = len(packets)
                del away[sid]
    assert gaps or not tight or world.recovery.max_packets > 10
    assert refused or tight
    await adapter.close()
