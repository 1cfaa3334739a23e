"""Live events of the development mode: everything that happens to sockets, while a page of the Admin UI is open."""

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
"""``(event, *args)``: emits to the pages of the Admin UI."""


class LiveEvents:
    """Watches all namespaces from :meth:`start` to :meth:`stop`; outside of that, no listener is registered.

    ``silent``: the namespace whose events are not shown: the Admin UI's, because each would cause another.
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
        """Watch all namespaces: the first page of the Admin UI was opened."""
        self._watched = {}
        for namespace in list(self._namespaces.values()):
            self.introduce(namespace)

    def introduce(self, namespace: Namespace) -> None:
        """Watch a new namespace as well."""
        if self._watched is not None:
            with_events = namespace.name != self._silent
            watch = _NamespaceWatch(namespace, self._serializer, self._tell, with_events=with_events)
            self._watched[namespace.name] = watch
            watch.start()

    def stop(self) -> None:
        """Remove all listeners: the last page of the Admin UI was closed."""
        watched, self._watched = self._watched or {}, None
        for watch in watched.values():
            watch.stop()

    def look(self) -> None:
        """Emit the changes that no event announces: of a socket's transport and of its data."""
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
    """Watcher of one namespace; see ``rtframework.protocols.Watcher``."""

    __slots__ = ("_events", "_last", "_name", "_serializer", "_tell", "namespace")

    def __init__(self, namespace: Namespace, serializer: AdminSerializer, tell: Tell, *, with_events: bool) -> None:
        self.namespace = namespace
        self._name = namespace.name
        self._serializer = serializer
        self._tell = tell
        self._events = with_events
        self._last: dict[str, tuple[str, Any]] = {}
        """Transport and data of each socket as they were last emitted."""

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

    # --- events to the Admin UI -------------------------------------------------------------------------------------

    def admitted(self, socket: Socket) -> None:
        self._last[socket.id] = self._changeable(socket)
        self._tell("socket_connected", self._serializer.of(socket), now())

    def gone(self, socket: Socket, reason: str) -> None:
        self._last.pop(socket.id, None)
        self._tell("socket_disconnected", self._name, socket.id, reason, now())

    def joined(self, room: str, sid: str) -> None:
        self._tell("room_joined", self._name, room, sid, now())

    def left(self, room: str, sid: str) -> None:
        self._tell("room_left", self._name, room, sid, now())

    def received(self, socket: Any, *args: Any) -> None:
        self._tell("event_received", self._name, socket.id, args, now())

    def sent(self, socket: Any, *args: Any) -> None:
        self._tell("event_sent", self._name, socket.id, args, now())


def now() -> str:
    """Return the current time as JavaScript's ``toISOString`` does: UTC, with milliseconds and ``Z``."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
