"""Server-sent events: streams of events for ``EventSource`` and for scripts, and a POST beside them to send some."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from ..engine.http.codings import choose_coding, is_coded
from ..engine.http.query import query_of
from ..exceptions import ClusterUnavailable, ConfigurationError, ConnectionRefused
from ..options import check_timeout
from ..types import DisconnectReason
from .base import BaseGateway
from .event_stream import CONTENT_TYPE, LEFT, EventForm, EventId
from .event_stream_gzip import CODING, GzipEventStream
from .event_stream_transport import EventStream, Refused, stream_headers
from .readable import Rooms
from .short_polling import poll, respond
from .sse_client import SSEClient, error_answer
from .streaming import StreamAnswer

if TYPE_CHECKING:
    from ..engine.gateway import Gateway
    from ..engine.http.answers import Answer
    from ..protocols import Application
    from ..types import Handshake
    from .packets import Outgoing

log: Final = logging.getLogger("rtframework.gateways")

_METHODS: Final = "GET, HEAD, POST, OPTIONS"
_UNAUTHORIZED: Final = frozenset(
    {
        *("unauthorized", "missing", "malformed", "unknown_token", "unknown_user", "bad_signature", "expired", "used"),
        *("token_expired", "token_revoked", "kicked"),
    }
)
"""Codes of refusals for which the status is 401: other credentials would help."""
_STATUS_OF: Final = {
    "internal_error": 500,
    "too_many_connections": 429,
    "rate_limited": 429,
    "unavailable": 503,
    "no_history": 404,
    "reserved_room": 400,
    "room_name_too_long": 400,
    "too_many_rooms": 400,
}
_TEMPORARY: Final = frozenset({429, 503})
"""Statuses of refusals that pass. ``EventSource`` gives up for good at any status but 200."""
_LONGEST_RETRY: Final = 3_600.0
_ACCEPTED: Final = re.compile(r"(?:^|,)\s*(?:\*/\*|text/\*|text/event-stream)\s*(?:;[^,]*)?(?=,|$)", re.IGNORECASE)
_REFUSED_TYPE: Final = re.compile(r";\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)", re.IGNORECASE)


class SSEGateway(BaseGateway):
    """Serves server-sent events; see :meth:`rtframework.Server.attach_sse` for the options."""

    scheme = "http"

    def __init__(
        self,
        application: Application,
        engine: Gateway,
        *,
        rooms: Rooms | None = None,
        namespace: str = "/",
        heartbeat: float = 15.0,
        retry: float = 3.0,
        ack_timeout: float = 30.0,
        max_rooms: int = 50,
        padding: int = 0,
        arrays: bool = False,
        compress: bool = False,
    ) -> None:
        super().__init__(application, engine)
        if isinstance(rooms, str):
            raise ConfigurationError(f"rooms are several names, or a function: write rooms=[{rooms!r}]")
        if not isinstance(namespace, str) or not namespace.startswith("/"):
            raise ConfigurationError(f"namespace begins with a slash, as in '/chat', not {namespace!r}")
        for name, seconds in (("heartbeat", heartbeat), ("retry", retry), ("ack_timeout", ack_timeout)):
            check_timeout(name, seconds)
        self.joinable = engine.eio
        """The server that has the sessions, for workers: see ``rtframework.engine.handover``."""
        self.rooms = rooms if rooms is None or callable(rooms) else frozenset(rooms)
        self.namespace = namespace
        self.arrays = arrays
        self._compress = compress
        self._heartbeat = heartbeat
        self._retry = retry
        self._ack_timeout = ack_timeout
        self._max_rooms = max_rooms
        self._first = b"retry: %d\n" % round(retry * 1000)
        if padding:
            self._first += b":%b\n" % (b" " * padding)
        self._numbers = itertools.count(1)

    @property
    def description(self) -> str:
        """What it speaks."""
        data = "the array of its arguments" if self.arrays else "its argument, or the array of several"
        return f"Server-sent events: the data of an event are {data}. Clients emit by POST, {{event, args}}."

    def add_routes(self, app: web.Application, path: str) -> None:
        """Add the route."""
        app.router.add_route("*", path, self.serve)
        app.router.add_route("*", f"{path.rstrip('/')}/poll", self.serve_poll)

    async def serve_poll(self, request: web.Request) -> web.StreamResponse:
        """Serve a request of short polling."""
        return await self.entrance.serve(self._poll, request)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve a request."""
        return await self.entrance.serve(self.answer, request)

    def make_client(self, connection: Any, handshake: Handshake) -> SSEClient:
        """Make the client of a connection."""
        return SSEClient(connection, handshake, gateway=self)

    def encode(self, packets: Sequence[Outgoing]) -> EventForm:
        """Make the form of a packet, which its first client completes; of several, their frames are taken apart."""
        return EventForm(packets[0], as_array=self.arrays)

    def next_id(self) -> int:
        """Return a number for an event that is to be answered."""
        return next(self._numbers)

    # --- requests -----------------------------------------------------------------------------------------------------

    async def answer(self, request: web.Request, headers: dict[str, str]) -> Answer | web.Response:
        """Answer a request of any method but OPTIONS."""
        if request.method == "POST":
            return await self._take(request, headers)
        if request.method not in ("GET", "HEAD"):
            return _response(405, {**headers, "Allow": _METHODS}, "method_not_allowed", "Method not allowed")
        if not _accepts_streams(request):
            if "application/json" in request.headers.get("Accept", "").lower():
                return await self._poll(request, headers)
            return _response(406, headers, "not_acceptable", f"This is {CONTENT_TYPE}")
        if request.method == "HEAD":
            return web.Response(headers={**headers, **stream_headers()})
        return await self._stream(request, headers)

    async def _stream(self, request: web.Request, headers: dict[str, str]) -> Answer | web.Response:
        """Open a stream, or refuse; the response begins when the namespace has let the client in."""
        query = query_of(request)
        told = request.headers.get("Last-Event-ID", "")
        if told.startswith(f"{LEFT}~"):
            return web.Response(status=204, headers=headers)  # with which EventSource stays away
        told = told or query.get("lastEventId", "")
        rooms = _rooms_of(request)
        if len(rooms) > self._max_rooms or "" in rooms:
            most = f"A stream reads at most {self._max_rooms} rooms, each with a name"
            return _response(400, headers, "too_many_rooms", most)
        wants = query.get("history", "0")
        if not (wants.isascii() and wants.isdigit() and len(wants) < 7):
            return _response(400, headers, "invalid_history", "history is a number of events")
        refusal = await self.check(request, headers)
        if refusal is not None:
            return self._softened(request, headers, refusal)
        coding = choose_coding(request.headers.getall("Accept-Encoding", ()), (CODING,)) if self._compress else None
        stream, connection = self._open(request, query, EventStream if coding is None else GzipEventStream)
        client: Any = connection.client
        named = query.get("nsp", "")
        nsp = named if named.startswith("/") else self.namespace
        client.begin(stream, nsp, rooms, EventId.parse(told) or told or None, int(wants))
        try:
            decision = await stream.decision
        except asyncio.CancelledError:
            connection.lost(DisconnectReason.TRANSPORT_CLOSE)
            connection.without_transport()
            raise
        if decision is True:
            more = {"Vary": "Accept-Encoding"} if self._compress else {}
            if coding is not None:
                more["Content-Encoding"] = coding
            return StreamAnswer(request, stream, {**headers, **more, **stream_headers()})
        connection.lost(DisconnectReason.FORCED_SERVER_CLOSE)
        connection.without_transport()
        if isinstance(decision, Refused):
            return self._softened(request, headers, _refusal(decision, headers))
        return self._softened(request, headers, _response(503, headers, "not_connected", "Not connected in time"))

    def _open(self, request: web.Request, query: Mapping[str, str], kind: type[EventStream]) -> tuple[EventStream, Any]:
        clients: list[SSEClient] = []
        stream = kind(
            request,
            form=self.form,
            greet=lambda data: clients[0].greet(data),
            answered=lambda id, form: clients[0].answered(id, form),
            asked=lambda id: clients[0].asked(id),
            options=self.options,
            counts=self.entrance.table.counts,
            first=self._first,
        )
        connection: Any = self.open(request, stream, query)
        clients.append(connection.client)
        connection.answers = False
        connection.interval = self._heartbeat
        connection.beat()
        return stream, connection

    def _softened(self, request: web.Request, headers: dict[str, str], refusal: web.Response) -> web.Response:
        """Return a refusal so that ``EventSource`` comes back if it passes: as a stream that has ended."""
        asks_for_stream = CONTENT_TYPE in request.headers.get("Accept", "").lower()
        if refusal.status not in _TEMPORARY or not asks_for_stream:
            return refusal
        after = refusal.headers.get("Retry-After", "")
        seconds = max(self._retry, float(after) if after.isdigit() else 0.0)
        body = b"retry: %d\n: %d %b\n\n" % (round(seconds * 1000), refusal.status, refusal.reason.encode())
        softened = web.Response(body=body, headers={**headers, **stream_headers()})
        if refusal.keep_alive is False:
            softened.force_close()
        return softened

    # --- short polling ------------------------------------------------------------------------------------------------

    async def _poll(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        """Answer with what came since an id."""
        if request.method not in ("GET", "HEAD"):
            allowed = {**headers, "Allow": "GET, HEAD, OPTIONS"}
            return _response(405, allowed, "method_not_allowed", "Method not allowed")
        query = query_of(request)
        rooms = _rooms_of(request)
        if not 0 < len(rooms) <= self._max_rooms or "" in rooms:
            most = f"Ask for 1 to {self._max_rooms} rooms, each with a name: ?room=…"
            return _response(400, headers, "invalid_room", most)
        limit = query.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and 0 < len(limit) < 7 and int(limit)):
            return _response(400, headers, "invalid_limit", "limit is a number of events from 1")
        refusal = await self.check(request, headers)
        if refusal is not None:
            return refusal
        named = query.get("nsp", "")
        try:
            polled = await poll(
                self.application,
                self.entrance.describe(request, query),
                nsp=named if named.startswith("/") else self.namespace,
                rooms=self.rooms,
                asked=rooms,
                since=query.get("since", "") or request.headers.get("Last-Event-ID", ""),
                limit=int(limit),
                arrays=self.arrays,
            )
        except ConnectionRefused as refused:
            return _refusal(Refused(refused.message, refused.data), headers)
        except ClusterUnavailable:
            return _response(503, headers, "unavailable", "Not available at this moment")
        except ConfigurationError as error:
            return _response(400, headers, "no_order", str(error))
        return respond(polled, request, headers)

    # --- events by POST -----------------------------------------------------------------------------------------------

    async def _take(self, request: web.Request, headers: dict[str, str]) -> web.Response:
        """Serve an event that a client sends, and answer with its acknowledgement."""
        connection: Any = self.entrance.table.find(query_of(request).get("sid", ""))
        client = getattr(connection, "client", None)
        if not isinstance(client, SSEClient) or client.gateway is not self or not connection.is_open:
            return _response(404, headers, "unknown_session", "There is no such stream")
        if is_coded(request):
            return _closing(_response(415, headers, "coded_body", "A body is sent as it is"))
        try:
            body = await self.read_body(request, connection)
        except TimeoutError:
            connection.fail(DisconnectReason.TRANSPORT_ERROR)
            return _closing(_response(408, headers, "body_timeout", "The body has not come in time"))
        if body is None:
            connection.fail_of_size()
            return _closing(_response(413, headers, "body_too_large", "The body is too large"))
        if not connection.is_open:
            answer = error_answer(410, "disconnected", "The stream has ended")
        else:
            try:
                async with asyncio.timeout(self._ack_timeout):
                    answer = await client.ask(body)
            except TimeoutError:
                answer = error_answer(504, "ack_timeout", "The event was not answered in time")
        more = {**headers, "Cache-Control": "no-store"}
        return web.Response(status=answer.status, body=answer.body, headers=more, content_type="application/json")


