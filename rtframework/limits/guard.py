"""The limits, bans and audit log of one server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from ..counters import (
    BANNED,
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_ADDRESS,
    MAX_CONNECTIONS_PER_USER,
    MAX_UNCONNECTED,
    add,
)
from ..logs import ThrottledLog
from .audit import Audit, name_of
from .bans import Bans
from .limit import Limit

if TYPE_CHECKING:
    from ..counters import Counters
    from .rates import RateLimit

log: Final = logging.getLogger("rtframework.limits")

_beyond: Final = ThrottledLog(log, logging.WARNING, "a client at %s is beyond %s")
_banned: Final = ThrottledLog(log, logging.WARNING, "refused a client at %s: its address is banned (io.engine.bans)")
_OF_LIMITS: Final = {MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS, MAX_CONNECTIONS_PER_USER, MAX_UNCONNECTED}
"""The limits that are settings of ``Limits``; the others are settings of ``RateLimit``."""


class Guard:
    """The limits of one server, what was counted against them, its bans and its audit log."""

    __slots__ = (
        "_counts",
        "audit",
        "bans",
        "bytes",
        "connects",
        "events",
        "handshakes",
        "limits_events",
        "rate_limit",
        "refusals",
    )

    def __init__(self, rate_limit: RateLimit, counts: Counters) -> None:
        self.rate_limit = rate_limit
        self.events = _limit(rate_limit, "events")
        self.bytes = _limit(rate_limit, "bytes")
        self.connects = _limit(rate_limit, "connects")
        self.refusals = _limit(rate_limit, "refusals")
        self.handshakes = _limit(rate_limit, "handshakes")
        self.bans = Bans()
        self.audit = Audit()
        self._counts = counts
        self.limits_events = self.events is not None or self.bytes is not None
        """True if events have to be looked at before they are served."""

    def hit(
        self,
        limit: str,
        *,
        address: str | None,
        user: Any = None,
        nsp: str | None = None,
        sid: str | None = None,
        event: str | int | None = None,
    ) -> None:
        """Note that a client is beyond a limit: count it, log it at most once a second, and audit it.

        ``limit``: one of ``rtframework.counters.LIMITED``. ``event``: the name of the handler that has the rate.
        """
        add(self._counts.limited, limit)
        if self.audit.is_on:
            self.audit.write("limit", address=address, user=user, nsp=nsp, sid=sid, limit=limit)
        extra = {"limit": limit, "address": address, "user": name_of(user)}
        if limit == BANNED:
            _banned(address, extra=extra)
        elif event is not None:
            _beyond(address, f"the rate of {event!r}", key=(limit, event), extra={**extra, "event": event, "nsp": nsp})
        else:
            setting = f"Limits.{limit}" if limit in _OF_LIMITS else f"RateLimit.{limit}"
            _beyond(address, f"the limit {setting}", key=limit, extra=extra)


def _limit(rate_limit: RateLimit, name: str) -> Limit | None:
    rates = rate_limit.rates(name)
    return Limit(rates) if rates else None
