"""Handshakes: how requests open a connection, or move one to a websocket (Engine.IO v4, "Handshake" and "Upgrade")."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from aiohttp import HttpVersion11, web

from ..concurrency import maybe_await
from ..exceptions import ConnectionRefused
from ..logs import ThrottledLog
from ..types import DisconnectReason, Handshake
from .frames import frame_of
from .gate import CLOSING, Gate
from .http.answers import Answer, Opening, Switching
from .http.canonical import CanonicalRequest
from .http.codings import choose_coding
from .http.cookies import Cookies
from .http.detach import begin_websocket
from .http.refusals import BAD_METHOD, BAD_REQUEST, FORBIDDEN, UNSUPPORTED_VERSION, error_response
from .ids import with_slot
from .transports.deflate import negotiate
from .transports.rfc6455 import VERSION, accept_of
from .versions import Version4

if TYPE_CHECKING:
    from ..options import AllowRequest, EngineOptions
    from .connection import Connection
    from .connection_table import ConnectionTable
    from .gate import Closed
    from .http.origins import OriginPolicy
    from .http.refusals import Refusals
    from .transports.polling import PollingTransport
    from .transports.websocket import WebSocketTransport

log: Final = logging.getLogger("rtframework.engine")

_not_allowed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in allow_request")
_no_id: Final = ThrottledLog(log, logging.ERROR, "unhandled error in generate_id")

W = TypeVar("W", bound="WebSocketTransport")
GenerateId = Callable[[web.Request], str | Awaitable[str]]

_EXTENSIONS: Final = "Sec-WebSocket-Extensions"
_PROTOCOL: Final = "Sec-WebSocket-Protocol"
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SESSION_ID: Final = re.compile(r"[\w.~-]{1,256}", re.ASCII)
"""Characters that need no quoting in a URL, a cookie and JSON."""


_MOST_PARTS: Final = 256
"""Parameters of a handshake's URL and cookies, together: each that is kept takes some 200 bytes."""

_too_large: Final = ThrottledLog(
    log,
    logging.WARNING,
    "refused a handshake: its URL and headers are too large, see Limits.max_head_size, or it has more than "
    f"{_MOST_PARTS} parameters and cookies",
)

_NO_COOKIES: Final = Cookies("")


class OpenPackets:
    """Open packets (Engine.IO v4, "Handshake"), which differ in the session id and the transport only.

    ``interval``: the ping interval that clients are told, in seconds.
    """

    def __init__(self, options: EngineOptions, interval: float) -> None:
        self._packets: dict[str, tuple[str, str]] = {}
        for transport in ("polling", "websocket"):
            content = {
                "sid": "?",
                "upgrades": ["websocket"] if transport == "polling" and can_upgrade(options) else [],
                "pingInterval": round(interval * 1000),
                "pingTimeout": round(options.ping_timeout * 1000),
                "maxPayload": options.limits.max_http_buffer_size,
            }
            head, _, tail = json.dumps(content, separators=(",", ":")).partition("?")
            self._packets[transport] = ("0" + head, tail)

    def of(self, connection: Connection) -> str:
        """Make the open packet of a connection."""
        head, tail = self._packets[connection.transport]
        return head + connection.sid + tail


