"""Choosing whom to emit to. Operators are immutable: each step gives a new one, so that they can be kept and shared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from .types import AckResponses, Packet, Target

if TYPE_CHECKING:
    from typing import Self

    from .protocols import Adapter

Rooms = str | Iterable[str]


class Audience(Protocol):
    """The namespace, as an operator sees it."""

    @property
    def name(self) -> str:
        """Its name, e.g. ``"/"``."""

    @property
    def adapter(self) -> Adapter:
        """Who delivers."""

    def packet(self, event: str, args: tuple[Any, ...]) -> Packet:
        """The packet of an event. Raises ``ConfigurationError`` for a reserved name."""

    async def ask(self, packet: Packet, target: Target, timeout: float | None) -> AckResponses:
        """Send a packet and collect the acknowledgements."""


class BroadcastOperator:
    """Emits to a selection of the sockets of a namespace. Made by ``io.to()``, ``socket.broadcast`` and their like.

    Example::

        await io.to("a", "b").except_("muted").emit("news", 1)
    """

    __slots__ = ("_audience", "_target", "_timeout")

    def __init__(self, audience: Audience, target: Target, timeout: float | None = None) -> None:
        self._audience = audience
        self._target = target
        self._timeout = timeout

    def to(self, *rooms: Rooms) -> Self:
        """Also to the sockets in any of these rooms; without an argument, or given an empty list, to nobody more.

        A socket's id is a room that this socket alone is in.
        """
        return self._with(rooms=(self._target.rooms or frozenset()) | _names(rooms))

    def in_(self, *rooms: Rooms) -> Self:
        """The same as :meth:`to`, Node's ``in``."""
        return self.to(*rooms)

    def except_(self, *rooms: Rooms) -> Self:
        """Not to the sockets in any of these rooms."""
        return self._with(except_=self._target.except_ | _names(rooms))

    @property
    def broadcast(self) -> Self:
        """Itself, as in Node, so that ``socket.volatile.broadcast`` and ``socket.broadcast.volatile`` are the same."""
        return self

    @property
    def volatile(self) -> Self:
        """Drop the packet for clients that cannot take it at once: a position, a cursor, a typing hint.

        A client to which something else was emitted in the same turn of the event loop cannot, as with Node.
        """
        return self._with(volatile=True)

    @property
    def local(self) -> Self:
        """Only to the sockets of this server, when there is a cluster."""
        return self._with(local=True)

    def timeout(self, seconds: float) -> Self:
        """How long :meth:`emit_with_ack` waits."""
        return type(self)(self._audience, self._target, seconds)

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event with any number of arguments.

        Encoded once, however many receive it. Raises ``EncodeError`` when the arguments cannot be sent: then nobody
        receives anything.
        """
        await self._audience.adapter.broadcast(self._audience.packet(event, args), self._target)

    async def emit_with_ack(self, event: str, *args: Any) -> AckResponses:
        """Emit an event and collect the acknowledgement of every selected socket, by socket id.

        Raises :class:`~rtframework.AckTimeout`, with what did come, when the time given by :meth:`timeout` is over
        before all have answered; without a timeout it waits until each has answered or left. Sockets whose connection
        handlers still run are not asked.
        """
        return await self._audience.ask(self._audience.packet(event, args), self._target, self._timeout)

    def _with(self, **changes: Any) -> Self:
        return type(self)(self._audience, dataclasses.replace(self._target, **changes), self._timeout)


class Broadcasting:
    """The selectors of a server and of a namespace: everybody, until a room is named."""

    __slots__ = ()

    def _everybody(self) -> BroadcastOperator:
        raise NotImplementedError

    def to(self, *rooms: Rooms) -> BroadcastOperator:
        """Select the sockets in any of these rooms; an empty list of rooms reaches nobody."""
        return self._everybody().to(*rooms)

    def in_(self, *rooms: Rooms) -> BroadcastOperator:
        """The same as :meth:`to`, Node's ``in``."""
        return self._everybody().to(*rooms)

    def except_(self, *rooms: Rooms) -> BroadcastOperator:
        """Select everybody but the sockets in any of these rooms."""
        return self._everybody().except_(*rooms)

    @property
    def volatile(self) -> BroadcastOperator:
        """Drop the packet for clients that cannot take it at once."""
        return self._everybody().volatile

    @property
    def local(self) -> BroadcastOperator:
        """Only the sockets of this server, when there is a cluster."""
        return self._everybody().local

    def timeout(self, seconds: float) -> BroadcastOperator:
        """How long ``emit_with_ack`` waits."""
        return self._everybody().timeout(seconds)

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event to every socket of the namespace."""
        await self._everybody().emit(event, *args)

    async def emit_with_ack(self, event: str, *args: Any) -> AckResponses:
        """Emit an event to every socket of the namespace and collect the acknowledgements."""
        return await self._everybody().emit_with_ack(event, *args)


def _names(rooms: tuple[Rooms, ...]) -> frozenset[str]:
    names: set[str] = set()
    for room in rooms:
        if isinstance(room, str):
            names.add(room)
        else:
            names.update(room)
    return frozenset(names)
