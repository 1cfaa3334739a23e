"""A stream of server-sent events, read by a test."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from ..gateways.event_stream import EventStreamReader, ServerSentEvent

if TYPE_CHECKING:
    from aiohttp import ClientResponse

_LARGEST: Final = 65_536


class TestStream:
    """A stream that a test reads, see :meth:`TestServer.stream`; ``status`` is that of the response.

    ``received`` are all events so far that came before one that was taken, and it.
    """

    __test__ = False

    def __init__(self, response: ClientResponse, timeout: float) -> None:
        self.status = response.status
        self.received: list[ServerSentEvent] = []
        self._response = response
        self._timeout = timeout
        self._reader = EventStreamReader()
        self._events: list[ServerSentEvent] = []

    def __repr__(self) -> str:
        return f"<TestStream {self.status}, {len(self.received)} events>"

    @property
    def last_id(self) -> str:
        """The id with which a client would come back: ``server.stream(path, last_id=stream.last_id)``."""
        return self.received[-1].id if self.received else ""

    async def receive(self, event: str | None = None) -> Any:
        """Return the data of the next event, or of the next one of this name. The events before it are passed over.

        Raises ``AssertionError`` if it does not come in time, or if the stream ends before.
        """
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    found = await self._next()
                    self.received.append(found)
                    if event is None or found.event == event:
                        return json.loads(found.data)
        except TimeoutError:
            raise self._missing(event, f"within {self._timeout:g} s") from None
        except EOFError:
            raise self._missing(event, "before its end") from None

    async def receive_end(self) -> None:
        """Wait for the end of the stream. Raises ``AssertionError`` if it does not come in time."""
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    self.received.append(await self._next())
        except TimeoutError:
            raise AssertionError(f"{self!r}: has not ended within {self._timeout:g} s") from None
        except EOFError:
            return

    async def _next(self) -> ServerSentEvent:
        while not self._events:
            data = await self._response.content.read(_LARGEST)
            if not data:
                raise EOFError
            self._events += self._reader.feed(data.decode())
        return self._events.pop(0)

    def _missing(self, event: str | None, when: str) -> AssertionError:
        wanted = "no event" if event is None else f"no {event!r}"
        shown = "".join(f"\n  {each.event} {each.data[:100]}" for each in self.received)
        return AssertionError(f"{self!r}: has received {wanted} {when}\nreceived so far:{shown or ' nothing'}")
