"""What a server hears of its cluster: the others can be reached or not, packets of theirs may have been missed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from ..logs import ThrottledLog

log: Final = logging.getLogger("rtframework.cluster")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a listener of the cluster's events")
_gap: Final = ThrottledLog(
    log,
    logging.ERROR,
    "packets of other servers may be missing in %s: clients that can recover are closed and start anew",
)

ClusterEvent: TypeAlias = Literal["up", "down", "gap"]

ClusterListener: TypeAlias = Callable[..., Any]
"""Called with ``("up",)``, ``("down",)`` or ``("gap", namespace, since)``; plain, and quick."""


class ClusterEvents:
    """The events of one server's cluster, for the log and for listeners. Adapters report, in any namespace."""

    __slots__ = ("_listeners", "_up")

    def __init__(self) -> None:
        self._listeners: list[ClusterListener] = []
        self._up: bool | None = None
        """``None`` until an adapter has said so."""

    def hear(self, listener: ClusterListener) -> None:
        """Call a function for each event from now on."""
        self._listeners.append(listener)

    def reset(self) -> None:
        """Forget the state: the server has stopped."""
        self._up = None

    def state(self, up: bool) -> None:
        """Note that the others can be reached or not. Each change is told once; that all is well at first is not."""
        before, self._up = self._up, up
        if up == before or (up and before is None):
            return
        if up:
            log.info("the other servers of the cluster can be reached again")
        else:
            log.warning("the other servers of the cluster cannot be reached")
        self._tell("up" if up else "down")

    def gap(self, nsp: str, since: float) -> None:
        """Note that packets to a namespace may have been missed since a time, in seconds since the epoch."""
        _gap(nsp, key=nsp, extra={"nsp": nsp, "since": since})
        self._tell("gap", nsp, since)

    def _tell(self, event: ClusterEvent, *args: Any) -> None:
        for listener in self._listeners.copy():
            try:
                listener(event, *args)
            except Exception as error:  # noqa: BLE001 - logged
                _failed(error=error, extra={"event": event})
