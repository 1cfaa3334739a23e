"""A thread that names the code that blocks the event loop.

The loop pays nothing for it. The thread looks at the loop's stack a few times a second. Only if some code runs at that
moment does it ask the loop to call back. Without an answer it looks again and again until the code has ended. So it
names any code, not only handlers, and the line at which the code was stuck.

Code that holds the GIL all the while, such as a long regular expression, keeps the thread from looking. The code that
it sees first afterwards is named then.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Final

from ..logs import ThrottledLog, is_of_program, place_of, shorten

log: Final = logging.getLogger("rtframework.engine")

Describe = Callable[[], Mapping[CodeType, str]]
"""Returns what the functions of a program are for, by their code; called in the thread, when something blocks."""

_LOOKS: Final = 12
"""Looks at the loop within the threshold."""
_LEAST_PAUSE: Final = 0.02
"""Seconds between two looks, at least."""
_LATE: Final = 4
"""Pauses for which the process works without a look if something holds the GIL."""
_STILL: Final = 10.0
"""Seconds after which a block that has not ended is told of."""


class Watchdog:
    """Warns of code of one server, or of others in the same event loop, that blocks the loop."""

    threshold: float = 2.5
    """Seconds that the looks must have seen code block the loop; development mode wants less.

    They miss up to one pause before the first look and one after the last, so every block of 3 seconds is told of.
    """
    period: float = 60.0
    """Seconds between two warnings about the same function."""

    def __init__(self) -> None:
        self.describe: Describe = dict
        self._thread: _Thread | None = None

    def start(self) -> None:
        """Begin to watch the running loop; one thread serves all servers of a loop."""
        self.stop()  # it may have served another application, in another loop
        loop = asyncio.get_running_loop()
        thread = _threads.get(loop)
        if thread is None:
            thread = _threads[loop] = _Thread(loop, self.threshold, self.period)
            thread.start()
        thread.watchdogs = (*thread.watchdogs, self)
        self._thread = thread

    def stop(self) -> None:
        """Stop watching; the thread ends with the last server of its loop."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.watchdogs = tuple(each for each in thread.watchdogs if each is not self)
            if not thread.watchdogs:
                thread.end()


