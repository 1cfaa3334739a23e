"""The conformance suite of adapters: broken ones do not pass it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pytest

from rtframework import AckResponses, AckTimeout, MemoryAdapter, Packet, Target
from rtframework.exceptions import EncodeError
from rtframework.protocols import Emitter, Session
from rtframework.testing import AdapterConformance, run_suite
from rtframework.types import SocketDetails
from tests.support.backbone import Broker, FakeAdapter, FakeBackbone


class _Broken(MemoryAdapter):
    """A good adapter, to be broken in one place."""


class ReachesAllByNothing(_Broken):
    def sockets(self, target: Target) -> list[str]:
        return self.index.select(target.rooms or None, target.except_)


class ForgetsExcept(_Broken):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        sids = self.sockets(Target(target.rooms))
        self._emitter.send(sids, packet, volatile=target.volatile, compress=target.compress)


class ForgetsRooms(_Broken):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        sids = self.sockets(target)
        self._emitter.send(sids, packet, volatile=target.volatile, compress=target.compress)


class ForgetsVolatile(_Broken):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        self._emitter.send(self.sockets(target), packet)


class ForgetsCompress(_Broken):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        self._emitter.send(self.sockets(target), packet, volatile=target.volatile)


class SendsTwice(_Broken):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        for room in target.rooms or [None]:
            rooms = None if room is None else frozenset((room,))
            self._emitter.send(self.sockets(Target(rooms, target.except_)), packet, volatile=target.volatile)


class DropsLocal(_Broken):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        if not target.local:
            await super().broadcast(packet, target)


class TakesPatterns(_Broken):
    def sockets(self, target: Target) -> list[str]:
        rooms = target.rooms
        if rooms is not None:
            rooms = frozenset(each for each in self.index.all_rooms() for room in rooms if fnmatchcase(each, room))
        return self.index.select(rooms, target.except_)


class LeavesLater(_Broken):
    def remove(self, sid: str, rooms: Iterable[str]) -> None:
        """As if a network had to be asked first."""


class KeepsGhosts(_Broken):
    def remove_all(self, sid: str) -> frozenset[str]:
        rooms = self.index.rooms(sid)
        self.index.remove(sid, rooms)
        return rooms


class HandsOutItself(_Broken):
    def rooms(self, sid: str) -> Any:
        return self.index._rooms.get(sid, set())


class Swallows(_Broken):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        with contextlib.suppress(EncodeError):
            await super().broadcast(packet, target)


class Iterates(_Broken):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        (room,) = target.rooms or ("",)
        live = self.index.members(room) if target.rooms else self.index.select(None, target.except_)
        self._emitter.send(live, packet, volatile=target.volatile)


class Shares(_Broken):
    common: Any = None

    def __init__(self, nsp: str, emitter: Emitter) -> None:
        super().__init__(nsp, emitter)
        if Shares.common is None or nsp == "/n":
            Shares.common = self.index
        self.index = Shares.common


class CountsTwice(_Broken):
    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        await self.broadcast(packet, target)
        return await super().broadcast_with_ack(packet, target, timeout)


class ForgetsAnswers(_Broken):
    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        asked = self._emitter.ask(self.sockets(target), packet, compress=target.compress)
        try:
            async with asyncio.timeout(timeout):
                answers = await asyncio.gather(*asked.values())
        except TimeoutError:
            raise AckTimeout from None
        return AckResponses(dict(zip(asked, answers, strict=True)))


class DescribesAll(_Broken):
    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        return self._emitter.describe(self.sockets(Target()))


class JoinsOnlyOne(_Broken):
    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        self._emitter.join(self.sockets(target), rooms[:1])


class NeverCloses(_Broken):
    async def disconnect_sockets(self, target: Target, close: bool, reason: str | None) -> None:
        self._emitter.disconnect(self.sockets(target), False)


class HearsItself(_Broken):
    async def server_side_emit(self, args: Sequence[Any]) -> None:
        await self._emitter.serve(args)


class HandsOutTwice(_Broken):
    kept: Session | None = None

    def persist_session(self, session: Session) -> None:
        self.kept = session

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        return self.kept if self.kept is not None and self.kept.pid == pid else None


class AsksNobody(_Broken):
    kept: Session | None = None

    def persist_session(self, session: Session) -> None:
        self.kept = session

    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        if self.kept is None or self.kept.pid != pid:
            return None
        kept, self.kept = self.kept, None
        return kept


class NeverJoins(_Broken):
    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        rooms = tuple(rooms)
        super().add(sid, rooms)
        return asyncio.get_running_loop().create_future() if "x" in rooms else None


class TakesLists(_Broken):
    def add(self, sid: str, rooms: Iterable[str]) -> None:
        if not isinstance(rooms, list | tuple | str):
            raise TypeError("a list, please")
        super().add(sid, rooms)


class AnnouncesTwice(_Broken):
    def add(self, sid: str, rooms: Iterable[str]) -> None:
        for room in rooms:
            super().add(sid, [room])
            self.index.events.tell("join_room", room, sid)


BROKEN: dict[Callable[..., MemoryAdapter], str] = {
    ReachesAllByNothing: "test_targets_select_whom_they_name",
    ForgetsExcept: "test_broadcasts_are_delivered_once_and_as_they_are",
    ForgetsRooms: "test_broadcasts_are_delivered_once_and_as_they_are",
    ForgetsVolatile: "test_broadcasts_are_delivered_once_and_as_they_are",
    ForgetsCompress: "test_broadcasts_are_delivered_once_and_as_they_are",
    SendsTwice: "test_broadcasts_are_delivered_once_and_as_they_are",
    DropsLocal: "test_broadcasts_keep_their_order",
    TakesPatterns: "test_a_room_s_name_is_just_a_name",
    LeavesLater: "test_leaving_is_at_once_and_forgiving",
    KeepsGhosts: "test_a_socket_that_goes_is_forgotten",
    HandsOutItself: "test_what_is_handed_out_is_a_copy",
    Swallows: "test_what_cannot_be_sent_is_told_to_the_caller",
    Iterates: "test_sockets_may_go_while_they_are_sent_to",
    Shares: "test_namespaces_do_not_mix",
    AnnouncesTwice: "test_listeners_hear_of_rooms",
    HandsOutTwice: "test_sessions_are_handed_out_once",
    AsksNobody: "test_sessions_are_handed_out_once",
    NeverJoins: "test_joining_comes_to_its_end",
    TakesLists: "test_rooms_and_members_agree",
    CountsTwice: "test_questions_are_answered_by_socket",
    ForgetsAnswers: "test_questions_end_in_time",
    DescribesAll: "test_selected_sockets_are_described",
    JoinsOnlyOne: "test_selected_sockets_join_and_leave",
    NeverCloses: "test_selected_sockets_are_disconnected",
    HearsItself: "test_server_side_events_do_not_come_back",
}


def suite_of(make: Callable[..., MemoryAdapter]) -> type[AdapterConformance]:
    """The suite for such an adapter."""
    return type(
        "Suite", (AdapterConformance,), {"adapter": lambda self, nsp, emitter: make(nsp, emitter), "patience": 0.05}
    )


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_the_suite_finds_what_is_broken(make: Callable[..., MemoryAdapter]) -> None:
    """An author would trust an adapter that loses or misdirects messages."""
    with pytest.raises(ExceptionGroup) as caught:
        run_suite(suite_of(make))
    failed = {error.__notes__[-1].rpartition(".")[2] for error in caught.value.exceptions}
    assert BROKEN[make] in failed


def test_every_test_of_the_suite_finds_something() -> None:
    """A test that no broken adapter fails would be there for nothing."""
    tests = {name for name in vars(AdapterConformance) if name.startswith("test_")}
    assert tests - set(BROKEN.values()) == {"test_who_has_gone_or_left_is_not_reached"}
    assert len(run_suite(suite_of(MemoryAdapter))) == len(tests)


def test_a_suite_without_its_subject_fails() -> None:
    """Forgetting to say what is tested would look like success."""
    with pytest.raises(ExceptionGroup) as caught:
        run_suite(AdapterConformance)
    assert all(isinstance(error, NotImplementedError) for error in caught.value.exceptions)


class TestFakeAdapter(AdapterConformance):
    """The adapter of a backbone passes the suite, which starts and stops what its adapters share."""

    async def start(self) -> None:
        self.backbone = FakeBackbone(Broker(), "n0")
        await self.backbone.start()

    async def stop(self) -> None:
        await self.backbone.stop()

    def adapter(self, nsp: str, emitter: Emitter) -> FakeAdapter:
        return self.backbone(nsp, emitter)
