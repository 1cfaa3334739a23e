"""Short polling: what came since an id, answered at once, for the simplest clients and for scripts."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from ..engine.ids import new_id
from ..exceptions import ClusterUnavailable, ConfigurationError, ConnectionRefused, EventError
from ..logs import ThrottledLog
from ..types import place_of
from .event_stream import BEGINNING, EventId, data_of
from .readable import Rooms, allowed_rooms
from .replay import replay_of

if TYPE_CHECKING:
    from ..types import Handshake, HistoryEntry, HistoryPage

log: Final = logging.getLogger("rtframework.gateways")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error while the rooms of a client are asked for")
_encode: Final = msgspec.json.Encoder().encode


class Reader:
    """A client that has no connection: it asks, and is answered."""

    def __init__(self, handshake: Handshake) -> None:
        self.conn: Any = _Nothing()
        self.address = handshake.address
        self.buckets: dict[Any, Any] | None = None
        self.received = 0
        self._handshake = handshake

    def handshake(self, nsp: str, auth: Any) -> Handshake:
        """Describe the client and its credentials."""
        return dataclasses.replace(self._handshake, nsp=nsp, auth=auth)

    def new_id(self, nsp: str) -> str:
        """Make an id for a socket that exists for one request."""
        return new_id()


class _Nothing:
    """In the place of a connection."""

    transport = "short polling"
    protocol = 0
    is_open = True
    has_dropped = False

    def send(self, frames: Any, *, volatile: bool = False) -> None:
        """Send nothing."""

    def close(self, reason: str) -> None:
        """Do nothing: each request stands for itself."""

    def count_dropped(self, reason: str, packets: int) -> None:
        """Count nothing."""


class Polled(msgspec.Struct):
    """The answer: the events of all rooms in one order, and the ``since`` of the next request."""

    events: list[dict[str, Any]]
    next: str
    gap: bool
    more: bool


async def poll(
    application: Any,
    handshake: Handshake,
    *,
    nsp: str,
    rooms: Rooms | None,
    asked: list[str],
    since: str,
    limit: int,
    arrays: bool = False,
) -> Polled:
    """Read the histories of rooms. Without ``since``, the newest ``limit`` events; else the first after it.

    Raises ``ConnectionRefused`` for a client that may not, and ``ClusterUnavailable``.
    """
    namespace = application.namespaces.get(nsp)
    if namespace is None:
        raise ConnectionRefused("Invalid namespace")
    token = handshake.query.get("token")
    socket = await namespace._admission.vouch_for(Reader(handshake), {"token": token} if token else {})
    try:
        names = await allowed_rooms(rooms, socket, asked)
    except (ConnectionRefused, ClusterUnavailable):
        raise
    except EventError as error:
        raise ConnectionRefused(error.message, error.to_payload()["error"]) from None
    except Exception as error:  # noqa: BLE001 - whatever a program's function raises
        _failed(error=error, extra={"nsp": nsp})
        raise ConnectionRefused("Internal server error", {"code": "internal_error"}) from None
    history = namespace._history
    if not names or history is None or any(history._find(room) is None for room in names):
        raise ConnectionRefused("These rooms have no history", {"code": "no_history"})
    told = EventId.parse(since)
    after = told.position if told is not None else since
    pages = await _read(history, names, after, limit)
    readable = {*names, *socket.rooms}
    proof = None if socket._token is None else socket._token.proof
    return _answer(pages, readable, after, limit, proof or "", arrays)


async def _read(history: Any, names: Sequence[str], after: str, limit: int) -> list[HistoryPage]:
    if not after:
        return [await history.page(room, None, None, limit) for room in names]
    return [await history.page_after(room, None if after == BEGINNING else after, limit) for room in names]


def _answer(
    pages: Sequence[HistoryPage], readable: set[str], after: str, limit: int, proof: str, arrays: bool
) -> Polled:
    replay = replay_of(pages)
    if not replay.is_ordered:
        raise ConfigurationError("the ids of this history tell no order: ask for one room at a time")
    entries, more = replay.entries, any(page.more for page in pages)
    if after:
        ends = [place_of(page.entries[-1].id) for page in pages if page.more and page.entries]
        if ends and len(pages) > 1:  # beyond, other rooms have more that comes before
            end = min(each for each in ends if each is not None)
            entries = [entry for entry in entries if (place_of(entry.id) or end) <= end]
        more = more or len(entries) > limit
        entries = entries[:limit]
    else:
        more = more or len(entries) > limit
        entries = entries[-limit:] if limit else []
    gap = any(page.gap for page in pages)
    newest = entries[-1].id if entries else after if after and not gap else replay.newest
    shown = [_shown(entry, arrays) for entry in entries if readable.isdisjoint(entry.except_)]
    return Polled(shown, EventId(proof, "", newest).text.decode() if proof else newest, gap, more)


def _shown(entry: HistoryEntry, arrays: bool) -> dict[str, Any]:
    data = data_of(_encode(list(entry.args)), as_array=arrays)
    return {"id": entry.id, "event": entry.event, "data": msgspec.Raw(data), "at": entry.at}


def respond(polled: Polled, request: web.Request, headers: Mapping[str, str]) -> web.Response:
    """Make the response; 304 if the client has it already (RFC 9110, 13.1.2)."""
    tag = f'"{polled.next}{".gap" * polled.gap}{".more" * polled.more}"'
    more = {**headers, "ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept"}
    known = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    if tag in known:
        return web.Response(status=304, headers=more)
    return web.Response(body=_encode(polled), headers=more, content_type="application/json")
