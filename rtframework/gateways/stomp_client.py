"""One STOMP client: its frames are events, subscriptions and answers (STOMP 1.2, "Client Frames")."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..engine.inbound import LARGE, count_and_estimate
from ..exceptions import ClusterUnavailable, ConnectionRefused, DecodeError, EventError, RTFrameworkError
from ..logs import ThrottledLog, printable, quote
from ..packets import check_payload
from ..types import DisconnectReason, Packet, PacketType, identity_of
from .client import GatewayClient
from .frames import OwnFrames
from .stomp_bodies import read_args
from .stomp_frames import V11, V12, Frame, StompError, StompReader, encode_frame, header_line, one_line, read_heart_beat
from .stomp_messages import REPLY, Piece, own, own_frame
from .stomp_subscriptions import APP, AUTO, MODES, QUEUE, TOPIC, Subscription, Subscriptions
from .stomp_topics import room_of
from .stomp_transactions import Transactions
from .websocket import INVALID_MESSAGE, refusal_code

if TYPE_CHECKING:
    from ..protocols import Frames
    from ..types import Handshake
    from .stomp import StompGateway
    from .stomp_connection import StompConnection
    from .stomp_topics import Member

log: Final = logging.getLogger("rtframework.gateways")

_wrong: Final = ThrottledLog(log, logging.INFO, "closing the connection of a STOMP client after its %s: %s")
_topics_failed: Final = ThrottledLog(
    log, logging.ERROR, "unhandled error in the function topics, for the STOMP topic %s"
)

_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)
_CONNECT: Final = int(PacketType.CONNECT)

REPLIES: Final = "reply"
"""The name of the queue for answers to events, unless ``reply-to`` names another one."""

_MAX_ASKED: Final = 10_000
"""Events whose answers are awaited; the oldest is forgotten beyond it."""
_WEIGHT: Final = 600
"""Bytes of memory of a frame that waits, besides its own."""
_OF_PROTOCOL: Final = frozenset({"accept-version", "heart-beat", "host", "content-length", "receipt", "pid", "offset"})
"""Headers of CONNECT that are no credentials."""


class _Asked:
    """An event of the client that is answered, or a subscription that is answered once."""

    __slots__ = ("correlation", "receipt", "reply_to", "subscription")

    def __init__(
        self, receipt: str | None, reply_to: str | None, correlation: str | None, subscription: Subscription | None
    ) -> None:
        self.receipt = receipt
        self.reply_to = reply_to
        self.correlation = correlation
        self.subscription = subscription


class StompClient(GatewayClient):
    """The client of a STOMP connection."""

    __slots__ = (
        "_asked",
        "_changing",
        "_gateway",
        "_goodbye",
        "_heart_beat",
        "_held",
        "_last_ask",
        "_last_number",
        "_nsp",
        "_reader",
        "_subscriptions",
        "_transactions",
        "_version",
        "_waiting_bytes",
    )

    conn: StompConnection

    def __init__(self, conn: StompConnection, handshake: Handshake, *, gateway: StompGateway) -> None:
        super().__init__(conn, handshake, application=gateway.application, decoder=_NOTHING, limits=gateway.limits)
        self._gateway = gateway
        self._nsp = gateway.namespace
        self._reader = StompReader(conn.message_limit)
        self._version = ""
        """The version of the protocol, from CONNECT on."""
        self._heart_beat = (0, 0)
        self._subscriptions = Subscriptions()
        self._changing = False
        """True while a room is joined or left: what comes behind waits for it."""
        self._asked: dict[int, _Asked] = {}
        self._last_ask = 0
        self._last_number = 0
        self._transactions = Transactions(gateway.limits.max_http_buffer_size)
        self._goodbye: asyncio.TimerHandle | None = None
        """The end of the time that handlers have after DISCONNECT."""
        self._waiting_bytes = 0
        """Bytes of frames that have come, and wait to be served."""
        self._held = 0
        """Bytes that the connection has been told of."""

    # --- what the client says ---------------------------------------------------------------------------------------

    def receive(self, data: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Handle a message, which has a frame, or several, or a part of one. Return what it sets off, if anything."""
        reader = self._reader
        mistake: StompError | None = None
        try:
            frames = reader.feed(data)
        except StompError as error:
            frames, mistake = list(error.frames), error
        if mistake is None and len(frames) == 1 and not self._held and not reader.held:  # by far the most frequent
            return self._serve_frame(frames[0])
        self._waiting_bytes += sum(frame.size + _WEIGHT for frame in frames)
        calls: deque[Callable[[], Coroutine[Any, Any, None] | None]] = deque(
            partial(self._serve_waiting, frame) for frame in frames
        )
        if mistake is not None:
            calls.append(partial(self._refuse, str(mistake)))
        elif reader.more:
            calls.append(partial(self.receive, b""))
        self._account()
        return self._serve_next(calls)

    def _serve_next(self, calls: deque[Callable[[], Any]]) -> Coroutine[Any, Any, None] | None:
        """Do the first of these, and the others in the turns after it."""
        if not calls:
            return None
        call = calls.popleft()
        conn = self.conn
        if calls:
            if conn.inbox is None:
                conn.receive(partial(self._serve_next, calls))
            else:
                conn.inbox.appendleft(partial(self._serve_next, calls))
        work: Coroutine[Any, Any, None] | None = call()
        return work

    def _serve_waiting(self, frame: Frame) -> Coroutine[Any, Any, None] | None:
        self._waiting_bytes -= frame.size + _WEIGHT
        self._account()
        return self._serve_frame(frame)

    def _serve_frame(self, frame: Frame) -> Coroutine[Any, Any, None] | None:
        """Handle a frame, once what has to be decided before it is decided."""
        if self._changing or self.is_joining(self._nsp):
            self.conn.put_back(partial(self._serve_frame, frame))
            return None
        if not self.conn.is_open:
            return None
        try:
            if not self._version:
                return self._connect_frame(frame)
            handler = _HANDLERS.get(frame.command)
            if handler is None:
                raise StompError(f"{frame.command} is no command of a client, or comes twice")
            headers = frame.unescaped(self._version)
            transaction = headers.get("transaction")
            if transaction is not None and frame.command in _IN_TRANSACTIONS:
                self._transactions.hold(transaction, frame)
                self._account()
                self._give_receipt(frame)
                return None
            return handler(self, frame, headers)
        except DecodeError as error:
            self._refuse(str(error), frame)
            return None

    def _account(self) -> None:
        """Have the connection count what waits here."""
        held = self._reader.held + self._waiting_bytes + self._transactions.size
        more, self._held = held - self._held, held
        if more > 0:
            self.conn.hold(more)
        elif more:
            self.conn.release(-more)

    # --- CONNECT ----------------------------------------------------------------------------------------------------

    def _connect_frame(self, frame: Frame) -> Coroutine[Any, Any, None] | None:
        """Ask for the namespace with the headers as credentials (STOMP 1.2, "Connecting")."""
        if frame.command not in ("CONNECT", "STOMP"):
            raise StompError("the first frame is CONNECT")
        headers = frame.headers
        offered = {each.strip() for each in headers.get("accept-version", "1.0").split(",")}
        version = V12 if V12 in offered else V11 if V11 in offered else ""
        if not version:
            self._refuse("the versions of STOMP here are 1.1 and 1.2", frame, ("version", "1.1,1.2"))
            return None
        self._heart_beat = read_heart_beat(headers.get("heart-beat", "0,0"))
        self._version = version
        auth: dict[str, Any] = {name: value for name, value in headers.items() if name not in _OF_PROTOCOL}
        authorization = next((value for name, value in auth.items() if name.lower() == "authorization"), "")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token:
            auth.setdefault("token", token)
        return self._ask(self._nsp, auth, "x" * sum(len(name) + len(value) for name, value in headers.items()))

    def joined(self, nsp: str) -> None:
        """Begin the heart-beats: CONNECTED has been sent."""

    def refused(self, nsp: str, message: str, data: Any) -> None:
        """Tell the client why it is not let in, and close."""
        body = own(
            f"ERROR\nmessage:{one_line(message)}\n",  # without escapes: the client does not know the version yet
            self._gateway.body([] if data is None else [data]),
            self._version,
        )
        self._end(body, (refusal_code(message, data), message), DisconnectReason.FORCED_SERVER_CLOSE)

    def _say_connected(self, data: dict[str, Any]) -> None:
        self._reader.limit = self._limits.max_http_buffer_size
        ours = self.conn.begin_heart_beats(self._heart_beat)
        headers = [
            ("version", self._version),
            ("heart-beat", f"{ours[0]},{ours[1]}"),
            ("session", str(data.get("sid", ""))),
            ("server", self._gateway.server_name),
        ]
        user = identity_of(getattr(self._socket, "user", None))
        if isinstance(user, str | int) and not isinstance(user, bool):
            headers.append(("user-name", str(user)))
        self._say(encode_frame("CONNECTED", headers, version=None))

    @property
    def _socket(self) -> Member | None:
        """The client's socket, while it is in its namespace."""
        receiver: Any = self._receivers.get(self._nsp)
        found: Member | None = getattr(receiver, "_socket", receiver)
        return found

    # --- SEND -------------------------------------------------------------------------------------------------------

    def _send_frame(self, frame: Frame, headers: dict[str, str]) -> Coroutine[Any, Any, None] | None:
        """Take an event, or the answer to one of the server (STOMP 1.2, "SEND")."""
        destination = headers.get("destination", "")
        if frame.size > LARGE:
            values, _ = count_and_estimate(frame.body.decode(errors="replace"))
            if values > self._limits.max_items:
                raise StompError(f"the body has more than {self._limits.max_items} values (Limits.max_items)")
        args = read_args(headers, frame.body, max_attachments=self._limits.max_attachments)
        if destination.startswith(REPLY):
            self._give_receipt(frame)
            return self._answer(_number(destination[len(REPLY) :]), args)
        event = destination[len(APP) :] if destination.startswith(APP) else ""
        if not event:
            raise StompError("events are sent to /app/<event>")
        reply_to, correlation = headers.get("reply-to"), frame.headers.get("correlation-id")
        if reply_to is not None and (not reply_to.startswith(QUEUE) or len(reply_to) > 1_024):
            raise StompError("reply-to is a queue of the client: /user/queue/<name>")
        receipt = frame.headers.get("receipt")
        wants = (
            receipt is not None
            or reply_to is not None
            or correlation is not None
            or self._subscriptions.has_queue(REPLIES)
        )
        id = self._remember(_Asked(receipt, reply_to, correlation, None)) if wants else None
        return self._serve_event(event, args, id)

    def _serve_event(self, event: str, args: list[Any], id: int | None) -> Coroutine[Any, Any, None] | None:
        packet = Packet(_EVENT, self._nsp, check_payload(_EVENT, [event, *args], id), id)
        return self.serve(packet)

    def _remember(self, asked: _Asked) -> int:
        self._last_ask += 1
        if len(self._asked) >= _MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        self._asked[self._last_ask] = asked
        return self._last_ask

    def _answer(self, id: int, args: list[Any]) -> Coroutine[Any, Any, None] | None:
        """Take the answer to an event of the server."""
        return self.serve(Packet(_ACK, self._nsp, args, id))

    # --- SUBSCRIBE, UNSUBSCRIBE -------------------------------------------------------------------------------------

    def _subscribe_frame(self, frame: Frame, headers: dict[str, str]) -> Coroutine[Any, Any, None] | None:
        """Begin a subscription (STOMP 1.2, "SUBSCRIBE")."""
        id, destination, mode = headers.get("id"), headers.get("destination", ""), headers.get("ack", AUTO)
        if not id:
            raise StompError("SUBSCRIBE has an id")
        if id in self._subscriptions:
            raise StompError("there is a subscription with this id already")
        if mode not in MODES:
            raise StompError("ack is auto, client or client-individual")
        if len(self._subscriptions) >= self._limits.max_rooms:
            raise StompError(f"a client has at most {self._limits.max_rooms} subscriptions (Limits.max_rooms)")
        self._last_number += 1
        raw = frame.headers.get("id", ""), frame.headers.get("destination", "")
        subscription = Subscription(id, destination, mode, self._last_number, self._version, raw)
        if destination.startswith(TOPIC) and len(destination) > len(TOPIC):
            if not self._admit(frame):
                return None
            self._changing = True
            return self._subscribe_to_room(subscription, destination[len(TOPIC) :], frame)
        name = destination[len(QUEUE) :] if destination.startswith(QUEUE) else ""
        if name:
            self._subscriptions.add(subscription)
            self._give_receipt(frame)
            return None
        event = destination[len(APP) :] if destination.startswith(APP) else ""
        if event:
            self._subscriptions.add(subscription)
            asked = _Asked(frame.headers.get("receipt"), None, None, subscription)
            return self._serve_event(event, [], self._remember(asked))
        raise StompError("subscriptions are to /topic/<room>, /user/queue/<event> or /app/<event>")

    def _admit(self, frame: Frame) -> bool:
        """Count a subscription to a room as an event, if those have a rate; refuse it if there were too many."""
        admit = getattr(self._receivers[self._nsp], "_admit", None)
        if admit is None or admit(Packet(_EVENT, self._nsp, [frame.command])):
            return True
        self._refuse("too many events and subscriptions", frame, reason=DisconnectReason.RATE_LIMITED)
        return False

    async def _subscribe_to_room(self, subscription: Subscription, topic: str, frame: Frame) -> None:
        """Join the room of a topic, if the client may read it."""
        try:
            refusal = await self._enter_room(subscription, topic)
        finally:
            self._changing = False
        if refusal is not None:
            self._refuse(refusal, frame, reason=DisconnectReason.FORCED_SERVER_CLOSE)
        elif self.conn.is_open:
            self._give_receipt(frame)

    async def _enter_room(self, subscription: Subscription, topic: str) -> str | None:
        """Join the room of a topic. Return the reason if the client may not, or cannot."""
        socket = self._socket
        if socket is None:
            return "not connected"
        room: str | None = topic
        if topic not in socket.rooms:
            try:
                room = await room_of(self._gateway.rule, socket, topic)
            except (ConnectionRefused, EventError) as error:
                return str(error)
            except Exception as error:  # noqa: BLE001 - whatever a program's function raises
                _topics_failed(quote(topic), error=error, extra=self._where())
                return "Internal server error"
            if room is None:
                return f"this client may not subscribe to {TOPIC}{topic}"
        if self._socket is not socket:
            return "not connected"
        assert room is not None
        subscription.room = room
        subscription.owns_room = room not in socket.rooms or self._subscriptions.owns(room)
        self._subscriptions.add(subscription)
        if subscription.owns_room:
            try:
                await socket.join(room)
            except ClusterUnavailable:  # it is in the room all the same
                pass
            except RTFrameworkError as error:
                self._subscriptions.remove(subscription)
                return str(error)
        return None

    def _unsubscribe_frame(self, frame: Frame, headers: dict[str, str]) -> Coroutine[Any, Any, None] | None:
        """End a subscription (STOMP 1.2, "UNSUBSCRIBE")."""
        subscription = self._subscriptions.get(headers.get("id", ""))
        if subscription is None:
            if "id" not in headers:
                raise StompError("UNSUBSCRIBE has an id")
            self._give_receipt(frame)
            return None
        self._subscriptions.remove(subscription)
        room = subscription.room
        if room is not None and subscription.owns_room and not self._subscriptions.in_room(room):
            self._changing = True
            return self._leave_room(room, frame)
        self._give_receipt(frame)
        return None

    async def _leave_room(self, room: str, frame: Frame) -> None:
        socket = self._socket
        try:
            if socket is not None:
                await socket.leave(room)
        except RTFrameworkError as error:
            self._refuse(str(error), frame, reason=DisconnectReason.FORCED_SERVER_CLOSE)
            return
        finally:
            self._changing = False
        self._give_receipt(frame)

    # --- ACK, NACK --------------------------------------------------------------------------------------------------

    def _ack_frame(self, frame: Frame, headers: dict[str, str]) -> Coroutine[Any, Any, None] | None:
        """Answer an event of the server that asks (STOMP 1.2, "ACK", "NACK"); other messages need no answer."""
        try:
            ids = self._subscriptions.acknowledged(*self._acknowledged(headers))
        except ValueError as error:
            raise StompError(str(error)) from None
        answer: list[Any] = []
        if frame.command == "NACK":
            reason = headers.get("message", "the client has not accepted the message")
            answer = [{"error": {"code": "nack", "message": reason}}]
        self._give_receipt(frame)
        for each in ids:
            self._answer(each, list(answer))
        return None

    def _acknowledged(self, headers: dict[str, str]) -> tuple[int, str]:
        """Return the number of the subscription, and the id of the message, that an ACK names."""
        if self._version == V12:
            number, dot, message = headers.get("id", "").partition(".")
            if not dot:
                raise StompError("the id of ACK and NACK is the header ack of a message")
            return _number(number), message
        subscription, message = self._subscriptions.get(headers.get("subscription", "")), headers.get("message-id", "")
        if not message or "subscription" not in headers:
            raise StompError("ACK and NACK have message-id and subscription")
        return 0 if subscription is None else subscription.number, message

    # --- transactions -----------------------------------------------------------------------------------------------

    def _transaction_frame(self, frame: Frame, headers: dict[str, str]) -> Coroutine[Any, Any, None] | None:
        """Begin, commit or abort a transaction (STOMP 1.2, "BEGIN", "COMMIT", "ABORT")."""
        name = headers.get("transaction", "")
        if frame.command == "BEGIN":
            self._transactions.begin(name)
            self._give_receipt(frame)
            return None
        held = self._transactions.end(name)
        self._give_receipt(frame)
        work = None
        if frame.command == "COMMIT":
            self._waiting_bytes += sum(each.size + _WEIGHT for each in held)
            work = self._serve_next(deque(partial(self._serve_committed, each) for each in held))
        self._account()
        return work

    def _serve_committed(self, frame: Frame) -> Coroutine[Any, Any, None] | None:
        for name in ("transaction", "receipt"):
            frame.headers.pop(name, None)
        return self._serve_waiting(frame)

    # --- DISCONNECT -------------------------------------------------------------------------------------------------

    def _disconnect_frame(self, frame: Frame, headers: dict[str, str]) -> Coroutine[Any, Any, None] | None:
        """End the connection, once the answers that the client waits for are there (STOMP 1.2, "DISCONNECT")."""
        if self._asked and self.conn.is_working and self._goodbye is None:
            self._goodbye = self.conn.loop.call_later(self.conn.patience, self._part_with, frame)
        if self._goodbye is not None and self._asked and self.conn.is_working:
            self.conn.put_back(partial(self._serve_frame, frame))
            return None
        self._part_with(frame)
        return None

    def _part_with(self, frame: Frame) -> None:
        self._give_receipt(frame)
        self.conn.close(DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)

    def leave(self, nsp: str) -> None:
        """End the connection with the namespace."""
        was_in = nsp in self._receivers
        super().leave(nsp)
        if was_in and not self._receivers:
            self.conn.loop.call_soon(self.conn.close, DisconnectReason.SERVER_NAMESPACE_DISCONNECT)

    def ended(self, reason: str) -> None:
        """Let go of all that was held for the client."""
        if self._held:
            self.conn.release(self._held)
            self._held = 0
        if self._goodbye is not None:
            self._goodbye.cancel()
            self._goodbye = None
        self._subscriptions.clear()
        self._transactions.clear()
        self._asked.clear()
        super().ended(reason)

    # --- what is said to the client ---------------------------------------------------------------------------------

    def hand_out(self, frames: Frames, volatile: bool) -> None:
        """Send packets to the subscriptions that they are for."""
        pieces: tuple[Piece, ...] = self._gateway.form(frames)
        for piece in pieces:
            if piece.type == _EVENT:
                rooms = getattr(frames, "rooms", None)
                for subscription in self._subscriptions.readers_of(piece.event, rooms):
                    if piece.id is not None:
                        self._subscriptions.ask(subscription, piece.number, piece.id)
                    self.conn.outbox.put(piece.frames(subscription, compress=frames.compress), volatile)
            elif piece.type == _ACK:
                self._hand_out_answer(piece)
            elif piece.type == _CONNECT:
                self._say_connected(piece.data or {})

    def _hand_out_answer(self, piece: Piece) -> None:
        """Send the answer to an event to the queue that it is for, and the receipt behind it."""
        asked = self._asked.pop(piece.id, None) if piece.id is not None else None
        if asked is None:
            return
        error = header_line("error", piece.error, self._version) if piece.error else ""
        is_empty = piece.body.headers == [("args", "0")]
        if asked.subscription is not None:
            targets = [asked.subscription] if asked.subscription.id in self._subscriptions else []
            destination = asked.subscription.destination
        elif asked.reply_to is None and asked.correlation is None and is_empty:
            targets, destination = [], ""
        else:
            destination = asked.reply_to or f"{QUEUE}{REPLIES}"
            name = destination[len(QUEUE) :]
            targets = self._subscriptions.queues_of(name)
        for target in targets:
            head = f"MESSAGE\nsubscription:{target.raw_id}\n"
            head += (
                header_line("destination", destination, self._version) + f"message-id:{self._gateway.next_number()}\n"
            )
            if asked.correlation is not None:
                head += f"correlation-id:{asked.correlation}\n"  # as it came
            self.conn.send(own(head + error, piece.body, self._version))
        if asked.receipt is not None:
            self._say(f"RECEIPT\nreceipt-id:{asked.receipt}\n{error}\n\0")

    def _give_receipt(self, frame: Frame) -> None:
        """Send the receipt of a frame, if the client wants one; its id goes back as it came."""
        receipt = frame.headers.get("receipt")
        if receipt is not None:
            self._say(f"RECEIPT\nreceipt-id:{receipt}\n\n\0")

    def _refuse(
        self,
        message: str,
        frame: Frame | None = None,
        *more: tuple[str, str],
        reason: str = DisconnectReason.PARSE_ERROR,
    ) -> None:
        """Tell the client what is wrong, and close (STOMP 1.2, "ERROR")."""
        if not self.conn.is_open:
            return
        what = "bytes" if frame is None else frame.command
        _wrong(what if what in _HANDLERS else "frame", printable(message), key=reason, extra=self._where())
        version = self._version or None
        headers = [("message", message), *more]
        receipt = None if frame is None else frame.headers.get("receipt")
        head = encode_frame("ERROR", headers, version=version)
        assert isinstance(head, str)
        if receipt is not None:
            head = head.replace("ERROR\n", f"ERROR\nreceipt-id:{receipt}\n", 1)
        code = (INVALID_MESSAGE, "invalid message") if reason == DisconnectReason.PARSE_ERROR else None
        self._end(own_frame(head), code, reason)

    def _end(self, last: OwnFrames, code: tuple[int, str] | None, reason: str) -> None:
        carrier = self.conn.carrier
        if code is not None and hasattr(carrier, "close_code"):
            carrier.close_code = code
        self.conn.close_with(reason, last)

    def _say(self, message: str | bytes) -> None:
        self.conn.send(own_frame(message))


class _Nothing:
    """A decoder for a client that reads its frames by itself."""

    def decode(self, message: str | bytes) -> None:
        """Return nothing."""


_NOTHING: Final = _Nothing()

_HANDLERS: Final[dict[str, Callable[[StompClient, Frame, dict[str, str]], Coroutine[Any, Any, None] | None]]] = {
    "SEND": StompClient._send_frame,
    "SUBSCRIBE": StompClient._subscribe_frame,
    "UNSUBSCRIBE": StompClient._unsubscribe_frame,
    "ACK": StompClient._ack_frame,
    "NACK": StompClient._ack_frame,
    "BEGIN": StompClient._transaction_frame,
    "COMMIT": StompClient._transaction_frame,
    "ABORT": StompClient._transaction_frame,
    "DISCONNECT": StompClient._disconnect_frame,
}
_IN_TRANSACTIONS: Final = frozenset({"SEND", "ACK", "NACK"})


def _number(text: str) -> int:
    """Read a number of the server's own, as it comes back."""
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise StompError("an id that is none of the server's")
    return int(text)
