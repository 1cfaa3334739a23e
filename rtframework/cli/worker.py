"""One of several workers of a port: its place in the group, and what it tells its supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..adapters.recovering import instead_of_memory
from ..engine.handover import join_workers
from ..exceptions import ClusterUnavailable
from ..workers.backbone import Workers, use
from ..workers.group import join
from ..workers.membership import Membership
from ..workers.processes import ALIVE, SERVING
from .errors import Failure

if TYPE_CHECKING:
    from aiohttp import web

_INTERVAL: Final = 0.5
"""Seconds between two signs of life."""


@contextlib.contextmanager
def needs_sockets(folder: str) -> Iterator[None]:
    """Tell what cannot be made if the disk is full, for example. Raises ``Failure``."""
    try:
        yield
    except OSError as error:
        what = f"the workers need sockets in {folder}, or another folder that TMPDIR names"
        raise Failure(f"{what}: {error.strerror or error}") from None


class Worker:
    """A worker: it is in a group with the others, and tells its supervisor that it serves, and then that it is alive.

    ``pipe``: the descriptor of the supervisor's pipe; ``directory``: that of the group. ``drain``: seconds over which
    it sends its clients away when it is replaced.
    """

    _membership: Membership

    def __init__(self, pipe: int, directory: Path, drain: float) -> None:
        os.set_inheritable(pipe, False)
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self._directory = directory
        self.drain = drain
        faulthandler.enable()  # it is aborted when it hangs

    def take_default(self) -> None:
        """Let servers that name no adapter be one with those of the other workers: before the program is loaded."""
        instead_of_memory.set(Workers)

    async def join(self, on_lost: Callable[[], None]) -> None:
        """Join the group. ``on_lost``: called when the supervisor has gone. Raises ``Failure``."""
        try:
            self._membership = Membership(await join(self._directory, on_lost=on_lost))
        except ClusterUnavailable as error:
            raise Failure(str(error)) from None
        use(self._membership.group)

    def connect(self, app: web.Application) -> None:
        """Let the servers of an application have the other workers as neighbours, before it is served."""
        join_workers(app, self._membership)

    def serve(self, leave: Callable[[], None]) -> None:
        """Take part, and tell so, in the running loop. ``leave``: called when this worker is replaced."""
        with needs_sockets(str(self._directory)):
            self._membership.serve()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, leave)
        self._write(SERVING)
        self._beat()

    def drains(self) -> None:
        """Have the others take new clients, and go on with those that are here."""
        self._membership.drain()

    def stop(self) -> None:
        """Take no connections of the others any more."""
        self._membership.stop()

    async def leave(self) -> None:
        """Leave the group; the last one whose supervisor was killed removes its directory."""
        use(None)
        if not self._membership.group.up:
            shutil.rmtree(self._directory, ignore_errors=True)
        await self._membership.leave()

    def _beat(self) -> None:
        self._write(ALIVE)
        asyncio.get_running_loop().call_later(_INTERVAL, self._beat)

    def _write(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody reads: it is full, or the supervisor has gone
            os.write(self._pipe, what)