def _rooms_of(request: web.Request) -> list[str]:
    """List the rooms that a request names, each once."""
    return list(dict.fromkeys(request.query.getall("room", ())))


def _accepts_streams(request: web.Request) -> bool:
    """Tell whether a client takes a stream: it says so, says nothing, or takes all."""
    lines = request.headers.getall("Accept", ())
    if not any(line.strip() for line in lines):
        return True
    return any(_REFUSED_TYPE.search(found[0]) is None for line in lines for found in _ACCEPTED.finditer(line))


def _refusal(refused: Refused, headers: dict[str, str]) -> web.Response:
    """Make the answer to a client that a namespace does not let in: the payload of CONNECT_ERROR."""
    status = 404 if refused.message == "Invalid namespace" else 403
    if isinstance(refused.data, dict) and isinstance(code := refused.data.get("code"), str):
        status = 401 if code in _UNAUTHORIZED else _STATUS_OF.get(code, status)
        after = refused.data.get("retry_after")
        if status in _TEMPORARY and isinstance(after, int | float):
            headers = {**headers, "Retry-After": str(math.ceil(after))}
    content = {"message": refused.message}
    try:
        body = msgspec.json.encode(content if refused.data is None else {**content, "data": refused.data})
    except Exception:  # noqa: BLE001 - data that cannot be sent: the log has it already
        body = msgspec.json.encode(content)
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _response(status: int, headers: Mapping[str, str], code: str, message: str) -> web.Response:
    """Make the answer to a request that is refused: JSON as in CONNECT_ERROR."""
    body = msgspec.json.encode({"message": message, "data": {"code": code}})
    return web.Response(status=status, body=body, headers=headers, content_type="application/json")


def _closing(response: web.Response) -> web.Response:
    """Have the TCP connection closed behind a response: what follows was not read."""
    response.force_close()
    return response
