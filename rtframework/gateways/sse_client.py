"""One client of server-sent events: a stream in one namespace, and the events that it sends by POST."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..exceptions import ClusterUnavailable, ConnectionRefused, DecodeError, EventError
from ..packets import check_payload
from ..serializers import parse_json
from ..types import DisconnectReason, Packet, PacketType
from .client import GatewayClient
from .event_stream import BEGINNING, GAP, EventForm, EventId, data_of, event_of
from .frames import OwnFrames
from .readable import allowed_rooms
from .replay import replay_of

if TYPE_CHECKING:
    from ..protocols import Frames
    from ..types import Handshake, HistoryPage
    from .connection import GatewayConnection
    from .event_stream_transport import EventStream
    from .sse import SSEGateway

log: Final = logging.getLogger("rtframework.gateways")

ROOMS: Final = "sse_rooms"
"""The key of ``socket.data`` with the rooms that a socket has because it asked for them."""

_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)
_CANNOT_ANSWER: Final = "a stream of server-sent events cannot answer"


class Answer(msgspec.Struct):
    """The answer to an event that came by POST: a status of HTTP and JSON."""

    status: int
    body: bytes


_STATUS_OF_ERROR: Final = {
    "internal_error": 500,
    "rate_limited": 429,
    "unknown_event": 404,
    "cancelled": 503,
}
"""The status of the errors that events are answered with; of all others it is 400."""


class SSEClient(GatewayClient):
    """The client of a stream."""

    __slots__ = (
        "_asked_rooms",
        "_begins_with_history",
        "_covered",
        "_entry",
        "_has_lost_rooms",
        "_ids",
        "_last_id",
        "_nsp",
        "_questions",
        "_stream",
        "_ticket",
        "_wants",
        "gateway",
        "rooms",
    )

    def __init__(self, conn: GatewayConnection, handshake: Handshake, *, gateway: SSEGateway) -> None:
        super().__init__(conn, handshake, application=gateway.application, decoder=_NOTHING, limits=gateway.limits)
        self.gateway = gateway
        self._nsp = "/"
        self._stream: EventStream | None = None
        self._asked_rooms: Sequence[str] = ()
        self._last_id: EventId | str | None = None
        self._ticket = ""
        self._wants = 0
        """Entries of history that it wants of each room when it comes for the first time."""
        self._entry = ""
        """The entry of a history after which all that it gets is new."""
        self._covered: Sequence[str] = ()
        """The rooms of which it gets all that it has missed."""
        self._begins_with_history = False
        self._has_lost_rooms = False
        """True if it comes back, and may not read all the rooms any more that it had."""
        self.rooms: list[str] = []
        """The rooms that it asked for and is in."""
        self._ids: deque[int] = deque()
        """The numbers of the events that have come and are not served yet."""
        self._questions: dict[int, asyncio.Future[Answer]] = {}

    def begin(
        self, stream: EventStream, nsp: str, rooms: Sequence[str], last_id: EventId | str | None, wants: int = 0
    ) -> None:
        """Ask for a namespace. ``last_id``: the id with which the client comes back, as it is if it is none of ours.

        ``wants``: entries of the histories of its rooms, if it comes for the first time.
        """
        self._stream = stream
        self._wants = wants
        self._nsp = nsp
        self._asked_rooms = rooms
        self._last_id = last_id
        auth = {"token": token} if (token := self._handshake.query.get("token")) else {}
        if isinstance(last_id, EventId) and last_id.pid:
            auth["pid"] = last_id.pid
            if last_id.offset:
                auth["offset"] = last_id.offset
        self.join(nsp, auth)

    # --- what becomes of it -------------------------------------------------------------------------------------------

    @property
    def prepare(self) -> Callable[[Any], Awaitable[None]]:
        """Called with the socket before its connection handlers: puts it into the rooms that it may read."""
        return self._join_rooms

    async def _join_rooms(self, socket: Any) -> None:
        token = socket._token
        if token is not None and token.proof is not None:
            self._ticket = token.proof
        asked = list(self._asked_rooms)
        self.rooms = await allowed_rooms(self.gateway.rooms, socket, asked)
        before = socket.data.get(ROOMS, ())
        if before or self.rooms:
            socket.data[ROOMS] = list(self.rooms)
        withdrawn = [room for room in before if room not in self.rooms and room in socket.rooms]
        if withdrawn:  # what was said in them meanwhile is not for it either, and cannot be told from the rest
            await socket.leave(*withdrawn)
            socket._session = dataclasses.replace(socket._session, missed=())
            self._has_lost_rooms = True
        if not self.rooms:
            return
        history = socket._nsp._history
        if history is None or socket.recovered:
            await socket.join(*self.rooms)
            return
        entry = self._last_id.position if isinstance(self._last_id, EventId) else ""
        options: dict[str, Any] = {"limit": max(1, self._wants)}
        if entry:
            options = {"after": None if entry == BEGINNING else entry, "most": self._limits.max_outbox // 2}
        try:
            await history.join_all(socket, self.rooms, partial(self._bring, entry), **options)
        except ClusterUnavailable:
            raise ConnectionRefused("Not available at this moment", {"code": "unavailable"}) from None

    def _bring(self, entry: str, send: Callable[[Frames], None], pages: dict[str, HistoryPage]) -> None:
        """Send what was said in rooms before, each event by itself and in one order; ``entry``: the client's last."""
        if not pages:
            return
        replay = replay_of(pages.values())
        if entry:
            self._covered = [room for room, page in pages.items() if not page.gap]
        self._entry = entry or replay.newest
        if not entry and not self._wants:
            return
        for form in replay.forms(as_array=self.gateway.arrays):
            self._begins_with_history = self._last_id is None
            send(OwnFrames(form, len(form.chunk)))

    def refusal(self, nsp: str, message: str, data: Any = None) -> Any:
        """Make the payload of CONNECT_ERROR, and have the request answered with it."""
        if self._stream is not None:
            self._stream.refuse(message, data)
        return super().refusal(nsp, message, data)

    def refused(self, nsp: str, message: str, data: Any) -> None:
        """Close the connection."""
        self.conn.close(DisconnectReason.FORCED_SERVER_CLOSE)

    def leave(self, nsp: str) -> None:
        """End the namespace, and the stream with it."""
        was_in = nsp in self._receivers
        super().leave(nsp)
        if was_in and not self._receivers:
            asyncio.get_running_loop().call_soon(self.conn.close, DisconnectReason.SERVER_NAMESPACE_DISCONNECT)

    def ended(self, reason: str) -> None:
        """Hear of the end: nobody answers what the client has sent."""
        questions, self._questions = self._questions, {}
        for question in questions.values():
            if not question.done():
                question.set_result(error_answer(410, "disconnected", "The stream has ended"))
        self._stream = None
        super().ended(reason)

    # --- what it is told ----------------------------------------------------------------------------------------------

    def greet(self, data: dict[str, Any]) -> tuple[bytes, EventId]:
        """Make the first event, for the payload of CONNECT; return it, and the client's id."""
        last_id = self._last_id
        id = EventId(self._ticket, data.get("pid", ""), self._entry)
        is_recovered = bool(id.pid) and isinstance(last_id, EventId) and last_id.pid == id.pid
        if is_recovered and isinstance(last_id, EventId):
            id = id._replace(entry=last_id.entry, offset=last_id.offset)
        told = {
            "sid": data.get("sid"),
            "session": self.conn.sid,
            "rooms": self.rooms,
            "recovered": is_recovered,
        }
        greeting = event_of("connect", told)
        if not self._begins_with_history:  # else a client that gets nothing more begins anew
            greeting += b"id: %b\n" % id.text
        greeting += b"\n"
        missing = [room for room in self.rooms if room not in self._covered]
        is_whole = is_recovered and not self._has_lost_rooms
        if last_id is not None and not is_whole and (missing or not self.rooms):
            greeting += event_of(GAP, {"rooms": missing}) + b"\n"
        return greeting, id

    def asked(self, id: int) -> None:
        """Answer an event that asks for an acknowledgement: the client itself has no way to."""
        packet = Packet(_ACK, self._nsp, [EventError("cannot_answer", _CANNOT_ANSWER).to_payload()], id)
        self.conn.receive(partial(self.serve, packet))

    # --- what it sends ------------------------------------------------------------------------------------------------

    def ask(self, body: bytes) -> asyncio.Future[Answer]:
        """Serve an event that came by POST. Return its answer."""
        id = self.gateway.next_id()
        question: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._questions[id] = question
        self._ids.append(id)
        question.add_done_callback(lambda _: self._questions.pop(id, None))
        self.conn.receive(body)
        return question

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Serve the body of a POST. Return what it sets off, if anything."""
        id = self._ids.popleft()
        try:
            packet = Packet(_EVENT, self._nsp, check_payload(_EVENT, _read(data), id), id)
        except DecodeError as error:
            self._answer(id, error_answer(400, "invalid_body", str(error)))
            return None
        return self.serve(packet, data)

    def outside(self, packet: Packet) -> None:
        """Say that the client is not in the namespace."""
        if packet.id is not None:
            self._answer(packet.id, error_answer(410, "disconnected", "The stream has ended"))

    def answered(self, id: int, form: EventForm) -> None:
        """Give an acknowledgement to the POST that waits for it."""
        outgoing = form.outgoing
        arguments = msgspec.json.encode(outgoing.data or []) if outgoing.text is None else outgoing.text or "[]"
        body = data_of(arguments, as_array=self.gateway.arrays)
        self._answer(id, Answer(_status_of(body), body))

    def _answer(self, id: int, answer: Answer) -> None:
        question = self._questions.get(id)
        if question is not None and not question.done():
            question.set_result(answer)


class _Nothing:
    """A decoder for a client that decodes by itself."""

    def decode(self, message: str | bytes) -> None:
        """Return nothing."""


_NOTHING: Final[Any] = _Nothing()


class _Error(msgspec.Struct):
    code: Any = None


class _Failure(msgspec.Struct, forbid_unknown_fields=True):
    error: _Error


_decode_failure: Final = msgspec.json.Decoder(_Failure).decode


def _status_of(body: bytes) -> int:
    """Return the status of an acknowledgement: 200 unless it is an error."""
    if not body.startswith((b'{"error":', b'[{"error":')):
        return 200
    try:
        code = _decode_failure(body.removeprefix(b"[").removesuffix(b"]")).error.code
    except (msgspec.ValidationError, ValueError):
        return 200
    return _STATUS_OF_ERROR.get(code, 400) if isinstance(code, str) else 200


def error_answer(status: int, code: str, message: str) -> Answer:
    """Make the answer to an event that is not served."""
    return Answer(status, msgspec.json.encode(EventError(code, message).to_payload()))


def _read(body: str | bytes) -> list[Any]:
    """Read an event: ``{"event": name, "args": […]}``, or ``[name, …]``. Raises ``DecodeError``."""
    try:
        text = body if isinstance(body, str) else body.decode()
        content = parse_json(text)
    except UnicodeDecodeError:
        raise DecodeError("the body is no UTF-8") from None
    except RecursionError:
        raise DecodeError("the body is nested too deeply") from None
    if isinstance(content, dict):
        args = content.get("args", [])
        if "event" not in content or not isinstance(args, list) or content.keys() - {"event", "args"}:
            raise DecodeError('an event is {"event": name, "args": […]}')
        return [content["event"], *args]
    if not isinstance(content, list):
        raise DecodeError('an event is {"event": name, "args": […]}, or [name, …]')
    return content
