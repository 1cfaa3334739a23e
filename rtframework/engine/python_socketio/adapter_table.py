"""The adapters of a python-socketio program, one for each namespace, and their life with the application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, TypeGuard

from ...adapters.checking import check_adapter
from ...concurrency import TaskSet, is_cancelled
from ...types import Health

if TYPE_CHECKING:
    from ...protocols import Adapter, AdapterFactory, Backbone, Emitter

log: Final = logging.getLogger("rtframework.cluster")

_IDLE: Final = 60.0
"""Seconds after which the adapter of a namespace is closed that clients have made and left."""


class AdapterTable:
    """Makes the adapter of each namespace, starts and closes it; a ``Backbone`` is started before and stopped after.

    ``make_emitter``: makes the emitter of a namespace.
    """

    def __init__(self, factory: AdapterFactory, make_emitter: Callable[[str], Emitter]) -> None:
        self._factory = factory
        self._make_emitter = make_emitter
        self.adapters: dict[str, Adapter] = {}
        """By namespace; those that are being started are not among them."""
        self._opening: dict[str, asyncio.Task[Adapter]] = {}
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._tasks = TaskSet()
        self._turn = asyncio.Lock()
        self._started = False

    @property
    def backbone(self) -> Backbone | None:
        """The factory, if it is to be started and stopped."""
        return self._factory if _is_backbone(self._factory) else None

    @property
    def health(self) -> Health:
        """The state of the connection to the other servers."""
        return Health(True) if self.backbone is None else self.backbone.health

    # --- one adapter --------------------------------------------------------------------------------------------------

    def make(self, nsp: str) -> Adapter:
        """Return the adapter of a namespace, which :meth:`start` starts. Raises ``ConfigurationError``."""
        adapter = self.adapters.get(nsp)
        if adapter is None:
            adapter = self._made(nsp)
            self.adapters[nsp] = adapter
        return adapter

    def _made(self, nsp: str) -> Adapter:
        adapter = self._factory(nsp, self._make_emitter(nsp))
        check_adapter(adapter)
        return adapter

    async def open(self, nsp: str) -> Adapter:
        """Return the adapter of a namespace; make and start it if need be. Raises what its ``start`` raises."""
        self._keep(nsp)
        adapter = self.adapters.get(nsp)
        if adapter is not None or not self._started:
            return self.make(nsp) if adapter is None else adapter
        opening = self._opening.get(nsp)
        if opening is None:
            opening = self._opening[nsp] = self._tasks.spawn(self._open(nsp))
            opening.add_done_callback(lambda _: self._opening.pop(nsp, None))
        return await asyncio.shield(opening)

    async def _open(self, nsp: str) -> Adapter:
        closing = self._closing.get(nsp)
        if closing is not None:
            await asyncio.wait([closing])
        adapter = self._made(nsp)
        try:
            await adapter.start()
        except BaseException:
            await _close(nsp, adapter)
            raise
        self.adapters[nsp] = adapter
        return adapter

    def leave(self, nsp: str, is_used: Callable[[], bool]) -> None:
        """Close the adapter of a namespace that nobody is in any more, later, unless it is used then."""
        if self._started and nsp not in self._timers:
            loop = asyncio.get_running_loop()
            self._timers[nsp] = loop.call_later(_IDLE, self._close_idle, nsp, is_used)

    def _keep(self, nsp: str) -> None:
        timer = self._timers.pop(nsp, None)
        if timer is not None:
            timer.cancel()

    def _close_idle(self, nsp: str, is_used: Callable[[], bool]) -> None:
        self._timers.pop(nsp, None)
        if is_used():
            self.leave(nsp, is_used)
            return
        adapter = self.adapters.pop(nsp, None)
        if adapter is not None:
            self._closing[nsp] = closing = self._tasks.spawn(_close(nsp, adapter))
            closing.add_done_callback(lambda _: self._closing.pop(nsp, None))

    # --- all of them --------------------------------------------------------------------------------------------------

    async def start(self, namespaces: Iterable[str]) -> None:
        """Start the backbone, then the adapters of these namespaces. If one fails, close all and raise its error."""
        async with self._turn:
            if self._started:
                return
            for nsp in namespaces:
                self.make(nsp)
            try:
                if self.backbone is not None:
                    await self.backbone.start()
                self._started = True
                for adapter in list(self.adapters.values()):
                    await adapter.start()
            except BaseException:
                await self._close_all()
                raise

    async def stop(self) -> None:
        """Close all adapters, then stop the backbone. What fails is logged, and the rest is closed all the same."""
        async with self._turn:
            if self._started:
                await self._close_all()

    async def _close_all(self) -> None:
        self._started = False
        for nsp in list(self._timers):
            self._keep(nsp)
        for opening in self._opening.values():
            opening.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for nsp, adapter in list(self.adapters.items()):
            await _close(nsp, adapter)
        if self.backbone is not None:
            try:
                await self.backbone.stop()
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled(error):
                    raise
                log.exception("the backbone failed to stop")


async def _close(nsp: str, adapter: Adapter) -> None:
    try:
        await adapter.close()
    except (Exception, asyncio.CancelledError) as error:  # the others are to be closed all the same
        if is_cancelled(error):
            raise
        log.exception("an adapter failed to close", extra={"nsp": nsp})


def _is_backbone(factory: object) -> TypeGuard[Backbone]:
    return not isinstance(factory, type) and hasattr(factory, "node") and hasattr(factory, "health")
