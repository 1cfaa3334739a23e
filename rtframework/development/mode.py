"""Switching development mode on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from ..engine.watchdog import Watchdog
from ..handlers.dependency_plan import time_providers
from ..logs import ThrottledLog, throttle
from ..options import check_timeout
from ..server import on_start
from .emits import EmitWatch
from .events import EventWatch
from .terminal import show_in_terminal
from .unawaited import show_unawaited

if TYPE_CHECKING:
    from ..server import Server

log: Final = logging.getLogger("rtframework.development")

_PERIOD: Final = 2.0
"""Seconds between two lines about the same slow function."""

_watched: WeakSet[Server] = WeakSet()


def develop(*, slow_callback: float = 0.1, slow_provider: float = 1.0, level: int = logging.WARNING) -> None:
    """Switch development mode on, for all servers that start from now on in this process.

    It warns of events, namespaces and emitted events that nobody knows, with the nearest name that is known; of code
    that blocks the event loop, with its file and line; of slow providers of ``Depends``; of coroutines that were not
    awaited. It adds the event and the shape of its payload to what a handler raises. Unless the program has set up
    logging, it shows the log in the terminal, in colour if that is one and ``NO_COLOR`` is not set.

    ``slow_callback``: seconds for which code may block the event loop. ``slow_provider``: seconds that a provider may
    take, waiting included. ``level``: of the log.

    It costs time for each event, and there is no way back in the same process: it is not for production. Without it,
    nothing is spent on it.

    Example::

        if __name__ == "__main__":
            develop()
            web.run_app(app)
    """
    check_timeout("slow_callback", slow_callback)
    check_timeout("slow_provider", slow_provider)
    Watchdog.threshold = slow_callback
    Watchdog.period = _PERIOD
    lines: dict[str, ThrottledLog] = {}

    def tell(name: str, took: float) -> None:
        if took >= slow_provider:
            if name not in lines:
                lines[name] = ThrottledLog(log, logging.WARNING, "the provider %s took %.2f s", period=_PERIOD)
            lines[name](name, took, extra={})

    time_providers(tell)
    show_unawaited()
    if show_in_terminal(level):
        throttle(0.0)  # the terminal leaves out what is repeated
    on_start.set(watch)


def watch(server: Server) -> None:
    """Watch the events of a server, those that come and those that it emits."""
    if server in _watched:  # it has been started before
        return
    _watched.add(server)
    server.observe(EventWatch())
    if server._host.auditor is None:  # strict_emits raises
        server._host.audit(EmitWatch(server.serializer))
