"""A warning for programs that look at the sockets of one of several workers, as if these were all."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..logs import is_of_program, shorten

if TYPE_CHECKING:
    from types import FrameType

log: Final = logging.getLogger("rtframework.server")

_PROPERTIES: Final = ("rtframework.namespaces.", "rtframework.server")
"""Modules that a program asks; others of the framework look at sockets for reasons of their own."""

_are_partial: Callable[[], bool] | None = None
_told = False


def warn_while(are_partial: Callable[[], bool] | None) -> None:
    """Warn once of a program that looks at the sockets of this process while others serve the same port."""
    global _are_partial, _told
    _are_partial, _told = are_partial, False


def looked_at(what: str, nsp: str) -> None:
    """Hear that the sockets of this process are looked at: by the program, or by the framework itself."""
    global _told
    if _are_partial is None or _told or not _are_partial():
        return
    frame = sys._getframe(1)
    while frame.f_back is not None and _module_of(frame).startswith(_PROPERTIES):
        frame = frame.f_back
    if is_of_program(frame.f_code) and not _module_of(frame).startswith("rtframework"):
        _told = True
        log.warning(
            "%s:%d looks at %s: that are the clients of this worker alone; await fetch_sockets() has those of all, see "
            "docs/workers.md",
            shorten(frame.f_code.co_filename),
            frame.f_lineno,
            what,
            extra={"nsp": nsp},
        )


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
