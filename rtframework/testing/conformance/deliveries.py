"""An emitter that records what an adapter does, for the conformance suite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ...options import Recovery
from ...protocols import Session
from ...serializers import JSONSerializer
from ...types import Handshake, Packet, PacketType, SocketDetails, Target
from .suites import check

if TYPE_CHECKING:
    from ...protocols import Adapter, Frames

F = TypeVar("F")


class Deliveries:
    """An emitter that records packets instead of sending them, and calls the adapter as a namespace would."""

    linger = 45.0
    node = "here"

    def __init__(self) -> None:
        self.recovery: Recovery | None = Recovery()
        self.adapter: Adapter | None = None
        self.log: list[tuple[str, Packet]] = []
        self.last: list[tuple[str, Packet]] = []
        self.flags: dict[str, bool] = {}
        self.rooms: Collection[str] | None = None
        self.asked: dict[str, asyncio.Future[list[Any]]] = {}
        self.disconnected: list[tuple[str, bool, str | None]] = []
        self.served: list[Sequence[Any]] = []
        self.gaps: list[float] = []
        self.states: list[bool] = []
        self.losses: list[tuple[Any, Exception]] = []
        self.error: Exception | None = None
        self.on_send: Callable[[str], Any] | None = None

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
        self.flags = {"volatile": volatile, "compress": compress if frames is None else frames.compress}
        self.rooms = rooms
        if self.error is not None:
            raise self.error
        if callable(packet):
            check(frames is not None, "a function in place of a packet, without frames")
            packet = packet()
        if isinstance(frames, KeptFrames):  # an adapter may add arguments of its own at the end
            check(frames.packet.data[: len(packet.data)] == packet.data, f"{frames.packet!r:.200} for {packet!r:.200}")
        for sid in sids:
            self.log.append((sid, packet))
            if self.on_send is not None:
                self.on_send(sid)

    def encode(self, packet: Packet, *, compress: bool = True) -> Frames:
        if self.error is not None:
            raise self.error
        return KeptFrames(packet, compress)

    def text(self, packet: Packet) -> str | None:
        self.encode(packet)
        text, *attachments = JSONSerializer().encode(Packet(PacketType.EVENT, "/", packet.data))
        return str(text)[1:] if not attachments else None

    def plain(self, data: Sequence[Any]) -> list[Any]:
        if self.error is not None:
            raise self.error
        plain: list[Any] = JSONSerializer().plain(list(data))
        return plain

    def splice(self, args: str, tail: str | None = None, *, compress: bool = True) -> Frames | None:
        more = [] if tail is None else [tail]
        return KeptFrames(Packet(PacketType.EVENT, "/n", [*json.loads(args), *more]), compress)

    def ask(
        self,
        sids: Collection[str],
        packet: Packet,
        *,
        volatile: bool = False,
        compress: bool = True,
        rooms: Collection[str] | None = None,
    ) -> dict[str, asyncio.Future[list[Any]]]:
        self.asked = {sid: asyncio.get_running_loop().create_future() for sid in sids}
        self.send(sids, packet, volatile=volatile, compress=compress, rooms=rooms)
        return self.asked

    def describe(self, sids: Collection[str]) -> list[SocketDetails]:
        return [SocketDetails(sid, Handshake(nsp="/n"), self._adapter.rooms(sid), {"of": sid}) for sid in sids]

    def join(self, sids: Collection[str], rooms: Collection[str]) -> Awaitable[None] | None:
        return self._together([self._adapter.add(sid, rooms) for sid in sids])

    def leave(self, sids: Collection[str], rooms: Collection[str]) -> Awaitable[None] | None:
        return self._together([self._adapter.remove(sid, rooms) for sid in sids])

    @staticmethod
    def _together(waiting: Sequence[Awaitable[None] | None]) -> Awaitable[None] | None:
        async def wait() -> None:
            for each in waiting:
                if each is not None:
                    await each

        return wait() if any(each is not None for each in waiting) else None

    def session(self, sid: str) -> Session | None:
        return Session(sid, f"pid of {sid}", self._adapter.rooms(sid), {"of": sid}, identity=sid)

    def disconnect(
        self, sids: Collection[str], close: bool, *, reason: str | None = None, persist: bool = True
    ) -> None:
        for sid in sids:
            self.disconnected.append((sid, close, reason))
            self._adapter.remove_all(sid)

    async def serve(self, args: Sequence[Any]) -> Any:
        self.served.append(args)

    def gap(self, since: float) -> None:
        self.gaps.append(since)

    def state(self, up: bool) -> None:
        self.states.append(up)

    def lost(self, packet: Packet, target: Target, error: Exception) -> None:
        self.losses.append((packet.data[0], error))

    @property
    def _adapter(self) -> Adapter:
        assert self.adapter is not None
        return self.adapter

    async def wait_for(self, count: int, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                while len(self.log) < count:  # noqa: ASYNC110 - the adapter's way to get there is unknown
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(f"{len(self.log)} of {count} deliveries within {patience:g} s") from None

    def taken(self) -> list[tuple[str, Packet]]:
        self.last, self.log = self.log, []
        return self.last


class KeptFrames:
    """Frames that keep their packet without encoding it."""

    websocket = b""
    polling = ""
    size = 0
    droppable = True
    offset: str | None = None
    entry: str | None = None

    def __init__(self, packet: Packet, compress: bool) -> None:
        self.packet = packet
        self.compress = compress

    def deflated(self, window: int, threshold: int, level: int) -> bytes:
        return b""

    def form(self, key: object, make: Callable[[Sequence[str | bytes]], F]) -> F:
        raise NotImplementedError
