"""Limits on the heads of requests, for all that an application serves.

aiohttp allows a URL or a header of 8 KB, a whole head of 1 MB, and as long as a client likes for it. Browsers send
larger cookies, and Node's server takes 16 KB.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from ...options import Limits
from ..handover import neighbours_of
from .direct import open_routes
from .protocol import HttpServer
from .routed import RoutedServer

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

KEEP_ALIVE: Final = 75.0
"""Seconds that a connection may be idle, unless the program passes ``keepalive_timeout``: as for ``web.run_app``."""


@dataclass
class _HeadLimits:
    """Bytes of a URL or a header, and seconds for a whole head."""

    size: int
    timeout: float


_LIMITS: Final = web.AppKey("rtframework_head_limits", _HeadLimits)


def limit_heads(app: web.Application, limits: Limits | None = None) -> None:
    """Limit the heads of requests for an application, however it is run, and close idle connections.

    ``Server.attach`` does so. For a server in a sub-application, call this with the outer application, which is the one
    that is run. Of several servers in an application, the largest limits count. What the program passes to
    ``web.run_app`` or ``web.AppRunner`` (``max_line_size``, ``max_field_size``, ``keepalive_timeout``) has precedence.

    Example::

        site = web.Application()
        limit_heads(site)
    """
    found = app.get(_LIMITS)
    if found is not None:
        if limits is not None:
            found.size = max(found.size, limits.max_head_size)
            found.timeout = max(found.timeout, limits.head_timeout)
        return
    limits = limits or Limits()
    app[_LIMITS] = _HeadLimits(limits.max_head_size, limits.head_timeout)
    # An application has no setting for the class that speaks HTTP, and its runners no other place to ask for one.
    vars(app)["_make_handler"] = partial(_make_server, app, app._make_handler)


def _make_server(
    app: web.Application, make: Callable[..., web.Server], *, loop: AbstractEventLoop | None = None, **kwargs: Any
) -> web.Server:
    """Make what runners serve an application with."""
    limits = app[_LIMITS]
    kwargs.setdefault("keepalive_timeout", KEEP_ALIVE)
    kwargs.setdefault("max_line_size", limits.size)
    kwargs.setdefault("max_field_size", limits.size)
    server, routes = make(loop=loop, **kwargs), open_routes(app)  # make() has frozen it
    found = neighbours_of(app)
    if found is None:
        return HttpServer(server, limits.timeout, routes)
    neighbours, paths = found
    return RoutedServer(server, limits.timeout, routes, neighbours, paths)