class Handshakes:
    """Answers the handshakes of one server.

    ``opened`` is called with each connection and the request that has opened it, and returns more headers for the
    answer to a handshake by polling; ``generate_id`` makes a session id.
    """

    def __init__(
        self,
        options: EngineOptions,
        table: ConnectionTable,
        versions: Mapping[str, Version4],
        *,
        refusals: Refusals,
        origins: OriginPolicy,
        open_packets: OpenPackets,
        opened: Callable[[Connection, web.Request], Mapping[str, str]],
        generate_id: Callable[[], str],
    ) -> None:
        self._options = options
        self._table = table
        self._gate = Gate(options.limits, table)
        self._refusals = refusals
        self._origins = origins
        self._open_packets = open_packets
        self._opened = opened
        self._generate_id = generate_id
        self.make_id: GenerateId | None = None
        """The program's own function for session ids, in the place of ``generate_id``."""
        self._versions = versions

    @property
    def asks_program(self) -> bool:
        """True if functions of the program decide on handshakes."""
        return self._options.allow_request is not None or self.make_id is not None

    async def answer(
        self, request: web.Request, query: Mapping[str, str], headers: dict[str, str]
    ) -> Answer | web.Response:
        """Answer a request without a session id: open a connection, or refuse."""
        if _is_too_large(request, query, self._options.limits.max_head_size):
            _too_large(extra={"address": request.remote})
            return await self._refusals.refuse(request, BAD_REQUEST, {"name": "HEAD_TOO_LARGE"}, headers, status=431)
        version = self._version_of(request, query, headers)
        if not isinstance(version, Version4):
            return await version
        closed = self._gate.closed_for(request)
        if closed is not None:
            return await self._refuse(request, headers, closed)
        if self._options.allow_request is not None:
            refusal = await self._ask(self._options.allow_request, request, headers)
            if refusal is not None:
                return refusal
        sid = self._generate_id() if self.make_id is None else await self._new_id(self.make_id, request, headers)
        if isinstance(sid, web.Response):
            return sid
        if query["transport"] == "polling":
            return self._open_polling(request, query, headers, version, sid)

        def begin(answer: bytes, websocket: WebSocketTransport) -> web.StreamResponse:
            if sid in self._table.by_sid:  # since it was made
                return error_response(request, BAD_REQUEST, headers=headers)
            connection = self._open(request, query, version, websocket, sid)
            self._opened(connection, request)
            return begin_websocket(request, websocket, answer + frame_of(self._open_packets.of(connection)))

        switching = self._switch(request, query, headers, version, begin)
        return switching if isinstance(switching, Switching) else await switching

    async def upgrade(
        self, request: web.Request, query: Mapping[str, str], headers: dict[str, str], connection: Connection
    ) -> Answer | web.Response:
        """Answer a request to move a connection to a websocket."""
        if not can_upgrade(self._options):
            return await self._refusals.bad(request, "UPGRADE_NOT_ALLOWED", headers)
        version = self._versions[str(connection.protocol)]

        def begin(answer: bytes, websocket: WebSocketTransport) -> web.StreamResponse:
            if connection.polling is None or connection.upgrade is not None or connection.is_closed:
                return begin_websocket(request, websocket, answer, websocket.close)
            version.upgrade(connection, websocket, self._options.upgrade_timeout)
            return begin_websocket(request, websocket, answer)

        switching = self._switch(request, query, headers, version, begin)
        return switching if isinstance(switching, Switching) else await switching

    def describe(self, request: web.Request, query: Mapping[str, str]) -> Handshake:
        """Describe the client that has sent a request."""
        headers = request.headers
        origin = headers.get("Origin")
        return Handshake(
            headers=headers,
            query=query,
            cookies=Cookies("; ".join(headers.getall("Cookie"))) if "Cookie" in headers else _NO_COOKIES,
            address=request.remote,
            secure=request.secure,
            xdomain=origin is not None and self._origins.is_foreign(origin, request.host),
            time=time.time(),
            url=request.raw_path,
        )

    async def check(
        self, request: web.Request, query: Mapping[str, str], headers: dict[str, str]
    ) -> web.Response | None:
        """Refuse a request of another protocol that would open a connection, if it may not; ``None`` if it may."""
        if _is_too_large(request, query, self._options.limits.max_head_size):
            _too_large(extra={"address": request.remote})
            return await self._refusals.refuse(request, BAD_REQUEST, {"name": "HEAD_TOO_LARGE"}, headers, status=431)
        closed = self._gate.closed_for(request)
        if closed is not None:
            return await self._refuse(request, headers, closed)
        allow_request = self._options.allow_request
        return None if allow_request is None else await self._ask(allow_request, request, headers)

    # --- whether a connection is opened -----------------------------------------------------------------------------

    def _version_of(
        self, request: web.Request, query: Mapping[str, str], headers: dict[str, str]
    ) -> Version4 | Awaitable[web.Response]:
        """Choose the version of Engine.IO, or refuse a request that is no handshake."""
        if request.method != "GET":
            return self._refusals.refuse(request, BAD_METHOD, {"method": request.method}, headers)
        version = self._versions.get(query.get("EIO", "3"))  # a client that says nothing is old
        if version is None:
            context = {"protocol": query.get("EIO")}
            return self._refusals.refuse(request, UNSUPPORTED_VERSION, context, headers)
        if (query["transport"] == "websocket") is not wants_websocket(request) or not version.serves(query):
            return self._refusals.bad(request, "TRANSPORT_HANDSHAKE_ERROR", headers)
        return version

    async def _ask(
        self, allow_request: AllowRequest, request: web.Request, headers: dict[str, str]
    ) -> web.Response | None:
        """Refuse the client if the program does not want it."""
        try:
            allowed = await maybe_await(allow_request(request))
        except ConnectionRefused as refused:
            return await self._refusals.forbid(request, refused.message, headers)
        except Exception as error:  # noqa: BLE001 - logged, and refuses the client
            _not_allowed(error=error, extra={"address": request.remote})
            allowed = False
        if not allowed:
            return await self._refusals.forbid(request, None, headers)
        closed = self._gate.closed_for(request, again=True)  # by now
        return None if closed is None else await self._refuse(request, headers, closed)

    async def _refuse(self, request: web.Request, headers: dict[str, str], closed: Closed) -> web.Response:
        response = await self._refusals.refuse(
            request,
            FORBIDDEN,
            {"name": closed.name},
            closed.headers(headers),
            status=closed.status,
            message=closed.message,
        )
        if closed.hang_up:
            response.force_close()
        return response

    async def _new_id(self, make_id: GenerateId, request: web.Request, headers: dict[str, str]) -> str | web.Response:
        """Have the program make a session id, or refuse the client if it fails to."""
        neighbours = self._table.neighbours
        try:
            sid = await maybe_await(make_id(request))
            if not isinstance(sid, str) or not _SESSION_ID.fullmatch(sid):
                raise ValueError("generate_id has not made a session id")
            if neighbours is not None:
                sid = with_slot(neighbours.slot, sid)
            if sid in self._table.by_sid:
                raise ValueError("generate_id has made a session id that is in use")
        except Exception as error:  # noqa: BLE001 - logged, and refuses the client
            _no_id(error=error, extra={"address": request.remote})
            return await self._refusals.bad(request, "ID_GENERATION_ERROR", headers, error=error)
        return await self._refuse(request, headers, CLOSING) if self._table.is_closing else sid  # by now

    # --- opening it -------------------------------------------------------------------------------------------------

    def _open_polling(
        self, request: web.Request, query: Mapping[str, str], headers: dict[str, str], version: Version4, sid: str
    ) -> Answer:
        connection = self._open(request, query, version, version.polling(query), sid)
        more = self._opened(connection, request)
        payload = version.payload(self._open_packets.of(connection)).encode()
        return Opening(
            payload,
            {**headers, **more},
            coding=coding_for(self._options, request, payload),
            on_loss=partial(connection.lost, DisconnectReason.TRANSPORT_ERROR),
        )

    def _open(
        self,
        request: web.Request,
        query: Mapping[str, str],
        version: Version4,
        transport: PollingTransport | WebSocketTransport,
        sid: str,
    ) -> Connection:
        return self._table.open(sid, version.connection, transport, self.describe(request, query))

    # --- websockets -------------------------------------------------------------------------------------------------

    def _switch(
        self,
        request: web.Request,
        query: Mapping[str, str],
        headers: dict[str, str],
        version: Version4,
        begin: Callable[[bytes, WebSocketTransport], web.StreamResponse],
    ) -> Switching | Awaitable[web.Response]:
        """Agree to a websocket, or refuse; ``begin`` is called with the bytes of the answer and the websocket."""

        def make(transport: asyncio.Transport, window: int | None) -> WebSocketTransport:
            return version.websocket(query, transport, self._options, self._table.leaving, window)

        return self.switch(request, headers, self._choose_protocol, make, begin)

    def switch(
        self,
        request: web.Request,
        headers: dict[str, str],
        choose_protocol: Callable[[Sequence[str]], str | None],
        make: Callable[[asyncio.Transport, int | None], W],
        begin: Callable[[bytes, W], web.StreamResponse],
    ) -> Switching | Awaitable[web.Response]:
        """Agree to a websocket of any protocol, or refuse.

        ``choose_protocol`` chooses among the subprotocols that are offered. ``make`` makes the websocket of a TCP
        connection and the window of its compression, ``None`` if it has none; ``begin`` is called with the bytes of the
        answer and the websocket.
        """
        name = "TRANSPORT_HANDSHAKE_ERROR"
        if request.headers.get("Sec-WebSocket-Version") != VERSION:
            more = {**headers, "Sec-WebSocket-Version": VERSION, "Upgrade": "websocket"}
            return self._refusals.refuse(request, BAD_REQUEST, {"name": name}, more, status=426)
        accept = _accept_of(request)
        if accept is None or _has_body(request):
            return self._refusals.bad(request, name, headers)
        offered = _protocols_of(request)
        if offered is None:
            return self._refusals.bad(request, name, headers)
        lines = []
        window = None
        if self._options.per_message_deflate is not None:
            window, extension = negotiate(request.headers.getall(_EXTENSIONS, ())) or (None, None)
            if extension is not None:
                lines.append((_EXTENSIONS, extension))
        protocol = choose_protocol(offered)
        if protocol is not None:
            lines.append((_PROTOCOL, protocol))

        def take(answer: bytes) -> web.StreamResponse:
            if self._table.is_closing:
                return error_response(request, FORBIDDEN, 503, headers)
            transport = request.transport
            assert transport is not None
            return begin(answer, make(transport, window))

        return Switching(request, accept, lines, take)

    def _choose_protocol(self, offered: Sequence[str]) -> str | None:
        """Choose a subprotocol: the first of the program's that is offered, or, as Node does, the first offered."""
        ours = self._options.websocket_protocols
        if ours is None:
            return offered[0] if offered else None
        return next((each for each in ours if each in offered), None)


