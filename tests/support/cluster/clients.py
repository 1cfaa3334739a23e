"""Light clients, many in one loop: Socket.IO over a websocket, with recovery as the JavaScript client does it.

The stock client is in ``tests.support.js``; this one costs little and keeps what a ledger needs to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, DummyCookieJar, TCPConnector, WSMsgType

from tests.support.cluster.ledger import Ledger
from tests.support.inbox import DEFAULT_TIMEOUT
from tests.support.server import reset
from tests.support.until import until

_PACKET: Final = re.compile(
    r"^(?P<type>\d)(?:(?P<attachments>\d+)-)?(?:(?P<nsp>/[^,]*),)?(?P<id>\d+)?(?P<data>.*)$", re.S
)
_BINARY_TYPES: Final = ("5", "6")
_OFFSET: Final = re.compile(r"\d+-\d+|[\w-]{8}\.\d+")
"""Offsets of a stream, and of our memory adapter."""


class Refused(Exception):
    """The server answered with CONNECT_ERROR."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event that was received. ``args`` are without the offset that recovery appends."""

    name: str
    args: list[Any]
    at: float
    """Seconds since 1970."""
    offset: str | None


@dataclass(frozen=True, slots=True)
class Admission:
    """One CONNECT that the server has answered."""

    url: str
    sid: str
    pid: str | None
    recovered: bool
    at: float


