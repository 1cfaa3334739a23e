"""Signals that end the process: SIGINT (Ctrl-C) and SIGTERM; SIGHUP, if its terminal has gone."""

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


def on_hangup(told: Callable[[], None], closed: Callable[[], None]) -> None:
    """Call ``told`` in the running loop at each SIGHUP; ``closed``, if it comes since the terminal has been closed.

    With ``nohup``, which lets a process ignore SIGHUP, it is ``told`` also then.
    """
    had_terminal = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _has_terminal()

    def handle() -> None:
        (closed if had_terminal and not _has_terminal() else told)()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, handle)


def _has_terminal() -> bool:
    """Return whether there is a terminal that could send signals to this process (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
