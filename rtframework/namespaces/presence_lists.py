"""Lists of who is in a room: read once for all clients that join at the same time, and made into one packet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final

from ..adapters.presence import LARGEST_LIST, LIST, Presence
from ..exceptions import ClusterUnavailable
from ..types import Packet, PacketType

if TYPE_CHECKING:
    from ..protocols import Frames, Outlet, PresenceStore, StoredMember
    from .namespace import Namespace
    from .socket import Socket

TIMEOUT: Final = 5.0
"""Seconds for which a list is awaited."""

LONG: Final = 0.0005
"""Seconds of work for a list after which the room's next one is made as much later."""

AT_ONCE: Final = 32
"""Users of a list that is made for one client alone, if the store need not be waited for."""


class MemberList:
    """The list of a room, encoded once for all clients that get it."""

    __slots__ = ("_frames", "_nsp", "_packet", "_text")

    def __init__(self, nsp: Namespace, text: str) -> None:
        self._nsp = nsp
        self._text = text
        self._packet: Packet | None = None
        self._frames: Frames | None = nsp._engine.splice(nsp.name, text)
        if self._frames is None:
            self._frames = nsp._engine.encode(self._as_packet())

    def send(self, socket: Socket, outlet: Outlet | None) -> None:
        """Send it to a client. ``outlet``: the way to it."""
        if outlet is None:
            return
        nsp = self._nsp
        if nsp._outgoing.tapped:
            nsp._outgoing.show((socket.id,), self._as_packet())
        assert self._frames is not None
        outlet.send(self._frames)

    def _as_packet(self) -> Packet:
        if self._packet is None:
            self._packet = Packet(PacketType.EVENT, self._nsp.name, json.loads(self._text))
        return self._packet


class _Readings:
    """The readings of one room's list. ``next``: what clients await that have asked since the last one began."""

    __slots__ = ("next",)

    def __init__(self) -> None:
        self.next: asyncio.Future[MemberList] | None = None


class RoomLists:
    """Reads the lists of the rooms of one namespace: never two at a time of the same room."""

    __slots__ = ("_nsp", "_readings", "_store")

    def __init__(self, nsp: Namespace, store: PresenceStore) -> None:
        self._nsp = nsp
        self._store = store
        self._readings: dict[str, _Readings] = {}

    def at_once(self, room: str, rule: Presence) -> MemberList | None:
        """Return the list of a room if it is short; only for a store that does not have to be waited for."""
        limit = min(AT_ONCE, rule.max_list)
        found = self._store.members(self._nsp.name, room, limit + 1, None)
        if isinstance(found, Sequence) and len(found) <= limit:
            return self._make(room, rule, found)
        return None

    async def read(self, room: str, rule: Presence) -> MemberList:
        """Return the list of a room as it is after what the store was told before the call.

        Raises :class:`~rtframework.ClusterUnavailable`.
        """
        readings = self._readings.get(room)
        if readings is None:
            readings = self._readings[room] = _Readings()
            assert self._nsp._keeper is not None
            self._nsp._keeper.spawn(self._read(room, rule, readings))
        if readings.next is None:
            readings.next = asyncio.get_running_loop().create_future()
        return await asyncio.shield(readings.next)

    async def _read(self, room: str, rule: Presence, readings: _Readings) -> None:
        future: asyncio.Future[MemberList] | None = None
        now, spent = asyncio.get_running_loop().time, 0.0
        try:
            await asyncio.sleep(0)  # others who join in this turn of the event loop get the same
            while readings.next is not None:
                future, readings.next = readings.next, None
                try:
                    began = now()
                    members = self._store.members(self._nsp.name, room, rule.max_list + 1, None)
                    if not isinstance(members, Sequence):
                        async with asyncio.timeout(TIMEOUT):
                            members = await members
                        began = now()
                    future.set_result(self._make(room, rule, members))
                    spent = now() - began
                except TimeoutError:
                    future.set_exception(_late())
                except ClusterUnavailable as error:
                    future.set_exception(error)
                future.exception()  # nobody may wait for it any more
                # When hundreds join one after another, those that come while this waits share the next list.
                await asyncio.sleep(spent if spent > LONG else 0)
        finally:
            del self._readings[room]
            for each in (future, readings.next):
                if each is not None:
                    each.cancel()

    def _make(self, room: str, rule: Presence, members: Sequence[StoredMember]) -> MemberList:
        return MemberList(self._nsp, list_text(room, members, rule.max_list))


def list_text(room: str, members: Sequence[StoredMember], most: int) -> str:
    """Make the arguments of the event that tells a client who is there, as JSON."""
    parts = [
        f'{{"user":{encode_basestring(each.user)},"meta":{each.meta},"tabs":{each.tabs}}}' for each in members[:most]
    ]
    if sum(map(len, parts)) > LARGEST_LIST:
        size, kept = 0, 0
        while size + len(parts[kept]) <= LARGEST_LIST:
            size += len(parts[kept])
            kept += 1
        del parts[kept:]
    more = "true" if len(parts) < len(members) else "false"
    return f'["{LIST}",{{"room":{encode_basestring(room)},"members":[{",".join(parts)}],"more":{more}}}]'


def _late() -> ClusterUnavailable:
    return ClusterUnavailable(f"who is in the room was not read within {TIMEOUT:g} s")
