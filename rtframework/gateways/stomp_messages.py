"""Packets as STOMP messages: made once for all clients, and once for all subscriptions that are alike."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ..engine.frames import EncodedFrames
from ..types import PacketType
from .frames import OwnFrames
from .stomp_bodies import Body, body_of
from .stomp_frames import encode_head, escape
from .stomp_subscriptions import AUTO, QUEUE, Subscription

if TYPE_CHECKING:
    from .packets import Outgoing

REPLY: Final = "/reply/"

_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)
_MOST_KINDS: Final = 64
"""Kinds of subscriptions for which a message is kept: clients of one kind choose the same ids."""
_OFFSET: Final = re.compile(r"[\w-]{1,40}[.-][0-9]{1,20}\Z", re.ASCII)
"""The offsets of this framework's adapters, see connection state recovery."""
_ERROR: Final = '[{"error":{'


class Uncompressed(OwnFrames):
    """Frames that are not to be compressed."""

    __slots__ = ()

    compress = False


class Piece:
    """One packet: ``type``, and ``id`` if it asks for an answer or is one.

    An event has its name and :meth:`frames`, an acknowledgement its ``body``, another one its ``data``.
    """

    __slots__ = ("_head", "_made", "body", "data", "error", "event", "id", "number", "offset", "type")

    def __init__(self, outgoing: Outgoing, number: int, *, recovers: bool) -> None:
        self.type = outgoing.type
        self.id = outgoing.id
        self.number = number
        """The number of the message, unique for its gateway."""
        self.event = ""
        self.data: Any = None
        self.body: Body
        self.error = ""
        """The code of the error that an answer is."""
        self._made: dict[tuple[str, str, int], OwnFrames] = {}
        self.offset = ""
        if self.type == _EVENT:
            name, *args = outgoing.data
            if recovers and self.id is None and args and isinstance(args[-1], str) and _OFFSET.match(args[-1]):
                self.offset = args.pop()
            self.event = str(name)
            self.body = body_of(outgoing, args, all_of_it=not self.offset)
        elif self.type == _ACK:
            args = list(outgoing.data or ())
            self.body = body_of(outgoing, args)
            if outgoing.text is None or outgoing.text.startswith(_ERROR):
                self.error = code_of(args)
        else:
            self.data = outgoing.data

    @property
    def message_id(self) -> str:
        """The id of the message; it ends with the one of the packet, if that asks for an answer."""
        return str(self.number) if self.id is None else f"{self.number}-{self.id}"

    def frames(self, subscription: Subscription, *, compress: bool = True) -> OwnFrames:
        """Return the message for a subscription; those that are alike get the same."""
        key = subscription.key
        made = self._made.get(key)
        if made is None:
            made = self._make(subscription, compress)
            if len(self._made) < _MOST_KINDS:
                self._made[key] = made
        return made

    def _make(self, subscription: Subscription, compress: bool) -> OwnFrames:
        version, message_id = subscription.version, self.message_id
        head = subscription.lead
        if subscription.is_for_all_events:
            head += f"destination:{QUEUE}{escape(self.event, version)}\n"
        if subscription.mode != AUTO:
            head += f"ack:{subscription.number}.{message_id}\n"
        headers = [("message-id", message_id), ("event", self.event)]
        if self.id is not None:
            headers.append(("reply-to", f"{REPLY}{self.id}"))
        if self.offset:
            headers.append(("offset", self.offset))
        head += encode_head("", headers, version)[1:]
        return own(head, self.body, version, droppable=self.id is None, compress=compress)


def own(head: str, body: Body, version: str, *, droppable: bool = False, compress: bool = True) -> OwnFrames:
    """Make frames of a command with headers, and a body with its own."""
    content = body.content
    size = len(content if isinstance(content, bytes) else content.encode())
    head += encode_head("", [*body.headers, ("content-length", str(size))], version)[1:]
    message = head.encode() + b"\n" + content + b"\0" if isinstance(content, bytes) else f"{head}\n{content}\0"
    form = EncodedFrames([message], droppable)
    return (OwnFrames if compress else Uncompressed)(form, form.size, droppable=droppable)


def own_frame(message: str | bytes) -> OwnFrames:
    """Make frames of a frame that is written already."""
    form = EncodedFrames([message])
    return OwnFrames(form, form.size)


def code_of(args: list[Any]) -> str:
    """Return the code of the error that an answer is; an empty string if it is none."""
    if len(args) != 1 or not isinstance(args[0], dict) or set(args[0]) != {"error"}:
        return ""
    error = args[0]["error"]
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, str) else ""
