"""Catch-alls for outgoing events: ``on_any_outgoing``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from ..logs import ThrottledLog

if TYPE_CHECKING:
    from ..handlers.registry import HandlerRegistry
    from ..types import Packet
    from .socket import Socket

log: Final = logging.getLogger("rtframework.namespace")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a catch-all for what goes out")


class OutgoingCatchAlls:
    """Shows events to the catch-alls of a namespace and of its sockets, before they are sent.

    ``tapped``: the ids of sockets that have catch-alls, and of followers; ``None`` is among them while the namespace
    has some itself.
    Nothing is to be shown while it is empty.
    """

    __slots__ = ("_registry", "_sockets", "_spawn", "followers", "tapped")

    def __init__(
        self,
        registry: HandlerRegistry,
        sockets: Mapping[str, Socket],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None] | None],
    ) -> None:
        self.tapped: set[str | None] = set()
        self.followers: dict[str, Callable[[Packet], None]] = {}
        """Functions that hear what is sent to a room, by the id under which they are in it."""
        self._registry = registry
        self._sockets = sockets
        self._spawn = spawn

    def namespace_changed(self) -> None:
        """Note that a catch-all of the namespace was added or removed."""
        if self._registry.outgoing:
            self.tapped.add(None)
        else:
            self.tapped.discard(None)

    def socket_changed(self, socket: Socket) -> None:
        """Note that a catch-all of a socket was added or removed."""
        if socket._outgoing and socket._left is None:
            self.tapped.add(socket.id)
        elif self._sockets.get(socket.id, socket) is socket:  # its id may be that of a socket that continues it
            self.tapped.discard(socket.id)

    def show(self, sids: Collection[str], packet: Packet) -> None:
        """Show a packet to the catch-alls of its receivers."""
        of_all = self._registry.outgoing
        for sid in list(sids) if of_all else self.tapped.intersection(sids):
            socket = self._sockets.get(sid) if sid is not None else None
            if socket is None:
                follow = self.followers.get(sid) if sid is not None else None
                if follow is not None:
                    follow(packet)
                continue
            for handler in of_all:
                self._call(socket, packet, partial(handler.function, socket), handler.is_async)
            for handler in socket._outgoing:
                self._call(socket, packet, handler.function, handler.is_async)

    def _call(self, socket: Socket, packet: Packet, function: Callable[..., Any], is_async: bool) -> None:
        try:
            result = function(*packet.data)
            if is_async or isawaitable(result):
                self._spawn(_finish(socket, packet, result))
        except Exception as error:  # noqa: BLE001 - logged
            _log(socket, packet, error)


async def _finish(socket: Socket, packet: Packet, result: Awaitable[Any]) -> None:
    try:
        await result
    except Exception as error:  # noqa: BLE001 - logged
        _log(socket, packet, error)


def _log(socket: Socket, packet: Packet, error: Exception) -> None:
    _failed(error=error, key=socket._nsp.label, extra=socket._where(packet))
