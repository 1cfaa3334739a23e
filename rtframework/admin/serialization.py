"""Descriptions of sockets for the Admin UI: bounded in size, of JSON types only, and without secrets."""

from __future__ import annotations

import datetime
import decimal
import hashlib
import math
import secrets
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..namespaces.operators import RemoteSocket
    from ..namespaces.socket import Socket
    from ..types import Handshake

HIDDEN: Final = "(hidden)"

_HEADERS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-length",
        "content-type",
        "dnt",
        "host",
        "origin",
        "pragma",
        "sec-ch-ua",
        "sec-ch-ua-mobile",
        "sec-ch-ua-platform",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "sec-websocket-extensions",
        "sec-websocket-version",
        "upgrade",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    }
)
"""Headers that hold no secret. Other headers may hold one: the UI gets their names only."""
_PARAMETERS: Final = frozenset({"EIO", "transport", "t", "b64"})
"""Query parameters that hold no secret. The UI gets only the names of others."""

_MAX_DEPTH: Final = 6
_MAX_ITEMS: Final = 100
_MAX_LENGTH: Final = 1_000


class AdminSerializer:
    """Describes sockets as ``@socket.io/admin-ui`` does.

    ``show_handshake``: show the values of all headers and query parameters. The client's ``auth`` is never shown.
    """

    __slots__ = ("_key", "_show_handshake")

    def __init__(self, *, show_handshake: bool = False) -> None:
        self._show_handshake = show_handshake
        self._key = secrets.token_bytes(32)

    def of(self, socket: Socket) -> dict[str, Any]:
        """Describe a socket as it is now."""
        return {
            "id": socket.id,
            "clientId": self._client_id(socket),
            "transport": socket.transport,
            "nsp": socket.nsp,
            "data": plain(socket.data),
            "handshake": self._handshake(socket.handshake),
            "rooms": sorted(_text(room) for room in socket.rooms),
        }

    def of_remote(self, socket: RemoteSocket) -> dict[str, Any]:
        """Describe a socket of a server of Node, whose Admin UI keeps in its ``data`` what others need to know."""
        data = dict(socket.data)
        admin = data.pop("_admin", None)
        known = admin if isinstance(admin, dict) else {}
        return {
            "id": socket.id,
            "clientId": plain(known.get("clientId")),
            "transport": plain(known.get("transport")),
            "nsp": socket.nsp,
            "data": plain(data),
            "handshake": self._handshake(socket.handshake),
            "rooms": sorted(_text(room) for room in socket.rooms),
        }

    def _client_id(self, socket: Socket) -> str:
        """Return an id of the socket's connection, other than its Engine.IO session id, which is a secret."""
        number = id(socket.conn).to_bytes(16, "big")
        return hashlib.blake2b(number, key=self._key, digest_size=6).hexdigest()

    def _handshake(self, handshake: Handshake) -> dict[str, Any]:
        query = self._shown(handshake.query, _PARAMETERS)
        url = handshake.url
        if not self._show_handshake:
            url = url.partition("?")[0] + "?" + "&".join(f"{name}={value}" for name, value in query.items())
        return {
            "address": handshake.address,
            "headers": self._shown({name.lower(): value for name, value in handshake.headers.items()}, _HEADERS),
            "query": query,
            "issued": round(handshake.time * 1000),
            "secure": handshake.secure,
            "time": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(handshake.time)),
            "url": _text(url),
            "xdomain": handshake.xdomain,
        }

    def _shown(self, values: Mapping[str, str], harmless: frozenset[str]) -> dict[str, str]:
        return {
            _text(name): _text(value) if self._show_handshake or name in harmless else HIDDEN
            for name, value in list(values.items())[:_MAX_ITEMS]
        }


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value as JSON types that any serializer can send, cut to a size that a page can show.

    Objects of the program become the name of their class.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**53) < value < 2**53 else _text(str(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, datetime.date | datetime.time | datetime.timedelta | decimal.Decimal | uuid.UUID):
        return str(value)
    if isinstance(value, dict | list | tuple | set | frozenset):
        if depth >= _MAX_DEPTH:
            return "…"
        first = list(value.items() if isinstance(value, dict) else value)[:_MAX_ITEMS]
        more = len(value) - len(first)
        if isinstance(value, dict):
            shown = {str(plain(key, depth + 1)): plain(item, depth + 1) for key, item in first}
            return {**shown, "…": f"{more} more"} if more else shown
        items = [plain(item, depth + 1) for item in first]
        return [*items, f"… {more} more"] if more else items
    return f"<{type(value).__name__}>"


def _text(text: str) -> str:
    text = str.__str__(text)  # serializers take no subclasses
    if len(text) > _MAX_LENGTH:
        text = text[:_MAX_LENGTH] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