def can_upgrade(options: EngineOptions) -> bool:
    """Return whether clients may move from polling to a websocket."""
    return options.allow_upgrades and "websocket" in options.transports


def coding_for(options: EngineOptions, request: web.Request, payload: bytes) -> web.ContentCoding | None:
    """Choose the content coding for a payload, if it is large enough and the client accepts one."""
    if not options.http_compression or len(payload) < options.http_compression_threshold:
        return None
    coding = choose_coding(request.headers.getall("Accept-Encoding", ()), ("gzip", "deflate"))
    return None if coding is None else web.ContentCoding(coding)


def wants_websocket(request: web.Request) -> bool:
    """Return whether a request is to become a websocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def _accept_of(request: web.Request) -> str | None:
    """Make the ``Sec-WebSocket-Accept`` of an answer; ``None`` when the request asks for no websocket."""
    headers = request.headers
    keys = headers.getall("Sec-WebSocket-Key", ())
    if len(keys) != 1 or request.method != "GET" or request.version < HttpVersion11:
        return None
    if headers.get("Connection") != "Upgrade":  # as all but Firefox write it
        connection = ",".join(headers.getall("Connection", ())).lower()
        if "upgrade" not in map(str.strip, connection.split(",")):
            return None
    return accept_of(keys[0])


def _has_body(request: web.Request) -> bool:
    """Return whether a request announces a body: whether it or frames follow could not be told."""
    headers = request.headers
    length = headers.get("Content-Length")
    return (length is not None and length.strip("0") != "") or "Transfer-Encoding" in headers


def _is_too_large(request: web.Request, query: Mapping[str, str], most: int) -> bool:
    """Return whether URL and headers are more than a session may keep for as long as it lasts."""
    if isinstance(request, CanonicalRequest):
        size = request.head_size
    else:
        fields = request.raw_headers
        size = len(request.raw_path) + len(b"".join(chain.from_iterable(fields))) + 4 * len(fields)
    cookies = "".join(request.headers.getall("Cookie", ())).count(";")
    return size > most or len(query) + cookies > _MOST_PARTS


def _protocols_of(request: web.Request) -> list[str] | None:
    """Return the subprotocols that a client offers (RFC 6455, 4.1); ``None`` when they are malformed."""
    lines = request.headers.getall(_PROTOCOL, ())
    if not lines:
        return []
    offered = [each.strip() for line in lines for each in line.split(",")]
    malformed = len(set(offered)) < len(offered) or any(_TOKEN.fullmatch(each) is None for each in offered)
    return None if malformed else offered
