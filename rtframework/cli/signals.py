"""Signals that end the process: SIGINT (Ctrl-C) and SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any


def on_end(told: Callable[[], None], at_once: Callable[[], None] | None = None) -> None:
    """Call a function in the running loop at the first SIGINT or SIGTERM; the second SIGINT ends the process at once.

    ``at_once``: called just before, and not in the loop. Without ``loop.add_signal_handler``, with which Ctrl-C could
    not end a program that blocks the loop.
    """
    loop = asyncio.get_running_loop()
    ending = False

    def handle(number: int, frame: Any) -> None:
        nonlocal ending
        if not ending:
            ending = True
            loop.call_soon_threadsafe(told)
        elif number == signal.SIGINT:
            if at_once is not None:
                at_once()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
