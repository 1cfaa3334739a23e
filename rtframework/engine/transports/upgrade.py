"""A polling client's way to a websocket (Engine.IO v4, "Upgrade")."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

from ..frames import PROBE_ANSWER

if TYPE_CHECKING:
    import asyncio

    from .websocket import WebSocketTransport

log: Final = logging.getLogger("rtframework.engine")


class Upgradable(Protocol):
    """A connection by polling, as its upgrade sees it."""

    loop: asyncio.AbstractEventLoop
    upgrade: Upgrade | None
    """The upgrade that has begun, and not ended."""

    @property
    def is_closed(self) -> bool:
        """True when it has ended altogether."""

    def release_poll(self) -> None:
        """End the waiting GET: the client is about to move."""

    def upgraded(self, transport: WebSocketTransport) -> None:
        """Take the websocket as the transport."""


class Upgrade:
    """A websocket that may take a connection over: it has to say ``2probe``, and then ``5``, in time.

    Clients for C#, PHP and Arduino say ``5`` at once. Polling goes on until the client has said it; whatever else
    happens to the websocket before is none of the connection's business.
    """

    __slots__ = ("_connection", "_timer", "_websocket", "probed")

    def __init__(self, connection: Upgradable, websocket: WebSocketTransport, timeout: float) -> None:
        self.probed = False
        """True when the websocket has proved that it works, so that the client is about to move."""
        self._connection = connection
        self._websocket = websocket
        self._timer = connection.loop.call_later(timeout, self._too_late)
        connection.upgrade = self
        websocket.begin(self)

    def give_up(self) -> None:
        """Leave the client where it is, if it has not gone."""
        if self._end():
            self._websocket.close()

    def receive(self, packet: str | bytes) -> None:
        """Take the next step of the upgrade; anything else than that ends it."""
        if not self.probed and packet == "2probe":
            self.probed = True
            self._websocket.write([PROBE_ANSWER])
            self._connection.release_poll()
        elif packet == "5":
            self._end()
            if self._connection.is_closed:
                self._websocket.close()
            else:
                self._connection.upgraded(self._websocket)
        else:
            self.give_up()

    def end(self, reason: str) -> None:
        """Leave the client where it is: the websocket has ended."""
        self.give_up()

    def _end(self) -> bool:
        if self._connection.upgrade is not self:
            return False
        self._connection.upgrade = None
        self._timer.cancel()
        return True

    def _too_late(self) -> None:
        log.debug("an upgrade was not completed in time")
        self.give_up()
