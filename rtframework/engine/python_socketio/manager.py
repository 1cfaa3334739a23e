"""python-socketio's client manager over room indexes: leaving and sending cost no more than the rooms concerned."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from inspect import isawaitable
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import socketio

from ...adapters.buffered_outlet import BufferedOutlet
from ...adapters.rooms import RoomIndex
from ...exceptions import EncodeError
from ...types import Packet, PacketType

if TYPE_CHECKING:
    from ...protocols import Outlet

log: Final = logging.getLogger("rtframework.engine")

_EVENT: Final = int(PacketType.EVENT)


class _Space:
    """One namespace: who is in it, in which rooms, and where frames for each of them go."""

    __slots__ = ("eio_sids", "index", "joining", "leaving", "outlets", "sids")

    def __init__(self) -> None:
        self.index = RoomIndex()
        self.eio_sids: dict[str, str] = {}
        self.sids: dict[str, str] = {}
        """The other way round; of the last one, when a connection has left and come back."""
        self.outlets: dict[str, Outlet] = {}
        self.joining: set[str] = set()
        self.leaving: set[str] = set()


class Manager(socketio.AsyncManager):  # type: ignore[misc]  # socketio is not typed
    """The clients of one :class:`~rtframework.engine.AsyncServer` and their rooms, with python-socketio's API.

    A client whose connect handler still runs is in rooms, but what is sent to it is held until it is let in. Room names
    may be anything hashable but ``None``, which stands for everybody.

    Put it under a manager of python-socketio's that talks to other servers, and these guarantees hold there as well::

        class RedisManager(socketio.AsyncRedisManager, Manager):
            pass
    """

    def __init__(self) -> None:
        self._spaces: dict[str, _Space] = {}
        self._ack_ids = itertools.count(1)
        super().__init__()

    # --- sending ----------------------------------------------------------------------------------------------------

    async def emit(
        self,
        event: str | int,
        data: Any,
        namespace: str,
        room: Any = None,
        skip_sid: str | Collection[str] | None = None,
        callback: Callable[..., Any] | None = None,
        to: Any = None,
        ignore_queue: bool = False,
    ) -> None:
        """Emit an event to a client, a room, several rooms, or (``None``) everybody. An empty list is nobody.

        With a callback, each client that is reached is asked. Raises ``EncodeError`` when the data cannot be sent.
        """
        space = self._spaces.get(namespace)
        if space is None:
            return
        outlets = space.outlets
        message = [event, *arguments(data)]
        sids = self._select(space, room if to is None else to, skip_sid)
        if callback is None:
            frames = self.server.encode(Packet(_EVENT, namespace, message))
            slow = self.server.deliver([outlets[sid] for sid in sids if sid in outlets], frames)
            if slow is not None:
                await slow
            return
        for sid in sids:
            outlet = outlets.get(sid)
            if outlet is None:
                continue
            id = self._generate_ack_id(sid, callback)
            try:
                frames = self.server.encode(Packet(_EVENT, namespace, message, id))
            except EncodeError:
                del self.callbacks[sid][id]
                raise
            slow = self.server.deliver((outlet,), frames)
            if slow is not None:
                await slow

    @staticmethod
    def _select(space: _Space, room: Any, skip_sid: str | Collection[str] | None) -> Iterable[str]:
        """Select the sids of the rooms, each once, without those to skip."""
        selected: Iterable[str]
        if room is None:
            selected = list(space.outlets)
        elif is_many(room):
            selected = space.index.select(frozenset(room), frozenset())
        else:
            selected = list(space.index.members(room))
        if skip_sid is None:
            return selected
        skipped = frozenset((skip_sid,) if isinstance(skip_sid, str) else skip_sid)
        return [sid for sid in selected if sid not in skipped]

    def _generate_ack_id(self, sid: Any, callback: Callable[..., Any]) -> int:
        # The counter is not kept among the callbacks: a client's answer is to find nothing there but its question.
        id = next(self._ack_ids)
        self.callbacks.setdefault(sid, {})[id] = callback
        return id

    async def trigger_callback(self, sid: Any, id: int, data: Iterable[Any]) -> None:
        """Call the callback of a question that a client, or another server, has answered. The first answer counts."""
        waiting = self.callbacks.get(sid)
        callback = waiting.pop(id, None) if waiting else None
        if callback is None:
            log.debug("an answer to a question that nobody asked")
            return
        if not waiting:
            del self.callbacks[sid]
        result = callback(*data)
        if isawaitable(result):
            await result

    # --- coming and going -------------------------------------------------------------------------------------------

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Give a connection a sid in a namespace. What is sent to it is held until :meth:`connect`."""
        connection = self.server.eio.connections.get(eio_sid)
        if connection is None:
            return None
        sid: str = self.server.eio.generate_id()
        space = self._spaces.setdefault(namespace, _Space())
        space.index.add(sid, (sid,))
        space.eio_sids[sid] = eio_sid
        space.sids[eio_sid] = sid
        space.joining.add(sid)
        space.outlets[sid] = BufferedOutlet(connection, self.server.eio.options.limits.max_outbox)
        return sid

    async def connect(self, sid: str, namespace: str) -> str | None:
        """Let a client in: send what was held."""
        if not self.is_pre_connected(sid, namespace):
            found = await self.pre_connect(sid, namespace)  # python-socketio allows an Engine.IO session id here
            if found is None:
                return None
            sid = found
        space = self._spaces[namespace]
        space.joining.discard(sid)
        pen = space.outlets.get(sid)
        connection = self.server.eio.connections.get(space.eio_sids[sid])
        if connection is not None and isinstance(pen, BufferedOutlet):
            space.outlets[sid] = connection
            pen.open()
        return sid

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Send nothing to a client any more, whose rooms can still be asked for. Return its Engine.IO session id."""
        space = self._spaces.get(namespace)
        if space is None or sid not in space.index:
            return None
        space.leaving.add(sid)
        space.outlets.pop(sid, None)
        return space.eio_sids[sid]

    def basic_disconnect(self, sid: str, namespace: str, ignore_queue: bool = False) -> None:
        """Forget a client that has left."""
        space = self._spaces.get(namespace)
        if space is None or sid not in space.index:
            return
        space.index.remove_all(sid)
        space.outlets.pop(sid, None)
        space.joining.discard(sid)
        space.leaving.discard(sid)
        eio_sid = space.eio_sids.pop(sid)
        if space.sids.get(eio_sid) == sid:
            del space.sids[eio_sid]
        self.callbacks.pop(sid, None)
        if not space.eio_sids:
            del self._spaces[namespace]

    # --- rooms ------------------------------------------------------------------------------------------------------

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        """Put a client into a room. ``None`` is the room that everybody is in already: it changes nothing.

        Raises ``ValueError`` when nobody is in the namespace, when the room is another client's own, and beyond what
        ``Limits`` allows; ``KeyError`` when the client is not there.
        """
        space = self._spaces.get(namespace)
        if space is None:
            raise ValueError("sid is not connected to requested namespace")
        if sid not in space.index:
            raise KeyError(sid)
        if room is None:
            return
        if sid != room and room in space.index:
            raise ValueError("cannot enter a sid room")
        limits = self.server.eio.options.limits
        if isinstance(room, str) and len(room) > limits.max_room_name:
            raise ValueError(f"a room's name has at most {limits.max_room_name} characters")
        if len(space.index.rooms(sid)) >= limits.max_rooms and sid not in space.index.members(room):
            raise ValueError(f"a client is in at most {limits.max_rooms} rooms")
        space.index.add(sid, (room,))

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        """Take a client out of a room it may or may not be in; nobody leaves ``None``, which is everybody."""
        space = self._spaces.get(namespace)
        if space is not None:
            space.index.remove(sid, (room,))

    def basic_close_room(self, room: Any, namespace: str) -> None:
        """Take everybody out of a room. Raises ``ValueError`` for a client's own."""
        space = self._spaces.get(namespace)
        if space is None:
            return
        if room in space.index:
            raise ValueError("cannot close a sid room")
        for sid in list(space.index.members(room)):
            space.index.remove(sid, (room,))

    # --- questions --------------------------------------------------------------------------------------------------

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        """Return whether the connect handler of a client still runs."""
        space = self._spaces.get(namespace)
        return space is not None and sid in space.joining

    def is_connected(self, sid: str, namespace: str) -> bool:
        """Return whether a client was let in and has not left."""
        space = self._spaces.get(namespace)
        return space is not None and sid in space.eio_sids and sid not in space.joining and sid not in space.leaving

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        """Return the sid of a connection in a namespace."""
        space = self._spaces.get(namespace)
        return None if space is None else space.sids.get(eio_sid)

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        """Return the Engine.IO session id of a client's connection."""
        space = self._spaces.get(namespace)
        return None if space is None else space.eio_sids.get(sid)

    def is_sid_room(self, namespace: str, room: Any) -> bool:
        """Return whether a room is a client's own."""
        space = self._spaces.get(namespace)
        return space is not None and room in space.index

    def get_namespaces(self) -> Collection[str]:
        """Return the namespaces that somebody is in; a live view."""
        return self._spaces.keys()

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Yield ``(sid, Engine.IO session id)`` of everybody in a room, in one of several, or (``None``) at all."""
        space = self._spaces.get(namespace)
        if space is None:
            return
        if room is None:
            sids: Iterable[str] = list(space.eio_sids)
        else:
            sids = self._select(space, room, None)
        for sid in sids:
            eio_sid = space.eio_sids.get(sid)
            if eio_sid is not None:
                yield sid, eio_sid

    def get_rooms(self, sid: str, namespace: str) -> list[Any]:
        """List the rooms of a client, its own first."""
        space = self._spaces.get(namespace)
        if space is None or sid not in space.index:
            return []
        rooms = space.index.rooms(sid)
        return [room for room in (sid,) if room in rooms] + [room for room in rooms if room != sid]

    @property
    def rooms(self) -> Mapping[str, Mapping[Any, Mapping[str, str]]]:
        """``[namespace][room][sid]``, the Engine.IO session id; ``None`` is everybody's room.

        A snapshot, made anew each time, at the cost of all that it holds: for programs that look. Ask
        :meth:`get_participants` and :meth:`get_rooms` instead.
        """
        return MappingProxyType({name: _snapshot(space) for name, space in self._spaces.items()})

    @rooms.setter
    def rooms(self, rooms: Mapping[str, Any]) -> None:
        if rooms:
            raise AttributeError("rooms is a snapshot: use enter_room and leave_room")
        # python-socketio's constructor puts its own empty dict there


def is_many(room: Any) -> bool:
    """Return whether ``to=`` names several rooms and not one."""
    return isinstance(room, Collection) and not isinstance(room, str | bytes)


def arguments(data: Any) -> list[Any]:
    """List the arguments of an event: several are a tuple, and ``None`` is none."""
    if isinstance(data, tuple):
        return list(data)
    return [] if data is None else [data]


def _snapshot(space: _Space) -> Mapping[Any, Mapping[str, str]]:
    eio_sids = space.eio_sids
    rooms: dict[Any, Mapping[str, str]] = {None: MappingProxyType(dict(eio_sids))}
    for room in space.index.all_rooms():
        rooms[room] = MappingProxyType({sid: eio_sids[sid] for sid in space.index.members(room)})
    return MappingProxyType(rooms)
