"""Development mode: everything that happens to sockets, told while somebody watches."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..namespaces.membership import State
from .serialization import plain

if TYPE_CHECKING:
    from ..namespaces.namespace import Namespace
    from ..namespaces.socket import Socket
    from .serialization import AdminSerializer

Tell = Callable[..., None]
"""``(event, *args)``: emits to those who watch."""


class LiveEvents:
    """Listens to all namespaces between :meth:`start` and :meth:`stop`; before and after, nothing is left of it.

    ``silent``: the namespace whose events are not shown, because they are what shows the others.
    """

    __slots__ = ("_namespaces", "_serializer", "_silent", "_tell", "_watched")

    def __init__(
        self, namespaces: Mapping[str, Namespace], serializer: AdminSerializer, tell: Tell, *, silent: str
    ) -> None:
        self._namespaces = namespaces
        self._serializer = serializer
        self._tell = tell
        self._silent = silent
        self._watched: dict[str, _NamespaceWatch] | None = None

    def start(self) -> None:
        """Somebody watches."""
        self._watched = {}
        for namespace in list(self._namespaces.values()):
            self.introduce(namespace)

    def introduce(self, namespace: Namespace) -> None:
        """A namespace was made."""
        if self._watched is not None:
            with_events = namespace.name != self._silent
            watch = _NamespaceWatch(namespace, self._serializer, self._tell, with_events=with_events)
            self._watched[namespace.name] = watch
            watch.start()

    def stop(self) -> None:
        """Nobody watches any more."""
        watched, self._watched = self._watched or {}, None
        for watch in watched.values():
            watch.stop()

    def look(self) -> None:
        """Tell what nobody announces: that a socket has another transport, or other data."""
        watched = self._watched
        if watched is None:
            return
        for name in [name for name, watch in watched.items() if self._namespaces.get(name) is not watch.namespace]:
            watched.pop(name).stop()  # a child that was cleaned up
        for namespace in list(self._namespaces.values()):
            if namespace.name not in watched:
                self.introduce(namespace)
        for watch in watched.values():
            watch.look()


class _NamespaceWatch:
    """One namespace; see ``rtframework.protocols.Watcher``."""

    __slots__ = ("_events", "_last", "_name", "_serializer", "_tell", "namespace")

    def __init__(self, namespace: Namespace, serializer: AdminSerializer, tell: Tell, *, with_events: bool) -> None:
        self.namespace = namespace
        self._name = namespace.name
        self._serializer = serializer
        self._tell = tell
        self._events = with_events
        self._last: dict[str, tuple[str, Any]] = {}
        """Transport and data of each socket as they were told last."""

    def start(self) -> None:
        namespace = self.namespace
        for socket in namespace.sockets.values():
            if socket._state is State.CONNECTED:
                self._last[socket.id] = self._changeable(socket)
        namespace._watcher = self
        namespace.adapter.on("join_room")(self.joined)
        namespace.adapter.on("leave_room")(self.left)
        if self._events:
            namespace.prepend_any(self.received)
            namespace.prepend_any_outgoing(self.sent)

    def stop(self) -> None:
        namespace = self.namespace
        namespace._watcher = None
        namespace.adapter.off("join_room", self.joined)
        namespace.adapter.off("leave_room", self.left)
        namespace.off_any(self.received)
        namespace.off_any_outgoing(self.sent)
        self._last.clear()

    def look(self) -> None:
        sockets = self.namespace.sockets
        for id, last in self._last.items():
            socket = sockets.get(id)
            now = last if socket is None else self._changeable(socket)
            if now != last:
                self._last[id] = now
                self._tell("socket_updated", {"id": id, "nsp": self._name, "transport": now[0], "data": now[1]})

    def _changeable(self, socket: Socket) -> tuple[str, Any]:
        return socket.transport, plain(socket.data)

    # --- what is told -----------------------------------------------------------------------------------------------

    def admitted(self, socket: Socket) -> None:
        self._last[socket.id] = self._changeable(socket)
        self._tell("socket_connected", self._serializer.of(socket), _now())

    def gone(self, socket: Socket, reason: str) -> None:
        self._last.pop(socket.id, None)
        self._tell("socket_disconnected", self._name, socket.id, reason, _now())

    def joined(self, room: str, sid: str) -> None:
        self._tell("room_joined", self._name, room, sid, _now())

    def left(self, room: str, sid: str) -> None:
        self._tell("room_left", self._name, room, sid, _now())

    def received(self, socket: Any, *args: Any) -> None:
        self._tell("event_received", self._name, socket.id, args, _now())

    def sent(self, socket: Any, *args: Any) -> None:
        self._tell("event_sent", self._name, socket.id, args, _now())


def _now() -> str:
    """This moment as JavaScript writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
