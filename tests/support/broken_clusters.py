"""Backbones in memory that are broken in one place each, by the test of the cluster suite that finds it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from rtframework import AckResponses, ClusterUnavailable, Packet, Target
from rtframework.protocols import Emitter, Session
from rtframework.types import SocketDetails
from tests.support.backbone import FakeAdapter, FakeBackbone, Message


class ForgetsExcept(FakeAdapter):
    def _message(self, kind: str, target: Target, **more: Any) -> Message:
        return super()._message(kind, Target(target.rooms, volatile=target.volatile, compress=target.compress), **more)


class DeliversTwice(FakeAdapter):
    async def receive(self, message: Message) -> None:
        await super().receive(message)
        if message["kind"] == "emit" and message["from"] != self._backbone.node:
            self._deliver(message)


class Reorders(FakeAdapter):
    held: Message | None = None

    async def receive(self, message: Message) -> None:
        if message["kind"] == "emit" and self.held is None and message["from"] != self._backbone.node:
            self.held = message
            return
        await super().receive(message)
        if self.held is not None:
            held, self.held = self.held, None
            await super().receive(held)


class LocalFirst(FakeAdapter):
    def _deliver(self, message: Message) -> Awaitable[None] | None:
        return None if message["from"] == self._backbone.node else super()._deliver(message)

    async def broadcast(self, packet: Packet, target: Target) -> None:
        self.emitter.send(self.sockets(target), packet, volatile=target.volatile, compress=target.compress)
        if not target.local:
            await super().broadcast(packet, target)


class DropsLarge(FakeAdapter):
    def _deliver(self, message: Message) -> Awaitable[None] | None:
        return super()._deliver(message) if len(str(message["args"])) < 100_000 else None


class SendsDates(FakeAdapter):
    def _args(self, packet: Packet, text: str | None) -> str | list[Any]:
        return packet.data if text is None else text


class HearsItsOrders(FakeAdapter):
    async def receive(self, message: Message) -> None:
        await super().receive(message)
        if message["kind"] in ("join", "leave") and message["from"] == self._backbone.node:
            self._obey(message["kind"], message)


class TellsAnotherReason(FakeAdapter):
    def _order(self, kind: str, target: Target, **more: Any) -> None:
        super()._order(
            kind, target, **{key: value if key != "reason" else "ping timeout" for key, value in more.items()}
        )


class DescribesItsOwn(FakeAdapter):
    async def fetch_sockets(self, target: Target, timeout: float | None) -> list[SocketDetails]:
        return self.emitter.describe(self.sockets(target))


class CountsItsOwn(FakeAdapter):
    async def broadcast_with_ack(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        return await super().broadcast_with_ack(packet, Target(target.rooms, local=True), timeout)


class AnswersItself(FakeAdapter):
    async def server_side_emit(self, args: Sequence[Any]) -> None:
        await self.emitter.serve(args)
        await super().server_side_emit(args)


class DoesNotWait(FakeAdapter):
    def add(self, sid: str, rooms: Iterable[str]) -> Awaitable[None] | None:
        self._broker.open.clear()
        super().add(sid, rooms)
        asyncio.get_running_loop().call_later(0.005, self._broker.open.set)
        return None


class StaysSubscribed(FakeAdapter):
    def remove_all(self, sid: str) -> frozenset[str]:
        return self.index.remove_all(sid)


class NeverCloses(FakeAdapter):
    async def close(self) -> None:
        await super().close()
        self._backbone.spawn(asyncio.sleep(0))
        self.task = asyncio.create_task(asyncio.sleep(30))


class Swallows(FakeAdapter):
    async def broadcast(self, packet: Packet, target: Target) -> None:
        with contextlib.suppress(ClusterUnavailable):
            await super().broadcast(packet, target)


class RaisesAndDelivers(FakeAdapter):
    def __init__(self, backbone: FakeBackbone, nsp: str, emitter: Emitter) -> None:
        super().__init__(backbone, nsp, emitter)
        self.later: list[tuple[Packet, Target]] = []

    async def broadcast(self, packet: Packet, target: Target) -> None:
        try:
            await super().broadcast(packet, target)
        except ClusterUnavailable:
            self.later.append((packet, target))
            raise
        later, self.later = self.later, []
        for each in later:
            await super().broadcast(*each)


class DropsWhileFrozen(FakeAdapter):
    async def receive(self, message: Message) -> None:
        if message["kind"] != "emit" or message["from"] == self._backbone.node or self._backbone.inbox.qsize() < 4:
            await super().receive(message)


class WaitsForAll(FakeAdapter):
    async def _request(self, kind: str, target: Target, timeout: float, **more: Any) -> Any:
        return await super()._request(kind, target, 60.0, **more)


class WaitsForTheDead(FakeAdapter):
    def server_gone(self, name: str) -> None:
        """As if nobody noticed."""

    async def _request(self, kind: str, target: Target, timeout: float, **more: Any) -> Any:
        if len(self._broker.backbones) == 2:
            raise RuntimeError("one of three is missing")
        return await super()._request(kind, target, timeout, **more)


class LosesTheLast(FakeAdapter):
    def _missed(self, kept: dict[str, Any], offset: str | None) -> Any:
        return super()._missed(kept, offset)[:-1]


class ReplaysAll(FakeAdapter):
    def _missed(self, kept: dict[str, Any], offset: str | None) -> Any:
        every = {room for message in self._broker.log[self.nsp] for room in message["target"]["rooms"] or ()}
        return super()._missed({**kept, "rooms": sorted(every - {"z"})}, offset)


class HandsOutTwice(FakeAdapter):
    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        kept = dict(self._broker.sessions)
        session = await super().restore_session(pid, offset, accept)
        self._broker.sessions.update(kept)
        return session


class TakesWhatIsRefused(FakeAdapter):
    async def restore_session(self, pid: str, offset: str | None, accept: Callable[[Session], bool]) -> Session | None:
        session = await super().restore_session(pid, offset, lambda session: True)
        return session if session is not None and accept(session) else None


class KeepsLate(FakeAdapter):
    def keep_session(self, session: Session) -> None:
        """As Node's adapter, which keeps a session when its client leaves."""


