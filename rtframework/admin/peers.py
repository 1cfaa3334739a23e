"""The Admin UI's namespaces of the other servers of a cluster: a page shows all of them, whichever it is connected to.

A server that has a page tells the others, again and again, that it watches. The others then send it what they would
show to pages of their own, some events together: so nothing is sent while no page is open, and no event of the UI is an
event of the cluster by itself, nor kept for clients that come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from ..exceptions import AckTimeout, ClusterUnavailable, EncodeError
from ..logs import ThrottledLog
from ..types import AckResponses

log: Final = logging.getLogger("rtframework.admin")

_left_out: Final = ThrottledLog(
    log, logging.WARNING, "pages of the Admin UI on other servers are not shown %d events of this one"
)

EVENT: Final = "rtframework:admin"
"""The event for servers by which these namespaces talk."""
_RENEW: Final = 2
"""Ticks of the statistics between two words that this server watches."""
_PATIENCE: Final = 6
"""Ticks after which a server that has said nothing more watches no longer."""
_TOGETHER: Final = 0.1
"""Seconds for which events are collected before they are sent."""
_MOST: Final = 500
"""Events that are sent together; more are left out."""
ANSWER: Final = 1.0
"""Seconds for the answers of the other servers; Node's do not answer."""


class Namespace(Protocol):
    """The Admin UI's namespace, as its peers need it."""

    async def server_side_emit(self, event: str, *args: Any) -> None:
        """Emit to the namespace on the other servers."""

    async def server_side_emit_with_ack(self, event: str, *args: Any, timeout: float) -> AckResponses:
        """Emit to the namespace on the other servers, and collect their answers."""

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something in the background."""


class Peers:
    """What this server tells the others, and knows of them.

    ``name``: returns the name of this server in the cluster, ``None`` if there is none.
    """

    __slots__ = ("_events", "_more", "_name", "_namespace", "_sending", "_ticks", "_watchers")

    def __init__(self, namespace: Namespace, name: Callable[[], str | None]) -> None:
        self._namespace = namespace
        self._name = name
        self._watchers: dict[str, tuple[int, bool]] = {}
        """By name: the ticks for which a server watches still, and whether it shows everything."""
        self._events: list[list[Any]] = []
        self._more = 0
        self._sending: asyncio.TimerHandle | None = None
        self._ticks = 0

    def __bool__(self) -> bool:
        """Tell whether another server watches this one."""
        return bool(self._watchers)

    @property
    def exist(self) -> bool:
        """True if there is a cluster."""
        return self._name() is not None

    @property
    def want_everything(self) -> bool:
        """True if one of those that watch shows every socket and event."""
        return any(everything for _, everything in self._watchers.values())

    # --- those that watch this server ---------------------------------------------------------------------------------

    def watched_by(self, name: str, everything: bool) -> bool:
        """Note that a server watches. Return true if it did not before."""
        is_new = name not in self._watchers
        self._watchers[name] = (_PATIENCE, everything)
        return is_new

    def released_by(self, name: str) -> None:
        """Note that a server has no page any more."""
        self._watchers.pop(name, None)

    def tell(self, event: str, args: Sequence[Any]) -> None:
        """Show an event to the pages of the servers that watch, a moment later."""
        if len(self._events) >= _MOST:
            self._more += 1
            return
        self._events.append([event, *args])
        if self._sending is None:
            self._sending = asyncio.get_running_loop().call_later(_TOGETHER, self.flush)

    def flush(self) -> None:
        """Send what is collected."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        events, self._events = self._events, []
        more, self._more = self._more, 0
        if more:
            _left_out(more, extra={"limit": _MOST})
        if events:
            self._say({"show": events})

    def forget(self) -> None:
        """Forget those that watch: this server stops."""
        self._watchers.clear()

    def tick(self) -> None:
        """Count the time of those that watch."""
        for name, (left, everything) in list(self._watchers.items()):
            if left <= 1:
                del self._watchers[name]
            else:
                self._watchers[name] = (left - 1, everything)

    # --- those that this server watches -------------------------------------------------------------------------------

    def watch(self, everything: bool) -> None:
        """Say that this server has a page, when it is time to say so again."""
        self._ticks += 1
        if self._ticks % _RENEW == 0 and self.exist:
            self._say({"watch": self._name(), "everything": everything})

    def release(self) -> None:
        """Say that this server has no page any more."""
        if self.exist:
            self._say({"release": self._name()})

    async def describe(self, everything: bool) -> tuple[list[dict[str, Any]], bool]:
        """Say that this server has a page, and ask the others what to show. True: all have answered."""
        return await self.ask({"watch": self._name(), "everything": everything, "describe": True})

    async def ask(self, message: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
        """Ask the others. Return the answers that are mappings, and true if all have answered."""
        whole = True
        answers: AckResponses | dict[str, Any]
        try:
            answers = await self._namespace.server_side_emit_with_ack(EVENT, message, timeout=ANSWER)
        except AckTimeout as error:
            answers, whole = dict(error.responses), False
        except (ClusterUnavailable, EncodeError):
            log.debug("the other servers are not asked for the Admin UI", exc_info=True)
            answers, whole = {}, False
        return [each for each in answers.values() if isinstance(each, dict)], whole

    def _say(self, message: dict[str, Any]) -> None:
        self._namespace._spawn(_quietly(self._namespace.server_side_emit(EVENT, message)))


async def _quietly(emitting: Awaitable[None]) -> None:
    try:
        await emitting
    except (ClusterUnavailable, EncodeError):
        log.debug("the other servers are not told of the Admin UI", exc_info=True)
