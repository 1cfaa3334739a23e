"""The three ways a client travels; every scenario is to work on each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Transport:
    """One way: ``transports`` is what a client is told, ``final`` what it ends up with."""

    name: str
    transports: tuple[str, ...]
    final: str

    @property
    def upgrades(self) -> bool:
        """Whether the client starts with one transport and moves to another."""
        return len(self.transports) > 1

    def __str__(self) -> str:
        return self.name


POLLING: Final = Transport("polling", ("polling",), "polling")
WEBSOCKET: Final = Transport("websocket", ("websocket",), "websocket")
UPGRADE: Final = Transport("upgrade", ("polling", "websocket"), "websocket")
TRANSPORTS: Final = (POLLING, WEBSOCKET, UPGRADE)
