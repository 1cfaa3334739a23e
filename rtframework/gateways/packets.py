"""A packet on its way out, as a gateway reads it: what the server's serializer has made, taken apart once for all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from ..serializers import JSONDecoder
from ..types import Packet

if TYPE_CHECKING:
    from ..protocols import Serializer

F = TypeVar("F")

_HEAD: Final = re.compile(r"([0-4])(?:(/[^,]*),)?(\d*)")
"""Type, namespace and id in front of the JSON of a packet without attachments."""
_NAME: Final = re.compile(r'\["((?:[^"\\]|\\.)*)"\s*(?:,|(?=\]))')
"""The name of an event in front of its arguments."""


class Outgoing:
    """One packet that is sent, decoded as far as a gateway needs it.

    ``text``: its data as JSON; ``None`` if there are bytes in them, or the server has a serializer of another format.
    """

    __slots__ = ("_data", "id", "nsp", "text", "type")

    def __init__(self, type: int, nsp: str, id: int | None, text: str | None, data: Any = None) -> None:
        self.type = type
        self.nsp = nsp
        self.id = id
        self.text = text
        self._data = data

    @property
    def data(self) -> Any:
        """The packet's data: a list for EVENT (its name first) and ACK, else a mapping or ``None``."""
        if self._data is None and self.text:
            self._data = msgspec.json.decode(self.text)
        return self._data

    @property
    def packet(self) -> Packet:
        """The packet itself."""
        return Packet(self.type, self.nsp, self.data, self.id)

    def name_and_args(self) -> tuple[str, str] | None:
        """Return the name of an event and its arguments, both as JSON: ``'"chat"'`` and ``'["hi",2]'``.

        ``None`` if they have to be encoded from :attr:`data`, because there are bytes in them or because the name is a
        number.
        """
        match = _NAME.match(self.text) if self.text is not None else None
        if match is None or self.text is None:
            return None
        return f'"{match[1]}"', "[" + self.text[match.end() :]


def read(messages: Iterable[str | bytes], serializer: Serializer) -> list[Outgoing]:
    """Read the packets in what a serializer has made, in order."""
    found: list[Outgoing] = []
    decoder = serializer.decoder()
    spells_json = isinstance(decoder, JSONDecoder)
    waits = False
    for message in messages:
        match = _HEAD.match(message) if spells_json and not waits and isinstance(message, str) else None
        if match is not None and isinstance(message, str):
            id = int(match[3]) if match[3] else None
            found.append(Outgoing(int(match[1]), match[2] or "/", id, message[match.end() :]))
            continue
        packet = decoder.decode(message)
        waits = packet is None
        if packet is not None:
            found.append(Outgoing(packet.type, packet.nsp, packet.id, None, packet.data))
    return found


def form_maker(
    serializer: Serializer, encode: Callable[[Sequence[Outgoing]], F]
) -> Callable[[Sequence[str | bytes]], F]:
    """Make the function for ``Frames.form`` of what turns packets into a gateway's own form."""
    return lambda messages: encode(read(messages, serializer))
