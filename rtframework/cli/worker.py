"""What a worker tells its supervisor through a pipe: that it serves, and, from then on, that it is alive."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import signal
from collections.abc import Callable
from typing import Final

from ..workers.processes import ALIVE, SERVING

_INTERVAL: Final = 0.5
"""Seconds between two signs of life."""


class Worker:
    """This process, as one of several workers. ``pipe``: the descriptor of the supervisor's pipe.

    ``drain``: seconds over which it sends its clients away when it is replaced.
    """

    def __init__(self, pipe: int, drain: float) -> None:
        os.set_inheritable(pipe, False)
        os.set_blocking(pipe, False)
        self._pipe = pipe
        self.drain = drain
        faulthandler.enable()  # it is aborted when it hangs

    def serve(self, leave: Callable[[], None]) -> None:
        """Tell that this worker serves, in the running loop. ``leave``: called when it is replaced."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, leave)
        self._write(SERVING)
        self._beat()

    def _beat(self) -> None:
        self._write(ALIVE)
        asyncio.get_running_loop().call_later(_INTERVAL, self._beat)

    def _write(self, what: bytes) -> None:
        with contextlib.suppress(OSError):  # nobody reads: it is full, or the supervisor has gone
            os.write(self._pipe, what)
