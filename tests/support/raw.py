"""A small Engine.IO v4 client that shows every packet, for tests of the protocol itself.

It answers pings while it receives, so that a connection that closes was closed for a reason. Packets are written as on
a websocket: ``"4hello"`` or, binary, ``bytes``. Nothing here checks what the server sends: the test does.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, ClientTimeout, ClientWebSocketResponse, DummyCookieJar, WSMsgType
from multidict import CIMultiDictProxy

from tests.support.inbox import DEFAULT_TIMEOUT

SEPARATOR = "\x1e"
PING, PONG, NOOP = "2", "3", "6"


class Closed(Exception):
    """The server closed the websocket; ``code`` is the close code (1006: without a closing handshake)."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the server closed the websocket with code {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response, read to its end."""

    status: int
    text: str
    headers: CIMultiDictProxy[str] = field(repr=False)

    def packets(self) -> list[str | bytes]:
        """The payload of a poll, as packets."""
        return decode_payload(self.text)


def encode_payload(packets: tuple[str | bytes, ...]) -> str:
    """Packets as the body of a POST."""
    return SEPARATOR.join(
        packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode() for packet in packets
    )


def decode_payload(text: str) -> list[str | bytes]:
    """The packets of a polling payload."""
    return [
        base64.b64decode(part[1:], validate=True) if part.startswith("b") else part for part in text.split(SEPARATOR)
    ]


class RawWebSocket:
    """A websocket of Engine.IO packets."""

    def __init__(self, ws: ClientWebSocketResponse) -> None:
        self.ws = ws
        self.waiting: deque[str | bytes] = deque()
        """Packets that came by polling while the session was upgraded: received first."""
        self.answer_pings = True
        self.pings = 0
        """Pings that came so far."""

    async def send(self, packet: str | bytes) -> None:
        """Send one packet, or rubbish, as one message."""
        await (self.ws.send_str(packet) if isinstance(packet, str) else self.ws.send_bytes(packet))

    async def receive(self, *, timeout: float = DEFAULT_TIMEOUT) -> str | bytes:
        """The next packet that is no ping. Raises :class:`Closed` when the server has closed."""
        if self.waiting:
            return self.waiting.popleft()
        async with asyncio.timeout(timeout):
            while True:
                message = await self.ws.receive()
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    raise Closed(self.ws.close_code)
                packet: str | bytes = message.data
                if packet != PING:
                    return packet
                self.pings += 1
                if self.answer_pings:
                    await self.send(PONG)

    async def closed(self, *, timeout: float = DEFAULT_TIMEOUT) -> tuple[list[str | bytes], int | None]:
        """Wait until the server closes: the packets that came before, and the close code."""
        packets: list[str | bytes] = []
        async with asyncio.timeout(timeout):
            try:
                while True:
                    packets.append(await self.receive(timeout=timeout))
            except Closed as closed:
                return packets, closed.code

    async def close(self) -> None:
        """Close in good order."""
        await self.ws.close()


class RawClient:
    """One Engine.IO session, by hand.

    Example::

        async with raw_client(server.url) as raw:
            handshake = await raw.handshake()
            assert (await raw.post("40")).text == "ok"
            (packet,) = await raw.poll()
    """

    def __init__(self, session: ClientSession, url: str, path: str = "/socket.io/") -> None:
        self._session = session
        self._waiting: deque[str | bytes] = deque()
        self.endpoint = url + path
        self.sid: str | None = None
        self.answer_pings = True
        self.pings = 0
        self.websockets: list[ClientWebSocketResponse] = []

    def query(self, transport: str, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The query of a request, with the session id when there is one."""
        sid = {"sid": self.sid} if self.sid is not None else {}
        return {"EIO": "4", "transport": transport, **sid, **(more or {})}

    async def request(
        self,
        method: str,
        *,
        query: Mapping[str, str] | None = None,
        body: str | bytes | AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> Answer:
        """Any HTTP request to the endpoint; ``query`` is the whole query."""
        async with self._session.request(
            method,
            self.endpoint,
            params=self.query("polling") if query is None else query,
            data=body,
            headers=headers,
            timeout=ClientTimeout(total=timeout),
        ) as response:
            return Answer(response.status, await response.text(), response.headers)

    async def handshake(
        self, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Open a session by polling; what the server announced (sid, pingInterval …)."""
        answer = await self.request("GET", query=self.query("polling", query), headers=headers)
        assert answer.status == 200, f"handshake refused: {answer.status} {answer.text!r}"
        first, *rest = answer.packets()
        assert isinstance(first, str), f"no handshake: {first!r}"
        assert first.startswith("0"), f"no handshake: {first!r}"
        self._waiting.extend(rest)
        opened: dict[str, Any] = json.loads(first[1:])
        self.sid = opened["sid"]
        return opened

    async def poll(self, *, timeout: float = DEFAULT_TIMEOUT) -> list[str | bytes]:
        """The packets of one GET that brings any but pings, which are answered."""
        async with asyncio.timeout(timeout):
            while True:
                answer = await self.request("GET", timeout=timeout)
                assert answer.status == 200, f"poll refused: {answer.status} {answer.text!r}"
                packets = answer.packets()
                pings = packets.count(PING)
                self.pings += pings
                if pings and self.answer_pings:
                    await self.post(PONG)
                if rest := [packet for packet in packets if packet != PING]:
                    return rest

    async def receive(self, *, timeout: float = DEFAULT_TIMEOUT) -> str | bytes:
        """The next packet by polling."""
        if not self._waiting:
            self._waiting.extend(await self.poll(timeout=timeout))
        return self._waiting.popleft()

    async def post(self, *packets: str | bytes) -> Answer:
        """Send packets in one POST."""
        return await self.request("POST", body=encode_payload(packets))

    async def websocket(
        self, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> RawWebSocket:
        """Open a websocket: of this session when there is one, else of a new one."""
        ws = await self._session.ws_connect(
            self.endpoint, params=self.query("websocket", query), headers=headers, max_msg_size=0, autoping=True
        )
        self.websockets.append(ws)
        return RawWebSocket(ws)

    async def open_websocket(
        self, *, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[RawWebSocket, dict[str, Any]]:
        """Open a session by websocket alone: the websocket and what the server announced."""
        websocket = await self.websocket(query=query, headers=headers)
        first = await websocket.receive()
        assert isinstance(first, str), f"no handshake: {first!r}"
        assert first.startswith("0"), f"no handshake: {first!r}"
        opened: dict[str, Any] = json.loads(first[1:])
        self.sid = opened["sid"]
        return websocket, opened

    async def upgrade(self) -> RawWebSocket:
        """Move the session to a websocket, with a poll outstanding as real clients have."""
        websocket = await self.websocket()
        poll = asyncio.create_task(self.request("GET"))
        try:
            await websocket.send("2probe")
            answer = await websocket.receive()
            assert answer == "3probe", f"probe answered by {answer!r}"
            held = await poll
        finally:
            poll.cancel()
        assert held.status == 200, f"poll during the upgrade: {held.status} {held.text!r}"
        websocket.waiting.extend(self._waiting)
        websocket.waiting.extend(packet for packet in held.packets() if packet not in (PING, NOOP))
        self._waiting.clear()
        await websocket.send("5")
        return websocket


@contextlib.asynccontextmanager
async def raw_client(url: str, *, path: str = "/socket.io/") -> AsyncIterator[RawClient]:
    """A client for one session; closes its connections at the end."""
    async with ClientSession(cookie_jar=DummyCookieJar()) as session:
        client = RawClient(session, url, path)
        try:
            yield client
        finally:
            for websocket in client.websockets:
                await websocket.close()
