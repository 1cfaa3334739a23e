"""Being told to end: by Ctrl-C, or by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any


def on_end(told: Callable[[], None]) -> None:
    """Call a function in the running loop at the first SIGINT or SIGTERM; the second SIGINT ends the process at once.

    Not by ``loop.add_signal_handler``: a program that blocks the loop could not be ended by Ctrl-C at all.
    """
    loop = asyncio.get_running_loop()
    ending = False

    def handle(number: int, frame: Any) -> None:
        nonlocal ending
        if not ending:
            ending = True
            loop.call_soon_threadsafe(told)
        elif number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