@dataclass(eq=False)
class LightClient:
    """One client in one namespace.

    ``auth``: what CONNECT carries. ``reconnects``: comes back after ``delay`` seconds when the connection is lost, to
    ``url``, which may be changed at any time. ``answers``: by event, what it acknowledges with; others get no answer.
    """

    name: str
    session: ClientSession
    url: str
    nsp: str = "/"
    auth: Mapping[str, Any] = field(default_factory=dict)
    reconnects: bool = True
    delay: float = 0.05
    answers: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    admissions: list[Admission] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """Reason of each end: "namespace" by a packet, "transport" by a lost connection."""
    pid: str | None = None
    offset: str | None = None

    def __post_init__(self) -> None:
        self._ws: ClientWebSocketResponse | None = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._numbers = itertools.count(1)
        self._acks: dict[int, asyncio.Future[Any]] = {}
        self._partial: tuple[dict[str, Any], list[bytes]] | None = None
        self._refused: str | None = None
        self.connected = False
        self.last_error: str | None = None
        """Failure of the last attempt to connect."""

    @property
    def sid(self) -> str:
        """Id that the server gave last."""
        return self.admissions[-1].sid

    @property
    def recovered(self) -> bool:
        """True if the last admission recovered the session."""
        return self.admissions[-1].recovered

    async def connect(self, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Connect, and wait until the server has let the client in. Raises :class:`Refused`."""
        self._closed = False
        before = len(self.admissions)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await self.admitted(before + 1, timeout=timeout)

    async def admitted(self, times: int, *, timeout: float = DEFAULT_TIMEOUT) -> Admission:
        """Wait until the server has let the client in so many times in all. Raises :class:`Refused`."""
        await until(lambda: len(self.admissions) >= times or self._refused is not None, timeout=timeout)
        if len(self.admissions) < times:
            raise Refused(self._refused)
        return self.admissions[times - 1]

    async def emit(self, event: str, *args: Any) -> None:
        """Emit an event."""
        await self._send(f"42{self._prefix}{json.dumps([event, *args])}")

    async def emit_with_ack(self, event: str, *args: Any, timeout: float = DEFAULT_TIMEOUT) -> Any:
        """Emit an event and return the first argument of the answer."""
        number = next(self._numbers)
        future = self._acks[number] = asyncio.get_running_loop().create_future()
        await self._send(f"42{self._prefix}{number}{json.dumps([event, *args])}")
        async with asyncio.timeout(timeout):
            answer = await future
        return answer[0] if answer else None

    def received(self, event: str) -> list[list[Any]]:
        """Return the arguments of every such event so far."""
        return [each.args for each in self.events if each.name == event]

    async def wait_for(self, event: str, count: int = 1, *, timeout: float = DEFAULT_TIMEOUT) -> list[list[Any]]:
        """Wait until such events have come so many times in all; return the arguments of all of them."""
        try:
            await until(lambda: len(self.received(event)) >= count, timeout=timeout)
        except TimeoutError:
            seen = self.received(event)
            raise AssertionError(f'{self.name}: "{event}" came {len(seen)} of {count} times: {seen[-5:]}') from None
        return self.received(event)

    async def barrier(self) -> None:
        """Wait until what this server has sent so far has been received: a round trip."""
        await self.emit_with_ack("echo", None)

    def cut(self) -> None:
        """Lose the connection, as with a bad network: without a close frame."""
        connection = None if self._ws is None else self._ws._conn  # there is no public way to abort a websocket
        if connection is not None and connection.transport is not None:
            reset(connection.transport)

    async def disconnect(self) -> None:
        """Leave for good: the server forgets the session."""
        self._closed = True
        if self.connected:
            await self._send(f"41{self._prefix}".rstrip(","))
        await self.close()

    async def close(self) -> None:
        """Close the connection and do not come back."""
        self._closed = True
        if self._ws is not None:
            await self._ws.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def enter(self, ledger: Ledger, event: str) -> None:
        """Enter all such events into a ledger: their arguments begin with the origin and the number."""
        for each in self.events:
            if each.name == event:
                ledger.deliver(self.name, each.args[0], each.args[1], at=each.at, offset=each.offset)

    # --- the protocol -----------------------------------------------------------------------------------------------

    @property
    def _prefix(self) -> str:
        return "" if self.nsp == "/" else f"{self.nsp},"

    async def _send(self, text: str) -> None:
        assert self._ws is not None
        await self._ws.send_str(text)

    async def _run(self) -> None:
        while not self._closed:
            try:
                await self._live(self.url)
            except (OSError, ClientError, TimeoutError) as error:
                self.last_error = repr(error)
            if self.connected:
                self.connected = False
                self.ends.append("transport")
            if not self.reconnects or self._closed or self._refused is not None:
                return
            await asyncio.sleep(self.delay)

    async def _live(self, url: str) -> None:
        query = {"EIO": "4", "transport": "websocket"}
        async with self.session.ws_connect(f"{url}/socket.io/", params=query, max_msg_size=0) as ws:
            self._ws = ws
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    text: str = message.data
                    if text == "2":
                        await ws.send_str("3")
                    elif text.startswith("0"):
                        known = {"pid": self.pid, "offset": self.offset} if self.pid is not None else {}
                        given = {key: value for key, value in {**self.auth, **known}.items() if value is not None}
                        await ws.send_str(f"40{self._prefix}{json.dumps(given)}")
                    elif text.startswith("4"):
                        await self._packet(text[1:], url)
                    elif text.startswith("1"):
                        return
                elif message.type is WSMsgType.BINARY and self._partial is not None:
                    packet, attachments = self._partial
                    attachments.append(message.data)
                    if len(attachments) == int(packet["attachments"]):
                        self._partial = None
                        await self._act(packet, _fill(json.loads(packet["data"]), attachments), url)

    async def _packet(self, text: str, url: str) -> None:
        found = _PACKET.match(text)
        assert found is not None, text
        packet = found.groupdict()
        if (packet["nsp"] or "/") != self.nsp:
            return
        if packet["type"] in _BINARY_TYPES and packet["attachments"] != "0":
            self._partial = (packet, [])
            return
        await self._act(packet, json.loads(packet["data"]) if packet["data"] else None, url)

    async def _act(self, packet: Mapping[str, Any], data: Any, url: str) -> None:
        match packet["type"]:
            case "0":
                pid = data.get("pid")
                recovered = pid is not None and pid == self.pid
                self.pid = pid
                self.admissions.append(Admission(url, data["sid"], pid, recovered, time.time()))
                self.connected = True
            case "1":
                self.connected = False
                self.ends.append("namespace")
                self._closed = True
            case "4":
                self._refused = str(data.get("message"))
            case "2" | "5":
                await self._event(packet["id"], data)
            case _:
                future = self._acks.pop(int(packet["id"]), None)
                if future is not None and not future.done():
                    future.set_result(data)

    async def _event(self, id: str | None, data: Sequence[Any]) -> None:
        name, *args = data
        offset = None
        if id is not None:
            if name in self.answers:
                await self._send(f"43{self._prefix}{id}{json.dumps([self.answers[name]])}")
        elif self.pid is not None and args and isinstance(args[-1], str):
            # The JavaScript client takes any string at the end for an offset; only one that looks like it is taken off.
            self.offset = args[-1]
            if _OFFSET.fullmatch(args[-1]):
                offset = args.pop()
        self.events.append(Event(name, args, time.time(), offset))


def _fill(value: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(value, list):
        return [_fill(each, attachments) for each in value]
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]
        return {key: _fill(each, attachments) for key, each in value.items()}
    return value


class LightClients:
    """Makes light clients and closes them."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self.all: list[LightClient] = []

    def make(self, url: str, *, name: str | None = None, **options: Any) -> LightClient:
        """Prepare a client, with the options of :class:`LightClient`; ``connect`` is still to be called."""
        client = LightClient(name or f"client {len(self.all)}", self._session, url, **options)
        self.all.append(client)
        return client

    async def connect(
        self,
        url: str,
        *,
        rooms: Sequence[str] = (),
        data: Mapping[str, Any] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        **options: Any,
    ) -> LightClient:
        """Connect a client that the fleet's program puts into rooms."""
        client = self.make(url, auth={"rooms": list(rooms), "data": dict(data or {})}, **options)
        await client.connect(timeout=timeout)
        return client


@contextlib.asynccontextmanager
async def light_clients() -> AsyncIterator[LightClients]:
    """The clients of one scenario."""
    async with ClientSession(cookie_jar=DummyCookieJar(), connector=TCPConnector(limit=0)) as session:
        clients = LightClients(session)
        try:
            yield clients
        finally:
            await asyncio.gather(*(client.close() for client in clients.all))
