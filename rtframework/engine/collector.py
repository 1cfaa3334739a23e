"""Python's cyclic garbage collector: kept from what lives long, so that clients do not wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from .connection_table import ConnectionTable

_OBJECTS_PER_CLIENT: Final = 40
"""Objects that the collector knows, of a client; when there are many more, they may be garbage."""
_FEW: Final = 100_000
"""Objects by which what is frozen may grow in any case."""
_FULL_AFTER: Final = 1
"""Collections of the second generation before one of all: it is of some 15,000 objects, and takes 5 ms."""
_PER_COUNT: Final = 8
"""Full collections between two counts of what is frozen, which take some milliseconds, too."""

tables: Final[WeakSet[ConnectionTable]] = WeakSet()
"""The connections of all servers of the process that have started: the collector is the process's, too."""


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """Collect nothing in a ``with`` block: so much is made in it that the collector would run again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def tune_gc(app: web.Application) -> None:
    """Have Python's garbage collector leave long-lived objects alone while an application runs.

    By itself, it looks through all objects of the process again and again while clients connect: with 10,000 clients,
    everybody waits for 0.1 s each time. What survives is frozen instead (``gc.freeze``), at the start and after each
    full collection, which looks at what has come since. Cycles that become garbage later are not lost: when what is
    frozen has doubled for no more clients, all is looked through once.

    This is a setting of the whole process, so a server does not make it by itself; ``rtframework run`` does. What the
    program has disabled stays so. Needs an application that has not started.

    Example::

        io.attach(app)
        tune_gc(app)
    """
    app.on_startup.append(_start)
    app.on_cleanup.append(_stop)


class Collector:
    """Freezes what survives a full collection, as long as one application or more want it."""

    def __init__(self) -> None:
        self.users = 0
        """Applications that want it."""
        self.frozen = 0
        """Objects that were frozen after everything was looked through."""
        self._clients = 0
        self._collections = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asked = False
        self._thresholds = gc.get_threshold()

    def start(self) -> None:
        """Freeze what is there, and go on with it. Has to be called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._asked = False
        self.users += 1
        if self.users == 1:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(*self._thresholds[:2], min(_FULL_AFTER, self._thresholds[2]))
            gc.callbacks.append(self._collected)
        self.look_through()

    def stop(self) -> None:
        """Leave the collector as it was found, when nobody wants it any more."""
        self.users -= 1
        if not self.users:
            gc.callbacks.remove(self._collected)
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def look_through(self) -> None:
        """Collect all garbage there is, also of what was frozen, and freeze the rest."""
        self._asked = False
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        gc.collect()  # of nothing: Python compares what is new with what the last collection has left
        self.frozen = gc.get_freeze_count()
        self._clients = clients()

    def _collected(self, phase: str, info: dict[str, Any]) -> None:
        """Hear of a collection, in whichever thread it runs."""
        if phase != "stop" or info["generation"] != 2:
            return
        gc.freeze()
        self._collections += 1
        if self._asked or self._loop is None or self._collections % _PER_COUNT:
            return
        more = max(0, clients() - self._clients) * _OBJECTS_PER_CLIENT
        if gc.get_freeze_count() > 2 * (self.frozen + more) + _FEW:
            self._asked = True
            with contextlib.suppress(RuntimeError):  # the event loop has ended
                self._loop.call_soon_threadsafe(self._look_through_again)

    def _look_through_again(self) -> None:
        if self.users:
            self.look_through()


collector: Final = Collector()
"""The collector of the process."""


def clients() -> int:
    """Count the connections of all servers of the process."""
    return sum(len(table.by_sid) for table in list(tables))


async def _start(app: web.Application) -> None:
    collector.start()


async def _stop(app: web.Application) -> None:
    collector.stop()
