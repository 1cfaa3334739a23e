"""Refused requests: Node's error codes and messages, which tools and people know."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

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


def error_response(
    code: int, status: int = 400, headers: dict[str, str] | None = None, message: str | None = None
) -> web.Response:
    """Make the response that tells a client why its request is refused."""
    body: dict[str, Any] = {"code": code, "message": message or MESSAGES[code]}
    return web.json_response(body, status=status, headers=headers)
