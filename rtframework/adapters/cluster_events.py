"""What a server hears of its cluster: the others can be reached or not, packets are missing, emits were lost."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from ..concurrency import TaskSet, is_cancelled
from ..exceptions import ConfigurationError
from ..logs import ThrottledLog, quote, show_event
from ..types import ClusterDown, ClusterGap, ClusterLoss, ClusterUp

if TYPE_CHECKING:
    from ..types import Packet, Target

log: Final = logging.getLogger("rtframework.cluster")

_failed: Final = ThrottledLog(log, logging.ERROR, "unhandled error in a listener of the cluster's events")
_gap: Final = ThrottledLog(
    log,
    logging.ERROR,
    "packets of other servers may be missing in %s%s: clients that can recover are closed and start anew",
)
_lost: Final = ThrottledLog(log, logging.WARNING, "an emit of %s in %s has not reached the other servers")
_uncertain: Final = ThrottledLog(log, logging.WARNING, "an emit of %s in %s may not have reached the other servers")

ClusterEvent: TypeAlias = Literal["up", "down", "gap", "lost"]
EVENTS: Final = ("up", "down", "gap", "lost")

ClusterListener: TypeAlias = Callable[..., Any]
"""Called with ``("up",)``, ``("down",)`` or, for each namespace of a gap, ``("gap", namespace, since)``; plain, and
quick."""


class ClusterEvents:
    """The events of one server's cluster, for the log, for listeners and for the program. Adapters report.

    ``reason``: returns the reason why the other servers cannot be reached, in words.
    """

    __slots__ = (
        "_functions",
        "_gap_since",
        "_gap_spaces",
        "_listeners",
        "_reason",
        "_tasks",
        "_up",
        "down_at",
        "gaps",
        "lost",
    )

    def __init__(self, reason: Callable[[], str] = str) -> None:
        self._listeners: list[ClusterListener] = []
        self._functions: dict[str, tuple[Callable[..., Any], ...]] = dict.fromkeys(EVENTS, ())
        self._reason = reason
        self._up: bool | None = None
        """``None`` until an adapter has said so."""
        self._tasks = TaskSet()
        self._gap_spaces: dict[str, None] = {}
        """Namespaces of a gap that is being told, which all of them tell in one turn of the event loop."""
        self._gap_since = 0.0
        self.down_at: float | None = None
        """Time, by ``time.monotonic()``, since when the others cannot be reached; ``None`` while they can."""
        self.gaps = 0
        """Gaps so far. What several namespaces tell together is one."""
        self.lost = 0
        """Emits so far that the other servers did not get."""

    # --- listeners --------------------------------------------------------------------------------------------------

    def hear(self, listener: ClusterListener) -> None:
        """Call a function of the framework's for each event from now on."""
        self._listeners.append(listener)

    def on(self, event: str, function: Callable[..., Any]) -> None:
        """Call a function of the program, ``async`` or not. Raises ``ConfigurationError`` for an unknown event."""
        _check(event)
        try:
            inspect.signature(function).bind(object())
        except TypeError as error:
            raise ConfigurationError(f"a listener of the cluster's {event!r} must take one argument: {error}") from None
        except ValueError:
            pass  # a builtin without a signature
        self._functions[event] = (*self._functions[event], function)

    def off(self, event: str, function: Callable[..., Any] | None) -> None:
        """Remove a function, or all of an event; does nothing if it was not registered."""
        _check(event)
        kept = () if function is None else tuple(each for each in self._functions[event] if each != function)
        self._functions[event] = kept

    # --- what adapters report -----------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget the state: the server has stopped."""
        self._up = self.down_at = None

    def state(self, up: bool) -> None:
        """Note that the others can be reached or not. Each change is told once; that all is well at first is not."""
        before, self._up = self._up, up
        if up == before:
            return
        since, self.down_at = self.down_at, None if up else time.monotonic()
        if up and before is None:
            return
        if up:
            log.info("the other servers of the cluster can be reached again")
            self._tell("up")
            self._call("up", ClusterUp(0.0 if since is None else time.monotonic() - since))
        else:
            log.warning("the other servers of the cluster cannot be reached")
            self._tell("down")
            self._call("down", ClusterDown(self._reason()))

    def gap(self, nsp: str, since: float) -> None:
        """Note that packets to a namespace may have been missed since a time, in seconds since the epoch.

        Listeners of the framework's hear each namespace at once. The log and the program hear of all namespaces that
        are told in one turn of the event loop together: a server may have tens of thousands.
        """
        self._tell("gap", nsp, since)
        if not self._gap_spaces:
            self.gaps += 1
            self._gap_since = since
            asyncio.get_running_loop().call_soon(self._tell_gap)
        self._gap_since = min(self._gap_since, since)
        self._gap_spaces[nsp] = None

    def loss(self, nsp: str, packet: Packet, target: Target, error: Exception) -> None:
        """Note that the other servers do not get an event."""
        self.lost += 1
        name, *args = packet.data
        tell = _uncertain if getattr(error, "uncertain", False) else _lost
        tell(quote(name), nsp, key=nsp, extra={"nsp": nsp, "event": show_event(name)})
        self._call("lost", ClusterLoss(nsp, name, tuple(args), target, getattr(error, "local", False), error))

    async def close(self, timeout: float) -> None:
        """Wait for listeners that still run, for a bounded time, and cancel those that are left."""
        await self._tasks.wait(timeout)
        await self._tasks.cancel()

    def _tell_gap(self) -> None:
        spaces, self._gap_spaces = tuple(self._gap_spaces), {}
        since, more = self._gap_since, len(spaces) - 1
        others = f" and {more} more namespace{'s' if more > 1 else ''}" if more else ""
        _gap(spaces[0], others, key=spaces[0], extra={"nsp": spaces[0], "since": since})
        self._call("gap", ClusterGap(spaces, since))

    def _tell(self, event: ClusterEvent, *args: Any) -> None:
        for listener in self._listeners.copy():
            try:
                listener(event, *args)
            except Exception as error:  # noqa: BLE001 - logged
                _failed(error=error, extra={"event": event})

    def _call(self, event: ClusterEvent, payload: Any) -> None:
        for function in self._functions[event]:
            try:
                waiting = function(payload)
            except Exception as error:  # noqa: BLE001 - logged
                _failed(error=error, extra={"event": event})
            else:
                if inspect.isawaitable(waiting):
                    self._tasks.spawn(_wait(event, waiting))


async def _wait(event: str, waiting: Awaitable[Any]) -> None:
    try:
        await waiting
    except (Exception, asyncio.CancelledError) as error:
        if is_cancelled(error):
            raise
        _failed(error=error, extra={"event": event})


def _check(event: str) -> None:
    if event not in EVENTS:
        raise ConfigurationError(f"the cluster has the events {', '.join(map(repr, EVENTS))}, not {event!r}")
