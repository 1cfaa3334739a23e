"""Refused requests: Node's error codes and messages, which tools and people know."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ...counters import Counters, add
from ...logs import ThrottledLog, quote
from ...types import ConnectionFailure
from .last_response import LastResponse, must_be_last

if TYPE_CHECKING:
    from ...limits.audit import Audit
    from .listeners import Listeners

log: Final = logging.getLogger("rtframework.engine")

TRANSPORT_UNKNOWN: Final = 0
SID_UNKNOWN: Final = 1
BAD_METHOD: Final = 2
BAD_REQUEST: Final = 3
FORBIDDEN: Final = 4
UNSUPPORTED_VERSION: Final = 5
MESSAGES: Final = {
    TRANSPORT_UNKNOWN: "Transport unknown",
    SID_UNKNOWN: "Session ID unknown",
    BAD_METHOD: "Bad handshake method",
    BAD_REQUEST: "Bad request",
    FORBIDDEN: "Forbidden",
    UNSUPPORTED_VERSION: "Unsupported protocol version",
}


_foreign_page: Final = ThrottledLog(
    log, logging.WARNING, "refused a page of %s at the host %s: if it is yours, add it to cors_allowed_origins"
)
_no_origin: Final = ThrottledLog(
    log, logging.WARNING, "refused a request without Origin: require_origin is set, which is for browsers alone"
)
_old_version: Final = ThrottledLog(
    log,
    logging.WARNING,
    "refused a client of Engine.IO %s: rtframework.Server(allow_eio3=True) lets in those of Socket.IO 2, which speak 3",
)
_other_transport: Final = ThrottledLog(
    log, logging.WARNING, "refused a request for the transport %s: see the option transports"
)


def error_response(
    request: web.Request,
    code: int,
    status: int = 400,
    headers: dict[str, str] | None = None,
    message: str | None = None,
) -> web.Response:
    """Make the response that tells a client why its request is refused: JSON as Node writes it, nothing with 413.

    With 415 and 431 it closes the connection, and wherever something may follow that nobody reads.
    """
    body = b""
    if status != 413:
        content = {"code": code, "message": message or MESSAGES[code]}
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        body = text.encode(errors="backslashreplace")  # lone surrogates as JSON writes them
    kind = LastResponse if status in (415, 431) or must_be_last(request) else web.Response
    response = kind(body=body, status=status, headers=headers)
    if body:
        response.content_type, response.charset = "application/json", "utf-8"
    return response


class Refusals:
    """Refuses requests: counts them, tells the listeners for ``"connection_error"``, and makes the responses."""

    def __init__(self, counts: Counters, listeners: Listeners, audit: Audit) -> None:
        self._counts = counts
        self._listeners = listeners
        self._audit = audit

    async def refuse(
        self,
        request: web.Request,
        code: int,
        context: dict[str, Any],
        headers: dict[str, str] | None = None,
        *,
        status: int = 400,
        message: str | None = None,
    ) -> web.Response:
        """Refuse a request with a code; ``context`` says more to the listeners, ``message`` to the client."""
        reason = context.get("name") or MESSAGES[code]
        add(self._counts.requests_refused, reason.lower().replace(" ", "_"))
        _advise(request, code, context)
        if status == 403 and reason != "BANNED" and self._audit.is_on:  # a ban is a limit, and audited as one
            self._audit.write("refusal", address=request.remote, code=reason.lower().replace(" ", "_"))
        if self._listeners.has("connection_error"):
            failure = ConnectionFailure(request, code, MESSAGES[code], context)
            await self._listeners.tell("connection_error", failure)
        return error_response(request, code, status, headers, message)

    async def bad(self, request: web.Request, name: str, headers: dict[str, str], **context: Any) -> web.Response:
        """Refuse a bad request for a reason that has a name."""
        return await self.refuse(request, BAD_REQUEST, {"name": name, **context}, headers)

    async def forbid(
        self, request: web.Request, message: str | None, headers: dict[str, str], name: str | None = None
    ) -> web.Response:
        """Refuse a client whom the program does not want, with the program's message, if it has one."""
        context = {"name": name, "message": message} if name else {"message": message}
        return await self.refuse(request, FORBIDDEN, context, headers, status=403, message=message)


def _advise(request: web.Request, code: int, context: dict[str, Any]) -> None:
    """Log a refusal that a setting would change, and which one."""
    extra = {"address": request.remote}
    name = context.get("name")
    if name == "ORIGIN_NOT_ALLOWED":
        _foreign_page(quote(context["origin"]), quote(request.host), extra=extra)
    elif name == "ORIGIN_REQUIRED":
        _no_origin(extra=extra)
    elif code == UNSUPPORTED_VERSION:
        _old_version(quote(context["protocol"] or "3"), extra=extra)
    elif code == TRANSPORT_UNKNOWN and context.get("transport") in ("polling", "websocket"):
        _other_transport(quote(context["transport"]), extra=extra)
