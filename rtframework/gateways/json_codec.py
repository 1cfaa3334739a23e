"""The protocol ``rtframework.v1``: JSON objects with a ``type``, the wire of plain websockets unless another is given.

A message with bytes in it is binary: four bytes with the length of the JSON (big-endian), the JSON, and the
attachments, one after another. The JSON names their lengths in ``attachments``, and has
``{"_placeholder":true,"num":0}`` where the first of them belongs, as Socket.IO has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from ..exceptions import DecodeError
from ..packets import TooManyAttachments, check_payload
from ..serializers import parse_json
from ..types import Packet, PacketType
from .attachments import cut, emptied, fill
from .codec import Reply, WebSocketCodec

if TYPE_CHECKING:
    from ..types import Handshake
    from .packets import Outgoing

SUBPROTOCOL: Final = "rtframework.v1"

_EVENT: Final = int(PacketType.EVENT)
_ACK: Final = int(PacketType.ACK)
_CONNECT: Final = int(PacketType.CONNECT)
_DISCONNECT: Final = int(PacketType.DISCONNECT)

_MAX_ID: Final = 2**53 - 1
_HEAD: Final = 4
"""Bytes of the length in front of a binary message."""


class _Message(msgspec.Struct):
    """What a client sends, whatever its type."""

    type: str = "event"
    event: str | int | None = None
    args: list[Any] = []
    id: int | None = None
    nsp: str = ""
    auth: dict[str, Any] | None = None
    attachments: list[int] | None = None
    data: Any = None


_decode: Final = msgspec.json.Decoder(_Message).decode
_encode: Final = msgspec.json.Encoder().encode


class JSONCodec(WebSocketCodec):
    """Speaks ``rtframework.v1``; ``max_attachments``: attachments that a client may send with one message."""

    subprotocols = (SUBPROTOCOL,)
    names_namespaces: ClassVar[bool] = True

    def __init__(self, *, max_attachments: int = 10) -> None:
        self._max_attachments = max_attachments

    def auth(self, handshake: Handshake) -> Mapping[str, Any] | None:
        """Return what the query says of a client; ``None`` with ``?auth=message``: it says so by itself."""
        return None if handshake.query.get("auth") == "message" else super().auth(handshake)

    # --- in ---------------------------------------------------------------------------------------------------------

    def decode(self, message: str | bytes) -> Packet | Reply | None:
        """Make a packet of a message. Raises ``DecodeError``."""
        attachments = b""
        if isinstance(message, bytes):
            message, attachments = _parted(message)
        read = _read(message)
        if read.attachments is not None:
            read.args = self._filled(read, attachments)
        elif attachments:
            raise DecodeError("attachments that are not announced")
        kind, id = read.type, read.id
        if id is not None and not 0 <= id <= _MAX_ID:
            raise DecodeError("illegal id")
        if kind == "event":
            if read.event is None:
                raise DecodeError("an event has a name: event")
            return Packet(_EVENT, read.nsp, check_payload(_EVENT, [read.event, *read.args], id), id)
        if kind == "ack":
            return Packet(_ACK, read.nsp, check_payload(_ACK, read.args, id), id)
        if kind == "connect":
            return Packet(_CONNECT, read.nsp, read.auth)
        if kind == "disconnect":
            return Packet(_DISCONNECT, read.nsp)
        if kind == "ping":
            return Reply(_PONG if read.data is None else _encode({"type": "pong", "data": read.data}).decode())
        raise DecodeError("unknown type")

    def _filled(self, read: _Message, attachments: bytes) -> list[Any]:
        """Put the attachments into the arguments."""
        lengths = read.attachments or []
        if len(lengths) > self._max_attachments:
            raise TooManyAttachments(f"more than {self._max_attachments} attachments (Limits.max_attachments)")
        filled: list[Any] = fill(read.args, cut(attachments, lengths))
        return filled

    # --- out --------------------------------------------------------------------------------------------------------

    def encode_outgoing(self, outgoing: Outgoing) -> str | bytes | None:
        """Make the message of a packet, of its JSON as it is if there is no more in it."""
        if outgoing.text is None:
            return self.encode(outgoing.packet)
        tail = _tail_of(outgoing.id, outgoing.nsp)
        if outgoing.type == _EVENT:
            parts = outgoing.name_and_args()
            if parts is None:
                return self.encode(outgoing.packet)
            return f'{{"type":"event","event":{parts[0]},"args":{parts[1]}{tail}'
        if outgoing.type == _ACK:
            return f'{{"type":"ack","args":{outgoing.text or "[]"}{tail}'
        return self.encode(outgoing.packet)

    def encode(self, packet: Packet) -> str | bytes | None:
        """Make the message of a packet."""
        content: dict[str, Any]
        data = packet.data
        if packet.type == _EVENT:
            content = {"type": "event", "event": data[0], "args": data[1:]}
        elif packet.type == _ACK:
            content = {"type": "ack", "args": data}
        elif packet.type == _CONNECT:
            content = {"type": "connected", **(data or {})}
        elif packet.type == _DISCONNECT:
            content = {"type": "disconnected"}
        else:
            content = {"type": "refused", **(data if isinstance(data, dict) else {"message": data})}
        if packet.id is not None:
            content["id"] = packet.id
        if packet.nsp != "/":
            content["nsp"] = packet.nsp
        attachments: list[bytes] = []
        if packet.type in (_EVENT, _ACK):
            content["args"] = emptied(content["args"], attachments)
        if not attachments:
            return _encode(content).decode()
        content["attachments"] = [len(each) for each in attachments]
        head = _encode(content)
        return b"".join((len(head).to_bytes(_HEAD, "big"), head, *attachments))

    def error(self, message: str, packet: Packet | None = None) -> str | bytes | None:
        """Make an error message."""
        content: dict[str, Any] = {"type": "error", "message": message}
        if packet is not None:
            if packet.id is not None:
                content["id"] = packet.id
            content["nsp"] = packet.nsp
        return _encode(content).decode()


_PONG: Final = '{"type":"pong"}'


def _tail_of(id: int | None, nsp: str) -> str:
    """Make the end of a message, behind its arguments."""
    tail = "" if id is None else f',"id":{id}'
    if nsp != "/":
        tail += f',"nsp":{_encode(nsp).decode()}'
    return tail + "}"


def read_content(message: str | bytes) -> dict[str, Any]:
    """Read a message of the other side as it is: its fields, with bytes in their places. Raises ``DecodeError``."""
    attachments = b""
    if isinstance(message, bytes):
        message, attachments = _parted(message)
    content = parse_json(message)
    if not isinstance(content, dict):
        raise DecodeError("a message is an object")
    lengths = content.pop("attachments", None)
    if lengths is not None:
        content["args"] = fill(content.get("args", []), cut(attachments, lengths))
    return content


def _parted(message: bytes) -> tuple[str, bytes]:
    """Take a binary message apart: its JSON, and the attachments."""
    if len(message) < _HEAD:
        raise DecodeError("a binary message begins with the length of its JSON, in four bytes")
    end = _HEAD + int.from_bytes(message[:_HEAD], "big")
    if end > len(message):
        raise DecodeError("a binary message ends before its JSON does")
    try:
        return message[_HEAD:end].decode(), message[end:]
    except UnicodeDecodeError:
        raise DecodeError("the JSON is no UTF-8") from None


def _read(text: str) -> _Message:
    try:
        return _decode(text)
    except msgspec.ValidationError as error:
        if "out of range" not in str(error):  # as 1e400, which is JSON all the same
            raise DecodeError(f"invalid message: {error}") from None
    except (ValueError, RecursionError):
        pass
    try:  # lone surrogates
        return msgspec.convert(parse_json(text), _Message)
    except msgspec.ValidationError as error:
        raise DecodeError(f"invalid message: {error}") from None
    except RecursionError:
        raise DecodeError("invalid message: nested too deeply") from None
