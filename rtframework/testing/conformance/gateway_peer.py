"""A client of a gateway's protocol, as the conformance suite uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class GatewayRefused(Exception):
    """Raised by ``GatewayConformance.connect`` when the gateway lets a client not in; its text is what it was told."""


class GatewayPeer:
    """One client of a gateway, over TCP; a base class. Each method may take some seconds at most."""

    async def receive(self) -> tuple[str | int, list[Any]]:
        """Return the next event from the server: its name and its arguments. Raises ``EOFError`` after the end."""
        raise NotImplementedError

    async def emit(self, event: str, *args: Any) -> None:
        """Send an event, if clients can."""
        raise NotImplementedError

    async def ask(self, event: str, *args: Any) -> list[Any]:
        """Send an event, and return the arguments of its answer, if clients can ask."""
        raise NotImplementedError

    async def answer(self, *args: Any) -> tuple[str | int, list[Any]]:
        """Receive an event that wants an answer, send it, and return the event, if clients can answer."""
        raise NotImplementedError

    async def send_raw(self, message: str | bytes) -> None:
        """Send something as it is, which may be no message of the protocol."""
        raise NotImplementedError

    async def leave(self) -> None:
        """End the connection as the protocol says."""
        raise NotImplementedError

    def drop(self) -> None:
        """Cut the TCP connection (RST) without a word."""
        raise NotImplementedError

    def stop_reading(self) -> None:
        """Read nothing more from TCP from now on."""
        raise NotImplementedError

    async def closed(self) -> None:
        """Wait until the server has ended the connection, and read what still comes."""
        try:
            while True:
                await self.receive()
        except EOFError:
            return

    @staticmethod
    def garbage() -> Sequence[str | bytes]:
        """Return messages for :meth:`send_raw` that are none; each is sent by a client of its own."""
        return ()
