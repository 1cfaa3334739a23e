"""Pages that may connect: the ``Origin`` check, the same for polling and websocket, and the CORS headers."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from ...exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from ...options import Cors


class OriginPolicy:
    """Decides on origins; see ``rtframework.options.Origins``.

    Browsers apply CORS to polling only: a websocket from any page is let through by them, with cookies. So the check
    is the server's, on every request.
    """

    def __init__(self, cors: Cors) -> None:
        allowed = cors.allowed_origins
        self._for_foreign = {"Vary": "Origin"}
        if cors.credentials:
            self._for_foreign["Access-Control-Allow-Credentials"] = "true"
        if cors.exposed_headers:
            self._for_foreign["Access-Control-Expose-Headers"] = ", ".join(cors.exposed_headers)
        self._for_preflight = {"Access-Control-Allow-Methods": ", ".join(cors.methods)}
        if cors.max_age is not None:
            self._for_preflight["Access-Control-Max-Age"] = str(cors.max_age)
        self._reflects = cors.allowed_headers is None
        if cors.allowed_headers:
            self._for_preflight["Access-Control-Allow-Headers"] = ", ".join(cors.allowed_headers)
        self._any = False
        self._accepts: list[Callable[[str], bool]] = []
        if allowed is None:
            return
        if callable(allowed):
            self._accepts.append(allowed)
            return
        for each in [allowed] if isinstance(allowed, str | re.Pattern) else allowed:
            if isinstance(each, re.Pattern):
                self._accepts.append(_matcher(each))
            elif isinstance(each, str):
                self._any = self._any or each == "*"
                # "file://", of pages in Electron or Cordova, is whole; a slash at the end of others is a slip.
                self._accepts.append((each if each.endswith("://") else each.rstrip("/")).__eq__)
            else:
                raise ConfigurationError(f"cors_allowed_origins: {each!r} is neither a string nor a pattern")

    def is_foreign(self, origin: str | None, host: str) -> bool:
        """Return whether a request comes from a page of another host."""
        return origin is not None and not _same_host(origin, host)

    def accepts(self, origin: str | None, host: str) -> bool:
        """Return whether a request with this ``Origin`` and ``Host`` may go on."""
        if self._any or not self.is_foreign(origin, host):
            return True
        return origin is not None and any(accept(origin) for accept in self._accepts)

    def accepts_request(self, request: web.Request) -> bool:
        """Return whether a request may go on, by the page that it comes from."""
        return self.accepts(request.headers.get("Origin"), request.host)

    def headers(self, origin: str | None, host: str) -> dict[str, str]:
        """Make the CORS headers for a request that was accepted."""
        if origin is None or not self.is_foreign(origin, host):
            return {}
        return {"Access-Control-Allow-Origin": origin, **self._for_foreign}

    def preflight(self, wanted: str | None) -> dict[str, str]:
        """Make more headers for the answer to a preflight request; ``wanted``: headers that the page wants to send."""
        if self._reflects and wanted is not None:
            return {**self._for_preflight, "Access-Control-Allow-Headers": wanted}
        return self._for_preflight


def _matcher(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda origin: pattern.fullmatch(origin) is not None


_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}


@lru_cache(maxsize=1024)  # of what clients send: not for ever, and not without bound
def _same_host(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
        # Behind a proxy that speaks TLS the server's own scheme is not that of the page: the page's decides.
        # Native clients name the scheme of the websocket.
        default = _PORTS.get(parts.scheme)
        if default is None or parts.hostname is None:
            return False
        here = urlsplit(f"//{host}")
        return parts.hostname == here.hostname and (parts.port or default) == (here.port or default)
    except ValueError:
        return False
