"""Counting what passes on a connection, for as long as somebody wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ..protocols import Client, Frames, Meter
    from .interfaces import MessageHandler, Sink


class MeteredSink:
    """A transport that tells meters what is written to it."""

    __slots__ = ("_meters", "_sink")

    def __init__(self, sink: Sink, meters: tuple[Meter, ...]) -> None:
        self._sink = sink
        self._meters = meters

    @property
    def writable(self) -> bool:
        """True when the transport would take frames at once."""
        return self._sink.writable

    def write(self, frames: list[Frames]) -> bool:
        """Write frames, and count those that the transport has taken."""
        given = frames[:]
        done = self._sink.write(frames)
        taken = given if done else given[: len(given) - len(frames)]
        size = sum(each.size for each in taken)
        for meter in self._meters:
            meter.packets_out += len(taken)
            meter.bytes_out += size
        return done

    def buffered(self) -> int:
        """Count the bytes that were taken and have not yet left the process."""
        return self._sink.buffered()


class WatchedSink:
    """A transport that finds out when everything has left that was written to it before."""

    __slots__ = ("_sink", "_written")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._written = 0
        """Bytes that were written since."""

    @property
    def has_left(self) -> bool:
        """True when no more waits in the transport than was written since."""
        return self._sink.buffered() <= self._written

    @property
    def writable(self) -> bool:
        """True when the transport would take frames at once."""
        return self._sink.writable

    def write(self, frames: list[Frames]) -> bool:
        """Write frames, and count the bytes of those that the transport has taken."""
        given = frames[:]
        done = self._sink.write(frames)
        taken = given if done else given[: len(given) - len(frames)]
        self._written += sum(each.size for each in taken)
        return done

    def buffered(self) -> int:
        """Count the bytes that were taken and have not yet left the process."""
        return self._sink.buffered()


class MeteredHandler:
    """A handler that tells meters of each message."""

    __slots__ = ("_meters", "handler")

    def __init__(self, handler: MessageHandler, meters: tuple[Meter, ...]) -> None:
        self.handler = handler
        self._meters = meters

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Count a message, then hand it on."""
        size = size_of(data)
        for meter in self._meters:
            meter.packets_in += 1
            meter.bytes_in += size
        return self.handler.receive(data)

    def ended(self, reason: str) -> None:
        """Hand the news of the end on."""
        self.handler.ended(reason)


class WeighedHandler:
    """A handler that adds the size of each message to its client, for servers that limit bytes."""

    __slots__ = ("_client", "_handler")

    def __init__(self, handler: MessageHandler, client: Client) -> None:
        self._handler = handler
        self._client = client

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Weigh a message, then hand it on."""
        self._client.received += size_of(data)
        return self._handler.receive(data)

    def ended(self, reason: str) -> None:
        """Hand the news of the end on."""
        self._handler.ended(reason)


def size_of(data: str | bytes) -> int:
    """Count the bytes of a message."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
