"""A stream of server-sent events, read by a test."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..gateways.event_stream import EventStreamReader, ServerSentEvent
from .idle import settle, wait

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiohttp import ClientResponse, ClientSession

T = TypeVar("T")

_LARGEST: Final = 65_536


class TestStream:
    """A stream that a test reads, see :meth:`TestServer.stream`; ``status`` is that of the response.

    ``received`` are all events so far that came before one that was taken, and it.
    """

    __test__ = False

    def __init__(self, response: ClientResponse, timeout: float, http: ClientSession) -> None:
        self.status = response.status
        self.received: list[ServerSentEvent] = []
        self._response = response
        self._http = http
        self._session = ""
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
            return json.loads((await self._within(self._until(event))).data)
        except TimeoutError:
            raise self._missing(event, f"within {self._timeout:g} s") from None
        except EOFError:
            raise self._missing(event, "before its end") from None

    async def receive_end(self) -> None:
        """Wait for the end of the stream. Raises ``AssertionError`` if it does not come in time."""
        try:
            await self._within(self._until_end())
        except TimeoutError:
            raise AssertionError(f"{self!r}: has not ended within {self._timeout:g} s") from None
        except EOFError:
            return

    async def post(self, event: str | int, *args: Any) -> Any:
        """Send an event by POST, as a page does with the ``session`` of the stream, and return what it is answered.

        A refusal is an answer, too: ``{"error": {"code": …}}``. Raises ``AssertionError`` if the stream has not begun.
        """
        try:
            await self._within(self._until_begun())
        except (TimeoutError, EOFError):
            raise self._missing("connect", "to post with") from None
        url = self._response.url.with_query({"sid": self._session})
        async with self._http.post(url.relative(), json={"event": event, "args": args}) as answer:
            content = await answer.json()
        await settle()
        return content

    # --- inside -----------------------------------------------------------------------------------------------------

    async def _within(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for something for so many real seconds: a simulated clock may stand still."""
        task = asyncio.get_running_loop().create_task(waiting)
        try:
            if not await wait(task, self._timeout):
                raise TimeoutError
            return await task
        finally:
            task.cancel()

    async def _until(self, event: str | None) -> ServerSentEvent:
        while True:
            found = await self._next()
            self.received.append(found)
            if event is None or found.event == event:
                return found

    async def _until_end(self) -> None:
        while True:
            self.received.append(await self._next())

    async def _until_begun(self) -> None:
        while not self._session:
            await self._read()

    async def _next(self) -> ServerSentEvent:
        while not self._events:
            await self._read()
        return self._events.pop(0)

    async def _read(self) -> None:
        data = await self._response.content.read(_LARGEST)
        if not data:
            raise EOFError
        for each in self._reader.feed(data.decode()):
            if each.event == "connect" and not self._session:
                self._session = str(json.loads(each.data)["session"])
            self._events.append(each)

    def _missing(self, event: str | None, when: str) -> AssertionError:
        wanted = "no event" if event is None else f"no {event!r}"
        shown = "".join(f"\n  {each.event} {each.data[:100]}" for each in self.received)
        return AssertionError(f"{self!r}: has received {wanted} {when}\nreceived so far:{shown or ' nothing'}")
