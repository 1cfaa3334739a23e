"""Selections of sockets by a program that is no server: the chaining of ``BroadcastOperator``, and what is checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from rtframework.adapters.history import History, histories_of
from rtframework.cluster.messages import DisconnectSockets, MessageType, SocketsRooms, options_of
from rtframework.exceptions import ConfigurationError, EncodeError
from rtframework.namespaces.kick import check_reason
from rtframework.namespaces.operators import Rooms, room_names
from rtframework.namespaces.patterns import is_namespace
from rtframework.serializers import JSONSerializer
from rtframework.types import EVERYBODY, Target

from .publication import ChannelMessage, EventData, PubSubWire, StreamsWire, Wire

if TYPE_CHECKING:
    from .publication import Publication

S = TypeVar("S")

_ADAPTERS: Final = ("streams", "pubsub")


@dataclasses.dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of messages, and the bytes that one may have."""

    wire: Wire
    serializer: JSONSerializer
    max_message: int

    @classmethod
    def of(
        cls,
        adapter: str,
        channel_prefix: str,
        serializer: JSONSerializer | None,
        max_message: int,
        history: History | Sequence[History] | None = None,
        stream: str = "socket.io",
    ) -> Encoding:
        """Make it of a publisher's options. Raises ``ConfigurationError``."""
        if adapter not in _ADAPTERS:
            raise ConfigurationError(f'adapter is "streams" or "pubsub", not {adapter!r}')
        rules = histories_of(history)
        if rules and adapter != "streams":
            raise ConfigurationError('the history of rooms is kept with adapter="streams" only')
        if any(rule.store is not None for rule in rules):
            raise ConfigurationError("a publisher keeps history where the servers' adapter does: leave store= out")
        wire: Wire = StreamsWire(rules, stream) if adapter == "streams" else PubSubWire(channel_prefix)
        return cls(wire, serializer or JSONSerializer(), max_message)


class Selection(Generic[S]):
    """The sockets of a namespace on all servers, or some of them. Immutable: each step makes a new one.

    Subclasses make the new one, and send what is encoded here; ``None`` is nothing to send, because nobody is selected.
    """

    __slots__ = ("_encoding", "_nsp", "_target")

    def __init__(self, encoding: Encoding, nsp: str = "/", target: Target = EVERYBODY) -> None:
        self._encoding = encoding
        self._nsp = nsp
        self._target = target

    def _select(self, nsp: str, target: Target) -> S:
        raise NotImplementedError

    def to(self, *rooms: Rooms) -> S:
        """Add the sockets in any of these rooms. Without an argument, or with an empty list, nobody is added."""
        return self._with(rooms=(self._target.rooms or frozenset()).union(room_names(rooms)))

    def in_(self, *rooms: Rooms) -> S:
        """Add as :meth:`to` does; Node's ``in``."""
        return self.to(*rooms)

    def except_(self, *rooms: Rooms) -> S:
        """Leave out the sockets in any of these rooms."""
        return self._with(except_=self._target.except_.union(room_names(rooms)))

    @property
    def volatile(self) -> S:
        """Drop the packet for clients that cannot take it at once; those that are away do not get it later."""
        return self._with(volatile=True)

    def compress(self, compress: bool) -> S:
        """Choose if packets are compressed where the transport can do that; they are by default."""
        return self._with(compress=compress)

    def _with(self, **changes: Any) -> S:
        return self._select(self._nsp, dataclasses.replace(self._target, **changes))

    def _of(self, name: str) -> S:
        if not is_namespace(name):
            raise ConfigurationError(f'the name of a namespace begins with "/" and has no comma, not {name!r}')
        return self._select(name, EVERYBODY)

    # --- what is sent -------------------------------------------------------------------------------------------------

    def _event(self, event: str | int, args: tuple[Any, ...]) -> Publication | None:
        data = EventData(self._encoding.serializer, event, args)
        return self._checked(self._encoding.wire.event(self._nsp, self._target, data)) if self._selects_any else None

    def _move(self, rooms: tuple[Rooms, ...], *, join: bool) -> Publication | None:
        names = room_names(rooms)
        if not self._selects_any:
            return None
        kind = MessageType.SOCKETS_JOIN if join else MessageType.SOCKETS_LEAVE
        order = SocketsRooms(options_of(self._target), names)
        return self._checked(self._encoding.wire.order(self._nsp, kind, order))

    def _disconnection(self, close: bool, reason: str | None) -> Publication | None:
        check_reason(reason)
        if not self._selects_any:
            return None
        order = DisconnectSockets(options_of(self._target), close)
        if reason is not None:
            order.x = {"reason": reason}
        return self._checked(self._encoding.wire.order(self._nsp, MessageType.DISCONNECT_SOCKETS, order))

    def _server_side(self, event: str | int, args: tuple[Any, ...]) -> Publication:
        if self._target != EVERYBODY:
            raise ConfigurationError("server_side_emit reaches all servers: call it on the publisher, or on of(name)")
        data = EventData(self._encoding.serializer, event, args)
        return self._checked(self._encoding.wire.server_side(self._nsp, data))

    @property
    def _selects_any(self) -> bool:
        return self._target.rooms is None or bool(self._target.rooms)

    def _checked(self, publication: Publication) -> Publication:
        size = len(publication.payload if isinstance(publication, ChannelMessage) else publication.data)
        most = self._encoding.max_message
        if size > most:
            raise EncodeError(f"cannot be sent to servers: {size} bytes, more than max_message={most}")
        return publication
