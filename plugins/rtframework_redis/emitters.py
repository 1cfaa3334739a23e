"""What programs emit that are no servers: ``@socket.io/redis-emitter``, python-socketio's ``write_only`` managers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from rtframework.cluster import classic_wire, python_socketio_wire
from rtframework.cluster.classic_wire import Request, RequestType
from rtframework.cluster.messages import EMITTER, target_of
from rtframework.cluster.pubsub_wire import escape_pattern
from rtframework.types import Target

if TYPE_CHECKING:
    from rtframework.cluster.adapter import ClusterAdapter

_ARRAY: Final = b"\x93"
"""The first byte of a classic broadcast, by which it is told from the messages of servers on the same channels."""

_ACTS: Final = (RequestType.REMOTE_JOIN, RequestType.REMOTE_LEAVE, RequestType.REMOTE_DISCONNECT)


class Emitters:
    """Takes messages of emitters for the sockets of this server; every other server takes them as well.

    They are published and not in the stream, so a client that is away has missed them for good.
    """

    def __init__(self, prefix: str, adapters: Mapping[str, ClusterAdapter]) -> None:
        self._prefix = prefix
        self._adapters = adapters
        self._requests = f"{prefix}-request#"

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns to subscribe to. Servers that are counted by their subscriptions are not counted by these."""
        return (f"{escape_pattern(self._prefix)}#*", f"{escape_pattern(self._requests)}*")

    def is_classic(self, payload: bytes) -> bool:
        """Tell whether a message of a channel is a classic broadcast, which comes by the pattern, too."""
        return payload[:1] == _ARRAY

    def hear(self, channel: bytes, payload: bytes) -> None:
        """Handle a message that came by a pattern. Raises ``DecodeError``."""
        name = channel.decode(errors="replace")
        if name.startswith(self._requests):
            adapter = self._adapters.get(name[len(self._requests) : -1])
            if adapter is not None:
                self._act(adapter, classic_wire.decode_request(payload))
        elif payload[:1] == _ARRAY:
            event = classic_wire.decode_broadcast(payload)
            adapter = self._adapters.get(event.packet.nsp) if event.packet.nsp is not UNSET else None
            if event.uid == EMITTER and adapter is not None:
                adapter.deliver_here(event.packet.data, target_of(event.opts))

    def _act(self, adapter: ClusterAdapter, request: Request) -> None:
        if request.uid not in (UNSET, EMITTER):
            return
        if request.type == RequestType.SERVER_SIDE_EMIT and request.data is not UNSET:
            adapter.serve_here(request.data)
        elif request.type in _ACTS and request.opts is not UNSET:
            rooms = frozenset(request.opts.rooms) or None
            target = Target(rooms, frozenset(request.opts.except_))
            if request.type == RequestType.REMOTE_DISCONNECT:
                adapter.disconnect_here(target, request.close is True)
            elif request.rooms is not UNSET:
                adapter.move_here(target, request.rooms, join=request.type == RequestType.REMOTE_JOIN)

    def hear_manager(self, payload: bytes) -> None:
        """Handle a message of a manager of python-socketio. Raises ``DecodeError``."""
        message = python_socketio_wire.decode(payload)
        adapter = self._adapters.get(message.nsp)
        if adapter is None:
            return
        of_sid = Target(frozenset([message.sid]))
        if message.method == "emit":
            adapter.deliver_here(list(message.args), message.target)
        elif message.method == "disconnect":
            adapter.disconnect_here(of_sid, False)
        elif message.method == "close_room":
            adapter.move_here(Target(frozenset([message.room])), [message.room], join=False)
        elif message.method in ("enter_room", "leave_room"):
            adapter.move_here(of_sid, [message.room], join=message.method == "enter_room")
