"""Work that a server does for others, in the background, until it stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Final

from rtframework.concurrency import is_cancelled
from rtframework.logs import ThrottledLog

log: Final = logging.getLogger("rtframework.cluster")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in what another server has asked for")


class Background:
    """Tasks whose results nobody awaits."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def spawn(self, work: Awaitable[Any]) -> None:
        """Run something. Its error is logged."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def stop(self) -> None:
        """Cancel everything that still runs, and wait until it has ended."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not is_cancelled(error):
            _failed(error=error)
