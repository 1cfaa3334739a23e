"""python-socketio's ``cors_allowed_origins``: which pages may connect to a program that came from there."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ...options import Cors, problem_of_origin
from ..http.origins import OriginPolicy

if TYPE_CHECKING:
    from aiohttp import web

CorsOrigins: TypeAlias = (
    str
    | re.Pattern[str]
    | Sequence[str | re.Pattern[str]]
    | Callable[[str], Any]
    | Callable[[str, dict[str, Any]], Any]
)
"""``"*"``, an origin, a list of them, or a function of the origin, or of the origin and the environ."""


class CorsRules(OriginPolicy):
    """``None``: pages of the server's own host. ``"*"``: all. ``[]``: all, and no CORS headers are sent.

    A string, a list or a function decides alone: pages of the server's own host are not let in unless it says so.
    Behind a proxy, the host may come in ``X-Forwarded-Host``, which no page of another host can set.
    """

    def __init__(
        self,
        allowed: CorsOrigins | None,
        credentials: bool,
        environ: Callable[[web.Request], dict[str, Any]],
    ) -> None:
        self._off = isinstance(allowed, Sequence) and not isinstance(allowed, str) and not allowed
        self._asked: Callable[..., Any] | None = None
        self._with_environ = False
        self._environ = environ
        self._own_host = allowed is None
        if callable(allowed):
            self._asked = allowed
            self._with_environ = _takes_two(allowed)
            super().__init__(Cors(credentials=credentials))
        else:
            super().__init__(Cors(_warned(allowed), credentials))

    def accepts_request(self, request: web.Request) -> bool:
        """Return whether a request may go on."""
        origin = request.headers.get("Origin")
        if not origin or self._off or self._any:
            return True
        if self._asked is not None:
            return bool(self._asked(origin, self._environ(request)) if self._with_environ else self._asked(origin))
        if self._own_host:
            hosts = [request.host]
            forwarded = request.headers.get("X-Forwarded-Host")
            if forwarded is not None:
                hosts.append(forwarded.partition(",")[0].strip())
            return any(not self.is_foreign(origin, host) for host in hosts)
        return any(accept(origin) for accept in self._accepts)

    def headers(self, origin: str | None, host: str) -> dict[str, str]:
        """Make the CORS headers for a request that was accepted."""
        return {} if self._off else super().headers(origin, host)


def _warned(allowed: CorsOrigins | None) -> Any:
    """Return the origins, with a warning for those that no page has; they match letter by letter, as there."""
    if not isinstance(allowed, str | Sequence):
        return allowed
    origins: list[str | re.Pattern[str]] = [allowed] if isinstance(allowed, str) else list(allowed)
    for position, origin in enumerate(origins):
        problem = problem_of_origin(origin)
        if problem is not None and isinstance(origin, str):
            warnings.warn(f"cors_allowed_origins: {problem}", stacklevel=2)
            origins[position] = re.compile(re.escape(origin.rstrip("/")))
    return origins


def _takes_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True
