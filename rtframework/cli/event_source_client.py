"""A client connection by server-sent events: a stream, and a POST for each event that is sent."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import aiohttp

from ..gateways.event_stream import CONTENT_TYPE, EventStreamReader, ServerSentEvent
from .client import explain, refusal
from .endpoint import Endpoint
from .errors import Exit, Failure
from .received import Place, Received
from .values import show_text

_OF_THE_SERVER: Final = frozenset({"connect", "disconnect"})
_LARGEST: Final = 65_536


class EventSourceConnection:
    """A client in one namespace of one server, by server-sent events."""

    transport: Final = "server-sent events"

    def __init__(
        self,
        endpoint: Endpoint,
        session: aiohttp.ClientSession,
        response: aiohttp.ClientResponse,
        url: str,
        place: Place,
    ) -> None:
        self.id = ""
        self.endpoint = endpoint
        self._session = session
        self._response = response
        self._url = url
        self._secret = ""
        self._place = place
        self._reader = EventStreamReader(place.last_id)
        self._events: list[ServerSentEvent] = []

    async def open(self) -> None:
        """Wait until the server has let us in. Raises ``Failure``."""
        event = await self._next()
        while event.event != "connect":
            event = await self._next()
        told = _json_of(event.data)
        if isinstance(told, dict):
            self.id, self._secret = str(told.get("sid", "")), str(told.get("session", ""))

    async def emit(self, event: str | int, args: Sequence[Any]) -> None:
        """Send an event; return when it has been served. Raises ``Failure``."""
        await self.ask(event, args, self.endpoint.timeout)

    async def ask(self, event: str | int, args: Sequence[Any], timeout: float) -> list[Any]:
        """Send an event and return the answer. Raises ``Failure``."""
        try:
            async with (
                asyncio.timeout(timeout),
                self._session.post(
                    self._url, params={"sid": self._secret}, json={"event": event, "args": list(args)}
                ) as answer,
            ):
                text = await answer.text()
        except TimeoutError:
            raise Failure(f'"{event}" was not answered within {timeout:g} s', Exit.TIMED_OUT) from None
        except (TypeError, ValueError) as error:
            raise Failure(f"this cannot be sent: {error}", Exit.USAGE) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Failure(explain(error, self.endpoint), Exit.LOST) from None
        return [_json_of(text)]

    async def answer(self, received: Received, args: Sequence[Any]) -> None:
        """Do nothing: no event of a stream can be answered."""

    async def next(self) -> Received:
        """Wait for the next event. Raises ``Failure`` once the stream has ended."""
        event = await self._next()
        while event.event in _OF_THE_SERVER:
            event = await self._next()
        return Received(event.event, [_json_of(event.data)], None)

    async def _next(self) -> ServerSentEvent:
        while not self._events:
            try:
                data = await self._response.content.read(_LARGEST)
            except (aiohttp.ClientError, OSError) as error:
                raise Failure(f"the connection was lost ({show_text(str(error))})", Exit.LOST) from None
            if not data:
                raise Failure("the stream has ended", Exit.LOST)
            self._events += self._reader.feed(data.decode(errors="replace"))
            if self._reader.retry is not None:
                self._place.retry = self._reader.retry
        event = self._events.pop(0)
        self._place.last_id = event.id
        return event


def _json_of(text: str) -> Any:
    """Read data as JSON. Other servers may send something else: that stays text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextlib.asynccontextmanager
async def connect_sse(endpoint: Endpoint, place: Place | None = None) -> AsyncIterator[EventSourceConnection]:
    """Open a stream, and close it at the end. Raises ``Failure``.

    ``place``: where the stream goes on, as with ``EventSource``; it is kept up to date.
    """
    place = Place() if place is None else place
    headers = {"Accept": f"{CONTENT_TYPE}, */*;q=0.1"}
    if place.last_id:
        headers["Last-Event-ID"] = place.last_id
    query = {} if endpoint.namespace == "/" else {"nsp": endpoint.namespace}
    url = endpoint.query_url(query)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=endpoint.timeout)
    async with aiohttp.ClientSession(headers=endpoint.headers, timeout=timeout) as session:
        try:
            async with asyncio.timeout(endpoint.timeout) as timer:
                async with session.get(url, headers=headers, ssl=not endpoint.insecure) as response:
                    await _check(endpoint, response)
                    connection = EventSourceConnection(endpoint, session, response, url.partition("?")[0], place)
                    await connection.open()
                    timer.reschedule(None)
                    yield connection
        except TimeoutError:
            raise Failure(
                f"{endpoint.resource}: it did not answer within {endpoint.timeout:g} s", Exit.UNREACHABLE
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Failure(explain(error, endpoint), Exit.UNREACHABLE) from None


async def _check(endpoint: Endpoint, response: aiohttp.ClientResponse) -> None:
    """Raise ``Failure`` for a response that is no stream."""
    if response.status == 200 and response.content_type == CONTENT_TYPE:
        return
    if response.status == 204:
        raise Failure(f"{endpoint.resource} says that there is nothing to come back for (HTTP 204)", Exit.FAILED)
    if response.content_type == "application/json":
        told = _json_of(await response.text())
        if isinstance(told, dict) and isinstance(told.get("message"), str):
            raise refusal(endpoint.namespace, told["message"], told.get("data"))
    if response.status in (401, 403):
        raise Failure(f"refused by {endpoint.resource} (HTTP {response.status})", Exit.FAILED)
    hint = ": see the path of the URL" if response.status == 404 else ""
    raise Failure(
        f"{endpoint.resource} opens no stream of events (HTTP {response.status}, {show_text(response.content_type)})"
        f"{hint}",
        Exit.UNREACHABLE,
    )
