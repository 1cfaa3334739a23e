"""A client of server-sent events that shows what comes, byte by byte if need be."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from rtframework.gateways.event_stream import EventStreamReader, ServerSentEvent
from tests.support.inbox import DEFAULT_TIMEOUT


class Stream:
    """A stream of events; ``events`` are all that have come, oldest first."""

    def __init__(self, response: aiohttp.ClientResponse, http: aiohttp.ClientSession) -> None:
        self.response = response
        self.events: list[ServerSentEvent] = []
        self.text = ""
        """All that has come."""
        self.reader = EventStreamReader()
        self.ended = False
        """True when the response has come to its end."""
        self._http = http
        self._taken = 0
        self._is_over = False
        self._news = asyncio.Condition()
        self._task = asyncio.create_task(self._read())

    @property
    def status(self) -> int:
        """The status of the response."""
        return self.response.status

    async def _read(self) -> None:
        try:
            async for data in self.response.content.iter_any():
                text = data.decode()
                self.text += text
                self.events += self.reader.feed(text)
                await self._tell()
            self.ended = True
        except aiohttp.ClientError:
            pass
        finally:
            self._is_over = True
            await asyncio.shield(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def next(self, *names: str) -> ServerSentEvent:
        """Wait for the next event, or the next of these names."""
        async with asyncio.timeout(DEFAULT_TIMEOUT), self._news:
            while True:
                while self._taken < len(self.events):
                    event = self.events[self._taken]
                    self._taken += 1
                    if not names or event.event in names:
                        return event
                assert not self._is_over, f"the stream has ended after {self.text!r}"
                await self._news.wait()

    async def data(self, *names: str) -> Any:
        """Wait for the next event of these names. Return its data."""
        return json.loads((await self.next(*names)).data)

    async def until(self, text: str) -> None:
        """Wait until this text has come."""
        async with asyncio.timeout(DEFAULT_TIMEOUT), self._news:
            while text not in self.text:
                assert not self._is_over, f"the stream has ended after {self.text!r}"
                await self._news.wait()

    async def end(self) -> None:
        """Wait until nothing more comes."""
        async with asyncio.timeout(DEFAULT_TIMEOUT):
            await asyncio.wait([self._task])

    async def post(self, *event: Any) -> tuple[int, Any]:
        """Send an event. Return the status and the answer."""
        connect = next(each for each in self.events if each.event == "connect")
        session = json.loads(connect.data)["session"]
        url = self.response.url.with_query(sid=session)
        async with self._http.post(url, json={"event": event[0], "args": list(event[1:])}) as response:
            return response.status, await response.json()

    async def close(self) -> None:
        """Hang up."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.response.close()


@contextlib.asynccontextmanager
async def stream(url: str, *, last_id: str | None = None, **headers: str) -> AsyncIterator[Stream]:
    """Open a stream; ``headers`` have underscores for dashes."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    sent.setdefault("Accept", "text/event-stream")
    if last_id is not None:
        sent["Last-Event-ID"] = last_id
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url, headers=sent) as response:
        opened = Stream(response, http)
        try:
            yield opened
        finally:
            await opened.close()
