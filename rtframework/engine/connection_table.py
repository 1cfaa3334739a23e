"""The open connections of a server, with all that they share: from their opening to the shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from ..counters import MAX_UNCONNECTED, Counters
from ..limits.addresses import network_of
from ..limits.guard import Guard
from ..limits.shares import Shares
from ..logs import tell_left_out
from ..types import DisconnectReason, Handshake
from .backpressure import ASK_AGAIN
from .collector import tables
from .descriptors import quieten
from .heartbeat import Heartbeat
from .inbound import Inbound
from .outbox import Cork
from .runner import Runner

if TYPE_CHECKING:
    from ..options import EngineOptions
    from ..protocols import Meter
    from .connection import Connection
    from .handover import Neighbours
    from .heartbeat import Ticking
    from .interfaces import Carrier, MessageHandler
    from .transports.websocket import WebSocketTransport

log: Final = logging.getLogger("rtframework.engine")

MakeHandler = Callable[["Connection", Handshake], "MessageHandler"]


class ConnectionTable:
    """Opens connections, keeps them by their session id until they end, and closes them all at shutdown.

    ``make_handler`` gives each connection the handler of its messages; ``on_closed`` hears of each that has ended.
    """

    def __init__(
        self, options: EngineOptions, make_handler: MakeHandler, on_closed: Callable[[Connection], None]
    ) -> None:
        self._options = options
        self._make_handler = make_handler
        self._on_closed = on_closed
        self._on_connection_closed = self._closed  # one for all connections
        self.by_sid: dict[str, Connection] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        """The tasks of handlers that wait for something."""
        self.leaving: set[WebSocketTransport] = set()
        """Websockets whose connection has ended, or has not begun, until TCP has ended."""
        self.unconnected: Shares[str] = Shares()
        """Session ids of connections whose client has joined no namespace yet, by address."""
        limit = options.limits.max_connections_per_address
        self.by_address: Shares[str] | None = None if limit is None else Shares()
        """Session ids of all connections by address, if they are limited."""
        self.neighbours: Neighbours | None = None
        """The other workers of the port, who are told how many connections there are."""
        self.is_closing = False
        self.is_draining = False
        """True when no more connections are opened, and clients are being sent away."""
        self.counts = Counters()
        self.guard = Guard(options.rate_limit, self.counts)
        self.cork = Cork(self.counts)
        self.meters: tuple[Meter, ...] = ()
        shortest = min(options.ping_interval, options.ping_timeout, options.connect_timeout)
        self.heartbeat = Heartbeat(max(0.01, min(0.25, shortest / 20)), self._ticking)
        limits = options.limits
        self.inbound = Inbound(limits.max_inbound, limits.inbox, limits.body_timeout)
        self.runner = Runner(self.tasks, lambda: not self.by_sid, self.inbound, self.cork)

    def start(self) -> None:
        """Begin to serve an application, in the running loop."""
        quieten(asyncio.get_running_loop())
        tables.add(self)
        self.is_draining = False
        if self.is_closing:  # it has served another application, maybe in another event loop
            self.is_closing = False
            self.cork = self.runner.cork = Cork(self.counts)
            self.cork.meters = self.meters
            self.heartbeat.stop()
            self.leaving.clear()
            loop = asyncio.get_running_loop()
            self.tasks -= {task for task in self.tasks if task.get_loop() is not loop}
        self.runner.start()

    def open(
        self,
        sid: str,
        make: Callable[..., Connection],
        transport: Carrier,
        handshake: Handshake,
        make_handler: MakeHandler | None = None,
    ) -> Connection:
        """Open a connection. If too many are in no namespace, the oldest of the address that has the most gives way.

        ``make`` makes it: a class. ``make_handler``: in the place of the one for all.
        """
        self.heartbeat.start()
        key = network_of(handshake.address)
        while len(self.unconnected) >= self._options.limits.max_unconnected:
            self._make_room()
        connection = make(
            sid,
            address=handshake.address,
            transport=transport,
            options=self._options,
            cork=self.cork,
            on_connected=partial(self.unconnected.remove, key, sid),
            on_closed=self._on_connection_closed,
            runner=self.runner,
        )
        connection.serve((make_handler or self._make_handler)(connection, handshake))
        if self.inbound.idle and self.inbound.is_full:
            connection.wait_to_read()
        self.by_sid[sid] = connection
        self.unconnected.add(key, sid)
        if self.by_address is not None:
            self.by_address.add(key, sid)
        self.counts.opened += 1
        if self.neighbours is not None:
            self.neighbours.count(1)
        if self.meters:
            for meter in self.meters:
                meter.opened += 1
            connection.measure(self.meters)
        return connection

    def find(self, sid: str) -> Connection | None:
        """Return the connection of a session id, after it has done what it should have done by now."""
        connection = self.by_sid.get(sid)
        if connection is not None:
            self.heartbeat.check(connection)
        return connection

    def close_all_of(self, network: str) -> None:
        """Close all connections of an address, or of a /64 of IPv6; see ``network_of``."""
        for connection in list(self.by_sid.values()):
            if network_of(connection.address) == network:
                connection.close(DisconnectReason.FORCED_SERVER_CLOSE)

    def measure(self, meters: tuple[Meter, ...]) -> None:
        """Tell these meters, and no others, what passes from now on."""
        self.meters = self.cork.meters = meters
        for connection in self.by_sid.values():
            connection.measure(meters)

    # --- the end ----------------------------------------------------------------------------------------------------

    async def shutdown(self, reason: str, timeout: float) -> None:
        """Close every connection, wait for what waits to be sent, at most ``timeout`` seconds; then cut the rest."""
        self.is_closing = True
        for connection in list(self.by_sid.values()):
            connection.close(reason)
        deadline = asyncio.get_running_loop().time() + timeout
        await self._see_off(deadline)
        for connection in list(self.by_sid.values()):
            connection.abort(reason)
        while self.leaving and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(ASK_AGAIN)
        for websocket in list(self.leaving):
            websocket.abort()
        self.heartbeat.stop()
        await self._end_tasks(deadline)
        tell_left_out(at_once=True)

    async def _see_off(self, deadline: float) -> None:
        """Wait until closing connections have sent what they had to send."""
        try:
            async with asyncio.timeout_at(deadline):
                for connection in list(self.by_sid.values()):
                    if connection.transport == "polling" and not connection.has_poll:
                        continue  # a client that is not here cannot be told
                    await connection.wait_closed()
        except TimeoutError:
            pass

    async def _end_tasks(self, deadline: float) -> None:
        tasks = [task for task in self.tasks if task is not asyncio.current_task()]
        if not tasks:
            return
        _, pending = await asyncio.wait(tasks, timeout=max(0.1, deadline - asyncio.get_running_loop().time()))
        for task in pending:
            task.cancel()
        if pending:
            text = "handlers did not end in time and are cancelled: %d"
            log.info(text, len(pending), extra={"left_out": len(pending) - 1})
            await asyncio.wait(pending, timeout=0.5)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _ticking(self) -> Iterable[Ticking]:
        return chain(self.by_sid.values(), self.leaving)

    def _make_room(self) -> None:
        """Cut off the oldest connection without a namespace, of the address that has the most of them."""
        connection = self.by_sid[self.unconnected.oldest_of_heaviest() or ""]
        self.guard.hit(MAX_UNCONNECTED, address=connection.address)
        connection.abort(DisconnectReason.FORCED_SERVER_CLOSE)

    def _closed(self, connection: Connection) -> None:
        self.by_sid.pop(connection.sid, None)
        if self.by_address is not None:
            self.by_address.remove(network_of(connection.address), connection.sid)
        if self.neighbours is not None:
            self.neighbours.count(-1)
        if not self.by_sid:
            self.runner.rest()
        self.cork.congested.discard(connection.outbox)
        for meter in self.meters:
            meter.closed += 1
        self._on_closed(connection)
