"""Rates: so many in so many seconds, so many at once; and the option ``rate_limit`` of a server."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, get_args

from ..exceptions import ConfigurationError
from ..types import identity_of

_UNITS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_WRITTEN: Final = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d*)\s*(s|min|h|d)")

CONNECTION: Final = "connection"
USER: Final = "user"
ADDRESS: Final = "address"


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of things in a time: ``Rate(10)`` is 10 a second, ``Rate(100, per=60)`` 100 a minute.

    It is a token bucket: ``burst`` of them may come at once after a pause, as many as ``count`` unless it is given;
    then there is room for one more every ``per / count`` seconds. A string means the same wherever a rate is expected:
    ``"10/s"``, ``"100/min"``, ``"1000/h"``, ``"5/10s"``. Raises :class:`~rtframework.ConfigurationError`.

    Example::

        Rate(10, burst=20)  # 20 at once, then 10 a second
    """

    count: float
    per: float = 1.0
    burst: float | None = None

    def __post_init__(self) -> None:
        for name in ("count", "per", "burst"):
            value = getattr(self, name)
            if name == "burst" and value is None:
                continue
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
                raise ConfigurationError(f"Rate: {name} is a number above zero, not {value!r}: write Rate(10, per=1.0)")
        if self.burst is not None and self.burst < 1:
            raise ConfigurationError(f"Rate: burst is 1 or more, or nothing ever passes, not {self.burst!r}")

    @property
    def most(self) -> float:
        """The number that may come at once."""
        return max(1.0, self.count) if self.burst is None else self.burst

    @property
    def interval(self) -> float:
        """Seconds for one."""
        return self.per / self.count


Rates: TypeAlias = Rate | str | Mapping[str, Rate | str | None] | None
"""A rate for each connection, or rates by what is counted together: ``{"connection": "10/s", "user": "20/s"}``.

``"connection"``: one connection. ``"user"``: what the authenticator returned, see ``RateLimit.identity``.
``"address"``: the client's address, of IPv6 its /64. ``None``: no limit.
"""


def rate_of(name: str, value: object) -> Rate:
    """Return a rate that may be written as a string. Raises :class:`~rtframework.ConfigurationError`."""
    if isinstance(value, Rate):
        return value
    written = _WRITTEN.fullmatch(value.strip()) if isinstance(value, str) else None
    if written is None:
        hint = f"write {name}=Rate({value})" if type(value) in (int, float) else f'write {name}="10/s", or Rate(10)'
        raise ConfigurationError(f"{name} is a rate such as 10/s, 100/min or Rate(10, burst=20), not {value!r}: {hint}")
    count, number, unit = written.groups()
    return Rate(float(count), float(number or 1) * _UNITS[unit])


def rates_of(name: str, value: object, scopes: Sequence[str]) -> dict[str, Rate]:
    """Return rates by what is counted together: one of the ``scopes``, the first if only a rate is given.

    Raises :class:`~rtframework.ConfigurationError`.
    """
    if value is None:
        return {}
    if isinstance(value, bool):
        raise ConfigurationError(f"{name} is a rate, not {value!r}: write None for no limit")
    if not isinstance(value, Mapping):
        return {scopes[0]: rate_of(name, value)}
    unknown = [each for each in value if each not in scopes]
    if unknown:
        raise ConfigurationError(f"{name} has rates for {', '.join(scopes)}, not for {unknown[0]!r}")
    return {scope: rate_of(name, rate) for scope, rate in value.items() if rate is not None}


OnExceed: TypeAlias = Literal["refuse", "close"]

_SCOPES: Final = {
    "events": (CONNECTION, USER, ADDRESS),
    "bytes": (CONNECTION, USER, ADDRESS),
    "connects": (CONNECTION, ADDRESS),
    "refusals": (CONNECTION, ADDRESS),
    "handshakes": (ADDRESS,),
}


_CONNECTS: Final = Rate(20, burst=200)
REFUSALS: Final = MappingProxyType({CONNECTION: Rate(1, burst=10), ADDRESS: Rate(10, burst=100)})
"""The rates of refusals by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """What clients may do in a time: ``Server(rate_limit=RateLimit(events="50/s"))``.

    Each field is a :class:`~rtframework.Rate` or a string such as ``"50/s"``, for each connection; or several, by what
    is counted together: ``{"connection": "50/s", "user": "100/s", "address": "500/s"}``; or ``None``, no limit. Clients
    behind one address (NAT) share the limit of the address; behind proxies, give ``trusted_proxies``. Raises
    :class:`~rtframework.ConfigurationError`.

    Example::

        io = Server(rate_limit=RateLimit(events={"connection": "50/s", "user": "100/s"}, bytes="1000000/s"))
    """

    events: Rates = None
    """Events. Beyond: see ``on_exceed``."""

    bytes: Rates = None
    """Bytes of messages; a single larger one than the burst passes after a pause. Beyond: see ``on_exceed``."""

    connects: Rates = _CONNECTS
    """CONNECTs to namespaces. Beyond: they are refused (``rate_limited``), which counts as a refusal."""

    refusals: Rates = field(default_factory=lambda: REFUSALS)
    """CONNECTs that are refused, for whatever reason. Beyond: the connection is closed after the refusal ("rate
    limited"). By default 10 at once, then 1 a second for a connection; 100, then 10 a second for an address."""

    handshakes: Rates = None
    """Requests for a new connection, for each address. Beyond: 429 with ``Retry-After``."""

    on_exceed: OnExceed = "refuse"
    """The action for an event beyond ``events`` or ``bytes``. ``"refuse"``: it is answered with the error
    ``rate_limited`` and its handlers do not run. ``"close"``: the connection is closed ("rate limited")."""

    identity: Callable[[Any], Any] = identity_of
    """``(user) -> key``: the users with the same key count as one. By default ``user.id``, or the user itself if it has
    no ``id``."""

    def __post_init__(self) -> None:
        if self.on_exceed not in get_args(OnExceed):
            raise ConfigurationError(f"on_exceed is one of {get_args(OnExceed)}, not {self.on_exceed!r}")
        for name in _SCOPES:
            self.rates(name)

    def rates(self, name: str) -> dict[str, Rate]:
        """Return the rates of a field, by what is counted together; empty if it is off."""
        return rates_of(name, getattr(self, name), _SCOPES[name])

    def key_of(self, user: Any) -> Hashable | None:
        """Return the key of a user; ``None`` without one."""
        if user is None:
            return None
        key = self.identity(user)
        try:
            hash(key)
        except TypeError:
            return repr(key)
        return key  # type: ignore[no-any-return]
