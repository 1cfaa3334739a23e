"""A STOMP client for tests: subscriptions, messages and receipts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiohttp import ClientSession, ClientWebSocketResponse

from ..exceptions import AckTimeout, ConnectionRefused, DecodeError, Disconnected
from ..gateways.attachments import emptied
from ..gateways.stomp_bodies import read_args
from ..gateways.stomp_frames import V12, Frame, StompReader, encode_frame
from ..packets import from_ack
from .client import PATIENCE
from .websocket import Host, WebSocketClient

_MUCH: Final = 2**31
SUBPROTOCOL: Final = "v12.stomp"


@dataclass(frozen=True, slots=True)
class StompMessage:
    """A ``MESSAGE`` frame: ``headers`` without escapes, the ``body`` as it came, and the ``args`` that it is."""

    headers: Mapping[str, str]
    body: bytes
    args: tuple[Any, ...]

    @property
    def destination(self) -> str:
        """The place that it was sent to: ``/topic/<room>`` or ``/user/queue/<event>``."""
        return self.headers.get("destination", "")

    @property
    def event(self) -> str:
        """The name of the event; empty for an answer."""
        return self.headers.get("event", "")

    @property
    def payload(self) -> Any:
        """The argument; ``None`` without one, a tuple of several."""
        return from_ack(self.args)


class TestStompClient(WebSocketClient):
    """A STOMP 1.2 client of a :class:`TestServer`, made by its ``connect_stomp``.

    Each method returns when the server has done everything that it can do without time passing. ``within``: real
    seconds to wait for results of other threads and processes.

    Example::

        page = await server.connect_stomp(auth={"token": "a"})
        await page.subscribe("/topic/news:1")
        await page.send("/app/say", {"text": "hi"})
        assert (await page.receive("/topic/news:1")).payload == {"text": "hi"}
    """

    __test__ = False

    def __init__(self, host: Host, websocket: ClientWebSocketResponse, session: ClientSession) -> None:
        self.id = ""
        """The id of the client's socket."""
        self.messages: list[StompMessage] = []
        """All messages so far, taken or not."""
        self.error: str | None = None
        """What the server said in its ERROR frame, behind which it closes."""
        self._error_data: Any = None
        self._connected: Mapping[str, str] | None = None
        self._taken: set[int] = set()
        self._receipts: dict[str, Mapping[str, str]] = {}
        self._ids = itertools.count(1)
        self._reader = StompReader(_MUCH)
        self._beating: asyncio.Task[None] | None = None
        super().__init__(host, websocket, session)

    def __repr__(self) -> str:
        state = "open" if self.connected else f"closed: {self.close_code} {self.error or self.close_reason}".rstrip()
        return f"<TestStompClient {self.id or '?'}, {state}>"

    async def begin(
        self, auth: Mapping[str, Any] | None, heart_beat: tuple[int, int], within: float = PATIENCE
    ) -> None:
        """Send CONNECT, and wait until the client is let in. Raises ``ConnectionRefused``."""
        told = [(name, each if isinstance(each, str) else json.dumps(each)) for name, each in (auth or {}).items()]
        beats = ",".join(map(str, heart_beat))
        headers = [("accept-version", V12), ("host", "localhost"), ("heart-beat", beats), *told]
        await self._say(encode_frame("CONNECT", headers, version=None))
        await self._until(lambda: self._connected is not None or self.error is not None, within)
        if self.error is not None:
            raise ConnectionRefused(self.error, self._error_data)
        if self._connected is None:
            raise AssertionError(f"{self!r}: has not been let in within {within:g} s")
        self.id = self._connected.get("session", "")
        wanted = int(self._connected.get("heart-beat", "0,0").split(",")[1])
        if heart_beat[0] and wanted:
            self._beating = asyncio.get_running_loop().create_task(self._beat(max(heart_beat[0], wanted) / 1000))

    # --- to the server ----------------------------------------------------------------------------------------------

    async def subscribe(
        self,
        destination: str,
        *,
        ack: Literal["auto", "client", "client-individual"] = "auto",
        within: float = PATIENCE,
    ) -> str:
        """Subscribe, and return the id of the subscription. Raises ``ConnectionRefused`` if the server ends for it."""
        id = f"sub-{next(self._ids)}"
        await self._ask("SUBSCRIBE", {"id": id, "destination": destination, "ack": ack}, b"", within)
        return id

    async def unsubscribe(self, id: str, *, within: float = PATIENCE) -> None:
        """End a subscription."""
        await self._ask("UNSUBSCRIBE", {"id": id}, b"", within)

    async def send(
        self,
        destination: str,
        *args: Any,
        headers: Mapping[str, str] | None = None,
        receipt: bool = True,
        within: float = PATIENCE,
    ) -> Mapping[str, str]:
        """Send an event, and return the headers of its receipt: ``error`` is among them if the handler has failed.

        ``receipt``: ``False`` not to ask for one. Raises ``AckTimeout`` if none comes, ``ConnectionRefused`` with what
        an ERROR frame says, ``Disconnected``.
        """
        attachments: list[bytes] = []
        body = json.dumps(emptied(list(args), attachments)).encode() if args else b""
        lines = {"destination": destination, **(headers or {}), "args": str(len(args))}
        if args:
            lines["content-type"] = "application/json"
        if attachments:
            lines["attachments"] = ",".join(str(len(each)) for each in attachments)
        if receipt:
            return await self._ask("SEND", lines, body + b"".join(attachments), within)
        await self.send_frame("SEND", lines, body + b"".join(attachments))
        return {}

    async def ack(self, message: StompMessage) -> None:
        """Acknowledge a message of a subscription with ``ack="client"`` or ``"client-individual"``."""
        await self.send_frame("ACK", {"id": message.headers["ack"]})

    async def nack(self, message: StompMessage) -> None:
        """Refuse a message of such a subscription."""
        await self.send_frame("NACK", {"id": message.headers["ack"]})

    async def send_frame(self, command: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send any frame. Raises ``Disconnected``."""
        encoded = encode_frame(command, list(headers.items()), body, version=V12)
        await self._say(encoded if body else encoded if isinstance(encoded, str) else encoded.decode())

    async def disconnect(self, *, within: float = PATIENCE) -> None:
        """Send DISCONNECT, and wait until everything before it has been served and the websocket is closed."""
        await self._ask("DISCONNECT", {}, b"", within)
        await self.receive_close(within=within)

    # --- from the server --------------------------------------------------------------------------------------------

    async def receive(self, destination: str | None = None, *, within: float = PATIENCE) -> StompMessage:
        """Take the oldest message, or the oldest one with this destination, that was not taken yet.

        Raises ``AssertionError``, listing all messages received, if there is none.
        """
        await self._until(lambda: self._next(destination) is not None or not self.connected, within)
        found = self._next(destination)
        if found is None:
            wanted = "nothing more" if destination is None else f"nothing more at {destination}"
            raise AssertionError(f"{self!r}: has received {wanted} within {within:g} s\n{self._received_so_far()}")
        self._taken.add(found)
        return self.messages[found]

    async def receive_nothing(self, destination: str | None = None, *, within: float = 0.0) -> None:
        """Assert that every message (with this destination) has been taken. Raises ``AssertionError``."""
        await self._until(lambda: self._next(destination) is not None, within)
        found = self._next(destination)
        if found is not None:
            raise AssertionError(f"{self!r}: has received {self.messages[found]!r}")

    # --- inside -----------------------------------------------------------------------------------------------------

    async def dispose(self) -> None:
        """Let go of everything, when the server has stopped."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait((self._beating,))
        await super().dispose()

    def _next(self, destination: str | None) -> int | None:
        for number, message in enumerate(self.messages):
            if number not in self._taken and destination in (None, message.destination):
                return number
        return None

    async def _ask(self, command: str, headers: Mapping[str, str], body: bytes, within: float) -> Mapping[str, str]:
        """Send a frame with a receipt, and return the headers of that."""
        receipt = f"r-{next(self._ids)}"
        await self.send_frame(command, {**headers, "receipt": receipt}, body)
        await self._until(lambda: receipt in self._receipts or not self.connected, within)
        if receipt in self._receipts:
            return self._receipts.pop(receipt)
        if self.error is not None:
            raise ConnectionRefused(self.error, self._error_data)
        if not self.connected:
            raise Disconnected(f"{self!r} has been closed")
        raise AckTimeout(f"{self!r}: no receipt for {command} within {within:g} s")

    def _take(self, data: str | bytes) -> None:
        frames = self._reader.feed(data)
        while self._reader.more:
            frames += self._reader.feed(b"")
        for frame in frames:
            self._take_frame(frame)

    def _take_frame(self, frame: Frame) -> None:
        headers = frame.unescaped(V12)
        if frame.command == "CONNECTED":
            self._connected = headers
        elif frame.command == "RECEIPT":
            self._receipts[headers.get("receipt-id", "")] = headers
        elif frame.command == "ERROR":
            with contextlib.suppress(DecodeError):
                self._error_data = from_ack(tuple(read_args(headers, frame.body, max_attachments=_MUCH)))
            self.error = headers.get("message", "")
        elif frame.command == "MESSAGE":
            args = tuple(read_args(headers, frame.body, max_attachments=_MUCH))
            self.messages.append(StompMessage(headers, frame.body, args))

    async def _beat(self, seconds: float) -> None:
        with contextlib.suppress(ConnectionError):
            while self.connected:
                await asyncio.sleep(seconds)
                await self._websocket.send_str("\n")

    def _received_so_far(self) -> str:
        shown = "".join(f"\n  {each.destination} {each.event} {each.args!r}"[:160] for each in self.messages)
        return f"received so far:{shown or ' nothing'}"