class _Thread(threading.Thread):
    """Watches one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, threshold: float, period: float) -> None:
        super().__init__(name="rtframework-watchdog", daemon=True)
        self.watchdogs: tuple[Watchdog, ...] = ()
        self._loop = loop
        self._threshold = threshold
        self._period = period
        self._pause = max(threshold / _LOOKS, _LEAST_PAUSE)
        self._ended = threading.Event()
        self._loop_thread = threading.get_ident()
        self._outside: frozenset[CodeType] = frozenset()
        """The code that runs the loop, and does not run in it."""
        self._logs: dict[str, ThrottledLog] = {}
        loop.call_soon(self._look_outside)

    def run(self) -> None:
        """Look at the loop until the last server has stopped, or the loop is closed."""
        before, worked = time.monotonic(), time.process_time()
        while not self._ended.wait(self._pause) and not self._loop.is_closed():
            self._look(before, worked)
            before, worked = time.monotonic(), time.process_time()
        self.end()

    def end(self) -> None:
        """Let the thread end, soon; called by the loop's thread, and by this one itself when it ends."""
        self._ended.set()
        with _ending:
            if _threads.get(self._loop) is self:
                del _threads[self._loop]

    def _look(self, before: float, worked: float) -> None:
        """Look at the loop once, or again and again while it is blocked.

        ``before``: the time of the last look. ``worked``: the process's seconds on a CPU until then.
        """
        stack, now = self._stack(), time.monotonic()
        if not stack:
            return
        beat = _Beat()
        try:
            self._loop.call_soon_threadsafe(beat)
        except RuntimeError:  # it is closed
            return
        # If the process has worked for long without a look, something has held the GIL, probably what is seen now. A
        # process that was stopped, or had to wait for a CPU, has not worked.
        held = time.process_time() - worked
        since = max(before, now - held) if held > _LATE * self._pause else now
        if beat.wait(self._pause) and since == now:
            return
        roles = self._roles()
        seen: _Seen | None = None
        while self._loop.is_running() and not self._ended.is_set():
            frame = _culprit(stack, roles)
            if seen is not None and frame is not seen.frame:
                self._judge(seen, roles, now)
                seen = None
            if seen is None and frame is not None:
                seen = _Seen(frame, _site(stack, frame), since)
            if seen is not None:
                seen.last = now
                if now - seen.since > _STILL and not seen.told:
                    seen.told = True
                    text = "has blocked the event loop for %.2f s%s, and still does"
                    self._tell(seen, roles, now - seen.since, text)
            if beat.wait(self._pause):
                break
            stack, now = self._stack(), time.monotonic()
            since = now
        if seen is not None and beat.at is not None:
            self._judge(seen, roles, min(beat.at, now + self._pause))

    def _judge(self, seen: _Seen, roles: Mapping[CodeType, str], end: float) -> None:
        """Tell of code that has run until about this time, if that was too long."""
        # Only the looks that have seen it are proof: many short calls of a function are no long one.
        if seen.last - seen.since + self._pause >= self._threshold:
            self._tell(seen, roles, end - seen.since + self._pause / 2, "blocked the event loop for %.2f s%s")

    def _tell(self, seen: _Seen, roles: Mapping[CodeType, str], took: float, text: str) -> None:
        code = seen.frame.f_code
        who = roles.get(code) or f"{code.co_qualname} ({place_of(code)})"
        line = self._logs.get(who)
        if line is None:
            name = who.replace("%", "%%")
            line = self._logs[who] = ThrottledLog(
                log, logging.WARNING, f"{name} {text}: move the work to asyncio.to_thread", period=self._period
            )
        line(took, seen.site, extra={})

    def _stack(self) -> list[FrameType]:
        """Return the frames of what runs in the loop, the innermost first; none while the loop waits."""
        frame = sys._current_frames().get(self._loop_thread)
        if frame is None or not self._outside or frame.f_code.co_filename == selectors.__file__:
            return []
        return list(_inside(frame, self._outside))

    def _roles(self) -> dict[CodeType, str]:
        roles: dict[CodeType, str] = {}
        for each in self.watchdogs:
            try:
                roles.update(each.describe())
            except RuntimeError:  # a dictionary has changed meanwhile: what blocked the loop does so no longer
                continue
        return roles

    def _look_outside(self) -> None:
        """Remember the functions around the loop; called by the loop."""
        frame = sys._getframe().f_back
        codes = set()
        while frame is not None:
            codes.add(frame.f_code)
            frame = frame.f_back
        self._outside = frozenset(codes)


class _Beat(threading.Event):
    """Is called by the loop when it gets to it."""

    at: float | None = None

    def __call__(self) -> None:
        self.at = time.monotonic()
        self.set()


class _Seen:
    """One run of a function, and when it was first seen. Two looks at one frame are two looks at the same run."""

    __slots__ = ("frame", "last", "since", "site", "told")

    def __init__(self, frame: FrameType, site: str, since: float) -> None:
        self.frame = frame
        self.site = site
        self.since = self.last = since
        self.told = False


_threads: Final[dict[asyncio.AbstractEventLoop, _Thread]] = {}
_ending: Final = threading.Lock()


def _inside(frame: FrameType | None, outside: frozenset[CodeType]) -> Iterator[FrameType]:
    while frame is not None and frame.f_code not in outside:
        yield frame
        frame = frame.f_back


def _culprit(stack: list[FrameType], roles: Mapping[CodeType, str]) -> FrameType | None:
    """Return the run of a function to blame: of the innermost handler, or of the outermost code of the program."""
    for frame in stack:
        if frame.f_code in roles:
            return frame
    for frame in reversed(stack):
        if is_of_program(frame.f_code):
            return frame
    return stack[-1] if stack else None


def _site(stack: list[FrameType], culprit: FrameType) -> str:
    """Say which line of the program is being executed."""
    for frame in stack:
        if frame is culprit or is_of_program(frame.f_code):
            return f" at {shorten(frame.f_code.co_filename)}:{frame.f_lineno}"
    return ""
