"""A connection to a server by the protocol that the user has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from .endpoint import Endpoint
from .received import Place, Received


class AnyConnection(Protocol):
    """A client in one namespace of one server. Each method raises ``Failure``."""

    @property
    def id(self) -> str:
        """The socket's id, given by the server."""

    @property
    def transport(self) -> str:
        """The transport in use."""

    async def emit(self, event: str | int, args: Sequence[Any]) -> None:
        """Send an event; return when it has been written to the network."""

    async def ask(self, event: str | int, args: Sequence[Any], timeout: float) -> list[Any]:
        """Send an event and return the arguments of the acknowledgement."""

    async def answer(self, received: Received, args: Sequence[Any]) -> None:
        """Send the acknowledgement of an event."""

    async def next(self) -> Received:
        """Wait for the next event."""


def connect(endpoint: Endpoint, place: Place | None = None) -> AbstractAsyncContextManager[AnyConnection]:
    """Connect to a server, and disconnect at the end. Raises ``Failure``.

    ``place``: where to go on, and where it is noted how far we have come; for server-sent events only.
    """
    if endpoint.protocol == "websocket":
        from .plain_client import connect_plain

        return connect_plain(endpoint)
    if endpoint.protocol == "sse":
        from .event_source_client import connect_sse

        return connect_sse(endpoint, place)
    if endpoint.protocol == "stomp":
        from .stomp_client import connect_stomp

        return connect_stomp(endpoint)
    from .client import connect_socketio

    return connect_socketio(endpoint)
