"""A socket for tests of handlers: no server, no client, and a list of what it was asked to send."""

from __future__ import annotations

from typing import Any

from rtframework.exceptions import EventError
from rtframework.types import Packet, PacketType


class AnsweringSocket:
    """What handlers and ``Ack`` see of a socket; ``explanation`` is what the exception handlers make of an error."""

    def __init__(self, id: str = "s1", nsp: str = "/", server: Any = None) -> None:
        self.id = id
        self.nsp = nsp
        self.server = server
        self.answers: list[list[Any]] = []
        self.explanation: Any = None
        """What exception handlers answer; ``None`` leaves the error as it is."""

    def _acknowledge(self, packet: Packet, args: list[Any]) -> None:
        if packet.id is not None:
            packet.id = None
            self.answers.append(args)

    def _answer(self, packet: Packet, args: list[Any]) -> bool:
        self._acknowledge(packet, args)
        return True

    async def _explain(self, error: BaseException, packet: Packet | None) -> Any:
        if isinstance(error, EventError) or self.explanation is None:
            return error
        return self.explanation


def event_packet(name: str, *args: Any, id: int | None = None) -> Packet:
    """An event as a client sends it; with an id it waits for an answer."""
    return Packet(PacketType.EVENT, "/", [name, *args], id)