class ReplacesNobody(FakeAdapter):
    async def receive(self, message: Message) -> None:
        if message["kind"] != "take":
            await super().receive(message)


class ForgetsNothing(FakeAdapter):
    def forget_session(self, pid: str) -> None:
        """Leave it to time."""


BROKEN: Final[dict[type[FakeAdapter], str]] = {
    DeliversTwice: "test_each_server_gets_each_event_once_and_in_order",
    Reorders: "test_each_server_gets_each_event_once_and_in_order",
    LocalFirst: "test_each_server_gets_each_event_once_and_in_order",
    ForgetsExcept: "test_targets_select_on_all_servers",
    DropsLarge: "test_everything_that_can_be_sent_arrives_as_it_is",
    SendsDates: "test_everything_that_can_be_sent_arrives_as_it_is",
    HearsItsOrders: "test_orders_are_obeyed_once_by_each_server",
    TellsAnotherReason: "test_a_reason_of_disconnecting_may_be_told",
    DescribesItsOwn: "test_sockets_of_all_servers_are_described",
    CountsItsOwn: "test_answers_of_all_servers_are_counted",
    AnswersItself: "test_servers_talk_to_each_other",
    DoesNotWait: "test_who_has_joined_is_reached",
    StaysSubscribed: "test_namespaces_come_and_go",
    NeverCloses: "test_nothing_is_left_at_the_end",
    Swallows: "test_emits_while_the_broker_is_down",
    RaisesAndDelivers: "test_nobody_has_what_raises",
    DropsWhileFrozen: "test_emits_while_the_broker_is_frozen",
    WaitsForAll: "test_requests_end_in_time_while_a_server_is_isolated",
    WaitsForTheDead: "test_others_go_on_when_a_server_dies",
    LosesTheLast: "test_a_client_that_moves_during_a_flood_misses_nothing",
    ReplaysAll: "test_what_was_not_for_a_client_is_not_replayed",
    HandsOutTwice: "test_a_session_is_used_once",
    TakesWhatIsRefused: "test_a_refused_session_stays",
    KeepsLate: "test_clients_of_a_server_that_died_are_recovered",
    ReplacesNobody: "test_a_connection_that_is_dead_and_not_noticed_is_replaced",
    ForgetsNothing: "test_a_forgotten_session_is_gone",
}


def backbone_of(adapter: type[FakeAdapter]) -> type[FakeBackbone]:
    """Return a backbone that makes such adapters."""

    class Broken(FakeBackbone):
        def __call__(self, nsp: str, emitter: Emitter) -> FakeAdapter:
            return adapter(self, nsp, emitter)

    return Broken
